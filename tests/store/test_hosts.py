"""Two hosts in one database: heartbeats, leases, fences, and slots of one name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from shared.delivery.reclaim import reclaim_expired
from shared.store import messages, processes, tasks, webhook_evidence
from shared.store.processes import HeartbeatRow, SilentLife
from shared.store.server_facts import server_facts
from shared.store.webhook_evidence import SharedOutage
from tests.store.env import StoreEnv
from tests.support.database import query


def beat(env: StoreEnv, incarnation: str, host: str = "", *, age_s: float = 0.0, lease_s: float = 40.0) -> bool:
    """Write a heartbeat as if `age_s` ago; its lease ran from then."""
    slot, _, named = incarnation.partition("@")
    kind, _, instance = slot.partition(".")[0].rpartition("-")
    written = env.store.run(
        processes.write_heartbeat,
        HeartbeatRow(
            kind=kind,
            instance=int(instance),
            status="ready",
            uptime_s=1,
            memory_mb=1,
            connections=1,
            pid=1,
            host=host or named,
            incarnation=incarnation,
            lease_s=lease_s,
            detail={"connectionsMost": 20},
            metrics={"messages_sent_total": 1.0},
        ),
    )
    if age_s:
        query(
            env.url,
            "UPDATE process_heartbeats SET last_heartbeat = now() - make_interval(secs => %(age)s), "
            "leased_until = now() + make_interval(secs => %(lease)s - %(age)s) WHERE incarnation = %(who)s",
            age=age_s,
            lease=lease_s,
            who=incarnation,
        )
    return written


def event_of(incarnation: str, event: str, *, seq: int = 1) -> dict[str, Any]:
    """Return an event of `meta-0` as an orchestrator's journal has it."""
    return {
        "boot_id": "b",
        "seq": seq,
        "at": "2026-01-01T00:00:00+00:00",
        "event": event,
        "process_name": "meta",
        "instance": 0,
        "incarnation": incarnation,
        "detail": {},
    }


def silent(env: StoreEnv) -> dict[str, SilentLife]:
    return {life.incarnation: life for life in env.store.run(processes.silent_lives, silent_s=20.0)}


def test_slots_of_one_name_do_not_replace_each_other(env: StoreEnv) -> None:
    """A row in hand for longer than a minute is not given back while its process writes heartbeats."""
    (row_id,) = env.accept("a")
    env.claim([row_id], incarnation="meta-0.a@one")
    env.set(row_id, "claimed_at = now() - interval '10 minutes'")
    beat(env, "meta-0.a@one")
    beat(env, "meta-0.b@two")
    assert silent(env) == {}
    assert [(row["host"], row["instance"]) for row in env.store.run(processes.statuses)] == [("one", 0), ("two", 0)]
    figures = env.store.run(processes.latest_metrics, "meta")
    assert [row["host"] for row in figures] == ["one", "two"]


def test_connections_are_counted_over_all_hosts(env: StoreEnv) -> None:
    """A host that is gone for good does not count for ever."""
    for incarnation in ("meta-0.a@one", "meta-0.b@two", "meta-1.c@two"):
        beat(env, incarnation)
    beat(env, "meta-0.d@gone", age_s=900.0)
    facts = server_facts(env.url, "one")
    assert (facts["of_other_hosts"], facts["other_hosts"]) == (40, ["two"])


def test_a_history_is_of_one_host(env: StoreEnv) -> None:
    """Two hosts have slots of the same names, and their figures are not to be mixed."""
    began = datetime.now(UTC) - timedelta(minutes=1)
    for seq, name in enumerate(("one", "two"), start=1):
        beat(env, f"meta-0.a@{name}")
        env.store.run(processes.write_events, [event_of(f"meta-0.a@{name}", "ready", seq=seq)])
    query(env.url, "UPDATE process_metrics SET metrics = '{\"messages_sent_total\": 7}' WHERE host = 'two'")
    shown: dict[str, Any] = {"since": began, "types": ["process.ready"], "most": 10}
    assert len(env.store.run(processes.slot_events, host="one", **shown)) == 1
    points: dict[str, Any] = {"since": began, "steps": 1, "step_s": 120.0, "names": ["messages%"]}
    for name, sent in (("one", 1.0), ("two", 7.0)):
        (point,) = env.store.run(processes.metric_points, host=name, **points)
        assert point["figures"] == {"messages_sent_total": sent}


def test_the_silent_with_and_without_a_lease(env: StoreEnv) -> None:
    beat(env, "meta-0.a@one", age_s=30.0)
    beat(env, "webdriver-0.a@one", age_s=30.0, lease_s=20.0)
    found = silent(env)
    assert {name: life.expired for name, life in found.items()} == {
        "meta-0.a@one": False,
        "webdriver-0.a@one": True,
    }
    assert (found["webdriver-0.a@one"].host, found["webdriver-0.a@one"].slot) == ("one", "webdriver-0")


def test_holders_without_a_heartbeat_are_found_by_their_claims(env: StoreEnv) -> None:
    old, fresh = env.accept("a", "b")
    env.claim([old], incarnation="rq.one.1")
    env.set(old, "claimed_at = now() - interval '90 seconds'")
    env.claim([fresh], incarnation="rq.one.2")
    assert list(silent(env)) == ["rq.one.1"], "a fresh claim proves life: the heartbeat may follow"


