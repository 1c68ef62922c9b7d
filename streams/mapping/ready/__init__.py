"""Ready mappings: one TOML file for each form of logs that many users have, by name."""

from __future__ import annotations

import re
from importlib.resources import files


def ready_names() -> list[str]:
    """The names of all ready mappings."""
    return sorted(file.name.removesuffix(".toml") for file in files(__name__).iterdir() if file.name.endswith(".toml"))


def title(name: str) -> str:
    """What a ready mapping is for: its first comment."""
    text = (files(__name__) / f"{name}.toml").read_text("utf-8")
    return text.partition("\n")[0].removeprefix("# ")


def pages(name: str) -> list[str]:
    """The pages on which the vendor publishes the fields that a ready mapping reads."""
    text = (files(__name__) / f"{name}.toml").read_text("utf-8")
    return re.findall(r"https://[^\s,]+", text)


def ready(name: str) -> str | None:
    """The text of a ready mapping, None when there is none of this name."""
    return (files(__name__) / f"{name}.toml").read_text("utf-8") if name in ready_names() else None
