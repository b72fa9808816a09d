"""Fixtures of kind `index`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.index.env import IndexEnv
from tests.store.conftest import env, kept_database_url
from tests.store.env import StoreEnv

__all__ = ["env", "kept_database_url"]


@pytest.fixture
def there(env: StoreEnv, tmp_path: Path) -> IndexEnv:
    """Company acme without documents."""
    return IndexEnv(env, tmp_path / "media")
