"""A sandbox page for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.webdriver.desk import Desk
from tests.webdriver.rig import Web


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """The page and its phones with the default code life."""
    started = Web(tmp_path / "sandbox")
    yield started
    started.stop()


@pytest.fixture
def desk(settings: Callable[..., Settings], database_url: str) -> Iterator[Desk]:
    """The API's side of one company with one browser session."""
    made = Desk(settings(database_url=database_url))
    yield made
    made.store.close()
