"""The documents are a site: every link leads somewhere, every page is found, and the search needs no server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from shared.alert_rules import ALERT_RULES
from tests.support import environment


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    target = tmp_path / "site"
    program = (
        f"import sys; from pathlib import Path; from script.site import build; sys.exit(build(Path({str(target)!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=environment.REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    index = (target / "searchindex.js").read_text()
    assert all(word in index for word in ("quarantin", "webhook", "backup"))
    assert all((target / "docs" / "runbook" / f"{rule.name}.html").exists() for rule in ALERT_RULES)
    assert (target / "docs" / "pictures" / "now-killed.png").exists()
    # nothing is loaded from elsewhere: it works from a disk without a network
    page = (target / "docs" / "index.html").read_text()
    assert 'src="http' not in page
    assert 'rel="stylesheet" href="http' not in page
