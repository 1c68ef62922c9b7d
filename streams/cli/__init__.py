"""The `clickfold` command: errors are one sentence, never a traceback; `app` lists the commands."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point. Exit code 2 for wrong settings or a fault that was named, 130 after Ctrl-C."""
    try:
        # Imported here: Ctrl-C in the second this takes is no error either.
        from schemas.errors import ClickfoldError
        from streams.cli.app import app

        try:
            app()
        except ClickfoldError as error:
            from streams.cli.render.escape import escaped_lines

            print(f"clickfold: {escaped_lines(str(error))}", file=sys.stderr)  # noqa: T201  # the terminal is the place for it
            sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
