"""The operator's shell, `lms`: one module a command group (design: docs/explanation/architecture.md)."""

from lms.cli.main import main

__all__ = ["main"]
