"""Killed at every named crash point of ingress, in the real process: no event is lost, none is twice, and every file
arrives.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import requests

from shared.clock import left, monotonic
from tests.meta.env import ACCOUNTS, MetaEnv
from tests.meta.seed import DIRECT, text, webhook
from tests.support.waiting import eventually

INGRESS = ("journal.gathered", "journal.committed", "processor.written", "processor.committed")
FILES = ("media.taken", "media.fetched", "media.noted")


def post_until_taken(env: MetaEnv, bodies: list[bytes]) -> int:
    """Post each body again until it is answered by 200, as a provider does. Returns how often the process had died and
    was started again.
    """
    by, deaths = monotonic() + 60, 0
    for body in bodies:
        while True:
            assert left(by) > 0, "every event is taken in time"
            try:
                if env.post(body) == 200:
                    break
            except requests.ConnectionError:
                revive(env)
                deaths += 1
    return deaths


def revive(env: MetaEnv) -> None:
    """Start the next life of a process that a crash point killed."""
    assert env.meta.wait_exit() == -9
    env.meta.start()
    env.meta.wait_ready()


@pytest.mark.parametrize("point", INGRESS)
def test_no_event_is_lost_and_none_is_twice(own_env: Callable[..., MetaEnv], point: str) -> None:
    env = own_env(chaos="on", crash_points=f"meta:{point}=kill@2").start()
    env.query("UPDATE companies SET settings = '{\"enableAssistant\": true}' RETURNING id")
    # what is older than a day is not answered
    now = str(int(datetime.now(UTC).timestamp()))
    message = {"from": "15550100200", "type": "edit", "timestamp": now}
    bodies = [
        json.dumps(
            webhook(
                {
                    "contacts": [{"profile": {"name": "Ann"}, "wa_id": "15550100200", "user_id": "US.1"}],
                    "messages": [
                        text(f"{number}", f"wamid.C{number}", from_user_id="US.1", timestamp=now),
                        {
                            **message,
                            "id": f"wamid.E{number}",
                            "edit": {
                                "original_message_id": f"wamid.C{number}",
                                "message": {"type": "text", "text": {"body": "new"}},
                            },
                        },
                    ],
                }
            )
        ).encode()
        for number in range(6)
    ]
    if not post_until_taken(env, bodies):
        revive(env)
    env.wait_journal_read(30)
    assert (env.settings.bulkhead_home / "run" / "crash-points.log").read_text() == f"meta:{point}\n"
    rows = env.query(
        "SELECT provider_id, content ->> 'body' FROM inbound_messages WHERE type = 'text' ORDER BY provider_id"
    )
    assert rows == [(f"wamid.C{number}", "new") for number in range(6)]
    assert env.query("SELECT count(*) FROM inbound_messages") == [(12,)]
    assert env.query("SELECT user_id, phone, name FROM contacts") == [("US.1", "15550100200", "Ann")]
    assert env.query("SELECT DISTINCT outcome FROM inbound_journal") == [("",)]
    # the assistant is asked once, for all of it
    assert env.query("SELECT state, version FROM conversations") == [("bot", 1)]
    assert env.query("SELECT state, first_inbound_id, last_inbound_id FROM turns") == env.query(
        "SELECT 'open', min(id), max(id) FROM inbound_messages WHERE type = 'text'"
    )
    assert env.meta.stop() == 0


@pytest.mark.parametrize("point", FILES)
def test_every_file_arrives(own_env: Callable[..., MetaEnv], point: str) -> None:
    env = own_env(chaos="on", crash_points=f"meta:{point}=kill@1").start()
    asked = {"phone_number_id": ACCOUNTS[DIRECT], "from": "15550100200", "kind": "image", "count": 3}
    env.control("POST", "customers", asked)
    assert env.meta.wait_exit() == -9
    env.meta.start()
    env.meta.wait_ready()
    eventually(
        lambda: env.query("SELECT count(*) FROM inbound_media WHERE state = 'stored'") == [(3,)],
        40,
        "every file is stored",
    )
    assert (env.settings.bulkhead_home / "run" / "crash-points.log").read_text() == f"meta:{point}\n"
    assert env.query("SELECT count(*) FROM inbound_messages") == [(3,)]
    ((sha256,),) = env.query("SELECT DISTINCT sha256 FROM inbound_media")
    (kept,) = [
        path for path in (env.settings.bulkhead_home / "media").rglob("*") if path.is_file() and path.name == sha256
    ]
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == sha256
    assert env.meta.stop() == 0
