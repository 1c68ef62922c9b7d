"""Bars of events a second, as SVG."""

from __future__ import annotations

from html import escape
from typing import Any, Final

_WIDTH, _LABELS, _ROW, _BAR = 760, 190, 30, 18
_OWN, _OTHER, _INK = "#1f6feb", "#8b949e", "#24292f"
_FONT: Final = "font-family='system-ui, sans-serif' font-size='13'"


def chart(systems: dict[str, dict[str, Any]]) -> str:
    """A bar for each system, the fastest first, with the range of its rounds as a line; failed ones are named."""
    good = sorted(
        ((name, found) for name, found in systems.items() if "events_per_s" in found),
        key=lambda each: -each[1]["events_per_s"],
    )
    failed = [name for name, found in systems.items() if "events_per_s" not in found]
    most = max((found["range"][1] for _, found in good), default=1)
    scale = (_WIDTH - _LABELS - 110) / most
    height = _ROW * (len(good) + len(failed) + 1)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' {_FONT} fill='{_INK}'>",
        "<title>Events a second of the same join</title>",
        f"<rect width='{_WIDTH}' height='{height}' fill='white'/>",
    ]
    for number, (name, found) in enumerate(good):
        top = _ROW * number + 8
        middle = top + _BAR / 2
        low, high = (_LABELS + scale * each for each in found["range"])
        length, colour = scale * found["events_per_s"], _OWN if name == "clickfold" else _OTHER
        parts += [
            f"<text x='{_LABELS - 8}' y='{middle + 4.5}' text-anchor='end'>{escape(name)}</text>",
            f"<rect x='{_LABELS}' y='{top}' width='{length:.1f}' height='{_BAR}' fill='{colour}'/>",
            f"<line x1='{low:.1f}' x2='{high:.1f}' y1='{middle}' y2='{middle}' stroke='{_INK}'/>",
            f"<text x='{max(high, _LABELS + length) + 6:.1f}' y='{middle + 4.5}'>{found['events_per_s']:,}</text>",
        ]
    for number, name in enumerate(failed, len(good)):
        parts.append(f"<text x='{_LABELS}' y='{_ROW * number + 22}'>{escape(name)}: no figure</text>")
    return "\n".join([*parts, "</svg>", ""])
