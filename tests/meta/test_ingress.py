"""Killed at the worst instant of ingress: no event lost, none twice."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import closing

import psycopg2

from shared.store import messages
from tests.meta.env import MetaEnv
from tests.meta.seed import text, webhook
from tests.support.waiting import eventually


def test_what_was_answered_survives_kill_9_between_commit_and_processing(own_env: Callable[..., MetaEnv]) -> None:
    env = own_env()
    env.start()
    bodies = [json.dumps(webhook({"messages": [text("kept", f"wamid.KEPT{number}")]})).encode() for number in range(5)]
    with closing(psycopg2.connect(env.settings.database_url)) as lock, lock.cursor() as cursor:
        # while another transaction holds this table nothing can be processed, and everything can still be journalled
        cursor.execute("LOCK TABLE inbound_messages IN ACCESS EXCLUSIVE MODE")
        assert [env.post(body) for body in bodies] == [200] * len(bodies)
        env.meta.process.send_signal(signal.SIGKILL)
        env.meta.wait_exit()
        lock.rollback()
    assert env.query("SELECT count(*) FROM inbound_journal WHERE processed_at IS NULL") == [(len(bodies),)]
    assert env.query("SELECT count(*) FROM inbound_messages") == [(0,)]
    env.meta.start()
    env.meta.wait_ready()
    # the provider did not see our answers, as far as it knows, and posts some again
    assert [env.post(body) for body in bodies[:2]] == [200, 200]
    eventually(
        lambda: env.query("SELECT count(*) FROM inbound_messages") == [(len(bodies),)], 10, "every message is kept"
    )
    env.wait_journal_read()
    assert env.query("SELECT count(*) FROM inbound_messages") == [(len(bodies),)]
    assert env.meta.stop() == 0


def test_messages_in_hand_at_kill_9_arrive_once(own_env: Callable[..., MetaEnv]) -> None:
    env = own_env(meta_send_s=10)
    env.start()
    env.control("POST", "settings", {"latency_ms": 300})
    rows = env.send_many([(f"1555030{number:04}", "in hand") for number in range(40)])
    eventually(lambda: env.control("GET", "summary")["arrived"] >= 20, 10, "requests are under way")
    incarnation = env.query("SELECT DISTINCT incarnation FROM messages WHERE state = 'sending'")[0][0]
    env.meta.process.send_signal(signal.SIGKILL)
    env.meta.wait_exit()
    env.meta.start()
    env.meta.wait_ready()
    # what the recorder does when the orchestrator has proved the death
    env.store.run(messages.reclaim, incarnation=incarnation)
    for row in rows:
        env.wait_state(row, "delivered", within_s=30)
    assert [len(env.arrived(row)) for row in rows] == [1] * len(rows)
    assert env.meta.stop() == 0
