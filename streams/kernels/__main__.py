"""`python -m streams.kernels`: compiles all kernels ahead, so that no worker waits for it."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from schemas.compiled import complete, load_kernels

# By name, because kernels of the join do not depend on those of the learner.
_ROOMS = ("streams.kernels", "online_models.mixture")


def compile_all() -> None:
    """Compiles every kernel of both rooms."""
    for room in _ROOMS:
        for module in pkgutil.iter_modules(import_module(room).__path__):
            if module.name != "__main__":
                import_module(f"{room}.{module.name}")
    load_kernels()
    complete()


if __name__ == "__main__":
    compile_all()
