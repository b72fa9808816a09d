"""Measures supervision on the real program: `python bench/supervision.py COMMAND --help`.

detection      kill -9 to the event in the journal, and to the next process being ready
kills kills of every kind: the effect on other kinds and on clients orchestrator repeated kill -9 of the orchestrator:
adoption, and the effect on children hang time from SIGSTOP of a process to its death calm busy machine, PostgreSQL or
Redis stopped, everything paused: nothing may be killed all all of them with small numbers
"""

from __future__ import annotations

import argparse
import os
import random
import select
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.supervision_home import SupervisedHome, instant, report, spread
from shared.kinds import admin_port, kind_named
from shared.process.journal import SupervisionEvent as Happened
from supervision.processes.markers import descendants, scan


@dataclass(frozen=True)
class Failure:
    """One request that failed: the port's name, begin and end (monotonic), and the kind of failure."""

    name: str
    began_at: float
    ended_at: float
    how: str


class Clients:
    """Send requests to each port continuously from a thread of its own, and count responses, refusals and broken
    requests.

    Args:
        ports: by name. pause_s: seconds between two requests.
    """

    def __init__(self, ports: dict[str, int], pause_s: float = 0.01) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(name, port), daemon=True) for name, port in ports.items()
        ]

    def _ask(self, name: str, port: int) -> None:
        while not self._stop.wait(self._pause_s):
            began_at = time.monotonic()
            how = self._once(port)
            self.counts[f"{name} {how}"] += 1
            if how != "answered":
                self.failures.append(Failure(name, began_at, time.monotonic(), how))

    @staticmethod
    def _once(port: int) -> str:
        try:
            # a new connection for each request: a kept one would not show refused connections
            with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
                line.sendall(b"GET /livez HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                return "answered" if line.recv(12).startswith(b"HTTP/1.1 200") else "broken"
        except ConnectionRefusedError:
            # no process holds the listening socket; inheriting it from the orchestrator must prevent that
            return "refused"
        except TimeoutError:
            # the socket is open, but no process responds
            return "late"
        except OSError:
            return "broken"

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def detection(installation: SupervisedHome, given: argparse.Namespace) -> dict[str, Any]:
    """Kill the slots one after the other.

    A killed process is dead for others when the kernel has released its memory: then its pidfd becomes readable, for us
    as for the orchestrator. Where possible we wait in the real-time class, so that our own wait for a CPU does not
    count as the kernel's part. The orchestrator has detected the death when it has read the exit status and decided the
    reaction; the journal has that instant.
    """
    slots = [name for name in installation.all_ready() if kind_of(name) in given.kinds.split(",")]
    noticed, decided, seen, freed, resident = [], [], [], [], []
    back: dict[str, list[float]] = {}
    for number in range(given.n):
        slot, before = slots[number % len(slots)], installation.last()
        pid = installation.pid(slot)
        resident.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)
        # opened before the kill: a pid may be reused, a pidfd refers to this process only (pidfd_open(2))
        pidfd = os.pidfd_open(pid)
        with first_in_line():
            killed_at = time.time()
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            # readable when the process has ended, reaped or not
            select.select([pidfd], [], [])
            word_at = time.time()
        os.close(pidfd)
        exited = installation.wait(Happened.EXITED, slot, after=before)
        noticed.append(word_at - killed_at)
        decided.append(instant(exited) - word_at)
        seen.append(instant(exited) - killed_at)
        freed.append(instant(installation.wait(Happened.SLOT_FREE, slot, after=exited.seq)) - killed_at)
        ready = installation.wait(Happened.READY, slot, after=exited.seq)
        back.setdefault(kind_of(slot), []).append(instant(ready) - killed_at)
        progress(number + 1, given.n, installation.begun_at)
        # random, so that kills are not in phase with the orchestrator's timers
        time.sleep(random.uniform(0.0, 0.3))
    starts = {kind: installation.starts(kind) for kind in back}
    return {
        "kill -9 to detection": spread(seen),
        "  of which the kernel's: kill to the process being gone": spread(noticed),
        "  of which ours: from there to the decision": spread(decided),
        "resident MB of the killed": {"median": round(statistics.median(resident), 1), "max": round(max(resident), 1)},
        "kill -9 to proof of death": spread(freed),
        **{f"kill -9 of {kind} to ready again": spread(times) for kind, times in back.items()},
        **{
            f"  of which {kind}'s interpreter and imports": spread([imported for imported, _ in parts])
            for kind, parts in starts.items()
            if parts
        },
        **{
            f"  of which {kind}'s settings, sockets and room": spread([opened for _, opened in parts])
            for kind, parts in starts.items()
            if parts
        },
    }


