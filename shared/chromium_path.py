"""Where Chromium is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from shared.errors import BulkheadError

EXECUTABLES: Final = ("chromium", "chromium-browser", "google-chrome")
"""Searched for in this order: Debian's name, that of other distributions, Google's own package."""


class ChromiumMissing(BulkheadError):
    """Raised when there is no Chromium to start; everything but browser sessions goes on."""


def find(setting: str) -> Path:
    """Return Chromium's executable.

    Args:
        setting: CHROMIUM_PATH; empty: searched for on PATH.
    Raises:
        ChromiumMissing: with the sentence to show to the operator.
    """
    # a setting that leads nowhere is an error: another Chromium in its place would surprise the operator
    for name in (setting,) if setting else EXECUTABLES:
        if found := shutil.which(name):
            return Path(found)
    searched = (
        f"CHROMIUM_PATH={setting} is not an executable file"
        if setting
        else f"none of {', '.join(EXECUTABLES)} is on PATH"
    )
    raise ChromiumMissing(f"{searched}; install Chromium (Debian: apt-get install chromium) or set CHROMIUM_PATH")
