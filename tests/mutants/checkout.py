"""A copy of the sources in which one file at a time is changed, with the machine code of kernels beside it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
_COPIED: Final = ("docs", "online_models", "schemas", "streams", "tests", "Makefile", "pyproject.toml")
_KERNELS: Final = Path("streams/kernels")
# LLVM's most optimizations double the time of compiling and change no result.
_OPTIMIZATION: Final = "1"


class Checkout:
    """The copy. `kernels` is where all of its kernels are compiled, for pytest with `tests.mutants.plugin`."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "code"
        # Alone in its folder: compiling removes what lies beside it, as what other versions left.
        self.kernels = folder / "kernels" / "all"
        self._stale = folder / "stale"
        self.root.mkdir()
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.root / name, ignore=shutil.ignore_patterns("__pycache__", "integration"))
            else:
                shutil.copy2(source, self.root / name)

    def environment(self, kernels: Path | None = None, *, keeps_bytecode: bool = False) -> dict[str, str]:
        """For a process that works on the copy."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "NUMBA_BOUNDSCHECK")}
        given = {"PYTHONPATH": str(self.root), "NUMBA_OPT": _OPTIMIZATION, "TRIES": "0.1"}
        if not keeps_bytecode:
            # The byte code of a mutant must not be taken for that of the file that is put back.
            given["PYTHONDONTWRITEBYTECODE"] = "1"
        return {**kept, **given, "MUTANT_KERNELS": str(kernels or self.kernels)}

    def compile(self) -> None:
        """Compiles all kernels, once, before the first mutant."""
        self.kernels.mkdir(parents=True)
        code = "import tests.mutants.plugin as p; p.pytest_configure(); import streams.kernels.__main__ as m"
        subprocess.run(
            [sys.executable, "-c", f"{code}; m.compile_all()"], cwd=self.root, env=self.environment(), check=True
        )

    @contextmanager
    def mutated(self, path: str, text: str) -> Iterator[Path]:
        """Within the block a file of the copy has this text; yields the folder of kernels that are still right."""
        file = self.root / path
        before, times = file.read_bytes(), file.stat()
        file.write_text(text)
        try:
            yield self._kernels_without(path)
        finally:
            file.write_bytes(before)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _kernels_without(self, path: str) -> Path:
        """A folder of all kernels but those that are made of this file."""
        if Path(path).parent != _KERNELS:
            return self.kernels
        stale = importers(self.root / _KERNELS, Path(path).stem)
        shutil.rmtree(self._stale, ignore_errors=True)
        self._stale.mkdir()
        for file in self.kernels.iterdir():
            if file.name.split(".")[0] not in stale:
                os.link(file, self._stale / file.name)
        return self._stale


def importers(folder: Path, module: str) -> set[str]:
    """A module of the kernels, and all that import it or one of its importers."""
    imports = {path.stem: _imports(path) for path in folder.glob("*.py")}
    found, more = {module}, {module}
    while more:
        more = {name for name, imported in imports.items() if imported & found} - found
        found |= more
    return found


def _imports(path: Path) -> set[str]:
    """The modules of the kernels that a file imports from."""
    nodes = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom))
    folders = (str(node.module).rpartition(".") for node in nodes)
    return {module for folder, _, module in folders if folder == "streams.kernels"}
