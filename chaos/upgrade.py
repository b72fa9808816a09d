"""A rolling upgrade of two hosts under load, one version after the other: `bulkhead chaos upgrade`.

Both hosts begin with the oldest version. Then, for each newer one, first one host and then the other is brought to it
as docs/upgrade.md says: the orchestrator is killed, the new version's adopts the processes, and replaces them kind by
kind. A client sends to both hosts by turns, each request on a connection of its own, and counts what is refused, broken
or answered with an error. The provider's ledger judges the messages.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from chaos import report
from chaos.calls import CallAnswer, Calls
from chaos.installation import PROGRAM, ChaosInstallation, InstallationUnusable, NeverHappened, free_ports, until
from chaos.load import ChaosLoad
from chaos.program import OWN_INSTALLATION
from chaos.run import Outcome, Run, new_mark
from chaos.screen import Screen
from shared.clock import monotonic
from shared.process.exit_codes import ExitCode
from shared.states import SlotState

_REPLACED: Final = ("recorder", "api", "meta")
"""Kinds that are replaced on each host: the recorder first, which applies the migrations. The servers and the provider
stand for external ones."""
_STEP_S: Final = 120.0
"""Longest wait in seconds for one kind to be replaced: each process drains, and the next one waits for it."""


@dataclass
class UpgradeFigures:
    """What a rolling upgrade came to.

    Attributes:
        versions: commits, oldest first. seconds: for each version, for both hosts together. failed: requests without
            an answer, by error. outcome: of the messages.
    """

    versions: Sequence[str]
    seconds: list[float] = field(default_factory=list)
    failed: Mapping[str, int] = field(default_factory=dict)
    outcome: Outcome | None = None

    @property
    def is_clean(self) -> bool:
        """Whether nothing was refused or broken, and every guarantee was kept."""
        return not self.failed and self.outcome is not None and self.outcome.is_clean and self.outcome.settled


class TwoHosts(ChaosInstallation):
    """The first host, whose API is called by turns with that of the second one."""

    def __init__(self, home: Path, variables: Mapping[str, str], environ: Mapping[str, str], calls: Calls) -> None:
        super().__init__(home, variables, environ, calls)
        self._host_environ, self._turn = environ, 0
        self.second: ChaosInstallation | None = None

    async def start_second(self) -> None:
        """Start the second host, on the servers of the first. Raises `InstallationUnusable`."""
        shared = ("DATABASE_URL", "REDIS_URL", "API_KEY", "SECRET_ENCRYPTION_KEY", "META_APP_SECRET",
                  "META_VERIFY_TOKEN", "SANDBOX_ACCESS_TOKEN", "SANDBOX_D360_API_KEY", "SANDBOX_D360_WEBHOOK_SECRET",
                  "SANDBOX_URL", "GRAPH_BASE_URL", "D360_BASE_URL", "INSTAGRAM_BASE_URL", "WHATSAPP_WEB_URL",
                  "META_APP_ID")  # fmt: skip
        home = self.home / "second"
        home.mkdir(mode=0o700)
        (home / "media").symlink_to(self.home / "media")
        variables = {
            **self.variables,
            **{name: await self.value(name) for name in shared},
            **free_ports(),
            "BULKHEAD_HOST": "host-2",
            "ONLY": ",".join(_REPLACED),
            "SANDBOX": "off",
        }
        self.second = ChaosInstallation(home, variables, self._host_environ, self._calls)
        self.second.program = self.program
        await self.second.start()

    def send_by(self, calls: Calls) -> None:
        """Call both hosts by `calls` from now on, whose failures are counted."""
        self._calls = calls
        if self.second is not None:
            self.second._calls = calls

    async def api(
        self, method: str, path: str, *, within_s: float = 5.0, body: Any = None, key: str = ""
    ) -> CallAnswer | None:
        """Call the API of the host whose turn it is."""
        self._turn += 1
        if self._turn % 2 and self.second is not None:
            return await self.second.api(method, path, within_s=within_s, body=body, key=key)
        return await super().api(method, path, within_s=within_s, body=body, key=key)


async def upgrade_host(host: ChaosInstallation, program: Path) -> None:
    """Bring a host to another version, process by process. Raises `NeverHappened`, `InstallationUnusable`."""
    host.program = program
    if (pid := host.pid("orchestrator")) is None:
        raise NeverHappened("the orchestrator lives")
    os.kill(pid, signal.SIGKILL)
    await host.wait_orchestrator_gone()
    await host.start_orchestrator()
    await until(lambda: _are_ready(host, since=pid), _STEP_S, "the new orchestrator has adopted every process")
    for kind in _REPLACED:
        before = _incarnations(host, kind)
        await host.operator("restart", kind)
        await until(partial(_is_replaced, host, kind, before), _STEP_S, f"{kind} is replaced")


def _is_replaced(host: ChaosInstallation, kind: str, before: set[str]) -> bool:
    return _are_ready(host) and not before & _incarnations(host, kind)


def _are_ready(host: ChaosInstallation, *, since: int = 0) -> bool:
    snapshot = host.snapshot()
    states = [slot["state"] for slot in snapshot.get("slots", {}).values() if slot["state"] != SlotState.STOPPED]
    return snapshot.get("pid", since) != since and bool(states) and set(states) == {SlotState.READY}


def _incarnations(host: ChaosInstallation, kind: str) -> set[str]:
    return {slot["incarnation"] for slot in host.snapshot().get("slots", {}).values() if slot["kind"] == kind}


def versions_of(repository: Path, revision: str, count: int) -> list[str]:
    """Return the newest `count` commits up to a revision, oldest first. Raises `InstallationUnusable`."""
    found = _git(repository, "rev-list", "--first-parent", f"--max-count={count}", revision).decode().split()
    return found[::-1]


def unpack(repository: Path, commit: str, folder: Path) -> Path:
    """Write a commit's files into a new folder and return the program in it. Raises `InstallationUnusable`."""
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=_git(repository, "archive", commit), check=True)
    return folder / PROGRAM.name


