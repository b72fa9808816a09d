"""Fixtures of kind `hooks`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hooks.env import HooksEnv
from tests.store.conftest import env, kept_database_url
from tests.store.env import StoreEnv

__all__ = ["env", "kept_database_url"]


@pytest.fixture
def hooks(home: Path, env: StoreEnv) -> Iterator[HooksEnv]:
    """The process, not started."""
    made = HooksEnv(home, env)
    yield made
    made.close()
