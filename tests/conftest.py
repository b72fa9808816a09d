"""Fixtures of the whole suite: real servers started once, a fresh database and an empty Redis per test, and no process
left behind."""

from __future__ import annotations

import base64
import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from shared.kinds import KINDS, kind_settings, next_admin_offset
from shared.settings import Settings, load
from tests.support import environment, examples, ports, prepared, processes, selection, waiting
from tests.support.bulkhead import Bulkhead
from tests.support.servers import Servers


def pytest_configure() -> None:
    """Before anything of ours is collected: no variable of the developer's, and every orphan comes to us."""
    environment.scrub()
    environment.keep_compiled_modules()
    environment.use_memory_for_files()
    processes.adopt_orphans()
    processes.refuse_to_kill_groups_by_mistake()
    examples.use_profile()
    # what is collected lives as long as the run: looking through it for garbage, again and again, takes seconds
    gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the fast tests, and begin with the longest folders."""
    selection.mark_fast(items)
    items.sort(key=selection.rank)


def pytest_collection_finish() -> None:
    """Look for garbage again from here on, in what the tests make."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def no_garbage_left() -> Iterator[None]:
    """Collect what the tests of a file leave: what was not closed fails this file, each time, and not a later one once
    in a while. `-p tests.support.garbage` names the test."""
    yield
    gc.collect()
    # what lives on is not looked through again at the end of each later file
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before the test's fixtures wait for anything."""
    waiting.hold_to_time(item.get_closest_marker("serial") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make every report printable: a failure that shows a lone surrogate could not leave a worker of pytest-xdist."""
    report = yield
    report.sections = [(name, environment.printable(text)) for name, text in report.sections]
    if report.longrepr is not None and (text := environment.printable(report.longreprtext)) != report.longreprtext:
        report.longrepr = text
    return report


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what has no test of the chosen marks without importing it."""
    chosen = config.getoption("markexpr")
    if chosen == "fast":
        return True if selection.has_no_fast_test(collection_path) else None
    if chosen.startswith("serial"):
        return True if selection.has_no_serial_test(collection_path) else None
    return None


class Running(Protocol):
    """What runs for longer than one test."""

    @property
    def roots(self) -> set[int]:
        """Its processes that were started by the suite itself."""

    @property
    def members(self) -> set[int]:
        """All its processes now."""


_Program = TypeVar("_Program", bound=Bulkhead)

running: list[Running] = []
"""The suite's servers, and copies that a module shares, while they run; their processes come and go during any test,
also one that does not use them."""


@pytest.fixture(scope="session")
def prepared_home(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Function that returns a home with a migrated database, to be copied; see `prepared`."""
    own = tmp_path_factory.getbasetemp()
    # pytest-xdist gives each worker a directory below that of the run
    shared = own.parent if environment.worker().workers > 1 else own
    return partial(prepared.once, shared)


@pytest.fixture(scope="session")
def servers(prepared_home: Callable[[], Path]) -> Iterator[Servers]:
    """PostgreSQL and Redis; a server that cannot be started fails each test that needs it."""
    started = Servers(prepared_home)
    running.append(started)
    try:
        yield started
    finally:
        running.remove(started)
        started.close()


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    """Fail the fast test that would start a server, whichever way it asks for it."""
    using = request._pyfuncitem  # a fixture that lives longer than its first test has no public way to it
    if fixturedef.argname in selection.SERVERS and using.get_closest_marker("fast"):
        pytest.fail(f"a fast test starts no server: {using.nodeid}")


def _roots() -> set[int]:
    return set[int]().union(*(one.roots for one in running))


@pytest.fixture(autouse=True)
def no_process_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves a process behind, and end the process; fast tests, which start none, are spared the
    search."""
    if request.node.get_closest_marker("fast"):
        yield
        return
    before, began = processes.descendants_at_a_glance(_roots()), processes.now()
    yield
    if processes.descendants_at_a_glance(_roots()) <= before:
        return
    # something new: a look that misses nothing, and takes longer
    alive = processes.living_descendants()
    left = {pid: command for pid, command in alive.items() if pid not in before and processes.started_after(pid, began)}
    if left:
        of_servers = set[int]().union(*(one.members for one in running))
        # a database connection's process may have ended between the two looks
        left = {pid: command for pid, command in left.items() if pid not in of_servers and processes.is_alive(pid)}
    if left:
        processes.end(left)
        pytest.fail("left behind:\n" + "\n".join(f"{pid} {command}" for pid, command in left.items()))


@pytest.fixture
def home() -> Iterator[Path]:
    """A fresh BULKHEAD_HOME with a path that is short enough for sockets, removed afterwards."""
    made = Path(tempfile.mkdtemp(prefix="bh-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """Address of a fresh, migrated database."""
    name, url = servers.new_database()
    yield url
    servers.drop_database(name)


@pytest.fixture
def empty_database_url(servers: Servers) -> Iterator[str]:
    """Address of a fresh database without Bulkhead's tables."""
    name, url = servers.new_database(migrated=False)
    yield url
    servers.drop_database(name)


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """Address of an empty Redis database."""
    return servers.new_redis()


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Function that returns so many free ports."""
    return ports.free_ports


def settings_variables(home: Path) -> dict[str, str]:
    """Return variables for one copy of Bulkhead: its own home, free ports, and keys of its own."""
    public = [name for row in KINDS for setting, name in kind_settings(row) if setting.field == "port"]
    private = next_admin_offset()
    first = ports.free_port_block(private + len(public))
    return {
        "BULKHEAD_HOME": str(home),
        "ADMIN_PORT": str(first),
        **{name: str(first + private + offset) for offset, name in enumerate(public)},
        "API_KEY": "test-" + os.urandom(8).hex(),
        "SECRET_ENCRYPTION_KEY": base64.b64encode(os.urandom(32)).decode(),
    }


@pytest.fixture
def settings(home: Path) -> Callable[..., Settings]:
    """Function that returns checked settings over a fresh home and free ports: `settings(database_url=…,
    send_attempts=5)`."""

    def build(**overrides: Any) -> Settings:
        return load(settings_variables(home) | environment.as_environ(overrides))

    return build


@pytest.fixture
def bulkhead(home: Path, prepared_home: Callable[[], Path]) -> Iterator[Callable[..., Bulkhead]]:
    """Function that returns the real program over a fresh home, not started: `bulkhead(only="api")`. It is stopped and
    checked afterwards.

    Its PostgreSQL is made and migrated, unless `first_start=True`.
    """
    made: list[Bulkhead] = []

    def build(*, first_start: bool = False, **variables: object) -> Bulkhead:
        has_server = "database_url" not in variables and "postgres" in str(variables.get("only", "postgres"))
        if has_server and not first_start and not made:
            prepared.copy(prepared_home(), home)
        made.append(Bulkhead(home, settings_variables(home) | environment.as_environ(variables)))
        return made[-1]

    yield build
    for program in made:
        program.close()


@contextmanager
def kept_running(
    prepared_home: Callable[[], Path], make: type[_Program], *, kinds: tuple[str, ...] = (), **variables: object
) -> Iterator[_Program]:
    """The real program over a prepared home, started and ready (all of it, or `kinds`), for several tests: those of a
    file that leave it running."""
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    prepared.copy(prepared_home(), home)
    program = make(home, settings_variables(home) | environment.as_environ(variables))
    running.append(program)
    try:
        yield program.start().wait_ready(*kinds)
    finally:
        program.close()
        running.remove(program)
        shutil.rmtree(home)
