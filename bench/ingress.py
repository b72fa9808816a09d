"""`ingress`: how fast webhooks are answered, and how soon their events are in the tables: single events at a steady
rate, then a thousand in each body.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

from bench.figures import Figures, spread_ms
from bench.installation import Installation, running
from bench.load import LoadConnection
from tests.support.waiting import eventually

_SECRET: Final = "bench-app-secret"  # a stand-in's; the installation that it belongs to lives for this run
_NUMBER: Final = "100000000000001"
_ANSWER_S: Final = 30.0
"""Seconds to wait for the last responses."""
_LINES: Final = 64
"""Connections: more than there are outstanding responses at these rates, so that posting never waits for one."""
_BATCH: Final = 1000
"""Events of one body: the most that Meta puts into one (Graph API, webhooks)."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--seconds", type=float, default=60.0, help="how long single events are posted")
    parser.add_argument("--rate", type=float, default=300.0, help="single events a second")
    parser.add_argument("--batches", type=int, default=30, help=f"bodies of {_BATCH} events")
    parser.add_argument("--batch-rate", type=float, default=1.0, help="such bodies a second")
    parser.add_argument("--meta", type=int, default=2, help="meta processes")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.seconds, given.rate, given.batches = 1.0, 50.0, 2


def run(given: argparse.Namespace) -> Figures:
    """Measure."""
    figures = Figures(command="ingress", parameters=vars(given), axes=("seconds", "milliseconds from due to answer"))
    with running(meta_instances=given.meta, meta_app_secret=_SECRET) as installation:
        # warms up connections, prepared statements and imports, which are not part of the measurement
        warm = [_body(f"warm{number}", 1) for number in range(100)]
        _post(installation, warm, rate=100.0)
        _wait_read(installation, len(warm))
        count = int(given.seconds * given.rate)
        single = [_body(f"one{number}", 1) for number in range(count)]
        figures.values["single events"], figures.series["single events"] = _measure(installation, single, given.rate, 1)
        many = [_body(f"many{number}", _BATCH) for number in range(given.batches)]
        figures.values[f"{_BATCH} events a body"], figures.series[f"{_BATCH} events a body"] = _measure(
            installation, many, given.batch_rate, _BATCH
        )
    return figures


def _body(name: str, events: int) -> bytes:
    """Return one of Meta's webhooks with `events` customers' messages."""
    head = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783001", "phone_number_id": _NUMBER},
    }
    # spread over 50,000 customers, the same ones in every run: a contact that exists is cheaper than a new one
    people = [str(15_560_000_000 + (crc32(f"{name}.{event}".encode()) % 50_000)) for event in range(events)]
    value = {
        **head,
        "contacts": [{"profile": {"name": "Ann Lee"}, "wa_id": who} for who in dict.fromkeys(people)],
        "messages": [
            {
                "from": who,
                "id": f"wamid.{name}.{event}",
                "timestamp": "1760000000",
                "type": "text",
                "text": {"body": "Is it open today?"},
            }
            for event, who in enumerate(people)
        ],
    }
    return json.dumps(
        {
            "object": "whatsapp_business_account",
            "entry": [{"id": "200000000000001", "changes": [{"field": "messages", "value": value}]}],
        }
    ).encode()


def _measure(
    installation: Installation, bodies: Sequence[bytes], rate: float, events: int
) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    before, spent = _kept(installation), installation.cpu_s()
    began = time.monotonic()
    answers = _post(installation, bodies, rate)
    posted_s = time.monotonic() - began
    total = len(bodies) * events
    _wait_read(installation, before + total)
    read_s = time.monotonic() - began
    after = installation.cpu_s()
    used = {kind: after[kind] - spent.get(kind, 0.0) for kind in ("meta", "postgres") if kind in after}
    values = {
        "due to answer": spread_ms([latency for _, latency, _ in answers]),
        "answers": dict(Counter(str(status) for _, _, status in answers)),
        "events": total,
        "events a second, offered": round(total / posted_s, 1),
        "events a second, read": round(total / read_s, 1),
        "last answer to last row, s": round(read_s - posted_s, 2),
        "lost or doubled": _kept(installation) - before - total,
        "CPU µs an event": {kind: round(seconds / total * 1e6) for kind, seconds in used.items()},
    }
    return values, [(due, latency * 1000) for due, latency, _ in answers]


