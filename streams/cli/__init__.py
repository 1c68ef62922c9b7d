"""The `clickfold` command. It prints an error as one sentence, without a traceback. `app` lists the commands."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point. Exits with 2 after a ClickfoldError and with 130 after Ctrl-C."""
    try:
        # Imported here, so that Ctrl-C during the imports, which may take a second, gives no traceback either.
        from streams.cli.standard_streams import standard_streams

        with standard_streams():
            _run()
    except KeyboardInterrupt:
        sys.exit(130)


def _run() -> None:
    from schemas.errors import ClickfoldError
    from streams.cli.app import app

    try:
        app()
    except ClickfoldError as error:
        from streams.cli.render.escape import escaped_lines

        print(f"clickfold: {escaped_lines(str(error))}", file=sys.stderr)  # noqa: T201  # for the user, so not a log line
        sys.exit(2)
