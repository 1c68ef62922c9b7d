"""A Sphinx extension: fences marked `mermaid` become inline SVG while the site is built.

The engine comes in a Python package (mmdr), so nothing is fetched, no script runs in the reader's browser, and a
diagram with a mistake is a warning with its line. Viewers of the repository that know Mermaid draw the same fence.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import mmdr
import orjson
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

# Arial is drawn by fonts of equal widths everywhere, so labels fit the boxes that were computed for them.
_FONT: Final = "Arial, Helvetica, sans-serif"
_LOOK: Final = {
    "theme": "base",
    "look": "classic",
    "fontFamily": _FONT,
    "themeVariables": {
        "fontFamily": _FONT,
        "primaryColor": "#eef2ff",
        "primaryBorderColor": "#4b5fa8",
        "primaryTextColor": "#1c2333",
        "lineColor": "#4b5fa8",
        "edgeLabelBackground": "#ffffff",
        "noteBkgColor": "#fff7d6",
        "noteBorderColor": "#c9a227",
    },
}


def svg(source: str) -> str:
    """The diagram as an SVG element whose ids no other diagram has. Raises ValueError saying what is wrong with it."""
    drawn: str = mmdr.render(f"%%{{init: {orjson.dumps(_LOOK).decode()}}}%%\n{source}").svg()
    own = "diagram-" + hashlib.sha256(source.encode()).hexdigest()[:12]
    return re.sub(r'(?<=[#"])merman(?=[\s"\-{.#)>])', own, drawn)


class Diagrams(SphinxTransform):
    """Replaces each fence by its drawing, before highlighting looks for a language of that name."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        """Draws every diagram of the document."""
        for fence in list(self.document.findall(nodes.literal_block)):
            if fence.get("language") == "mermaid":
                try:
                    drawn = svg(fence.astext())
                except ValueError as error:
                    logging.getLogger(__name__).warning("the diagram is wrong: %s", error, location=fence)
                    continue
                fence.replace_self(nodes.raw("", f'<figure class="diagram">{drawn}</figure>', format="html"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(Diagrams)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
