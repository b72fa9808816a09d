"""`move`: clients of a single-process server go on sending while its numbers move to Bulkhead and back. What arrived is
judged by the provider's ledger.

Each company has one number. Its clients send to whom the company's traffic goes, as behind a proxy (MIGRATION.md): to
the server, or to Bulkhead. The server is a stand-in, which sends by the same provider and obeys the status in its
table; who asks it for a number that it does not serve is refused, and asks again.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from bench.commands import command, timed
from bench.figures import Figures
from bench.installation import Installation, running
from bench.moving_clients import MovedText, MovingClients
from bench.old_server import LETS_GO, NUMBERS, SERVES, OldServer, make_tables, register_numbers
from tests.support import environment
from tests.support.ports import free_ports
from tests.support.servers import Servers
from tests.support.waiting import deadline_s, eventually, joined

_RETURN_S: Final = 300.0
"""Longest time until a number whose messages fail goes back."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each phase")
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second of all clients together")
    parser.add_argument(
        "--chats",
        type=int,
        default=40,
        help="clients of each number, each with a chat of its own; Meta takes a message each 6 s in one",
    )


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.seconds, given.rate, given.chats = 2.0, 10.0, 20


@dataclass(frozen=True, kw_only=True)
class MoveStage:
    """What takes part in a move.

    Attributes:
        old_url, shadow_url: databases of the server, which Bulkhead joins, and of the shadow installation.
    """

    clients: MovingClients
    provider: Installation
    old: OldServer
    old_url: str
    shadow_url: str
    redis_url: str


def run(given: argparse.Namespace) -> Figures:
    """Measure."""
    figures = Figures(command="move", parameters=vars(given))
    servers = Servers()
    try:
        _, old_url = servers.new_database(migrated=False)
        _, shadow_url = servers.new_database(migrated=False)
        with running(only="sandbox") as provider:
            provider.provider(latency_ms=50.0, statuses="")
            register_numbers(provider)
            make_tables(old_url, provider)
            with OldServer(old_url, provider).serving() as old:
                stage = MoveStage(
                    clients=MovingClients(old.url, given),
                    provider=provider,
                    old=old,
                    old_url=old_url,
                    shadow_url=shadow_url,
                    redis_url=servers.redis_server_url,
                )
                with stage.clients.sending():
                    _move_under_load(stage, figures, given.seconds)
                figures.values |= _judged(stage.clients, provider)
    finally:
        servers.close()
    return figures


def _move_under_load(stage: MoveStage, figures: Figures, seconds: float) -> None:
    """Do all steps of a move and of the way back, with traffic on."""
    clients, provider, old = stage.clients, stage.provider, stage.old
    clients.phase("the server alone", seconds)
    with _shadow(stage) as (address, report):
        clients.send_by(address)
        clients.asks_oddly.set()
        clients.phase("the server, copied to a shadow", seconds)
        clients.asks_oddly.clear()
        clients.send_by(old.url)
        # the copies of the last requests are still on their way
        eventually(lambda: _differences(report).total() > 0, 30.0, "the shadow reports what differs")
        figures.values["differences that the shadow found"] = dict(_differences(report))
    began = time.monotonic()
    with running(
        only="api,meta,recorder",
        database_url=stage.old_url,
        redis_url=stage.redis_url,
        sandbox="off",
        meta_port=provider.bulkhead.settings.port("meta"),
        **_of_provider(provider),
    ) as installation:
        figures.values["migrate and start beside the server s"] = round(time.monotonic() - began, 1)
        # our tables, beside the server's of the same names
        beside = "&" if "?" in stage.old_url else "?"
        installation.url = f"{stage.old_url}{beside}options=-csearch_path%3Dbulkhead_tables"
        clients.bulkhead = installation
        _remove_demo(installation)
        figures.values["import s"] = timed(lambda: command(installation.bulkhead, "import", "--what", "numbers"))
        clients.phase("Bulkhead beside the server", seconds)
        # from now on the provider's webhooks reach Bulkhead
        provider.provider(latency_ms=50.0, statuses="sent,delivered")
        for percent in (10, 50, 100):
            figures.values[f"move to {percent} % s"] = timed(partial(_move, clients, percent))
            clients.phase(f"{percent} % at Bulkhead", seconds)
        figures.values["failing numbers went back by themselves after s"] = _fail_and_go_back(clients, provider)
        clients.phase("the server, after the return", seconds)
        # what was accepted here in the meantime is sent now
        _move(clients, 100)
        installation.wait_idle()
        clients.phase("100 % at Bulkhead again", seconds)
        # back, the traffic comes first
        clients.route_all("old")
        figures.values["move back to 0 % s"] = timed(lambda: _move(clients, 0))
        clients.phase("the server alone again", seconds)
        installation.wait_idle()
        clients.note_failed(installation)
        clients.bulkhead = None