def _kept(installation: Installation) -> int:
    return int(installation.rows("SELECT count(*) FROM inbound_messages")[0][0])


def _wait_read(installation: Installation, expected: int) -> None:
    """Wait until `expected` messages are stored and no raw event is left."""
    waiting = "SELECT count(*) FROM inbound_journal WHERE processed_at IS NULL"
    # an empty journal alone proves nothing before the first event is in it: the rows are counted too
    eventually(
        lambda: installation.rows(waiting)[0][0] == 0,
        180.0,
        lambda: f"the journal is read; waiting: {installation.rows(waiting)}",
        poll_s=0.05,
    )
    eventually(
        lambda: _kept(installation) >= expected,
        10.0,
        lambda: f"{expected} messages are kept; {_kept(installation)} are",
        poll_s=0.05,
    )


def _post(installation: Installation, bodies: Sequence[bytes], rate: float) -> list[tuple[float, float, int]]:
    """Post bodies at fixed instants, independently of the responses. Returns for each the due instant, the latency from
    then, and the HTTP status; 0 is a broken connection.
    """
    port = installation.bulkhead.settings.port("meta")
    requests = [_request(port, body) for body in bodies]
    return asyncio.run(_Poster(port, requests, rate).run())


def _request(port: int, body: bytes) -> bytes:
    # Meta signs the raw body with the app's secret (Graph API, webhooks: X-Hub-Signature-256)
    signature = hmac.digest(_SECRET.encode(), body, "sha256").hex()
    head = f"POST /api/meta/webhook HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class _Poster:
    """One run over keep-alive connections."""

    def __init__(self, port: int, requests: Sequence[bytes], rate: float) -> None:
        self._port, self._requests, self._rate = port, requests, rate
        self._idle: deque[LoadConnection] = deque()
        self._due: deque[tuple[float, bytes]] = deque()
        self._answers: list[tuple[float, float, int]] = []
        self._began = 0.0
        self._ended = asyncio.Event()

    async def run(self) -> list[tuple[float, float, int]]:
        """Post everything and wait for the responses."""
        loop = asyncio.get_running_loop()
        for _ in range(_LINES):
            _, line = await loop.create_connection(
                lambda: LoadConnection(self._answered, self._lost), "127.0.0.1", self._port
            )
            self._idle.append(line)
        self._began = loop.time()
        for number, request in enumerate(self._requests):
            # the latency counts from here, also for a body that waits for a connection (coordinated omission)
            due_at = self._began + number / self._rate
            if (wait_s := due_at - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            self._due.append((due_at, request))
            self._begin()
        if len(self._answers) < len(self._requests):
            await asyncio.wait_for(self._ended.wait(), _ANSWER_S)
        for line in self._idle:
            line.transport.close()
        return self._answers

    def _begin(self) -> None:
        while self._due and self._idle:
            line = self._idle.popleft()
            line.due_at, request = self._due.popleft()
            line.busy = True
            line.transport.write(request)

    def _answered(self, line: LoadConnection, status: int, _body: bytes) -> None:
        self._note(line, status)
        self._idle.append(line)
        self._begin()

    def _lost(self, line: LoadConnection) -> None:
        if line.busy:
            # a connection that was lost while idle has no outstanding response
            self._note(line, 0)

    def _note(self, line: LoadConnection, status: int) -> None:
        self._answers.append((line.due_at - self._began, asyncio.get_running_loop().time() - line.due_at, status))
        if len(self._answers) == len(self._requests):
            self._ended.set()
