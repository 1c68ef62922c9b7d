"""What pytest does otherwise when it runs for a mutant: the same examples each time, and kernels of a given folder.

Kernels are kept under a digest of all sources, so that a mutant of one would compile them all. Here those that a mutant
cannot have changed come from a folder that `tests.mutants.checkout` made.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

import schemas.compiled as compiled

# More than the tests need, less than would make a machine swap: a mutant may ask for any size.
MOST_BYTES = 6 << 30

# A failing example is not made smaller: that it fails is all we ask. More examples than TRIES allows.
settings.register_profile(
    "mutants",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=30,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)


def pytest_configure() -> None:
    """Before any test is imported."""
    here = Path(compiled.__file__).resolve()
    if not here.is_relative_to(Path.cwd().resolve()):
        raise RuntimeError(f"the tests import {here}, which is no file of the mutants' copy {Path.cwd()}")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    folder = os.environ.get("MUTANT_KERNELS")
    if folder:
        compiled.cache_folder = lambda: Path(folder)  # type: ignore[assignment]  # no cache to clear
        compiled.digest = lambda: "mutant"  # type: ignore[assignment]
