"""Alerts over HTTP: pages, silences, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from shared.alert_policy import AlertChange
from shared.alert_rules import RULES_BY_NAME
from shared.store import alerts
from tests.api.api_env import ApiEnv, problem

SILENCES = "/api/v2/alerts/silences"


@pytest.fixture(autouse=True)
def nothing_before(api_env: ApiEnv) -> None:
    """Without alerts and silences of other tests: one that silences everything would be seen here."""
    api_env.sql("DELETE FROM alert_silences")
    api_env.sql("DELETE FROM alerts")


def fire(env: ApiEnv, slot: str, *, is_on: bool = True) -> None:
    """Keep that a slot is down, or no longer."""
    change = AlertChange(RULES_BY_NAME["ProcessDown"], {"kind": "meta", "slot": slot}, is_on=is_on, value=0.0)
    env.run(alerts.write, "a-host", change, age_s=0.0)


def listed(env: ApiEnv, query: str = "") -> list[tuple[str, str, bool]]:
    """Return slot, state and whether it is silenced of the listed alerts."""
    page = env.call("GET", f"/api/v2/alerts{query}").json()
    return [(one["labels"]["slot"], one["state"], one["silenced"]) for one in page["alerts"]]


def test_pages_newest_first(api_env: ApiEnv) -> None:
    for slot in ("meta-0", "meta-1", "meta-2"):
        fire(api_env, slot)
    fire(api_env, "meta-1", is_on=False)
    assert listed(api_env) == [("meta-2", "on", False), ("meta-1", "ended", False), ("meta-0", "on", False)]
    assert listed(api_env, "?state=on") == [("meta-2", "on", False), ("meta-0", "on", False)]
    assert listed(api_env, "?state=ended") == [("meta-1", "ended", False)]
    first = api_env.call("GET", "/api/v2/alerts?limit=2").json()
    assert first["alerts"][0]["runbook"] == "docs/runbook/ProcessDown.md"
    assert listed(api_env, f"?limit=2&cursor={first['next']}") == [("meta-0", "on", False)]
    assert first["alerts"][0] | {"id": "", "firedAt": ""} == {
        "id": "",
        "name": "ProcessDown",
        "state": "on",
        "severity": "critical",
        "summary": "meta-2 has not been ready for a minute.",
        "labels": {"kind": "meta", "slot": "meta-2"},
        "value": 0.0,
        "host": "a-host",
        "firedAt": "",
        "endedAt": None,
        "silenced": False,
        "runbook": "docs/runbook/ProcessDown.md",
        "trouble": "process_not_ready",
    }


def test_a_silence_lasts_until_it_is_ended(api_env: ApiEnv) -> None:
    fire(api_env, "meta-7")
    asked = {"name": "ProcessDown", "labels": {"slot": "meta-7"}, "seconds": 60, "reason": "upgrade"}
    made = api_env.call("POST", SILENCES, json=asked)
    assert made.status_code == 201
    assert ("meta-7", "on", True) in listed(api_env)
    kept = api_env.call("GET", SILENCES).json()["silences"]
    assert kept == [made.json()]
    ended = api_env.call("DELETE", f"{SILENCES}/{made.json()['id']}")
    assert ended.status_code == 200
    assert api_env.call("GET", SILENCES).json() == {"silences": []}
    assert problem(api_env.call("DELETE", f"{SILENCES}/{made.json()['id']}"))["type"] == "silence_unknown"
    acts = [row["type"] for row in api_env.sql("SELECT type FROM events WHERE subject = 'audit' ORDER BY id")]
    assert acts[-2:] == ["audit.alerts.silence", "audit.alerts.unsilence"]


def test_no_more_silences_than_can_be_read(api_env: ApiEnv) -> None:
    asked = {"name": "ProcessDown", "seconds": 60, "reason": "upgrade"}
    api_env.sql(
        """INSERT INTO alert_silences (name, labels, reason, created_by, until)
           SELECT 'MemoryHigh', '{}', 'many', 'a test', now() + interval '1 hour' FROM generate_series(1, %s)""",
        alerts.SILENCES_MOST,
    )
    refused = problem(api_env.call("POST", SILENCES, json=asked))
    api_env.sql("DELETE FROM alert_silences WHERE reason = 'many'")
    assert (refused["type"], refused["limit"]) == ("too_many_silences", alerts.SILENCES_MOST)
    made = api_env.call("POST", SILENCES, json=asked)
    assert made.status_code == 201
    api_env.call("DELETE", f"{SILENCES}/{made.json()['id']}")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"seconds": 60}, "/reason"),
        ({"reason": "r"}, "/seconds"),
        ({"reason": "r", "seconds": 0}, "/seconds"),
        ({"reason": "r", "seconds": 31 * 86400}, "/seconds"),
        ({"reason": "r", "seconds": 60, "name": "ProcessDwon"}, "/name"),
        ({"reason": "r", "seconds": 60, "name": "MemoryHigh", "labels": {"queue": "meta"}}, "/labels/queue"),
        ({"reason": "r", "seconds": 60, "labels": {"slot": 1}}, "/labels/slot"),
    ],
)
def test_what_would_silence_nothing_is_refused(api_env: ApiEnv, body: dict[str, Any], where: str) -> None:
    refused = problem(api_env.call("POST", SILENCES, json=body))
    assert where in str(refused["errors"])


@pytest.mark.parametrize("silence_id", ["0", "9" * 18, "9" * 5000, "x"])
def test_an_unknown_silence(api_env: ApiEnv, silence_id: str) -> None:
    assert api_env.call("DELETE", f"{SILENCES}/{silence_id}").status_code == 404
