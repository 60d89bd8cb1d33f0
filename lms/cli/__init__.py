"""The operator's shell, `lms`: one module a command group."""

from lms.cli.main import main

__all__ = ["main"]