@contextmanager
def first_in_line() -> Iterator[None]:
    """Run in the real-time class during the block, where that is allowed."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    try:
        yield
    finally:
        # always reset, or the client would keep its priority over the program that it measures
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


PUBLIC = {"API_PORT": "api", "META_PORT": "meta", "WEBDRIVER_PORT": "webdriver", "SANDBOX_PORT": "sandbox"}


def kills(installation: SupervisedHome, given: argparse.Namespace) -> dict[str, Any]:
    """Kill the slots one after the other, in rounds of random order, and check all others after each kill."""
    kinds = given.kinds.split(",")
    slots = installation.all_ready()
    victims = [slot for slot in slots if kind_of(slot) in kinds]
    ports = {name: installation.ports[name] for name, kind in PUBLIC.items() if f"{kind}-0" in slots}
    own = {
        slot: admin_port(installation.admin, kind_named(kind_of(slot)), int(slot.rsplit("-", 1)[1]))
        for slot in slots
        if kind_of(slot) not in ("postgres", "redis")
    }
    per_kind: Counter[str] = Counter()
    expected: set[tuple[str, str]] = set()
    away: list[tuple[str, float, float]] = []
    pids_changed: list[str] = []
    connections_lost: list[str] = []
    connections_seen = 0
    first, begun = installation.last(), time.monotonic()
    stopped_by = ""
    with Clients(ports, pause_s=0.02) as clients, Clients(own, pause_s=0.2) as elsewhere:
        try:
            for number in range(given.n):
                if number % len(victims) == 0:
                    # a new order in each round: every slot is killed equally often, in varying sequence
                    order = random.sample(victims, len(victims))
                victim = order[number % len(victims)]
                others = [slot for slot in slots if slot != victim]
                # before the kill, so that later differences are its effect
                pids, backends = {slot: installation.pid(slot) for slot in others}, installation.backends(others)
                before, killed_at = installation.last(), time.monotonic()
                os.kill(installation.pid(victim), signal.SIGKILL)
                exited = installation.wait(Happened.EXITED, victim, after=before)
                # by incarnation: a second exit of the same slot is unexpected
                expected.add((victim, exited.incarnation))
                installation.wait(Happened.READY, victim, after=exited.seq, within_s=120)
                if kind_of(victim) == "postgres":
                    # without it no slot is ready; all must become ready again by themselves before the next kill
                    installation.until(
                        lambda: all(slot["state"] == "ready" for slot in installation.slots().values()),
                        "all ready again",
                        120,
                    )
                else:
                    connections_seen += len(backends)
                    connections_lost += [
                        f"{backends[pid]} when {victim} was killed"
                        for pid in backends.keys() - installation.backends(others).keys()
                    ]
                away.append((victim, killed_at, time.monotonic()))
                pids_changed += [
                    f"{slot} when {victim} was killed" for slot, pid in pids.items() if installation.pid(slot) != pid
                ]
                per_kind[kind_of(victim)] += 1
                progress(number + 1, given.n, begun)
        # reported with the figures so far, which help to find the cause
        except (TimeoutError, LookupError, OSError) as reason:
            stopped_by = f"{type(reason).__name__}: {reason}"
    exits = [entry for entry in installation.events() if entry.seq > first and entry.event is Happened.EXITED]
    unasked = [
        f"{e.slot}: {e.details['reason']}, {e.details['last_words'] or e.details['log_tail'][-300:]}"
        for e in exits
        if (e.slot, e.incarnation) not in expected
    ]

    def foreign(failure: Failure, name: str) -> bool:
        return not any(
            # until a second after it was ready again: a request that began before that may still fail
            fits(victim, name) and failure.ended_at >= since and failure.began_at <= until + 1.0
            for victim, since, until in away
        )

    public = [failure for failure in clients.failures if foreign(failure, PUBLIC[failure.name])]
    failed_elsewhere = [failure for failure in elsewhere.failures if foreign(failure, failure.name)]
    return {
        "kills": dict(per_kind),
        "all": sum(per_kind.values()),
        **({"STOPPED EARLY": stopped_by} if stopped_by else {}),
        "seconds": round(time.monotonic() - begun, 1),
        "processes that left without having been killed": unasked or 0,
        "other slots whose process changed": pids_changed or 0,
        "database connections of other slots looked at": connections_seen,
        "of which ended": connections_lost or 0,
        "requests at public ports": dict(sorted(clients.counts.items())),
        "connections refused at public ports": sum(
            count for name, count in clients.counts.items() if name.endswith("refused")
        ),
        "requests at public ports that failed while no process of that kind was killed": [
            f"{one.name} {one.how}" for one in public
        ]
        or 0,
        "requests to other slots' own ports": sum(elsewhere.counts.values()),
        "of which failed while that slot was not killed": [f"{one.name} {one.how}" for one in failed_elsewhere] or 0,
    }


def kind_of(slot: str) -> str:
    """Return the kind of a slot."""
    return slot.rsplit("-", 1)[0]


def fits(victim: str, name: str) -> bool:
    """Whether `name`, a slot or a kind, is the victim or its kind."""
    return name in (victim, kind_of(victim))


def progress(done: int, of: int, begun: float) -> None:
    """Show the progress: a bar at a terminal, otherwise a line at intervals."""
    at_terminal = sys.stderr.isatty()
    # a log gets a line for every fifty kills instead of the bar
    if not at_terminal and done % 50 and done != of:
        return
    left_s = (time.monotonic() - begun) / done * (of - done)
    bar = "#" * (40 * done // of)
    sys.stderr.write(
        f"{chr(13) if at_terminal else ''}[{bar:<40}] {done}/{of}, {left_s / 60:.0f} min "
        f"left{'' if at_terminal and done < of else chr(10)}"
    )
    sys.stderr.flush()


def orchestrator(installation: SupervisedHome, given: argparse.Namespace) -> dict[str, Any]:
    """Kill the orchestrator and start the next one, repeatedly."""
    slots = installation.all_ready()
    pids = {slot: installation.pid(slot) for slot in slots}
    started = sum(entry.event is Happened.STARTED for entry in installation.events())
    from_start, within, doubled = [], [], 0
    with Clients({name: installation.ports[name] for name in ("API_PORT", "META_PORT")}) as clients:
        for _ in range(given.n):
            installation.process.kill()
            # reaped before the next one starts, as a service manager would do
            installation.process.wait()
            before, begun_at = installation.last(), time.time()
            installation.start()
            for slot in slots:
                installation.wait(Happened.ADOPTED, slot, after=before)
            entries = [entry for entry in installation.events() if entry.seq > before]
            # the slowest child counts: until its adoption a part of the program is not supervised
            last = max(instant(entry) for entry in entries if entry.event is Happened.ADOPTED)
            from_start.append(last - begun_at)
            within.append(
                last - next(instant(entry) for entry in entries if entry.event is Happened.ORCHESTRATOR_STARTED)
            )
            doubled += sum(installation.pid(slot) != pid for slot, pid in pids.items())
    return {
        "start of the next one to all adopted": spread(from_start),
        "of which after its interpreter was up": spread(within),
        "children restarted": sum(entry.event is Happened.STARTED for entry in installation.events()) - started,
        "slots whose process changed": doubled,
        "connections refused": sum(count for name, count in clients.counts.items() if name.endswith("refused")),
        "requests": dict(sorted(clients.counts.items())),
    }


def hang(installation: SupervisedHome, given: argparse.Namespace) -> dict[str, Any]:
    """Stop processes and wait until the orchestrator has killed them."""
    slots = [name for name in installation.all_ready() if name.rsplit("-", 1)[0] in given.kinds.split(",")]
    beyond = []
    for number in range(given.n):
        slot, before = slots[number % len(slots)], installation.last()
        stopped_at = time.time()
        os.kill(installation.pid(slot), signal.SIGSTOP)
        exited = installation.wait(Happened.EXITED, slot, after=before)
        # the threshold is the kind's; the figure is the orchestrator's delay beyond it
        beyond.append(instant(exited) - stopped_at - kind_named(slot.rsplit("-", 1)[0]).watchdog_s)
        installation.wait(Happened.READY, slot, after=exited.seq)
    return {"SIGSTOP to death, beyond the threshold": spread(beyond)}


def calm(installation: SupervisedHome, given: argparse.Namespace) -> dict[str, Any]:
    """Cause disturbances that are no process's fault, and count the processes that are killed for them."""
    installation.all_ready()

    def harm(what: Callable[[], None]) -> dict[str, int]:
        before = installation.last()
        what()
        time.sleep(10.0)
        found = Counter(
            entry.event.value
            for entry in installation.events()
            if entry.seq > before and entry.event in (Happened.HUNG, Happened.EXITED)
        )
        return dict(found)

    def busy() -> None:
        # each in a session of its own: where the kernel divides CPU by session, four loops in one would count as one
        loops = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
            for _ in range(given.loops)
        ]
        time.sleep(given.busy_seconds)
        for loop in loops:
            loop.kill()
            loop.wait()

    def paused(kind: str) -> Callable[[], None]:
        def pause() -> None:
            wrapper = installation.pid(f"{kind}-0")
            # the servers, not their wrapper: a stopped dependency is not a hang of the supervised process
            servers = descendants(scan(), [wrapper])
            for pid in servers:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(given.seconds)
            for pid in servers:
                os.kill(pid, signal.SIGCONT)

        return pause

    def everything() -> None:
        # all at once, as when a virtual machine is suspended: no process reports, while every clock continues
        tree = [installation.process.pid, *descendants(scan(), [installation.process.pid])]
        for pid in tree:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(min(30.0, given.seconds))
        for pid in reversed(tree):
            os.kill(pid, signal.SIGCONT)

    return {
        f"{given.loops} busy loops for {given.busy_seconds:g} s": harm(busy) or "nobody killed",
        f"PostgreSQL stopped for {given.seconds:g} s": harm(paused("postgres")) or "nobody killed",
        f"Redis stopped for {given.seconds:g} s": harm(paused("redis")) or "nobody killed",
        f"everything stopped for {min(30.0, given.seconds):g} s": harm(everything) or "nobody killed",
    }


