"""Fixtures over a real database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store.env import StoreEnv, empty
from tests.support.servers import Servers


@pytest.fixture(scope="package")
def kept_database_url(servers: Servers) -> Iterator[str]:
    """Address of a migrated database that the tests of this folder use one after the other: making one takes longer
    than most of them.
    """
    name, url = servers.new_database()
    yield url
    servers.drop_database(name)


def emptied(kept_database_url: str) -> StoreEnv:
    """Return a company with one connection, and nothing else in the database."""
    empty(kept_database_url)
    return StoreEnv(kept_database_url)


@pytest.fixture
def env(kept_database_url: str) -> Iterator[StoreEnv]:
    """A company with one connection, and nothing else in the database."""
    made = emptied(kept_database_url)
    yield made
    made.close()


@pytest.fixture
def own_env(servers: Servers) -> Iterator[StoreEnv]:
    """A company in a database of its own, which a test may change or fill as it likes."""
    name, url = servers.new_database()
    made = StoreEnv(url)
    yield made
    made.close()
    servers.drop_database(name)
