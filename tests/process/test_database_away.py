"""Every kind may be started while PostgreSQL is away: it lives, says that it is not ready, and is ready once PostgreSQL
is there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from shared.kinds import KINDS
from shared.process.exit_codes import ExitCode
from shared.settings import Settings, to_environ
from tests.store.env import away
from tests.support.entry import Entry
from tests.support.servers import Servers
from tests.support.waiting import eventually

DEPENDENT = [row.name for row in KINDS if row.pool_size]
MakeSettings = Callable[..., Settings]


def entry(kind: str, settings: Settings) -> Entry:
    """One process of a kind, without Redis too."""
    variables: dict[str, Any] = {
        name.lower(): value for name, value in to_environ(settings).items() if name != "BULKHEAD_HOME"
    }
    variables |= {"redis_url": "redis://127.0.0.1:1/0", "process_admin_port": settings.admin_port}
    # the recorder would wait for its schema, before it is up, for longer than a test should take
    return Entry(kind, settings.bulkhead_home, module="tests.recorder.hasty" if kind == "recorder" else "", **variables)


def asked(settings: Settings, path: str) -> int:
    """Return the status of an answer on the process's own port."""
    with requests.Session() as client:
        client.trust_env = False
        return int(client.get(f"http://127.0.0.1:{settings.admin_port}{path}", timeout=10).status_code)


@pytest.mark.parametrize("kind", DEPENDENT)
def test_it_waits_for_a_database_that_refuses(
    kind: str, settings: MakeSettings, servers: Servers, database_url: str
) -> None:
    values = settings(database_url=database_url)
    with entry(kind, values) as child:
        with away(servers.database_server_url, database_url):
            child.start().wait_said("X_READY", "0")
            assert (asked(values, "/livez"), asked(values, "/readyz")) == (200, 503)
            child.forget()
        child.wait_ready()
        eventually(lambda: asked(values, "/readyz") == 200, 10, "it is ready")
        assert child.stop() == ExitCode.OK


@contextmanager
def frozen() -> Iterator[str]:
    """Address of a server whose connections wait in the kernel's queue, and who never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none"


@pytest.mark.parametrize("kind", DEPENDENT)
def test_it_waits_for_a_database_that_is_frozen(kind: str, settings: MakeSettings) -> None:
    with frozen() as url:
        values = settings(database_url=url, database_connect_s=2.0, database_query_s=2.0)
        with entry(kind, values) as child:
            child.start().wait_said("X_READY", "0", within_s=40.0)
            assert (asked(values, "/livez"), asked(values, "/readyz")) == (200, 503)
            assert child.stop() == ExitCode.OK


def test_a_start_may_take_as_long_as_it_waits_for_the_database(settings: MakeSettings) -> None:
    """Meta reads its connections before it is ready: with these settings that takes longer than a start may without a
    word."""
    with (
        frozen() as url,
        entry("meta", settings(database_url=url, database_connect_s=60.0, database_query_s=60.0)) as child,
    ):
        child.start().wait_said("X_DOING", "start: waits for PostgreSQL")
        assert not any("READY" in fields for fields in child.notifications)
        child.forget()
        child.wait_said("EXTEND_TIMEOUT_USEC", "10000000")  # and again
        assert child.stop() == ExitCode.OK
        assert any(fields.get("EXTEND_TIMEOUT_USEC") == "0" for fields in child.listen())
