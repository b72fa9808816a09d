"""The process that keeps the orchestrator: a real supervisord, and systemd's unit as far as it can be proved without
systemd as process 1."""

from __future__ import annotations

import configparser
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.kinds import KINDS
from shared.process import control_client, runtime, status_file
from shared.process.exit_codes import ExitCode
from shared.process.journal import SupervisionEvent as Happened
from tests.supervision.env import PROGRAM, SupervisionEnv
from tests.support import environment, processes
from tests.support.waiting import deadline_s, eventually

CONF = environment.REPOSITORY / "supervisord.conf"
UNIT = environment.REPOSITORY / "deploy" / "systemd" / "bulkhead.service"


class Supervisord:
    """A real supervisord with our own configuration; only the program is the one under test."""

    def __init__(self, env: SupervisionEnv) -> None:
        self.env = env
        self.conf = env.home / "supervisord.conf"
        lines = CONF.read_text().splitlines()
        command = f"command = {sys.executable} {PROGRAM}"
        self.conf.write_text("\n".join(command if line.startswith("command = ") else line for line in lines))
        # as on a first start: supervisord would refuse to begin where a folder of its configuration is missing
        for name in ("run", "logs"):
            shutil.rmtree(env.home / name, ignore_errors=True)
        self.environ = environment.clean(**env.variables)
        words = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.conf)]
        with env.output.open("ab") as output:
            self.process = subprocess.Popen(
                words, env=self.environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def ctl(self, *words: str) -> str:
        """Run supervisorctl."""
        return subprocess.run(
            [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.conf), *words],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    def orchestrator(self) -> int:
        """Pid of the orchestrator that last wrote its snapshot."""
        found = status_file.read(runtime.status_file(self.env.home))
        return int(found.values["pid"]) if found else 0

    def close(self) -> None:
        """End it and whatever it left."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(deadline_s(30))
        processes.end(processes.of_home(self.env.home))


@pytest.fixture
def supervisord(env: SupervisionEnv) -> Iterator[Supervisord]:
    """Supervisord over two fixture kinds."""
    env.rows({"name": "api", "instances": 2, "instances_most": 10, "port": 3000}, {"name": "meta"})
    made = Supervisord(env)
    yield made
    made.close()


def states(env: SupervisionEnv) -> dict[str, str]:
    try:
        return {
            name: slot["state"]
            for name, slot in control_client.ask(runtime.control_socket(env.home), {"command": "status"})["status"][
                "slots"
            ].items()
        }
    except control_client.NoOrchestrator:
        return {}


def test_killed_under_supervisord_the_next_orchestrator_adopts_all(
    env: SupervisionEnv, supervisord: Supervisord
) -> None:
    ready = {"api-0": "ready", "api-1": "ready", "meta-0": "ready"}
    eventually(lambda: states(env) == ready, 30, env.describe)
    pids = {slot: env.pid(slot) for slot in ready}
    first = supervisord.orchestrator()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: supervisord.orchestrator() not in (0, first) and states(env) == ready, 30, env.describe)
    assert {slot: env.pid(slot) for slot in ready} == pids
    assert env.count(Happened.ADOPTED) == 3 and env.count(Happened.STARTED) == 3
    copies = [command for command in processes.of_home(env.home).values() if "good.py" in command]
    assert len(copies) == 3
    assert "stopped" in supervisord.ctl("stop", "orchestrator")
    left = {pid: command for pid, command in processes.of_home(env.home).items() if pid != supervisord.process.pid}
    assert left == {}
    drained = [entry.details["in_time"] for entry in env.events() if entry.event is Happened.DRAINED]
    assert drained == [True] * 3


def test_wrong_settings_are_no_loop_under_supervisord(env: SupervisionEnv, supervisord: Supervisord) -> None:
    eventually(lambda: len(states(env)) == 3, 30, env.describe)
    supervisord.ctl("stop", "orchestrator")
    (env.home / "settings.env").write_text("LOG_KEEP=no\n")
    supervisord.ctl("start", "orchestrator")
    console = env.home / "orchestrator.console.log"
    eventually(lambda: "LOG_KEEP='no' is not a whole number" in console.read_text(), 10, "the problem is told")
    eventually(lambda: "EXITED" in supervisord.ctl("status", "orchestrator"), 10, lambda: supervisord.ctl("status"))
    assert console.read_text().count("LOG_KEEP='no'") == 1


def _conf() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    parser.read(CONF)
    return parser


def test_supervisord_starts_the_orchestrator_and_nothing_else() -> None:
    conf = _conf()
    assert [
        section
        for section in conf.sections()
        if section.startswith(("program:", "group:", "eventlistener:", "fcgi-program:"))
    ] == ["program:orchestrator"]
    program = conf["program:orchestrator"]
    assert program["command"].endswith("orchestrator.py")
    assert (program["stopasgroup"], program["killasgroup"]) == ("false", "false")
    assert {int(code) for code in program["exitcodes"].split(",")} == {
        ExitCode.OK,
        ExitCode.BOOT,
        ExitCode.SLOT_TAKEN,
        ExitCode.CONFIGURATION,
    }
    assert float(program["stopwaitsecs"]) >= _longest_stop_s()


def test_the_unit_keeps_the_orchestrator_alone() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign] # names are in mixed case
    unit.read(UNIT)
    service = unit["Service"]
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "KillMode": "process",
        "Delegate": "yes",
        "Restart": "on-failure",
        "RestartSec": "0",
    }
    assert {name: service[name] for name in expected} == expected
    assert {int(code) for code in service["RestartPreventExitStatus"].split()} == {
        ExitCode.BOOT,
        ExitCode.SLOT_TAKEN,
        ExitCode.CONFIGURATION,
    }
    assert unit["Unit"]["StartLimitIntervalSec"] == "0" and float(service["WatchdogSec"]) <= 5
    assert float(service["TimeoutStopSec"]) >= _longest_stop_s()


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Where systemd's own checker is installed, it finds nothing; elsewhere the test above has to do."""
    checker = shutil.which("systemd-analyze")
    text = (
        UNIT.read_text()
        .replace("/opt/bulkhead/.venv/bin/python", sys.executable)
        .replace("/opt/bulkhead", str(environment.REPOSITORY))
    )
    (tmp_path / "bulkhead.service").write_text(
        text.replace("User=bulkhead", "User=root").replace("Group=bulkhead", "Group=root")
    )
    if checker:
        said = subprocess.run(
            [checker, "verify", "--man=no", str(tmp_path / "bulkhead.service")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (said.returncode, said.stderr) == (0, "")
        rated = subprocess.run(
            [checker, "security", "--offline=true", "--threshold=35", str(tmp_path / "bulkhead.service")],
            capture_output=True,
            text=True,
            check=False,
        )
        # it runs as root here, which alone is 0.4
        assert rated.returncode == 0, rated.stdout[-200:]
    assert "ExecStart=" in text


def test_the_unit_leaves_open_only_what_chromium_and_the_orchestrator_need() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign] # names are in mixed case
    unit.read(UNIT)
    service = unit["Service"]
    assert service["ProtectSystem"] == "strict" and service["CapabilityBoundingSet"] == ""
    assert set(service["RestrictNamespaces"].split()) == {"user", "pid", "net"}
    # V8 writes code that it runs; the cgroups below the unit's own are the orchestrator's
    assert "MemoryDenyWriteExecute" not in service and "ProtectControlGroups" not in service


def _longest_stop_s() -> float:
    """Every wave of the stop with its longest drain, the ladder included."""
    return sum(max(row.drain_s for row in KINDS) + 5 for _ in range(3))