def _of_provider(provider: Installation) -> dict[str, Any]:
    """Return the settings by which another installation sends by this provider."""
    settings = provider.bulkhead.settings
    home = provider.bulkhead.home
    kept = ("meta_app_secret", "meta_verify_token", "sandbox_access_token")
    return {
        "sandbox_url": (address := f"http://127.0.0.1:{settings.port('sandbox')}"),
        "graph_base_url": f"{address}/graph",
        "d360_base_url": f"{address}/d360",
        **{name: (home / name).read_text(encoding="utf-8").strip() for name in kept if (home / name).exists()},
        "meta_app_id": settings.meta_app_id,
    }


@contextmanager
def _shadow(stage: MoveStage) -> Iterator[tuple[str, Path]]:
    """Run a shadow installation, and the proxy that copies to it; yields the proxy's address and its report."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(
            only="api,recorder,sandbox,redis",
            database_url=stage.shadow_url,
            old_database_url=stage.old_url,
            sandbox="on",
        ) as installation,
    ):
        _remove_demo(installation)
        command(installation.bulkhead, "import", "--what", "numbers")
        (port,) = free_ports(1)
        key_file, report = Path(folder, "key"), Path(folder, "differences.jsonl")
        key_file.write_text(installation.bulkhead.settings.api_key, encoding="utf-8")
        new = f"http://127.0.0.1:{installation.bulkhead.settings.port('api')}"
        words = ["--old", stage.old.url, "--new", new, "--key-file", str(key_file), "--report", str(report)]
        proxy = subprocess.Popen(
            [sys.executable, "orchestrator.py", "shadow", *words, "--listen", f"127.0.0.1:{port}"],
            cwd=environment.REPOSITORY,
            env=environment.clean(**installation.bulkhead.variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            # a request would be copied
            eventually(partial(_listens, port), 60.0, "the proxy listens", ignoring=(ConnectionRefusedError,))
            yield f"http://127.0.0.1:{port}", report
        finally:
            proxy.terminate()
            said, _ = proxy.communicate(timeout=deadline_s(60))
            print(said, file=sys.stderr, flush=True)


def _remove_demo(installation: Installation) -> None:
    """Remove the connections that a sandbox brings along: their numbers at the provider are the server's."""
    place = "/api/v2/connections/demo"
    for one in installation.bulkhead.api("GET", place).json()["connections"]:
        installation.bulkhead.api("DELETE", f"{place}/{one['phoneIndex']}").raise_for_status()


def _listens(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port)).close()
    return True


def _differences(report: Path) -> Counter[str]:
    if not report.exists():
        return Counter()
    lines = report.read_text(encoding="utf-8").splitlines()
    return Counter(f"{one['operation']}: {', '.join(one['reasons'])}" for one in map(json.loads, lines))


