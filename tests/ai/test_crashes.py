"""kill -9 at each crash point: each turn is answered once, each tool has its effect once, money adds up."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shared.fail_points import FAIL_POINTS
from tests.ai.env import AiEnv
from tests.sandbox.env import SandboxEnv
from tests.store.env import StoreEnv
from tests.support.database import query
from tests.support.waiting import eventually

_CHAT = "15550100200"
OF_TURNS = sorted(name for name in FAIL_POINTS if name.startswith(("turn.", "tool.")))


class Shop:
    """A company's server: counts the calls of its function by their keys."""

    def __init__(self) -> None:
        self.keys: Counter[str] = Counter()
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                shop.keys[self.headers["Idempotency-Key"]] += 1
                body = b'{"message": "It is on its way."}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/order"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    yield made
    made.close()


def _prepare(ai: AiEnv, shop: Shop) -> None:
    """Give the company a slot and a function with effects; the model uses both, then answers."""
    ai.set(enableFunctionCalling=True, assistantConfig={"functionHosts": ["127.0.0.1"]})
    (slot,) = query(
        ai.store.url,
        "WITH s AS (INSERT INTO services (company_id, name) VALUES ('acme', 'Haircut') RETURNING id) "
        "INSERT INTO slots (company_id, service_id, starts_at, ends_at) "
        "SELECT 'acme', id, now() + interval '1 day', now() + interval '1 day 30 minutes' FROM s RETURNING id",
    )
    query(
        ai.store.url,
        "INSERT INTO functions (company_id, name, description, url, has_effects) "
        "VALUES ('acme', 'order_parcel', 'Orders a parcel', %(target)s, true)",
        target=shop.url,
    )
    calls = [{"name": "book_slot", "arguments": {"slot_id": slot["id"]}}, {"name": "order_parcel", "arguments": {}}]
    # whichever process asks, and however often
    ai.behave("tool_calls", calls=calls, results=0, count=None)
    ai.behave("answer", text="Done.", count=None)


@pytest.mark.parametrize("point", OF_TURNS)
def test_a_kill_at_each_point(home: Path, env: StoreEnv, model: SandboxEnv, shop: Shop, point: str) -> None:
    ai = AiEnv(home, env, model, crash_points=f"ai:{point}=kill@1", media_fetch_private="on")
    _prepare(ai, shop)
    try:
        ai.start()
        ai.write(_CHAT, "do both")
        eventually(lambda: ai.entry.process.poll() is not None, 20, f"it dies at {point}")
        # the next life goes on, once the recorder has given its rows back
        ai.reclaim()
        ai.start()
        ai.ended()
    finally:
        ai.close()
    assert [turn["state"] for turn in ai.turns()] == ["answered"]
    assert ai.answers(_CHAT) == ["Done."]
    # the function was called at most once, and exactly once unless its process died just before
    assert max(shop.keys.values(), default=0) <= 1 and len(shop.keys) == int(point != "tool.calling")
    bookings = query(ai.store.url, "SELECT state FROM bookings")
    assert [row["state"] for row in bookings] == ["held"]
    assert ai.spent()["reserved"] == 0
    if point.startswith("tool."):
        # once for the calls of tools, which were kept, and once for what the customer gets
        assert len(ai.asked()) == 2
    if point in ("tool.calling", "tool.called"):
        results = [one for one in ai.asked()[-1]["messages"] if one["role"] == "tool"]
        assert "not known" in json.loads(results[-1]["content"])["error"]


def test_what_a_stopped_process_has_no_time_for_is_given_back(home: Path, env: StoreEnv, model: SandboxEnv) -> None:
    ai = AiEnv(home, env, model, ai_drain_s=0.2).set()
    ai.behave("hang")
    try:
        ai.start()
        ai.write(_CHAT, "hello")
        eventually(ai.asked, 20, "the model is asked")
        ai.entry.stop()
        (turn,) = ai.turns()
        assert (turn["state"], turn["incarnation_id"], turn["attempts"]) == ("running", None, 0)
    finally:
        ai.close()
