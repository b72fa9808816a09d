"""How the documents become a site: `script/docs site`. Sources are the Markdown files where they are, so that their
links work in the repository as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

project = "Bulkhead"
author = "Bulkhead"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "README.md",
    "ARCHITECTURE.md",
    "MIGRATION.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "bulkhead_client/README.md",
    "examples/README.md",
]
# the generator looks into every folder that is not excluded, packages and caches too: a quarter of its time
_WITH_PAGES = {pattern.partition("/")[0] for pattern in include_patterns}
exclude_patterns = [
    "docs/site/**",
    *(path.name for path in Path(__file__).parents[2].iterdir() if path.is_dir() and path.name not in _WITH_PAGES),
]
# anchors of headings, as links between the files use them
myst_heading_anchors = 4
myst_enable_extensions = ["tasklist"]
# diagrams are shown as their text, beside the tables that say the same: drawing them would need a script from elsewhere
myst_fence_as_directive: list[str] = []
# a page that no table of contents has is found by links and by the search
suppress_warnings = ["misc.highlighting_failure", "toc.not_included"]
html_theme = "furo"
html_title = "Bulkhead"
html_copy_source = False
html_show_sphinx = False
# no copyright line, no date: the same sources give the same pages
html_show_copyright = False
html_last_updated_fmt = None


def setup(app: Any) -> dict[str, bool]:
    """Let a Mermaid diagram be shown as text."""
    # imported here: the checks of this project read the file without the generator
    from pygments.lexers.special import TextLexer  # type: ignore[import-untyped] # noqa: PLC0415

    app.add_lexer("mermaid", TextLexer)
    return {"parallel_read_safe": True}
