"""Options that take any number of values after their name, such as the files that a glob of the shell gives."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from typer.core import TyperCommand


class SeveralValues(TyperCommand):
    """A command whose options of a list type take several values at once.

    Only a command without arguments: the values of an option could not be told from those.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the options; returns the arguments that belong to none."""
        if all(param.param_type_name == "option" for param in self.params):
            names = {name for param in self.params if getattr(param, "multiple", False) for name in param.opts}
            args = repeated(args, names)
        return super().parse_args(ctx, args)


def repeated(args: Sequence[str], names: Collection[str]) -> list[str]:
    """The arguments with the name of an option, one of `names`, before each of its values."""
    result: list[str] = []
    option, has_value = "", False
    for number, arg in enumerate(args):
        if arg == "--":
            return [*result, *args[number:]]
        if arg.startswith("-") and arg != "-":
            name, equals, _ = arg.partition("=")
            option, has_value = (name if name in names else ""), bool(equals)
        elif option:
            if has_value:
                result.append(option)
            has_value = True
        result.append(arg)
    return result
