"""A sandbox page for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webdriver.rig import Web


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """The page and its phones with the default code life."""
    started = Web(tmp_path / "sandbox")
    yield started
    started.stop()
