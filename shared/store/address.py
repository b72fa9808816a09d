"""Parses addresses of PostgreSQL by libpq's own rules, and connects to them.

libpq tries the hosts of an address in turn, but leaves the time for each to the caller when it must not block
(`PQconnectPoll`): behind a first host that is silent, the second one would never be tried. So each host is an address
of its own here, with its share of the time.
"""

from __future__ import annotations

import random
from typing import Any, Final

import psycopg2
from psycopg2 import extensions

from shared.clock import left, monotonic
from shared.store import waiting
from shared.store.waiting import DeadlinePassed

_PLACES: Final = ("host", "hostaddr", "port")
"""Parts of an address that may have a value for each host."""
_LEAST_CONNECT_S: Final = 2.0
"""The shortest time for one host that libpq takes from an address."""


def options_of(address: str) -> str:
    """Return the session settings (`options`) that an address names, as libpq reads it; empty: none."""
    try:
        return str(extensions.parse_dsn(address).get("options", "")) if address else ""
    # connecting reports what is wrong with it
    except psycopg2.Error:
        return ""


def parts_of(address: str) -> dict[str, str]:
    """Return an address's parts (`host`, `user`, `password`, `dbname`, …). Raises `ValueError` when it is none."""
    try:
        return {name: str(value) for name, value in extensions.parse_dsn(address).items()}
    except psycopg2.Error as error:
        raise ValueError(str(error).strip()) from error


def servers_of(address: str) -> list[str]:
    """Return an address for each server that an address names, in the order in which libpq tries them."""
    try:
        parts = parts_of(address)
    # connecting reports what is wrong with it
    except ValueError:
        return [address]
    lists = {name: parts[name].split(",") for name in _PLACES if name in parts}
    count = max((len(one) for one in lists.values()), default=1)
    # one port may stand for all hosts; whatever else does not match is libpq's to refuse
    if count == 1 or any(len(one) not in (count, 1 if name == "port" else count) for name, one in lists.items()):
        return [address]
    order = list(range(count))
    if parts.get("load_balance_hosts") == "random":
        random.shuffle(order)
    servers = [{**parts, **{name: one[at % len(one)] for name, one in lists.items()}} for at in order]
    if parts.get("target_session_attrs") == "prefer-standby":
        # a second round, which takes any
        servers = [{**one, "target_session_attrs": state} for state in ("standby", "any") for one in servers]
    return [str(extensions.make_dsn(**one)) for one in servers]


def connected(address: str, by: float, **more: Any) -> tuple[Any, str]:
    """Connect to the first server of an address that answers and is as `target_session_attrs` asks.

    Args:
        by: monotonic instant; a server that is silent keeps its share of the time until then, or its `connect_timeout`.
        more: further parameters of the connection, as psycopg2 has them.
    Returns:
        The connection, and the address of that one server.
    Raises:
        psycopg2.Error: of the last server. DeadlinePassed: it was silent.
    """
    servers = servers_of(address)
    for number, server in enumerate(servers, start=1):
        share_s = left(by, monotonic()) / (len(servers) - number + 1)
        try:
            with waiting.deadline(monotonic() + min(share_s, _connect_s(server))):
                return psycopg2.connect(server, **more), server
        except (psycopg2.OperationalError, DeadlinePassed):
            if number == len(servers):
                raise
    raise AssertionError("unreachable")


def _connect_s(server: str) -> float:
    try:
        limit = int(parts_of(server).get("connect_timeout", "0"))
    # connecting reports what is wrong with it
    except ValueError:
        return float("inf")
    return max(_LEAST_CONNECT_S, limit) if limit > 0 else float("inf")
