"""`bystander`: the effect of a misbehaving client or company on another company."""

from __future__ import annotations

import argparse
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from functools import partial
from typing import Final

from bench.figures import Figures
from bench.in_turn import Troubles, in_turn
from bench.installation import Installation, running, warm
from bulkhead_client import place

COMPANY: Final = "flood"
"""The company that misbehaves; the bystander is the demo company."""
_NUMBER: Final = "100000000000004"
"""The sandbox's fourth number, which no other company uses."""
_PIECE: Final = b" " * 65_536


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each phase")
    parser.add_argument("--rounds", type=int, default=3, help="how often calm and the troubles take turns")
    parser.add_argument("--rate", type=float, default=50.0, help="messages a second of the bystander")
    parser.add_argument("--latency-ms", type=float, default=100.0, help="provider's latency")
    parser.add_argument("--statuses", default="sent,delivered", help="webhooks for each message")
    parser.add_argument("--flood", type=float, default=300.0, help="messages a second of the other company")
    parser.add_argument("--flood-sent", type=float, default=50.0, help="messages a second that its number may send")
    parser.add_argument("--bodies", type=int, default=4, help="clients that post big bodies without end")
    parser.add_argument("--body-mb", type=int, default=15, help="size of each, in MB")
    parser.add_argument("--idle", type=int, default=1000, help="connections that are opened and say nothing")
    parser.add_argument("--held", type=float, default=20.0, help="messages a second to a number that never answers")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.seconds, given.rounds, given.rate = 1.0, 1, 40.0
    given.flood, given.bodies, given.body_mb, given.idle, given.held = 60.0, 1, 2, 100, 5.0


def run(given: argparse.Namespace) -> Figures:
    """Measure: calm, each trouble, calm, each trouble …"""
    figures = Figures(command="bystander", parameters=vars(given), axes=("round", "p99 from due to provider, ms"))
    troubles: Troubles = {
        "calm": lambda _: nullcontext(),
        "another company's flood": partial(_flood, given=given),
        "big bodies": partial(_big_bodies, clients=given.bodies, size=given.body_mb * 1_000_000),
        "idle connections": partial(_idle_connections, count=given.idle),
        "another company's number never answers": partial(_held_number, given=given),
    }
    # short: sends without a response are in doubt for this long, and the next phase waits until they are resolved
    with running(in_doubt_window_s=2) as installation:
        installation.provider(latency_ms=given.latency_ms, statuses=given.statuses)
        _open_company(installation)
        warm(installation, 1.0)
        in_turn(installation, troubles, figures, given.rounds, seconds=given.seconds, rate=given.rate)
    return figures


def _open_company(installation: Installation) -> None:
    """Create the other company and its connection."""
    bulkhead = installation.bulkhead
    # the fourth number starts unregistered, and Meta refuses its sends
    bulkhead.sandbox(
        "POST", "/control/numbers", json={"phone_number_id": _NUMBER, "registered": True}
    ).raise_for_status()
    bulkhead.client.call("POST", place("companies"), {"companyId": COMPANY})
    connection = {
        "connectionType": "meta_direct",
        "accountId": _NUMBER,
        "wabaId": "200000000000004",
        "accessToken": (bulkhead.home / "sandbox_access_token").read_text().strip(),
        "phoneIndex": 0,
    }
    bulkhead.client.call("POST", place("connections", COMPANY), connection)
    bulkhead.client.call("POST", place("connections", COMPANY, 0, "test"))


def _limit(installation: Installation, per_second: float) -> None:
    """Limit the messages a second of the other company's number; 0: no limit."""
    options = {"messagesPerSecond": per_second}
    installation.bulkhead.client.call("PATCH", place("connections", COMPANY, 0), {"options": options})


@contextmanager
def _flood(installation: Installation, *, given: argparse.Namespace) -> Iterator[None]:
    """Send far above the other company's limit, so that its backlog keeps growing."""
    _limit(installation, given.flood_sent)
    load = installation.spec(
        seconds=given.seconds, rate=given.flood, company=COMPANY, chats=20, first_chat=15_559_000_000
    )
    with installation.load(load):
        yield
    # the rest of the backlog must not disturb the next phase
    _limit(installation, 0)


@contextmanager
def _held_number(installation: Installation, *, given: argparse.Namespace) -> Iterator[None]:
    """Let the provider never answer the other company's sends."""
    sandbox = installation.bulkhead.sandbox
    fault = {"fault": "hang", "phone_number_id": _NUMBER, "count": None}
    sandbox("POST", "/control/faults", json=fault).raise_for_status()
    load = installation.spec(
        seconds=given.seconds, rate=given.held, company=COMPANY, chats=200, first_chat=15_559_100_000
    )
    with installation.load(load):
        yield
    sandbox("DELETE", "/control/faults").raise_for_status()


@contextmanager
def _big_bodies(installation: Installation, *, clients: int, size: int) -> Iterator[None]:
    """Post bodies of a size that the server reads, one after the other, without end."""
    settings = installation.bulkhead.settings
    head = (
        f"POST /api/v2/messages/demo HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {settings.api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    ).encode()

    def post(over: threading.Event) -> None:
        # the server may refuse and close before the body is sent
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", settings.port("api")), 10) as line:
            line.sendall(head)
            for _ in range(size // len(_PIECE)):
                if over.is_set():
                    return
                line.sendall(_PIECE)
            line.sendall(b" " * (size % len(_PIECE)))
            while line.recv(65_536):
                pass

    with _repeated(post, clients):
        yield


@contextmanager
def _repeated(work: Callable[[threading.Event], None], times: int) -> Iterator[None]:
    """Repeat something in threads for as long as the block runs."""
    over = threading.Event()

    def repeat() -> None:
        while not over.is_set():
            work(over)

    threads = [threading.Thread(target=repeat) for _ in range(times)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@contextmanager
def _idle_connections(installation: Installation, *, count: int) -> Iterator[None]:
    """Open connections to the API and to Meta's webhook port, and send nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + 500)), hard))
    settings = installation.bulkhead.settings
    with ExitStack() as stack:
        for number in range(count):
            port = settings.port("api" if number % 2 else "meta")
            # a server at its limit refuses connections
            with suppress(ConnectionError):
                stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), 10)))
        yield