def _git(repository: Path, *words: str) -> bytes:
    asked = subprocess.run(["git", "-C", str(repository), *words], capture_output=True, check=False)
    if asked.returncode:
        raise InstallationUnusable(f"git {words[0]}: {asked.stderr.decode(errors='replace').strip()}")
    return asked.stdout


async def run(given: SimpleNamespace, environ: Mapping[str, str], folder: Path, screen: Screen) -> UpgradeFigures:
    """Carry out an upgrade in an empty folder. Raises `InstallationUnusable`, `NeverHappened`."""
    repository = PROGRAM.parent
    versions = versions_of(repository, given.to, given.versions)
    figures = UpgradeFigures(versions=versions)
    programs = [unpack(repository, commit, folder / commit[:12]) for commit in versions]
    variables = {
        **OWN_INSTALLATION,
        **free_ports(),
        "BULKHEAD_HOST": "host-1",
        "ONLY": ",".join(("postgres", "redis", "sandbox", *_REPLACED)),
    }
    async with Calls() as observing, Calls(keeps=False) as calls:
        home = folder / "home"
        hosts = TwoHosts(home, variables, environ, observing)
        hosts.program = programs[0]
        try:
            screen.say(f"starting two hosts with {versions[0][:12]}")
            await hosts.start()
            await hosts.start_second()
            hosts.send_by(calls)
            load = ChaosLoad(
                hosts,
                mark=(mark := new_mark()),
                rate=given.load,
                chats=given.chats,
                phone_indexes=(0, 2, 3),
                company=hosts.settings.company_id,
            )

            async def upgrade() -> None:
                for commit, program in zip(versions[1:], programs[1:], strict=True):
                    began = monotonic()
                    for host in (hosts, hosts.second):
                        if host is not None:
                            await upgrade_host(host, program)
                    figures.seconds.append(monotonic() - began)
                    screen.say(f"both hosts run {commit[:12]} after {figures.seconds[-1]:.1f} s")

            running = Run(hosts, load, [], mark=mark, settle_s=given.settle, show=screen.show)
            figures.outcome = await running.run(upgrade)
            figures.failed = dict(calls.failed)
        finally:
            if hosts.second is not None:
                await hosts.second.stop()
            await hosts.stop()
    return figures


def main(asked: Mapping[str, Any], environ: Mapping[str, str]) -> int:
    """Carry out an upgrade and return the exit code: 0 when nothing was refused, broken, lost or doubled.

    Args:
        asked: what the command line said, checked. environ: the process environment.
    """
    given = SimpleNamespace(**asked)
    screen = Screen(sys.stderr)
    # a short prefix: the home contains socket files, and a socket's path has at most 107 bytes
    folder = Path(tempfile.mkdtemp(prefix="bh-"))
    try:
        figures = asyncio.run(run(given, environ, folder, screen))
    except (InstallationUnusable, NeverHappened) as problem:
        screen.done()
        screen.say(str(problem))
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    screen.done()
    assert figures.outcome is not None  # noqa: S101 - `run` has set it
    failed = ", ".join(f"{name} ×{count}" for name, count in figures.failed.items()) or "none"
    steps = f"{len(figures.seconds)} versions on two hosts, {min(figures.seconds, default=0):.1f} to "
    sys.stdout.write(
        f"{report.table(figures.outcome)}\n\n"
        f"upgrade: {steps}{max(figures.seconds, default=0):.1f} s each; requests without an answer: {failed}\n"
    )
    if given.report:
        about = {
            "versions": list(figures.versions),
            "seconds": [round(one, 1) for one in figures.seconds],
            "requests_without_answer": dict(figures.failed),
            "load": given.load,
            "clean_upgrade": figures.is_clean,
        }
        Path(given.report).write_text(json.dumps(report.as_json(figures.outcome, **about), indent=2) + "\n")
    return ExitCode.OK if figures.is_clean else 1
