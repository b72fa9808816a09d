"""Makes a site of the documents: `script/docs site`. Every warning is an error: a link that leads nowhere, or to a
heading that is not there.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[1]
START: Final = "docs/index.html"
_FORWARD: Final = (
    '<!doctype html><meta charset="utf-8"><title>Bulkhead</title>'
    f'<meta http-equiv="refresh" content="0; url={START}">\n'
)


def build(target: Path) -> int:
    """Write the site and return an exit code.

    Args:
        target: folder of the site; made anew.
    """
    # the generator is one of development: nothing else of this project loads it
    from sphinx.cmd.build import main as sphinx_build  # noqa: PLC0415

    shutil.rmtree(target, ignore_errors=True)
    words = ["-q", "-E", "-W", "--keep-going", "-b", "html", "-c", str(REPOSITORY / "docs" / "site")]
    code = int(
        sphinx_build([*words, "-d", str(target.with_name(f"{target.name}.trees")), str(REPOSITORY), str(target)])
    )
    if code == 0:
        # pictures that pages name in HTML of their own
        shutil.copytree(REPOSITORY / "docs" / "pictures", target / "docs" / "pictures")
        (target / "index.html").write_text(_FORWARD, encoding="utf-8")
    return code


if __name__ == "__main__":
    folder = REPOSITORY / "build" / "site"
    outcome = build(folder)
    if outcome == 0:
        sys.stdout.write(f"{folder / START}\n")
    sys.exit(outcome)
