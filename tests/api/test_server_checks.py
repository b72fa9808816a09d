"""What `bulkhead doctor` says of servers that a test cannot have: facts as data. Broken real ones:
`tests/supervision/test_doctor.py`.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from api import server_checks
from shared.settings import Settings


def facts(**other: Any) -> dict[str, Any]:
    """Return the facts of a server that is as it should be, but for what is given."""
    return {
        "version": 180_000,
        "user_name": "me",
        "database_name": "mine",
        "schema_name": "public",
        "may_create": True,
        "is_read_only": False,
        "encoding": "UTF8",
        "has_vector": True,
        "most_connections": 100,
        "role_limit": -1,
        "database_limit": -1,
        "used_by_others": 3,
        "of_other_hosts": 0,
        "other_hosts": [],
        "clock": time.time() - other.pop("clock_behind_s", 0.0),
        **other,
    }


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"version": 140_011}, ("database", "fail", "PostgreSQL 14 is too old", "Upgrade")),
        ({"schema_name": None}, ("database schema", "fail", "search_path", "create one")),
        ({"encoding": "LATIN1"}, ("database encoding", "fail", "LATIN1", "ENCODING 'UTF8'")),
        ({"has_vector": False}, ("database vectors", "warn", "pgvector", "CREATE EXTENSION vector")),
        ({"role_limit": 20}, ("database connections", "warn", "20 can be had", "DATABASE_POOL")),
        ({"used_by_others": 80}, ("database connections", "warn", "20 can be had", "max_connections")),
        ({"clock_behind_s": 3600.0}, ("clock", "warn", "differs from PostgreSQL's by 3", "NTP")),
        ({}, ("clock", "ok", "agrees", "")),
    ],
)
def test_each_finding_has_its_mend(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, Any], expected: tuple[str, str, str, str]
) -> None:
    check, result, finding, mend = expected
    monkeypatch.setattr("shared.store.server_facts.server_facts", lambda _url, _host: facts(**other))
    found = {one.check: one for one in server_checks._database(Settings(database_url="postgresql://x/y"), 50)}
    assert (found[check].result, finding in found[check].finding, mend in found[check].mend) == (result, True, True)
    assert {one.check for one in found.values() if one.result != "ok"} == ({check} if result != "ok" else set())
