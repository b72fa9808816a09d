"""The real program in a subprocess: `orchestrator.py` with its own home and ports, driven as an operator and a client
would."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import requests

from bulkhead_client import NO_RETRIES
from bulkhead_client import Bulkhead as Client
from embedded.server import dies_with_this_process
from shared.kinds import admin_port
from shared.process import runtime
from shared.process.slot_lock import is_free, read_holder
from shared.settings import load
from tests.support import environment, processes
from tests.support.waiting import eventually

ANSWER_S = 10.0


class Bulkhead:
    """One copy of Bulkhead.

    Attributes:
        program: the orchestrator's entry. tree: the folder that it is run in.
        settings: what it is started with. log: file of the orchestrator's standard output and error. process: the
            orchestrator, once started.
    """

    program = "orchestrator.py"
    tree = environment.REPOSITORY

    def __init__(self, home: Path, variables: Mapping[str, str]) -> None:
        self.home = home
        self.variables = dict(variables)
        self.settings = load(self.variables)
        self.log = home / "orchestrator-under-test.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._client = requests.Session()
        self._client.trust_env = False

    def start(self) -> Self:
        """Start the orchestrator; `wait_ready` waits for its children."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, self.program],
                cwd=self.tree,
                env=environment.clean(**self.variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # a test run that is killed takes what it started with it
                # the suite has one thread when it starts processes
                preexec_fn=dies_with_this_process(signal.SIGTERM),  # noqa: PLW1509
            )
        return self

    def command(self, *words: str, within_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run an operator's command (`status`, `restart`, …) against this copy and return the finished process."""
        return subprocess.run(
            [sys.executable, self.program, *words],
            cwd=self.tree,
            env=environment.clean(**self.variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
        )

    def slots(self, kind: str) -> range:
        """Return the instance numbers of `kind`."""
        return range(self.settings.kind(kind).instances)

    def wait_ready(self, *kinds: str, within_s: float = 60.0) -> Self:
        """Wait until every slot of `kinds` (by default recorder, api, meta and webdriver, or what ONLY names) answers
        ready on its own port."""
        expected = (
            kinds or tuple(filter(None, self.settings.only.split(","))) or ("recorder", "api", "meta", "webdriver")
        )
        for kind in expected:
            for instance in self.slots(kind):
                port = admin_port(self.settings.admin_port, self.settings.kind(kind), instance)
                self.wait_answer(f"http://127.0.0.1:{port}/readyz", within_s, f"{kind}-{instance} is ready")
        return self

    def wait_answer(self, url: str, within_s: float, what: str) -> None:
        """Wait until `url` answers 200; fail at once when the orchestrator died."""

        def answers() -> bool:
            died = self.process is not None and self.process.poll() is not None
            assert not died, f"the orchestrator left before {what}:\n{self.tail()}"
            return bool(self._client.get(url, timeout=ANSWER_S).ok)

        eventually(
            answers, within_s, lambda: f"{what}\n{self.tail()}", ignoring=(requests.RequestException,), poll_s=0.05
        )

    def tail(self, length: int = 6000) -> str:
        """Return the end of the orchestrator's output and of every slot's error file."""
        logs = [self.log, *sorted(self.home.glob("logs/*err*"))]
        return "\n".join(
            f"== {log.name}\n{log.read_text(errors='replace')[-length:]}"
            for log in logs
            if log.exists() and log.stat().st_size
        )

    def api(self, method: str, path: str, *, key: str | None = None, **arguments: Any) -> requests.Response:
        """Call the API with this copy's key (`key=""`: without); `arguments` are those of `requests`."""
        headers = dict(arguments.pop("headers", {}))
        if token := self.settings.api_key if key is None else key:
            headers["Authorization"] = f"Bearer {token}"
        return self._call(self.settings.port("api"), method, path, headers=headers, **arguments)

    @cached_property
    def client(self) -> Client:
        """The Python client with this copy's key, for company demo; without retries, so that tests see refusals."""
        url = f"http://127.0.0.1:{self.settings.port('api')}"
        return Client(url, self.settings.api_key, company="demo", retries=NO_RETRIES, session=self._client)

    def meta(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Call Meta's webhook port."""
        return self._call(self.settings.port("meta"), method, path, **arguments)

    def sandbox(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Call the sandbox: its control API and its ledgers."""
        return self._call(self.settings.port("sandbox"), method, path, **arguments)

    def _call(self, port: int, method: str, path: str, **arguments: Any) -> requests.Response:
        return self._client.request(method, f"http://127.0.0.1:{port}{path}", timeout=ANSWER_S, **arguments)

    def pid(self, kind: str, instance: int = 0) -> int:
        """Return the process in a slot. Fails when it is free."""
        path = runtime.slot_lock_file(self.home, f"{kind}-{instance}")
        holder = read_holder(path)
        assert holder is not None, f"{kind}-{instance} was never taken"
        assert holder.pid is not None and not is_free(path), f"{kind}-{instance} is not running"
        return holder.pid

    def pids(self) -> dict[str, int]:
        """Return the process in each slot that is held now, by slot name."""
        held = {}
        for path in runtime.run_dir(self.home).glob("*-*.lock"):
            holder = read_holder(path)
            if holder is not None and holder.pid is not None and not is_free(path) and processes.is_alive(holder.pid):
                held[path.stem] = holder.pid
        return held

    @property
    def roots(self) -> set[int]:
        """The orchestrator, for the suite's watch over processes."""
        return {self.process.pid} if self.process else set()

    @property
    def members(self) -> set[int]:
        """Every process of this copy now, whatever slot, for the suite's watch over processes."""
        return {*self.alive(), *(processes.living_descendants(self.process.pid) if self.process else ())}

    def kill_everything(self) -> set[int]:
        """Send SIGKILL to every process of this copy, the orchestrator first, and return their pids once all are
        gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        pids = set(self.alive())
        self._end(pids)
        return pids

    def kill(self, kind: str, number: signal.Signals = signal.SIGKILL, instance: int = 0) -> int:
        """Send a signal to the process in a slot, or to the orchestrator (`kind="orchestrator"`), and return its
        pid."""
        assert self.process is not None
        pid = self.process.pid if kind == "orchestrator" else self.pid(kind, instance)
        os.kill(pid, number)
        return pid

    def alive(self) -> dict[int, str]:
        """Return pid and command line of every living process of this copy."""
        return processes.of_home(self.home)

    def sockets(self) -> list[Path]:
        """Return the socket files of this copy."""
        places: Iterable[Path] = {self.home, runtime.runtime_dir(self.home)}
        return sorted({path for place in places for path in place.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)})

    def stop(self, number: signal.Signals = signal.SIGTERM, within_s: float = 60.0) -> int:
        """Ask the orchestrator to stop, wait, and return its exit code. Fails when a process or a socket file is
        left."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        process = self.process
        eventually(
            lambda: process.poll() is not None,
            within_s,
            lambda: f"the orchestrator leaves; alive: {self.alive()}\n{self.tail()}",
        )
        left, sockets = self.alive(), self.sockets()
        self._end(left)
        assert not left, f"left behind after stop: {left}\n{self.tail()}"
        assert not sockets, f"left behind after stop: {sockets}"
        assert process.returncode is not None
        return process.returncode

    def close(self) -> None:
        """Stop what still runs, with the checks of `stop`; what was killed on purpose is only cleaned up."""
        self._client.close()
        if self.process is None:
            return
        if self.process.poll() is None:
            self.stop()
        else:
            self._end(self.alive())

    def _end(self, pids: Iterable[int]) -> None:
        processes.end(pids)
