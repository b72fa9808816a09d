"""A sandbox page for each test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webdriver.rig import Web


@pytest.fixture(autouse=True)
def no_socket_left() -> Iterator[None]:
    """Fail the test that leaves a browser's socket among the system's temporary files."""
    sockets = Path(tempfile.gettempdir()).glob
    before = set(sockets("org.chromium.*"))
    yield
    assert set(sockets("org.chromium.*")) <= before


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """The page and its phones with the default code life."""
    started = Web(tmp_path / "sandbox")
    yield started
    started.stop()
