"""Fixtures over a real database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store.env import StoreEnv
from tests.support.database import query
from tests.support.servers import Servers


@pytest.fixture(scope="package")
def kept_database_url(servers: Servers) -> Iterator[str]:
    """Address of a migrated database that the tests of this folder use one after the other: making one takes longer
    than most of them."""
    name, url = servers.new_database()
    yield url
    servers.drop_database(name)


@pytest.fixture
def env(kept_database_url: str) -> Iterator[StoreEnv]:
    """A company with one connection, and nothing else in the database."""
    query(
        kept_database_url,
        "DELETE FROM companies; DELETE FROM process_health; DELETE FROM events; DELETE FROM "
        "event_positions; DELETE FROM event_names; DELETE FROM process_metrics; DELETE FROM webhook_outages",
    )
    made = StoreEnv(kept_database_url)
    yield made
    made.close()
