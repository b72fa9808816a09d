"""hypothesis plays the row's life."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from psycopg2.extras import RealDictCursor

from tests.model.life import Life, Look
from tests.store.env import StoreEnv


@pytest.fixture
def look(database_url: str) -> Iterator[Look]:
    """One connection for the model's own eyes."""
    with closing(psycopg2.connect(database_url, cursor_factory=RealDictCursor)) as connection:
        connection.autocommit = True

        def ask(statement: str) -> Sequence[Mapping[str, Any]]:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                found: list[Any] = cursor.fetchall() if cursor.description else []
                return found

        # what is played are orders of events, not losses of power: commits need not reach the disk
        (name,) = ask("SELECT current_database() AS name")
        ask(f'ALTER DATABASE "{name["name"]}" SET synchronous_commit = off')
        yield ask


@pytest.fixture
def env(look: Look, database_url: str) -> Iterator[StoreEnv]:
    """A company with one connection in a database of its own."""
    made = StoreEnv(database_url)
    yield made
    made.close()


def test_every_order_of_events_keeps_the_promises(env: StoreEnv, look: Look, tmp_path: Path) -> None:
    run_state_machine_as_test(
        lambda: Life(env, look, tmp_path),  # type: ignore[arg-type]  # any function that makes a machine will do
        settings=settings(stateful_step_count=40, suppress_health_check=list(HealthCheck)),
    )
