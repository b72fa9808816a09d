"""`guards`: what row-level security, limits and events cost a message: CPU time with and without each, in turn."""

from __future__ import annotations

import argparse
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import psutil
import psycopg2
from starlette.requests import Request

from api.http.limits import RequestLimits
from bench.figures import Figures
from bench.installation import Installation, outcome, running, warm
from shared.settings import Settings
from shared.states import MessageState
from shared.store import messages
from shared.store.messages import Settlement
from shared.tenancy.limits import LimitRules, Limits
from shared.tenancy.principals import Principal
from tests.store.env import StoreEnv, backends

_WIDE: Final = 1_000_000
"""Of a limit that is counted and never reached."""
_CASES: Final = ("as shipped", "no row-level security", "limits", "events, and a trigger", "no events, and a trigger")
_COSTS: Final = {
    "row-level security": ("as shipped", "no row-level security"),
    "limits of a key and of a company": ("limits", "as shipped"),
    # both with a trigger, so that its own cost is in neither
    "events": ("events, and a trigger", "no events, and a trigger"),
}
"""Differences of two cases."""
_BATCH: Final = 20
"""Messages of one commit, as under load."""
_COUNTED: Final = 20_000
"""Requests that are counted in one round."""
_TRIGGER: Final = """
CREATE FUNCTION bench_events() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN {returns}; END $$;
CREATE TRIGGER bench_events BEFORE INSERT ON events_messages FOR EACH ROW EXECUTE FUNCTION bench_events();
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--seconds", type=float, default=10.0, help="of the load in each case; 0: statements alone")
    parser.add_argument("--rate", type=float, default=150.0, help="messages a second, the same in all cases")
    parser.add_argument("--rounds", type=int, default=5, help="how often each case is measured")
    parser.add_argument("--messages", type=int, default=2000, help="of each case, where only statements are run")
    parser.add_argument("--statuses", default="sent,delivered", help="webhooks for each message; '' for none")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of seconds."""
    given.seconds, given.rate, given.rounds, given.messages = 1.0, 50.0, 1, 100


def run(given: argparse.Namespace) -> Figures:
    """Measure."""
    figures = Figures(command="guards", parameters=vars(given))
    _statements(given, figures)
    if not given.seconds:
        return figures
    with running() as installation:
        installation.provider(latency_ms=50.0, statuses=given.statuses)
        guards = _Guards(installation)
        warm(installation, 1.0)
        spent: dict[str, list[dict[str, float]]] = {name: [] for name in _CASES}
        order = deque(_CASES)
        for _ in range(given.rounds):
            for name in order:
                with guards.cases[name]():
                    spent[name].append(_spent(installation, guards.key, given, figures, name))
            # whatever grows or cools down during a run is not always on the same side
            order.rotate(1)
    for name, rounds in spent.items():
        figures.values[f"{name}, CPU µs a message"] = _middle(rounds)
    for name, (with_it, without) in _COSTS.items():
        rounds = [
            {kind: one[kind] - other.get(kind, 0.0) for kind in one}
            for one, other in zip(spent[with_it], spent[without], strict=True)
        ]
        every = sorted(round(one["all"]) for one in rounds)
        figures.values[f"cost of {name}, µs a message"] = {**_middle(rounds), "all, by round": f"{every}"}
    return figures


def _statements(given: argparse.Namespace, figures: Figures) -> None:
    """Add PostgreSQL's processor time of a message's statements (accept, claim, settle) on one connection, and ours of
    counting a request: without the noise of everything else, which is larger than what is measured.
    """
    spent: dict[str, list[float]] = {name: [] for name in _CASES if name != "limits"}
    with running(only="recorder,postgres") as installation, closing(StoreEnv(installation.url, limit=1)) as env:
        switch, order = _Switch(installation.url), deque(spent)
        _carry(env, _BATCH)
        (pid,) = backends(installation.url, "test")
        for _ in range(given.rounds):
            for name in order:
                with switch.cases[name]():
                    # so that plans are made anew before it counts
                    _carry(env, _BATCH)
                    before = psutil.Process(pid).cpu_times()
                    _carry(env, given.messages)
                    after = psutil.Process(pid).cpu_times()
                seconds = after.user + after.system - before.user - before.system
                spent[name].append(seconds / given.messages * 1e6)
            order.rotate(1)
        costs = {
            name: [one - other for one, other in zip(spent[with_it], spent[without], strict=True)]
            for name, (with_it, without) in _COSTS.items()
            if "limits" not in (with_it, without)
        }
        counting = [_counting(env) for _ in range(given.rounds)]
    figures.values["statements, µs of PostgreSQL a message"] = {
        name: round(statistics.median(rounds)) for name, rounds in spent.items()
    }
    figures.values["statements, cost a message, µs of PostgreSQL"] = {
        name: f"{statistics.median(rounds):.0f} ({min(rounds):.0f} to {max(rounds):.0f})"
        for name, rounds in costs.items()
    }
    figures.values["limits, cost a request, µs of the API"] = (
        f"{statistics.median(counting):.1f} ({min(counting):.1f} to {max(counting):.1f})"
    )


