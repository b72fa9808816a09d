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
from shared.store.processes import Heartbeat
from tests.store.rig import LONG_AGO, Ground, open_store, query, side_by_side


class TestConnections:
    def test_what_was_made_can_be_found(self, ground: Ground) -> None:
        made = ground.store.run(
            connections.ensure,
            company_id="acme",
            phone_index=3,
            connection_type="360dialog",
            account_id="1",
            credentials="sealed",
            options={"a": 1},
        )
        found = ground.store.run(connections.by_index, "acme", 3)
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
        assert ground.store.run(connections.by_index, "acme", 4) is None
        assert ground.store.run(connections.by_index, "globex", 3) is None
        assert [one.id for one in ground.store.run(connections.of_kind, "meta")] == [ground.connection, made]
        assert ground.store.run(connections.of_kind, "webdriver") == []

    def test_making_it_again_changes_it_in_place(self, ground: Ground) -> None:
        again = ground.store.run(
            connections.ensure, company_id="acme", phone_index=0, connection_type="wwebjs", account_id="2"
        )
        assert again == ground.connection
        found = ground.store.run(connections.by_index, "acme", 0)
        assert found is not None
        assert (found.connection_type, found.process_name, found.account_id) == ("wwebjs", "webdriver", "2")

    def test_options_that_nobody_names_stay_as_an_operator_set_them(self, ground: Ground) -> None:
        """The first company is made sure of at every start of the recorder."""
        query(ground.url, """UPDATE phone_configs SET options = '{"messages_per_second": 20}'""")
        ground.store.run(
            connections.ensure, company_id="acme", phone_index=0, connection_type="meta_direct", credentials="new"
        )
        found = ground.store.run(connections.by_index, "acme", 0)
        assert found is not None
        assert (found.options, found.credentials) == ({"messages_per_second": 20}, "new")
        ground.store.run(
            connections.ensure, company_id="acme", phone_index=0, connection_type="meta_direct", options={}
        )
        found = ground.store.run(connections.by_index, "acme", 0)
        assert found is not None
        assert found.options == {}

    def test_what_kinds_are_wanted(self, ground: Ground) -> None:
        assert ground.store.run(connections.wanted_kinds) == ["meta"]
        ground.connect(phone_index=1, connection_type="wwebjs")
        assert ground.store.run(connections.wanted_kinds) == ["meta", "webdriver"]

    def test_a_pause_has_a_reason_and_ends(self, ground: Ground) -> None:
        assert ground.store.run(connections.pause, ground.connection, "breaker")
        assert not ground.store.run(connections.pause, ground.connection, "another reason")
        found = ground.store.run(connections.by_index, "acme", 0)
        assert found is not None
        assert (found.status, found.status_reason) == ("paused", "breaker")
        assert ground.store.run(connections.resume, ground.connection)
        assert not ground.store.run(connections.resume, ground.connection)
        assert ground.store.run(pauses.pause_for, ground.connection, "131048", 0.0)
        assert ground.store.run(pauses.resume_due, "meta")
        ground.store.run(connections.remove, ground.connection, "no more")
        noted = query(
            ground.url,
            "SELECT type, company_id, kind, detail FROM events WHERE subject = 'connection' AND connection_id = "
            "%(id)s ORDER BY id",
            id=ground.connection,
        )
        assert [(row["type"], (row["detail"] or "").partition(" ")[0]) for row in noted] == [
            ("connection.paused", "breaker"),
            ("connection.resumed", ""),
            ("connection.paused", "131048"),
            ("connection.resumed", ""),
            ("connection.removed", "no"),
        ]
        assert {(row["company_id"], row["kind"]) for row in noted} == {("acme", "meta")}

    def test_what_is_observed_keeps_its_last_proof(self, ground: Ground) -> None:
        def observe(status: str, **fields: Any) -> dict[str, Any]:
            ground.store.run(
                connections.observe, connection_id=ground.connection, status=status, incarnation="w", **fields
            )
            (row,) = ground.store.run(connections.of_company, "acme")
            return dict(row)

        proved_at = observe("ready", proved_s=60.0)["proved_at"]
        row = observe("offline", detail="the page said \0 nothing \ud83d", qr="2@x")
        assert (row["observed"], row["detail"], row["qr"], row["proved_at"]) == (
            "offline",
            "the page said \ufffd nothing \ufffd",
            "2@x",
            proved_at,
        )
        assert [one["observed"] for one in ground.store.run(connections.overview, most=10)] == ["offline"]

    def test_being_heard_from_is_noted_once_a_second(self, ground: Ground) -> None:
        heard = "SELECT last_event_at, xmin::text FROM phone_status"
        ground.store.run(connections.touch, [ground.connection, ground.connection])
        first = query(ground.url, heard)
        ground.store.run(connections.touch, [ground.connection])
        assert query(ground.url, heard) == first
        query(ground.url, "UPDATE phone_status SET last_event_at = now() - interval '2 seconds'")
        ground.store.run(connections.touch, [ground.connection])
        assert query(ground.url, heard)[0]["last_event_at"] > first[0]["last_event_at"]
        ground.store.run(connections.touch, [])


