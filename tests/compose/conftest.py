"""Fixtures over a real database and a real storage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.env import ComposeEnv
from tests.support.database import query
from tests.support.servers import Servers


@pytest.fixture(scope="package")
def kept_database_url(servers: Servers) -> Iterator[str]:
    """Address of a migrated database that the tests of this folder use one after the other."""
    name, url = servers.new_database()
    yield url
    servers.drop_database(name)


@pytest.fixture
def env(kept_database_url: str, tmp_path: Path) -> Iterator[ComposeEnv]:
    """A company with one connection, and nothing else in the database."""
    query(kept_database_url, "DELETE FROM companies; DELETE FROM events")
    made = ComposeEnv(kept_database_url, tmp_path)
    yield made
    made.close()