def _carry(env: StoreEnv, count: int) -> None:
    """Accept, claim and settle messages."""
    for first in range(0, count, _BATCH):
        ids = env.accept(*(f"1555{first + number:07}" for number in range(_BATCH)))
        claimed = env.claim(ids)
        settled = [Settlement(id=one.id, state=MessageState.SENT, provider_id=f"wamid.{one.id}") for one in claimed]
        env.store.run(messages.settle, incarnation="meta-0.a", settlements=settled)


def _counting(env: StoreEnv) -> float:
    """Return the microseconds that counting a request costs, and showing what is left."""
    rules = LimitRules(Settings())
    own: Mapping[str, float] = {"requestsPerSecond": _WIDE, "messagesPerSecond": _WIDE, "openWaits": _WIDE}
    operation = SimpleNamespace(accepts_messages=True, takes_files=False)
    limits = RequestLimits(Limits(env.store))
    seconds = []
    for policies in (rules.policies(1, own, "acme", own), ()):
        principal = Principal(key_id=1, name="bench", company_id="acme", scopes=frozenset(), policies=policies)
        began = time.process_time()
        for _ in range(_COUNTED):
            request = Request({"type": "http", "headers": []})
            with limits.admitted(operation, principal, request):
                if "limit_headers" in request.scope:
                    request.scope["limit_headers"]()
        seconds.append(time.process_time() - began)
    return (seconds[0] - seconds[1]) / _COUNTED * 1e6


def _middle(rounds: list[dict[str, float]]) -> dict[str, int]:
    return {kind: round(statistics.median(one.get(kind, 0.0) for one in rounds)) for kind in rounds[0]}


def _spent(
    installation: Installation, key: str, given: argparse.Namespace, figures: Figures, case: str
) -> dict[str, float]:
    """Return the CPU microseconds a message of each kind, without the sandbox and the generator."""
    before = installation.cpu_s()
    spec = replace(installation.spec(seconds=given.seconds, rate=given.rate), api_key=key)
    result = installation.run_load(spec)
    installation.wait_idle()
    after = installation.cpu_s()
    measured = outcome(installation, result)
    totals: dict[str, int] = figures.values.setdefault("outcome in the ledger", {}).setdefault(case, {})
    for word, count in measured.items():
        totals[word] = totals.get(word, 0) + count
    spent = {kind: (after[kind] - before.get(kind, 0.0)) / measured["accepted"] * 1e6 for kind in after}
    del spent["sandbox"]
    return {"all": sum(spent.values()), **{kind: spent[kind] for kind in sorted(spent)}}


class _Switch:
    """Turns policies and events of a database on and off.

    Attributes:
        cases: what surrounds a measurement, by name of the case.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.cases: dict[str, Callable[[], AbstractContextManager[None]]] = {
            "as shipped": nullcontext,
            "no row-level security": self._without_policies,
            "events, and a trigger": lambda: self._with_trigger("NEW"),
            "no events, and a trigger": lambda: self._with_trigger("NULL"),
        }

    def _run(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self._url)) as connection, connection, connection.cursor() as cursor:
            # of tables in use: the statement gives way, and is one of a few
            cursor.execute("SET LOCAL lock_timeout = '10s'")
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    @contextmanager
    def _without_policies(self) -> Iterator[None]:
        tables = self._run("SELECT oid::regclass::text FROM pg_class WHERE relrowsecurity ORDER BY oid")
        for (table,) in tables:
            self._run(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        try:
            yield
        finally:
            for (table,) in tables:
                self._run(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")

    @contextmanager
    def _with_trigger(self, returns: str) -> Iterator[None]:
        self._run(_TRIGGER.format(returns=returns))
        try:
            yield
        finally:
            self._run("DROP TRIGGER bench_events ON events_messages; DROP FUNCTION bench_events()")


class _Guards(_Switch):
    """Turns limits of a running installation on and off too.

    Attributes:
        key: of company demo, as a client has it.
    """

    def __init__(self, installation: Installation) -> None:
        super().__init__(installation.url)
        self._call = installation.bulkhead.client.call
        wish = {"name": "bench", "companyId": "demo", "scopes": ["send"]}
        made: dict[str, Any] = self._call("POST", "/api/v2/keys", wish)
        self.key: str = made["key"]
        self._limits = (f"/api/v2/keys/{made['id']}/limits", "/api/v2/companies/demo/limits")
        self.cases["limits"] = self._with_limits

    @contextmanager
    def _with_limits(self) -> Iterator[None]:
        for place in self._limits:
            self._call("PUT", place, {"requestsPerSecond": _WIDE, "messagesPerSecond": _WIDE, "openWaits": _WIDE})
        try:
            yield
        finally:
            for place in self._limits:
                self._call("PUT", place, {})