COMMANDS: dict[str, tuple[Callable[[SupervisedHome, argparse.Namespace], dict[str, Any]], int]] = {
    "detection": (detection, 50),
    "kills": (kills, 50),
    "orchestrator": (orchestrator, 20),
    "hang": (hang, 5),
    "calm": (calm, 1),
}


def main() -> int:
    """Run one benchmark, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=[*COMMANDS, "all"])
    parser.add_argument(
        "-n", type=int, default=0, help="how often (default: small; issue B asks for 1000 kills and 200 orchestrators)"
    )
    parser.add_argument(
        "--kinds", default="api,meta,webdriver,recorder,sandbox,postgres,redis", help="whose processes are killed"
    )
    parser.add_argument("--only", default="", help="kinds that run; empty: all")
    parser.add_argument("--ports", type=int, default=21000, help="first of 110 free ports")
    parser.add_argument("--loops", type=int, default=4, help="calm: busy loops")
    parser.add_argument("--busy-seconds", type=float, default=300.0, help="calm: how long they run")
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="calm: how long each of the other troubles lasts; the last one at most 30",
    )
    parser.add_argument("--json", type=Path, default=None, help="file that the figures are added to")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the installation is stopped on the way out
    for name in COMMANDS if given.command == "all" else [given.command]:
        run, usual = COMMANDS[name]
        installation = SupervisedHome(given.ports, only=given.only)
        try:
            installation.start()
            report(name, run(installation, argparse.Namespace(**(vars(given) | {"n": given.n or usual}))), given.json)
        finally:
            installation.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
