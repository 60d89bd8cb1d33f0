"""Builders of notebook files."""

import json
from typing import Any


def notebook_bytes(*cells: dict[str, Any]) -> bytes:
    """Return a notebook file of `cells`."""
    document = {
        "cells": list(cells),
        "metadata": {"language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(document, ensure_ascii=False).encode()


def markdown_cell(source: str, lang: str | None = None, **values: object) -> dict[str, Any]:
    """Return a Markdown cell."""
    metadata = {} if lang is None else {"lang": lang}
    return {"cell_type": "markdown", "metadata": metadata, "source": source} | values


def code_cell(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    """Return a code cell with outputs."""
    return {
        "cell_type": "code",
        "metadata": {},
        "execution_count": 1,
        "source": source,
        "outputs": list(outputs),
    }


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    """Return what a print leaves behind."""
    return {"output_type": "stream", "name": name, "text": text}


def shown(**data: str) -> dict[str, Any]:
    """Return a rich output; `text_html` stands for text/html."""
    kinds = {key.replace("_", "/", 1): value for key, value in data.items()}
    return {"output_type": "display_data", "data": kinds, "metadata": {}}