class TestInbound:
    @pytest.fixture(autouse=True)
    def empty(self, ground: Ground) -> None:
        query(ground.url, "DELETE FROM inbound_journal")

    def message(self, ground: Ground, provider_id: str, **fields: Any) -> InboundMessage:
        defaults: dict[str, Any] = {
            "connection_id": ground.connection,
            "chat_id": "a",
            "sender": "a",
            "type": "text",
            "content": {"body": "hi"},
            "at": LONG_AGO,
        }
        return InboundMessage(provider_id=provider_id, **(defaults | fields))

    def test_raw_events_are_kept_to_the_byte_and_taken_in_order(self, ground: Ground) -> None:
        bodies = [bytes(range(256)), b"", b"{}"]
        ids = ground.store.run(
            inbound.journal,
            "meta",
            [RawEvent(source="meta", body=body, connection_id=ground.connection) for body in bodies],
        )
        assert ids == sorted(ids)

        def take(transaction: Transaction) -> list[bytes]:
            rows = inbound.take(transaction, "meta", most=2)
            inbound.finish(transaction, {row["id"]: "" for row in rows})
            return [row["body"] for row in rows]

        assert [ground.store.run(take), ground.store.run(take), ground.store.run(take)] == [bodies[:2], bodies[2:], []]
        assert ground.store.run(lambda transaction: inbound.take(transaction, "webdriver", most=2)) == []

    def test_two_processes_take_different_events(self, ground: Ground) -> None:
        ids = ground.store.run(inbound.journal, "meta", [RawEvent(source="meta", body=b"x") for _ in range(10)])
        both = threading.Barrier(2)

        def take(transaction: Transaction) -> list[int]:
            rows = inbound.take(transaction, "meta", most=5)
            both.wait(10)
            return [row["id"] for row in rows]

        stores = [open_store(ground.url), open_store(ground.url)]
        one, two = side_by_side(*(lambda store=store: store.run(take) for store in stores))
        assert sorted(one + two) == ids
        for store in stores:
            store.close()

    def test_what_was_taken_and_not_finished_comes_again(self, ground: Ground) -> None:
        ground.store.run(inbound.journal, "meta", [RawEvent(source="meta", body=b"x")])

        def take_and_break(transaction: Transaction) -> None:
            assert inbound.take(transaction, "meta", most=5)
            raise LookupError

        with pytest.raises(LookupError):
            ground.store.run(take_and_break)
        assert len(ground.store.run(lambda transaction: inbound.take(transaction, "meta", most=5))) == 1

    def test_a_message_is_kept_once(self, ground: Ground) -> None:
        first = self.message(ground, "p1", content={"body": "nul \0"})
        assert [
            row["provider_id"]
            for row in ground.store.run(
                inbound.insert, [(first, None), (first, None), (self.message(ground, "p2"), None)]
            )
        ] == [
            "p1",
            "p2",
        ]
        assert ground.store.run(inbound.insert, [(self.message(ground, "p1", content={"body": "again"}), None)]) == []
        bodies = query(ground.url, "SELECT content->>'body' AS body FROM inbound_messages ORDER BY id")
        assert [row["body"] for row in bodies] == ["nul \ufffd", "hi"]
        other = ground.connect("globex")
        assert len(ground.store.run(inbound.insert, [(self.message(ground, "p1", connection_id=other), None)])) == 1, (
            "ids are a connection's own"
        )
        assert ground.store.run(inbound.insert, [(self.message(ground, "p9", connection_id=987654321), None)]) == [], (
            "of a connection that is gone"
        )

    def test_what_waits(self, ground: Ground) -> None:
        assert ground.store.run(inbound.backlog, "meta") == inbound.Backlog(events=0, oldest_s=0)
        ground.store.run(inbound.journal, "meta", [RawEvent(source="meta", body=b"x")] * 2)
        query(
            ground.url,
            "UPDATE inbound_journal SET received_at = now() - interval '1 minute' WHERE id = (SELECT min(id) FROM "
            "inbound_journal)",
        )
        backlog = ground.store.run(inbound.backlog, "meta")
        assert (backlog.events, round(backlog.oldest_s)) == (2, 60)


