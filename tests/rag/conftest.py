"""Fixtures over a real database."""

from __future__ import annotations

from tests.store.conftest import env, kept_database_url, own_env

__all__ = ["env", "kept_database_url", "own_env"]
