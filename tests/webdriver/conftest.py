"""A sandbox page for each test, or one linked session for the tests of a file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.conftest import running
from tests.webdriver.env import Web
from tests.webdriver.kept_session import KeptSession
from tests.webdriver.store_env import StoreEnv


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """The page and its phones with the default code life."""
    started = Web(tmp_path / "sandbox")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def kept_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeptSession]:
    """One linked session, for tests that leave it ready."""
    # a short path, since sockets live below it
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    made = KeptSession(home, tmp_path_factory.mktemp("sandbox"))
    running.append(made)
    try:
        yield made
    finally:
        running.remove(made)
        made.close()
        shutil.rmtree(home)


@pytest.fixture
def store_env(settings: Callable[..., Settings], database_url: str) -> Iterator[StoreEnv]:
    """The API's side of one company with one browser session."""
    made = StoreEnv(settings(database_url=database_url))
    yield made
    made.store.close()
