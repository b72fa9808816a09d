"""Fixtures over a real database."""

from __future__ import annotations

from tests.store.conftest import ground, kept_database_url

__all__ = ["ground", "kept_database_url"]