def test_a_process_of_the_version_before_goes_on_writing(env: StoreEnv) -> None:
    """Its statement names the old key; it counts as living, and the new version's first heartbeat replaces its row."""
    (row_id,) = env.accept("a")
    env.claim([row_id], incarnation="meta-0.old")
    env.set(row_id, "claimed_at = now() - interval '10 minutes'")
    for _ in range(2):
        query(
            env.url,
            "INSERT INTO process_health (process_name, instance, status, last_heartbeat, incarnation) "
            "VALUES ('meta', 0, 'healthy', now(), 'meta-0.old') "
            "ON CONFLICT (process_name, instance) DO UPDATE SET last_heartbeat = excluded.last_heartbeat",
        )
    assert silent(env) == {}
    beat(env, "meta-0.new@one")
    assert [row["incarnation"] for row in env.store.run(processes.statuses)] == ["meta-0.new@one"]


class TestFence:
    def test_what_was_reclaimed_cannot_come_back(self, env: StoreEnv, tmp_path: Path) -> None:
        (row_id,) = env.accept("a")
        env.claim([row_id], incarnation="meta-0.a@one")
        beat(env, "meta-0.a@one", age_s=90.0)
        life = silent(env)["meta-0.a@one"]
        assert env.store.run(reclaim_expired, tmp_path, life)
        assert env.state(row_id) == "in_doubt", "its in-flight journal is on the other host"
        assert not beat(env, "meta-0.a@one"), "its lease is not renewed any more"
        assert env.store.run(messages.held_by, incarnation="meta-0.a@one") == []
        assert beat(env, "meta-0.b@one"), "the slot's next life is another one"

    def test_a_life_that_renewed_its_lease_in_time_keeps_its_rows(self, env: StoreEnv, tmp_path: Path) -> None:
        """Between the look and the reclaim it came back, and has claimed since."""
        (row_id,) = env.accept("a")
        beat(env, "meta-0.a@one", age_s=90.0)
        life = silent(env)["meta-0.a@one"]
        beat(env, "meta-0.a@one")
        env.claim([row_id], incarnation="meta-0.a@one")
        assert not env.store.run(reclaim_expired, tmp_path, life)
        assert env.state(row_id) == "sending"

    def test_a_claim_that_came_through_after_the_fence_is_given_back(self, env: StoreEnv, tmp_path: Path) -> None:
        """The server may still be committing what the frozen host asked for last."""
        beat(env, "meta-0.a@one", age_s=90.0)
        env.store.run(reclaim_expired, tmp_path, silent(env)["meta-0.a@one"])
        assert silent(env) == {}, "a fenced life without rows is no work"
        (row_id,) = env.accept("a")
        env.claim([row_id], incarnation="meta-0.a@one")
        env.store.run(reclaim_expired, tmp_path, silent(env)["meta-0.a@one"])
        assert env.state(row_id) == "in_doubt"


def test_a_slot_gives_back_the_tasks_of_its_own_host_only(env: StoreEnv) -> None:
    """The next life of a slot proves the death of the earlier ones of that place, and of no other."""
    env.connect()
    for incarnation in ("meta-0.a@one", "meta-0.b@two", "meta-0.before"):
        query(
            env.url,
            "INSERT INTO tasks (company_id, process_name, operation, arguments, state, incarnation, expires_at) "
            "SELECT company_id, 'meta', 'sync', '{}', 'running', %(who)s, now() + interval '1 hour' "
            "FROM phone_configs LIMIT 1",
            who=incarnation,
        )
    given = env.store.run(tasks.reclaim_earlier_lives, slot="meta-0", living="meta-0.c@two")
    left = query(env.url, "SELECT incarnation FROM tasks WHERE state = 'running'")
    assert len(given) == 2
    assert [row["incarnation"] for row in left] == ["meta-0.a@one"]


def test_late_claims_of_the_dead_are_given_back_where_their_journal_is(env: StoreEnv) -> None:
    (row_id,) = env.accept("a")
    env.claim([row_id], incarnation="meta-0.a@one")
    env.store.run(processes.write_events, [event_of("meta-0.a@one", "slot_free")])
    assert env.store.run(processes.proved_dead, "two") == []
    assert env.store.run(processes.proved_dead, "one") == ["meta-0.a@one"]


def test_hosts_know_each_others_outages(env: StoreEnv, tmp_path: Path) -> None:
    """The death of a whole host voids the silence from its last sign of life on; a living one covers up to its last."""
    beat(env, "meta-0.a@one", age_s=90.0)
    beat(env, "meta-0.b@two", age_s=8.0)
    beat(env, "meta-0.c@three")
    known = env.store.run(webhook_evidence.elsewhere, host="three", kind="meta", since_s=60.0)
    assert (known.outages, round(known.uncovered_s)) == ([], 90)
    env.store.run(reclaim_expired, tmp_path, silent(env)["meta-0.a@one"])
    known = env.store.run(webhook_evidence.elsewhere, host="three", kind="meta", since_s=60.0)
    assert round(known.uncovered_s) == 8
    assert sorted((round(one.began_ago_s), one.is_death) for one in known.outages) == [(0, True), (90, False)]
    env.store.run(
        webhook_evidence.share_outages,
        host="two",
        kind="meta",
        outages=[SharedOutage(began_ago_s=5.0, ended_ago_s=4.0, is_death=False)],
    )
    seen = [
        len(env.store.run(webhook_evidence.elsewhere, host=host, kind="meta", since_s=60.0).outages)
        for host in ("two", "three")
    ]
    assert seen == [2, 3], "a host knows its own by itself"
