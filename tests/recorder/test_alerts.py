"""Alerts and figures of the installation, in a real database: rows, events, silences, what an earlier life left on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recorder.alerts import Alerts
from recorder.figures import InstallationFigures
from shared.alert_policy import AlertChange
from shared.alert_rules import RULES_BY_NAME
from shared.clock import utc_now
from shared.errors import StoreUnavailable
from shared.process import runtime
from shared.process.metrics import Metrics
from shared.settings import ChildEnvironment, Settings
from shared.store import alerts
from shared.store.store import Store
from tests.store.env import StoreEnv, open_store
from tests.support.database import query

DAY = "now() - interval '1 day' * "
SLOT = {"kind": "meta", "slot": "meta-0"}


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """Return a store over a fresh database."""
    opened = open_store(database_url)
    yield opened
    opened.close()


def change(*, is_on: bool, slot: str = "meta-0") -> AlertChange:
    """Return that a slot is down, or no longer."""
    return AlertChange(RULES_BY_NAME["ProcessDown"], {"kind": "meta", "slot": slot}, is_on=is_on, value=0.0)


def events_of(url: str) -> list[tuple[str, str]]:
    """Return types and slots of the events that were written."""
    rows = query(
        url, "SELECT type, data -> 'labels' ->> 'slot' AS slot FROM events WHERE subject = 'alert' ORDER BY id"
    )
    return [(row["type"], row["slot"]) for row in rows]


class TestRows:
    def test_an_alert_is_one_row_and_two_events(self, store: Store, database_url: str) -> None:
        for _ in range(2):
            store.run(alerts.write, "a-host", change(is_on=True), age_s=30.0)
            store.run(alerts.notify)
        (row,) = query(database_url, "SELECT *, extract(epoch FROM now() - fired_at) AS age_s FROM alerts")
        assert (row["name"], row["labels"], row["ended_at"]) == ("ProcessDown", SLOT, None)
        assert row["summary"] == "meta-0 has not been ready for a minute."
        assert 30 <= row["age_s"] < 60, "decided while the database was away"
        for _ in range(2):
            store.run(alerts.write, "a-host", change(is_on=False), age_s=0.0)
        assert events_of(database_url) == [("alert.fired", "meta-0"), ("alert.ended", "meta-0")]
        assert query(database_url, "SELECT id FROM alerts WHERE ended_at IS NOT NULL")

    def test_two_hosts_have_slots_of_the_same_name(self, store: Store, database_url: str) -> None:
        store.run(alerts.write, "one", change(is_on=True), age_s=0.0)
        store.run(alerts.write, "two", change(is_on=True), age_s=0.0)
        store.run(alerts.write, "one", change(is_on=False), age_s=0.0)
        assert store.run(alerts.left_on, "one") == []
        assert store.run(alerts.left_on, "two") == [(("ProcessDown", (("kind", "meta"), ("slot", "meta-0"))), 0.0)]

    @pytest.mark.parametrize(
        ("name", "labels", "silenced"),
        [
            ("ProcessDown", {}, True),
            ("", {}, True),
            ("", {"slot": "meta-0"}, True),
            ("ProcessDown", {"slot": "meta-1"}, False),
            ("MemoryHigh", {}, False),
        ],
    )
    def test_what_is_silenced_is_kept_without_an_event(
        self, store: Store, database_url: str, name: str, labels: dict[str, str], *, silenced: bool
    ) -> None:
        kept = store.run(alerts.silence, name=name, labels=labels, reason="r", seconds=60.0, created_by="me")
        assert kept is not None
        store.run(alerts.write, "h", change(is_on=True), age_s=0.0)
        store.run(alerts.notify)
        assert events_of(database_url) == ([] if silenced else [("alert.fired", "meta-0")])
        (listed,) = store.run(alerts.listed, is_on=True, before=1 << 62, most=10)
        assert listed["silenced"] == silenced
        assert store.run(alerts.end_silence, kept["id"]) is not None
        assert store.run(alerts.end_silence, kept["id"]) is None, "it has ended"
        store.run(alerts.notify)
        assert events_of(database_url) == [("alert.fired", "meta-0")], "still on when the silence ends"

    def test_without_an_event_when_it_fired_there_is_none_when_it_ends(self, store: Store, database_url: str) -> None:
        store.run(alerts.silence, name="", labels={}, reason="r", seconds=60.0, created_by="me")
        store.run(alerts.write, "h", change(is_on=True), age_s=0.0)
        store.run(alerts.notify)
        store.run(alerts.write, "h", change(is_on=False), age_s=0.0)
        assert events_of(database_url) == []

    def test_silences_are_bounded(self, store: Store) -> None:
        for _ in range(alerts.SILENCES_MOST):
            store.run(alerts.silence, name="", labels={}, reason="r", seconds=60.0, created_by="me")
        assert store.run(alerts.silence, name="", labels={}, reason="r", seconds=60.0, created_by="me") is None


def write_figures(home: Path, name: str, *values: tuple[dict[str, str], float], kind: str = "gauge") -> None:
    """Write figures as a process does."""
    samples = [[name, labels, value] for labels, value in values]
    runtime.metrics_file(home, "test-0").write_text(
        json.dumps({"at": utc_now().timestamp(), "families": [[name, kind, "p", samples]]})
    )


class TestJudging:
    def test_an_outage_of_the_database_delays_rows_and_no_decision(self, home: Path, database_url: str) -> None:
        async def run() -> None:
            nowhere = Settings(database_url="postgresql://nobody@127.0.0.1:1/none")
            gone = Store.open(nowhere, ChildEnvironment(process_name="test"), limit=1)
            metrics = Metrics()
            judged = Alerts(gone, metrics, home, host="here", factor=0.0)
            write_figures(home, "bulkhead_slot_up", (SLOT, 0.0))
            with pytest.raises(StoreUnavailable):
                await judged.judge()
            # one that fires and ends meanwhile has both events
            write_figures(home, "bulkhead_slot_up", (SLOT, 0.0), ({"kind": "meta", "slot": "meta-1"}, 0.0))
            with pytest.raises(StoreUnavailable):
                await judged.judge()
            write_figures(home, "bulkhead_slot_up", (SLOT, 0.0), ({"kind": "meta", "slot": "meta-1"}, 1.0))
            with pytest.raises(StoreUnavailable):
                await judged.judge()
            assert metrics.snapshot()["alerts_on{alert=ProcessDown,severity=critical}"] == 1
            judged._store = back = open_store(database_url)
            await judged.judge()
            assert [one for one in events_of(database_url) if one[1] == "meta-1"] == [
                ("alert.fired", "meta-1"),
                ("alert.ended", "meta-1"),
            ]
            assert ("alert.fired", "meta-0") in events_of(database_url)
            write_figures(home, "bulkhead_slot_up", (SLOT, 1.0))
            await judged.judge()
            await judged.judge()
            assert events_of(database_url).count(("alert.ended", "meta-0")) == 1
            back.close()
            gone.close()

        asyncio.run(run())

    def test_what_an_earlier_life_left_on_ends(self, home: Path, store: Store, database_url: str) -> None:
        async def run() -> None:
            write_figures(home, "bulkhead_slot_up", (SLOT, 0.0))
            await Alerts(store, Metrics(), home, host="here", factor=0.0).judge()
            assert ("alert.fired", "meta-0") in events_of(database_url)
            write_figures(home, "bulkhead_slot_up", (SLOT, 1.0))
            again = Alerts(store, Metrics(), home, host="here", factor=0.0)
            await again.judge()
            await again.judge()
            assert ("alert.ended", "meta-0") in events_of(database_url)

        asyncio.run(run())


def test_figures_of_the_installation(home: Path, database_url: str) -> None:
    env, metrics = StoreEnv(database_url), Metrics()
    read = InstallationFigures(env.store, metrics, home)

    def shown() -> dict[str, float]:
        asyncio.run(read.read())
        return metrics.snapshot()

    waiting, late, early, doubtful, held, dead = env.accept("a", "b", "c", "d", "e", "f")
    env.set(waiting, "created_at = now() - interval '300 seconds'")
    env.set(late, "scheduled_for = now() - interval '500 seconds', created_at = now() - interval '2 hours'")
    env.set(early, "scheduled_for = now() + interval '1 hour'")
    env.set(doubtful, "state = 'in_doubt', in_doubt_at = now()")
    env.set(held, "state = 'in_doubt', in_doubt_at = now(), held_at = now()")
    env.set(dead, "state = 'failed'")
    (queue,) = {row["process_name"] for row in query(database_url, "SELECT process_name FROM phone_configs")}
    found = shown()
    assert found[f"backlog_messages{{queue={queue}}}"] == 2
    assert 500 <= found[f"backlog_oldest_seconds{{queue={queue}}}"] < 560
    assert found[f"in_doubt_messages{{queue={queue}}}"] == 2
    assert found[f"held_messages{{queue={queue}}}"] == 1
    assert found["dead_letters"] == 2
    assert found["home_free_bytes"] > 0
    query(database_url, "UPDATE phone_configs SET status = 'paused'")
    found = shown()
    assert found[f"backlog_messages{{queue={queue}}}"] == 2
    assert found[f"backlog_oldest_seconds{{queue={queue}}}"] == 0, "they wait on purpose"
    env.close()


def test_how_far_readers_of_the_stream_are_behind(home: Path, database_url: str) -> None:
    env, metrics = StoreEnv(database_url), Metrics()
    read = InstallationFigures(env.store, metrics, home)

    def lags() -> dict[str, float]:
        asyncio.run(read.read())
        return {name: value for name, value in metrics.snapshot().items() if name.startswith("events_lag_seconds")}

    assert lags() == {}, "nobody reads"
    env.accept("a")
    query(database_url, "UPDATE events SET written_at = now() - interval '400 seconds'")
    query(
        database_url,
        "INSERT INTO hooks (company_id, url, sealed, xid, event_id) "
        "SELECT 'acme', 'x', '', xid, id FROM events UNION ALL SELECT 'acme', 'x', '', 0, 0",
    )
    query(
        database_url,
        "INSERT INTO event_exports (name, xid, event_id, leased_until) "
        "SELECT 'amqp', max(xid), max(id), now() + interval '9 s' FROM events "
        "UNION ALL SELECT 'gone', 0, 0, now() - interval '2 minutes'",
    )
    found = lags()
    assert 400 <= found.pop("events_lag_seconds{reader=hooks}") < 460, "the slowest one counts"
    assert found == {"events_lag_seconds{reader=amqp}": 0}, "it has passed all; one that nobody serves is no reader"
    query(database_url, "UPDATE hooks SET state = 'paused' WHERE xid = 0")
    assert lags()["events_lag_seconds{reader=hooks}"] == 0
    query(database_url, "DELETE FROM hooks")
    env.close()


def test_heartbeats_count_only_of_processes_that_should_run(home: Path, database_url: str, store: Store) -> None:
    def slot(state: str, incarnation: str) -> dict[str, Any]:
        return {"state": state, "incarnation": incarnation}

    rows = [("meta", 0, "now"), ("meta", 1, "before"), ("meta", 5, "now")]
    for kind, instance, incarnation in rows:
        query(
            database_url,
            "INSERT INTO process_health (process_name, instance, status, last_heartbeat, pid, host, incarnation) "
            f"VALUES ('{kind}', {instance}, 'ready', now() - interval '90 seconds', 1, 'h', '{incarnation}')",
        )
    slots = {"meta-0": slot("ready", "now"), "meta-1": slot("ready", "now"), "meta-2": slot("starting", "")}
    at = utc_now().isoformat()
    runtime.status_file(home).write_text(json.dumps({"at": at, "state": "running", "slots": slots}))
    metrics = Metrics()
    asyncio.run(InstallationFigures(store, metrics, home).read())
    ages = {name: value for name, value in metrics.snapshot().items() if name.startswith("heartbeat_age")}
    assert list(ages) == ["heartbeat_age_seconds{process=meta-0}"]
    assert 90 <= ages["heartbeat_age_seconds{process=meta-0}"] < 120
