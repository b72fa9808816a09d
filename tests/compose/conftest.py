"""Fixtures over a real database and a real storage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.env import ComposeEnv
from tests.store.conftest import kept_database_url
from tests.store.env import empty

__all__ = ["env", "kept_database_url"]


@pytest.fixture
def env(kept_database_url: str, tmp_path: Path) -> Iterator[ComposeEnv]:
    """A company with one connection, and nothing else in the database."""
    empty(kept_database_url)
    made = ComposeEnv(kept_database_url, tmp_path)
    yield made
    made.close()
