"""A sandbox page for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.webdriver.env import Web
from tests.webdriver.store_env import StoreEnv


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """The page and its phones with the default code life."""
    started = Web(tmp_path / "sandbox")
    yield started
    started.stop()


@pytest.fixture
def store_env(settings: Callable[..., Settings], database_url: str) -> Iterator[StoreEnv]:
    """The API's side of one company with one browser session."""
    made = StoreEnv(settings(database_url=database_url))
    yield made
    made.store.close()
