"""Killed at the worst instant of ingress: no event lost, none twice."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import closing

import psycopg2

from shared.store import messages
from tests.meta.seed import text, webhook
from tests.meta.town import Town
from tests.support.waiting import eventually


def test_what_was_answered_survives_kill_9_between_commit_and_processing(own_town: Callable[..., Town]) -> None:
    town = own_town()
    town.start()
    bodies = [json.dumps(webhook({"messages": [text("kept", f"wamid.KEPT{number}")]})).encode() for number in range(5)]
    with closing(psycopg2.connect(town.settings.database_url)) as lock, lock.cursor() as cursor:
        # while somebody holds this table nothing can be processed, and everything can still be journalled
        cursor.execute("LOCK TABLE inbound_messages IN ACCESS EXCLUSIVE MODE")
        assert [town.post(body) for body in bodies] == [200] * len(bodies)
        town.meta.process.send_signal(signal.SIGKILL)
        town.meta.wait_exit()
        lock.rollback()
    assert town.query("SELECT count(*) FROM inbound_journal WHERE processed_at IS NULL") == [(len(bodies),)]
    assert town.query("SELECT count(*) FROM inbound_messages") == [(0,)]
    town.meta.start()
    town.meta.wait_ready()
    # the provider did not see our answers, as far as it knows, and posts some again
    assert [town.post(body) for body in bodies[:2]] == [200, 200]
    eventually(
        lambda: town.query("SELECT count(*) FROM inbound_messages") == [(len(bodies),)], 10, "every message is kept"
    )
    town.wait_journal_read()
    assert town.query("SELECT count(*) FROM inbound_messages") == [(len(bodies),)]
    assert town.meta.stop() == 0


def test_messages_in_hand_at_kill_9_arrive_once(own_town: Callable[..., Town]) -> None:
    town = own_town(meta_send_s=10)
    town.start()
    town.control("POST", "settings", {"latency_ms": 300})
    rows = town.send_many([(f"1555030{number:04}", "in hand") for number in range(40)])
    eventually(lambda: town.control("GET", "summary")["arrived"] >= 20, 10, "requests are under way")
    incarnation = town.query("SELECT DISTINCT incarnation FROM messages WHERE state = 'sending'")[0][0]
    town.meta.process.send_signal(signal.SIGKILL)
    town.meta.wait_exit()
    town.meta.start()
    town.meta.wait_ready()
    # what the recorder does when the orchestrator has proved the death
    town.store.run(messages.reclaim, incarnation=incarnation)
    for row in rows:
        town.wait_state(row, "delivered", within_s=30)
    assert [len(town.arrived(row)) for row in rows] == [1] * len(rows)
    assert town.meta.stop() == 0
