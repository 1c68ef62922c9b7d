"""`reference/errors.md`: the tree of errors and the exit codes, from `schemas.errors`."""

from __future__ import annotations

import inspect

from schemas import errors
from streams.cli.reference.markdown import code, fence, page, prose, table


def errors_page() -> str:
    """The page."""
    tree = inspect.cleandoc(errors.__doc__ or "").split("\n\n")[1]
    found = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ClickfoldError) and kind is not errors.ClickfoldError
    ]
    return page(
        "Errors and exit codes",
        "An error is one sentence on standard error, never a traceback: it names what is wrong, the value and the "
        "remedy.",
        "## Exit codes",
        table(("code", "meaning"), ((code(number), text) for number, text in errors.EXIT_CODES.items())),
        "## Errors",
        fence(inspect.cleandoc(tree)),
        table(
            ("error", "is a", "meaning"),
            ((code(each.__name__), code(each.__bases__[0].__name__), prose(each.__doc__ or "")) for each in found),
        ),
        "Bad data is never an error. It becomes a record of [`ads.rejects`](topics.md#adsrejects) with a reason, and "
        "work goes on.",
    )
