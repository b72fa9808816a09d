"""A private RabbitMQ of a test module: own node, own ports, own directory, loopback only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from embedded.server import dies_with_this_process
from tests.support import environment, ports, processes
from tests.support.waiting import deadline_s, eventually

_PROGRAMS: Final = Path("/usr/lib/rabbitmq/bin")
"""The distribution's own scripts, without the wrapper that wants root."""
_START_S: Final = 90.0


class RabbitBroker:
    """A broker. Made by `running_broker`.

    Attributes:
        url: of its one user.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        first = ports.free_port_block(4)
        self.port = first
        self.url = f"amqp://guest:guest@127.0.0.1:{first}/?heartbeat=5"
        self._node = f"bulkhead{first}@localhost"
        (folder / "plugins").write_text("[].\n")
        (folder / "rabbit.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{first}\nlog.console = true\nlog.file = false\n"
        )
        self._environ = environment.clean(
            HOME=folder,
            ERL_EPMD_PORT=first + 1,
            ERL_EPMD_ADDRESS="127.0.0.1",
            RABBITMQ_NODENAME=self._node,
            RABBITMQ_NODE_PORT=first,
            RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
            RABBITMQ_DIST_PORT=first + 2,
            RABBITMQ_MNESIA_BASE=folder / "mnesia",
            RABBITMQ_LOG_BASE=folder / "log",
            RABBITMQ_ENABLED_PLUGINS_FILE=folder / "plugins",
            RABBITMQ_CONF_ENV_FILE="/dev/null",
            RABBITMQ_CONFIG_FILE=folder / "rabbit",
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
        )
        self._epmd = self._run(["epmd", "-port", str(first + 1), "-address", "127.0.0.1"])
        self._server: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it, again if need be, and wait until it serves."""
        log = self.folder / "server.log"
        log.unlink(missing_ok=True)
        self._server = self._run([str(_PROGRAMS / "rabbitmq-server")], log)
        eventually(
            lambda: b"Server startup complete" in log.read_bytes() or self._server.poll() is not None,
            _START_S,
            lambda: f"RabbitMQ starts\n{log.read_text()[-3000:]}",
        )
        assert self._server.poll() is None, log.read_text()[-3000:]

    @property
    def roots(self) -> set[int]:
        """Its processes that were started here, for the suite's watch over what tests leave behind."""
        return {self._epmd.pid, self._server.pid}

    @property
    def members(self) -> set[int]:
        """All its processes now."""
        return {*self.roots, *(pid for one in self.roots for pid in processes.living_descendants(one))}

    def kill(self) -> None:
        """End it as a crash would, with everything that it started."""
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait(deadline_s(10))

    def control(self, *words: str) -> str:
        """Run `rabbitmqctl`."""
        command = [str(_PROGRAMS / "rabbitmqctl"), "-n", self._node, *words]
        done = subprocess.run(command, env=self._environ, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    def close(self) -> None:
        """End everything."""
        if self._server.poll() is None:
            self.kill()
        self._epmd.kill()
        self._epmd.wait(deadline_s(10))

    def _run(self, command: list[str], log: Path | None = None) -> subprocess.Popen[bytes]:
        with (log or self.folder / "epmd.log").open("ab") as output:
            return subprocess.Popen(
                command,
                env=self._environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # what it starts ends with it
                start_new_session=True,
                preexec_fn=dies_with_this_process(signal.SIGKILL),  # noqa: PLW1509 - the suite has one thread here
            )


@contextmanager
def running_broker() -> Iterator[RabbitBroker]:
    """Run a broker during the block. Without RabbitMQ the test is skipped; on CI it fails."""
    if not (_PROGRAMS / "rabbitmq-server").exists():
        reason = "RabbitMQ is not installed: apt-get install --no-install-recommends rabbitmq-server (script/rabbitmq)"
        # a server that is missing where everything is installed is a fault of the installation
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="bh-mq-"))
    broker = RabbitBroker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()
        shutil.rmtree(folder, ignore_errors=True)
