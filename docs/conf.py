"""How Sphinx builds this site: Markdown by MyST, theme Furo, nothing fetched from anywhere. `make docs` runs it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # diagrams.py is beside this file

project = "clickfold"
copyright = "the clickfold authors, Apache-2.0"  # noqa: A001  # Sphinx's own name
html_title = "clickfold"
extensions = ["myst_parser", "diagrams"]
exclude_patterns = ["_static"]

# Headings down to this depth can be linked to as page.md#heading; a link to none of them is a warning, so an error.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
nitpicky = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sphinx = False
html_copy_source = False
# No permalinks to a server, no fonts and scripts of others: the site is read from a folder, without a network.
html_theme_options = {"navigation_with_keys": True}
