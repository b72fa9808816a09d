"""Fixtures over a real database."""

from __future__ import annotations

from tests.store.conftest import env, kept_database_url

__all__ = ["env", "kept_database_url"]