def _move(clients: MovingClients, percent: float, *more: str) -> int:
    """Run `bulkhead move`, and send a company's traffic to who serves it as soon as the command says so. Returns its
    exit code.
    """
    assert clients.bulkhead is not None
    words = ["move", "--percent", str(percent), "--old-on", SERVES, "--old-off", LETS_GO, *more]
    process = subprocess.Popen(
        [sys.executable, "-u", "orchestrator.py", *words],
        cwd=environment.REPOSITORY,
        env=environment.clean(**clients.bulkhead.bulkhead.variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        print(f"  {line.strip()}", file=sys.stderr, flush=True)
        company = line.partition("/")[0]
        if "served here" in line:
            clients.route(company, "new")
        elif "served by the single-process server" in line:
            clients.route(company, "old")
    return process.wait(deadline_s(60))


def _fail_and_go_back(clients: MovingClients, provider: Installation) -> float:
    """Let the provider refuse what Bulkhead sends, until the numbers go back by themselves. Returns after how long."""
    for number in NUMBERS.values():
        body = {"fault": "error", "code": 131026, "count": 1000, "phone_number_id": number}
        provider.bulkhead.sandbox("POST", "/control/faults", json=body).raise_for_status()
    clients.name_phase("while messages fail")
    began = time.monotonic()

    def mend() -> None:
        # the provider is well for whom it was well before: the fault was Bulkhead's
        eventually(lambda: clients.goes_back, _RETURN_S, "a number goes back", poll_s=0.05)
        provider.bulkhead.sandbox("DELETE", "/control/faults").raise_for_status()

    mending = threading.Thread(target=mend)
    mending.start()
    code = _move(clients, 100, "--for", "10m")
    joined(mending, 60)
    if code != 1:
        raise RuntimeError(f"numbers whose messages fail were not given back: exit code {code}")
    return round(time.monotonic() - began, 1)


def _judged(clients: MovingClients, provider: Installation) -> dict[str, Any]:
    sent = _sent_texts(clients, provider)
    counts = Counter(text for text, _ in sent)
    accepted, failed = clients.accepted, clients.failed
    # a message that failed and its chat's later ones have no order to keep
    disturbed = ("while messages fail", "the server, after the return")
    return {
        "accepted by": dict(Counter(one.by for one in accepted.values())),
        "refused, and asked again": dict(clients.refused),
        "requests without an answer": dict(clients.broken),
        "reported as failed": sum(text in accepted for text in failed),
        "lost": sum(not counts[text] for text in accepted if text not in failed),
        "arrived although reported as failed": sum(counts[text] > 0 for text in failed),
        "doubled": sum(count > 1 for count in counts.values()),
        "never asked for": sum(text not in accepted for text in counts),
        "out of order": _out_of_order(
            [text for text, _ in sent if text in accepted and accepted[text].phase not in disturbed], accepted
        ),
        "longest silence of a number s": _silences(clients, sent),
    }


def _sent_texts(clients: MovingClients, provider: Installation) -> list[tuple[str, float]]:
    """Return text and instant of what the provider accepted, in its order."""
    found = []
    with (provider.bulkhead.home / "sandbox" / "ledger.jsonl").open(encoding="utf-8") as ledger:
        for entry in map(json.loads, ledger):
            text = str(entry["message"].get("text", {}).get("body", "")) if entry.get("event") == "accepted" else ""
            if clients.of_text(text):
                found.append((text, float(entry["at"])))
    return found


def _out_of_order(texts: Sequence[str], accepted: Mapping[str, MovedText]) -> int:
    newest: dict[str, int] = {}
    wrong = 0
    for text in texts:
        one = accepted[text]
        wrong += one.number < newest.get(one.chat, -1)
        newest[one.chat] = max(newest.get(one.chat, -1), one.number)
    return wrong


def _silences(clients: MovingClients, sent: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Return for each phase, and for what came after it, the longest time in which a number sent nothing."""
    of_number = defaultdict[str, list[float]](list)
    for text, at in sent:
        of_number[text.split()[1]].append(at)
    bounds = [(name, began, end) for name, began, end in clients.phases]
    between = [(f"{first[0]} → {second[0]}", first[2] - 1.0, second[1] + 1.0) for first, second in pairwise(bounds)]
    longest = {}
    for name, began, end in [*bounds, *between]:
        of_each = [_longest([one for one in times if began <= one <= end]) for times in of_number.values()]
        longest[name] = round(max(of_each, default=0.0), 2)
    return longest


def _longest(times: Sequence[float]) -> float:
    return max((later - earlier for earlier, later in pairwise(times)), default=0.0)
