"""Each kind by its own command, in a home of its own, as Kubernetes runs it (docs/hosts.md): the environment is
checked, the probes are reachable, TERM drains, and /health/all knows every process.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from shared.kinds import KINDS, ProcessKind, admin_port
from shared.process.exit_codes import ExitCode
from tests.support import environment, processes
from tests.support.ports import free_port_block
from tests.support.servers import Servers
from tests.support.waiting import deadline_s, eventually

ALONE: Final = [
    row for row in KINDS if row.needed not in ("sandbox", "embedded_postgres", "embedded_redis", "local_model")
]
KEY: Final = "a-key-of-the-installation"
NEEDED: Final = ("DATABASE_URL", "REDIS_URL", "SECRET_ENCRYPTION_KEY", "API_KEY")
"""What the environment must hold at least, each where the kind's row lists it."""
STOP_S: Final = 30.0


@dataclass
class Container:
    """One process, its folder and its probes."""

    row: ProcessKind
    variables: dict[str, Any]
    process: subprocess.Popen[bytes]

    def probe(self, path: str) -> bool:
        """Ask as a probe does, from inside of the container."""
        port = admin_port(self.variables["admin_port"], self.row, 0)
        try:
            return bool(requests.get(f"http://127.0.0.1:{port}/{path}", timeout=5).ok)
        except requests.RequestException:
            return False

    @property
    def said(self) -> str:
        """What it wrote."""
        return (Path(self.variables["bulkhead_home"]) / "output").read_text(errors="replace")


def run(row: ProcessKind, variables: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start a kind by its command."""
    home = Path(variables["bulkhead_home"])
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "output").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, row.entry],
            cwd=environment.REPOSITORY,
            env=environment.clean(**variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


@pytest.fixture(scope="module")
def common(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The settings that all containers share."""
    name, url = servers.new_database()
    folder = tmp_path_factory.mktemp("alone")
    (folder / "media").mkdir()
    yield {
        "folder": folder,
        "database_url": url,
        "redis_url": servers.new_redis(kept=True),
        "api_key": KEY,
        "secret_encryption_key": environment.SEALING_KEY,
        "meta_app_secret": "of-the-app",
        "meta_verify_token": "of-the-app",
        "sandbox": "off",
        "heartbeat_s": 1,
    }
    servers.drop_database(name)


def of(common: dict[str, Any], row: ProcessKind) -> dict[str, Any]:
    """Return the environment of one container."""
    home = common["folder"] / row.name
    home.mkdir(mode=0o700, exist_ok=True)
    if not (home / "media").exists():
        (home / "media").symlink_to(common["folder"] / "media")
    # containers have networks of their own, where all have the same ports
    first = free_port_block(101)
    ports = {f"{one.name}_port": first + 100 for one in KINDS if one.port and one.name == row.name}
    shared = {name: value for name, value in common.items() if name != "folder"}
    return {**shared, **ports, "bulkhead_home": home, "bulkhead_host": f"{row.name}-pod", "admin_port": first}


@pytest.fixture(scope="module")
def containers(common: dict[str, Any]) -> Iterator[dict[str, Container]]:
    """Every kind, started at once: none waits for an order."""
    with ExitStack() as ending:
        started = {}
        for row in ALONE:
            variables = of(common, row)
            process = run(row, variables)
            ending.callback(process.wait)
            ending.callback(process.kill)
            started[row.name] = Container(row, variables, process)
        yield started


def test_the_probes_of_each_are_reachable(containers: dict[str, Container]) -> None:
    for name, container in containers.items():
        eventually(partial(container.probe, "readyz"), 60, f"{name} is ready: {container.said}")
        assert container.probe("livez")


def test_health_knows_every_process_of_every_host(containers: dict[str, Container]) -> None:
    port = containers["api"].variables["api_port"]

    def hosts() -> dict[str, str]:
        found = requests.get(f"http://127.0.0.1:{port}/health/all", headers={"X-API-Key": KEY}, timeout=10).json()
        return {one["host"]: one["status"] for one in found["processes"] if one["host"]}

    expected = {f"{row.name}-pod": "healthy" for row in ALONE}
    eventually(lambda: expected.items() <= hosts().items(), 30, lambda: f"{expected} are shown: {hosts()}")


def test_term_drains_each(containers: dict[str, Container]) -> None:
    """As the last test of the module: nothing runs after it."""
    for container in containers.values():
        container.process.send_signal(signal.SIGTERM)
    for name, container in containers.items():
        assert container.process.wait(STOP_S) == ExitCode.OK, f"{name}: {container.said[-2000:]}"
        assert not processes.of_home(container.variables["bulkhead_home"])


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        pytest.param(row, name, id=f"{row.name}-{name}")
        for row in ALONE
        for name in NEEDED
        if name.lower() in row.secrets
    ],
)
def test_what_is_missing_is_a_sentence(row: ProcessKind, missing: str, common: dict[str, Any], tmp_path: Path) -> None:
    variables = of(common, row) | {"bulkhead_home": tmp_path / row.name}
    del variables[missing.lower()]
    process = run(row, variables)
    assert process.wait(deadline_s(30)) == ExitCode.CONFIGURATION
    said = (tmp_path / row.name / "output").read_text()
    assert missing in said
    assert "Traceback" not in said


def test_each_is_documented() -> None:
    """docs/hosts.md names each kind's command."""
    text = (environment.REPOSITORY / "docs/hosts.md").read_text(encoding="utf-8")
    assert [row.entry for row in ALONE if f"`python {row.entry}`" not in text] == []
