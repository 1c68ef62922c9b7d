"""`python -m streams.kernels`: compiles all kernels ahead, so that no worker waits for it."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import streams.kernels
from streams.kernels.compiled import complete, load_kernels


def compile_all() -> None:
    """Compiles every kernel of the room."""
    for module in pkgutil.iter_modules(streams.kernels.__path__):
        if module.name != "__main__":
            import_module(f"{streams.kernels.__name__}.{module.name}")
    load_kernels()
    complete()


if __name__ == "__main__":
    compile_all()