class TestProcesses:
    def beat(self, ground: Ground, **fields: Any) -> None:
        defaults: dict[str, Any] = {
            "process_name": "meta",
            "instance": 0,
            "status": "ready",
            "uptime_s": 1.0,
            "memory_mb": 10.0,
            "connections": 2,
            "pid": 7,
            "host": "h",
            "incarnation": "meta-0.a",
        }
        ground.store.run(processes.write_heartbeat, Heartbeat(**(defaults | fields)))

    def test_errors_add_up_and_the_last_one_stays(self, ground: Ground) -> None:
        self.beat(ground, new_errors=2, last_error="KeyError")
        self.beat(ground, incarnation="meta-0.b", new_errors=0)
        self.beat(ground, incarnation="meta-0.b", new_errors=1, last_error="OSError")
        self.beat(ground, instance=1)
        rows = {row["instance"]: row for row in ground.store.run(processes.statuses)}
        assert (rows[0]["error_count"], rows[0]["last_error"], rows[0]["incarnation"], rows[0]["status"]) == (
            3,
            "OSError",
            "meta-0.b",
            "healthy",
        )
        assert rows[1]["error_count"] == 0

    def test_the_newest_figures_of_each_slot(self, ground: Ground) -> None:
        for number, instance in ((1, 0), (2, 0), (3, 1)):
            self.beat(ground, instance=instance, metrics={"n": number})
        figures = {row["instance"]: row["metrics"] for row in ground.store.run(processes.latest_metrics, "meta")}
        assert figures == {0: {"n": 2}, 1: {"n": 3}}
        assert ground.store.run(processes.latest_metrics, "api") == []

    def test_an_event_stands_once(self, ground: Ground) -> None:
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

        assert ground.store.run(processes.write_events, [event(1), event(2), event(2)]) == 2
        assert ground.store.run(processes.write_events, [event(2), event(3, process_name="api")]) == 1
        assert ground.store.run(processes.write_events, [event(1, boot="another")]) == 1
        assert [row["detail"]["n"] for row in ground.store.run(processes.latest_events, "meta")] == [2, 1, 1]
        assert [row["detail"]["n"] for row in ground.store.run(processes.latest_events, most=2)] == [3, 2]


class TestPages:
    def test_a_reaction_is_ours_while_it_may_have_been_sent_and_shortly_after(self, ground: Ground) -> None:
        """The page names a reaction only when it is there: after a death nothing else can show whose it was."""
        (row_id,) = ground.accept("15550100200", type="reaction", content={"target": "true_1@c.us_A", "emoji": "👍"})
        now = datetime.now(UTC)

        def is_ours(**other: Any) -> bool:
            asked: dict[str, Any] = {"chat_id": "15550100200", "target": "true_1@c.us_A", "emoji": "👍", "at": now}
            return ground.store.run(pages.is_our_reaction, connection_id=ground.connection, **(asked | other))

        assert not is_ours(), "the page was never asked"
        ground.set(row_id, "token = 'reaction'")
        assert is_ours()
        assert not is_ours(emoji="❤️")
        assert not is_ours(emoji="")
        assert not is_ours(target="true_1@c.us_B")
        assert not is_ours(chat_id="15550100201")
        assert not is_ours(at=now - timedelta(minutes=1)), "made on the phone before ours was accepted"
        ground.set(row_id, "state = 'sent', sent_at = now()")
        assert is_ours()
        assert not is_ours(at=now + timedelta(minutes=1)), "made again on the phone"
        ground.set(row_id, "state = 'failed'")
        assert not is_ours()
