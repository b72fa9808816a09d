"""Connections, what came in, and what processes say of themselves: small statements, each with its promise."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.messages import InboundMessage
from shared.store import connections, inbound, pages, pauses, processes
from shared.store.inbound import RawEvent
from shared.store.pool import Transaction
from shared.store.processes import HeartbeatRow
from tests.store.env import LONG_AGO, StoreEnv, open_store, side_by_side
from tests.support.database import query
from tests.support.waiting import deadline_s


class TestConnections:
    def test_what_was_made_can_be_found(self, env: StoreEnv) -> None:
        made = env.store.run(
            connections.ensure,
            company_id="acme",
            phone_index=3,
            connection_type="360dialog",
            account_id="1",
            credentials="sealed",
            options={"a": 1},
        )
        found = env.store.run(connections.by_index, "acme", 3)
        assert found is not None
        assert (found.id, found.process_name, found.status, found.desired_state, found.account_id, found.options) == (
            made,
            "meta",
            "active",
            "linked",
            "1",
            {"a": 1},
        )
        assert "sealed" not in repr(found)
        assert env.store.run(connections.by_index, "acme", 4) is None
        assert env.store.run(connections.by_index, "globex", 3) is None
        assert [one.id for one in env.store.run(connections.of_kind, "meta")] == [env.connection, made]
        assert env.store.run(connections.of_kind, "webdriver") == []

    def test_making_it_again_changes_it_in_place(self, env: StoreEnv) -> None:
        again = env.store.run(
            connections.ensure, company_id="acme", phone_index=0, connection_type="wwebjs", account_id="2"
        )
        assert again == env.connection
        found = env.store.run(connections.by_index, "acme", 0)
        assert found is not None
        assert (found.connection_type, found.process_name, found.account_id) == ("wwebjs", "webdriver", "2")

    def test_options_that_are_not_named_stay_as_an_operator_set_them(self, env: StoreEnv) -> None:
        """The first company is made sure of at every start of the recorder."""
        query(env.url, """UPDATE phone_configs SET options = '{"messages_per_second": 20}'""")
        env.store.run(
            connections.ensure, company_id="acme", phone_index=0, connection_type="meta_direct", credentials="new"
        )
        found = env.store.run(connections.by_index, "acme", 0)
        assert found is not None
        assert (found.options, found.credentials) == ({"messages_per_second": 20}, "new")
        env.store.run(connections.ensure, company_id="acme", phone_index=0, connection_type="meta_direct", options={})
        found = env.store.run(connections.by_index, "acme", 0)
        assert found is not None
        assert found.options == {}

    def test_desired_kinds(self, env: StoreEnv) -> None:
        assert env.store.run(connections.desired_kinds) == ["meta"]
        env.connect(phone_index=1, connection_type="wwebjs")
        assert env.store.run(connections.desired_kinds) == ["meta", "webdriver"]

    def test_a_pause_has_a_reason_and_ends(self, env: StoreEnv) -> None:
        assert env.store.run(connections.pause, env.connection, "breaker")
        assert not env.store.run(connections.pause, env.connection, "another reason")
        found = env.store.run(connections.by_index, "acme", 0)
        assert found is not None
        assert (found.status, found.status_reason) == ("paused", "breaker")
        assert env.store.run(connections.resume, env.connection)
        assert not env.store.run(connections.resume, env.connection)
        assert env.store.run(pauses.pause_for, env.connection, "131048", 0.0)
        assert env.store.run(pauses.resume_due, "meta")
        env.store.run(connections.remove, env.connection, "no more")
        noted = query(
            env.url,
            "SELECT type, company_id, kind, detail FROM events WHERE subject = 'connection' AND connection_id = "
            "%(id)s ORDER BY id",
            id=env.connection,
        )
        assert [(row["type"], (row["detail"] or "").partition(" ")[0]) for row in noted] == [
            ("connection.paused", "breaker"),
            ("connection.resumed", ""),
            ("connection.paused", "131048"),
            ("connection.resumed", ""),
            ("connection.removed", "no"),
        ]
        assert {(row["company_id"], row["kind"]) for row in noted} == {("acme", "meta")}

    def test_what_is_observed_keeps_its_last_proof(self, env: StoreEnv) -> None:
        def observe(status: str, **fields: Any) -> dict[str, Any]:
            env.store.run(connections.observe, connection_id=env.connection, status=status, incarnation="w", **fields)
            (row,) = env.store.run(connections.of_company, "acme")
            return dict(row)

        proved_at = observe("ready", proved_s=60.0)["proved_at"]
        row = observe("offline", detail="the page said \0 nothing \ud83d", qr="2@x")
        assert (row["observed"], row["detail"], row["qr"], row["proved_at"]) == (
            "offline",
            "the page said \ufffd nothing \ufffd",
            "2@x",
            proved_at,
        )
        assert [one["observed"] for one in env.store.run(connections.overview, most=10)] == ["offline"]

    def test_the_last_event_is_recorded_once_a_second(self, env: StoreEnv) -> None:
        last_event = "SELECT last_event_at, xmin::text FROM phone_status"
        env.store.run(connections.touch, [env.connection, env.connection])
        first = query(env.url, last_event)
        env.store.run(connections.touch, [env.connection])
        assert query(env.url, last_event) == first
        query(env.url, "UPDATE phone_status SET last_event_at = now() - interval '2 seconds'")
        env.store.run(connections.touch, [env.connection])
        assert query(env.url, last_event)[0]["last_event_at"] > first[0]["last_event_at"]
        env.store.run(connections.touch, [])


class TestInbound:
    @pytest.fixture(autouse=True)
    def empty(self, env: StoreEnv) -> None:
        query(env.url, "DELETE FROM inbound_journal")

    def message(self, env: StoreEnv, provider_id: str, **fields: Any) -> InboundMessage:
        defaults: dict[str, Any] = {
            "connection_id": env.connection,
            "chat_id": "a",
            "sender": "a",
            "type": "text",
            "content": {"body": "hi"},
            "at": LONG_AGO,
        }
        return InboundMessage(provider_id=provider_id, **(defaults | fields))

    def test_raw_events_are_kept_to_the_byte_and_taken_in_order(self, env: StoreEnv) -> None:
        bodies = [bytes(range(256)), b"", b"{}"]
        ids = env.store.run(
            inbound.journal,
            "meta",
            [RawEvent(source="meta", body=body, connection_id=env.connection) for body in bodies],
        )
        assert ids == sorted(ids)

        def take(transaction: Transaction) -> list[bytes]:
            rows = inbound.take(transaction, "meta", most=2)
            inbound.finish(transaction, {row["id"]: "" for row in rows})
            return [row["body"] for row in rows]

        assert [env.store.run(take), env.store.run(take), env.store.run(take)] == [bodies[:2], bodies[2:], []]
        assert env.store.run(lambda transaction: inbound.take(transaction, "webdriver", most=2)) == []

    def test_two_processes_take_different_events(self, env: StoreEnv) -> None:
        ids = env.store.run(inbound.journal, "meta", [RawEvent(source="meta", body=b"x") for _ in range(10)])
        both = threading.Barrier(2)

        def take(transaction: Transaction) -> list[int]:
            rows = inbound.take(transaction, "meta", most=5)
            both.wait(deadline_s(10))
            return [row["id"] for row in rows]

        stores = [open_store(env.url), open_store(env.url)]
        one, two = side_by_side(*(lambda store=store: store.run(take) for store in stores))
        assert sorted(one + two) == ids
        for store in stores:
            store.close()

    def test_what_was_taken_and_not_finished_comes_again(self, env: StoreEnv) -> None:
        env.store.run(inbound.journal, "meta", [RawEvent(source="meta", body=b"x")])

        def take_and_break(transaction: Transaction) -> None:
            assert inbound.take(transaction, "meta", most=5)
            raise LookupError

        with pytest.raises(LookupError):
            env.store.run(take_and_break)
        assert len(env.store.run(lambda transaction: inbound.take(transaction, "meta", most=5))) == 1

    def test_a_message_is_kept_once(self, env: StoreEnv) -> None:
        first = self.message(env, "p1", content={"body": "nul \0"})
        assert [
            row["provider_id"]
            for row in env.store.run(inbound.insert, [(first, None), (first, None), (self.message(env, "p2"), None)])
        ] == [
            "p1",
            "p2",
        ]
        assert env.store.run(inbound.insert, [(self.message(env, "p1", content={"body": "again"}), None)]) == []
        bodies = query(env.url, "SELECT content->>'body' AS body FROM inbound_messages ORDER BY id")
        assert [row["body"] for row in bodies] == ["nul \ufffd", "hi"]
        other = env.connect("globex")
        assert len(env.store.run(inbound.insert, [(self.message(env, "p1", connection_id=other), None)])) == 1, (
            "ids are a connection's own"
        )
        assert env.store.run(inbound.insert, [(self.message(env, "p9", connection_id=987654321), None)]) == [], (
            "of a connection that is gone"
        )

    def test_what_waits(self, env: StoreEnv) -> None:
        assert env.store.run(inbound.backlog, "meta") == inbound.InboundBacklog(events=0, oldest_s=0)
        env.store.run(inbound.journal, "meta", [RawEvent(source="meta", body=b"x")] * 2)
        query(
            env.url,
            "UPDATE inbound_journal SET received_at = now() - interval '1 minute' WHERE id = (SELECT min(id) FROM "
            "inbound_journal)",
        )
        backlog = env.store.run(inbound.backlog, "meta")
        assert (backlog.events, round(backlog.oldest_s)) == (2, 60)


class TestProcesses:
    def beat(self, env: StoreEnv, **fields: Any) -> None:
        defaults: dict[str, Any] = {
            "kind": "meta",
            "instance": 0,
            "status": "ready",
            "uptime_s": 1.0,
            "memory_mb": 10.0,
            "connections": 2,
            "pid": 7,
            "host": "h",
            "incarnation": "meta-0.a",
            "lease_s": 40.0,
        }
        env.store.run(processes.write_heartbeat, HeartbeatRow(**(defaults | fields)))

    def test_errors_add_up_and_the_last_one_stays(self, env: StoreEnv) -> None:
        self.beat(env, new_errors=2, last_error="KeyError")
        self.beat(env, incarnation="meta-0.b", new_errors=0)
        self.beat(env, incarnation="meta-0.b", new_errors=1, last_error="OSError")
        self.beat(env, instance=1)
        rows = {row["instance"]: row for row in env.store.run(processes.statuses)}
        assert (rows[0]["error_count"], rows[0]["last_error"], rows[0]["incarnation"], rows[0]["status"]) == (
            3,
            "OSError",
            "meta-0.b",
            "healthy",
        )
        assert rows[1]["error_count"] == 0

    def test_the_newest_figures_of_each_slot(self, env: StoreEnv) -> None:
        for number, instance in ((1, 0), (2, 0), (3, 1)):
            self.beat(env, instance=instance, metrics={"n": number})
        figures = {row["instance"]: row["metrics"] for row in env.store.run(processes.latest_metrics, "meta")}
        assert figures == {0: {"n": 2}, 1: {"n": 3}}
        assert env.store.run(processes.latest_metrics, "api") == []

    def test_an_event_stands_once(self, env: StoreEnv) -> None:
        def event(seq: int, boot: str = "boot", **fields: Any) -> dict[str, Any]:
            at = (LONG_AGO + timedelta(seconds=seq)).isoformat()
            defaults = {
                "boot_id": boot,
                "seq": seq,
                "at": at,
                "event": "exited",
                "process_name": "meta",
                "instance": 0,
                "incarnation": "i",
                "detail": {"n": seq},
            }
            return defaults | fields

        assert env.store.run(processes.write_events, [event(1), event(2), event(2)]) == 2
        assert env.store.run(processes.write_events, [event(2), event(3, process_name="api")]) == 1
        assert env.store.run(processes.write_events, [event(1, boot="another")]) == 1
        assert [row["detail"]["n"] for row in env.store.run(processes.latest_events, "meta")] == [2, 1, 1]
        assert [row["detail"]["n"] for row in env.store.run(processes.latest_events, most=2)] == [3, 2]


class TestPages:
    def test_a_reaction_is_ours_while_it_may_have_been_sent_and_shortly_after(self, env: StoreEnv) -> None:
        """The page names a reaction only when it is there: after a death nothing else can show whose it was."""
        (row_id,) = env.accept("15550100200", type="reaction", content={"target": "true_1@c.us_A", "emoji": "👍"})
        now = datetime.now(UTC)

        def is_ours(**other: Any) -> bool:
            asked: dict[str, Any] = {"chat_id": "15550100200", "target": "true_1@c.us_A", "emoji": "👍", "at": now}
            return env.store.run(pages.is_our_reaction, connection_id=env.connection, **(asked | other))

        assert not is_ours(), "the page was never asked"
        env.set(row_id, "token = 'reaction'")
        assert is_ours()
        assert not is_ours(emoji="❤️")
        assert not is_ours(emoji="")
        assert not is_ours(target="true_1@c.us_B")
        assert not is_ours(chat_id="15550100201")
        assert not is_ours(at=now - timedelta(minutes=1)), "made on the phone before ours was accepted"
        env.set(row_id, "state = 'sent', sent_at = now()")
        assert is_ours()
        assert not is_ours(at=now + timedelta(minutes=1)), "made again on the phone"
        env.set(row_id, "state = 'failed'")
        assert not is_ours()
