"""Command groups that import a command's module only when the command is named."""

import importlib
from collections.abc import Mapping

import click


class LazyGroup(click.Group):
    """A group of `targets`, command name to "module:attribute", so that `--help` stays fast."""

    def __init__(self, *args: object, targets: Mapping[str, str], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._targets = targets

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command name."""
        del ctx
        return sorted(self._targets)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, or None when there is none of that name."""
        del ctx
        target = self._targets.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        return command if isinstance(command, click.Command) else None
