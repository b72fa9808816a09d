"""What issue B promises, measured on the real program: `python bench/supervision.py COMMAND --help`.

detection      kill -9 to the event in the journal, and to the next process being ready
kills          kills spread over kinds: what the other kinds and clients notice
orchestrator   kill -9 of the orchestrator, again and again: adoption, and what children notice
hang           SIGSTOP of a process to its death
calm           busy machine, PostgreSQL or Redis standing still, everything paused: nobody is killed
all            all of them with small numbers
"""

from __future__ import annotations

import argparse
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.supervision_rig import Copy, instant, report, spread
from shared.kinds import kind_named
from shared.process.journal import SupervisionEvent as Happened
from supervision.processes import descendants, scan


class Clients:
    """Ask the public ports without pause, and count answers, refusals and broken requests."""

    def __init__(self, ports: dict[str, int], pause_s: float = 0.01) -> None:
        self.counts: Counter[str] = Counter()
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(name, port), daemon=True) for name, port in ports.items()]

    def _ask(self, name: str, port: int) -> None:
        while not self._stop.wait(self._pause_s):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
                    line.sendall(b"GET /livez HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                    self.counts[f"{name} {'answered' if line.recv(12).startswith(b'HTTP/1.1 200') else 'broken'}"] += 1
            except ConnectionRefusedError:
                self.counts[f"{name} refused"] += 1
            except OSError:
                self.counts[f"{name} broken"] += 1

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def detection(copy: Copy, given: argparse.Namespace) -> dict[str, Any]:
    """Kill one slot after the other."""
    slots = [name for name in copy.all_ready() if name.rsplit("-", 1)[0] in given.kinds.split(",")]
    kernel, seen, freed = [], [], []
    back: dict[str, list[float]] = {}
    for number in range(given.n):
        slot, before = slots[number % len(slots)], copy.last()
        pidfd = os.pidfd_open(copy.pid(slot))
        killed_at = time.time()
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [])
        kernel.append(time.time() - killed_at)
        os.close(pidfd)
        exited = copy.wait(Happened.EXITED, slot, after=before)
        seen.append(instant(exited) - killed_at)
        freed.append(instant(copy.wait(Happened.SLOT_FREE, slot, after=exited.seq)) - killed_at)
        ready = copy.wait(Happened.READY, slot, after=exited.seq)
        back.setdefault(slot.rsplit("-", 1)[0], []).append(instant(ready) - killed_at)
        time.sleep(random.uniform(0.0, 0.3))
    return {
        "kill -9 to the kernel's word (pidfd)": spread(kernel),
        "kill -9 to event": spread(seen),
        "from the kernel's word to the event": spread([max(0.0, event - word) for event, word in zip(seen, kernel, strict=True)]),
        "kill -9 to proof of death": spread(freed),
        **{f"kill -9 of {kind} to ready again": spread(times) for kind, times in back.items()},
    }


def kills(copy: Copy, given: argparse.Namespace) -> dict[str, Any]:
    """Kill random slots, and look at all others after each."""
    kinds = given.kinds.split(",")
    slots = copy.all_ready()
    per_kind: Counter[str] = Counter()
    expected: set[tuple[str, str]] = set()
    first = copy.last()
    begun = time.monotonic()
    with Clients({name: copy.ports[name] for name in ("API_PORT", "META_PORT")}) as clients:
        for _ in range(given.n):
            victim = random.choice([slot for slot in slots if slot.rsplit("-", 1)[0] in kinds])
            before = copy.last()
            os.kill(copy.pid(victim), signal.SIGKILL)
            per_kind[victim.rsplit("-", 1)[0]] += 1
            exited = copy.wait(Happened.EXITED, victim, after=before)
            expected.add((victim, exited.incarnation))
            copy.wait(Happened.READY, victim, after=exited.seq, within_s=120)
    exits = [entry for entry in copy.events() if entry.seq > first and entry.event is Happened.EXITED]
    others = [
        f"{e.slot}: {e.details['reason']}, {e.details['last_words'] or e.details['log_tail'][-300:]}" for e in exits if (e.slot, e.incarnation) not in expected
    ]
    return {
        "kills": dict(per_kind),
        "seconds": round(time.monotonic() - begun, 1),
        "processes that left without having been killed": others or 0,
        "requests": dict(sorted(clients.counts.items())),
        "connections refused": sum(count for name, count in clients.counts.items() if name.endswith("refused")),
    }


def orchestrator(copy: Copy, given: argparse.Namespace) -> dict[str, Any]:
    """Kill the orchestrator and start the next one."""
    slots = copy.all_ready()
    pids = {slot: copy.pid(slot) for slot in slots}
    started = sum(entry.event is Happened.STARTED for entry in copy.events())
    from_start, within, doubled = [], [], 0
    with Clients({name: copy.ports[name] for name in ("API_PORT", "META_PORT")}) as clients:
        for _ in range(given.n):
            copy.process.kill()
            copy.process.wait()
            before, begun_at = copy.last(), time.time()
            copy.start()
            for slot in slots:
                copy.wait(Happened.ADOPTED, slot, after=before)
            entries = [entry for entry in copy.events() if entry.seq > before]
            last = max(instant(entry) for entry in entries if entry.event is Happened.ADOPTED)
            from_start.append(last - begun_at)
            within.append(last - next(instant(entry) for entry in entries if entry.event is Happened.ORCHESTRATOR_STARTED))
            doubled += sum(copy.pid(slot) != pid for slot, pid in pids.items())
    return {
        "start of the next one to all adopted": spread(from_start),
        "of which after its interpreter was up": spread(within),
        "children restarted": sum(entry.event is Happened.STARTED for entry in copy.events()) - started,
        "slots whose process changed": doubled,
        "connections refused": sum(count for name, count in clients.counts.items() if name.endswith("refused")),
        "requests": dict(sorted(clients.counts.items())),
    }


def hang(copy: Copy, given: argparse.Namespace) -> dict[str, Any]:
    """Stop processes and wait until they were killed."""
    slots = [name for name in copy.all_ready() if name.rsplit("-", 1)[0] in given.kinds.split(",")]
    beyond = []
    for number in range(given.n):
        slot, before = slots[number % len(slots)], copy.last()
        stopped_at = time.time()
        os.kill(copy.pid(slot), signal.SIGSTOP)
        exited = copy.wait(Happened.EXITED, slot, after=before)
        beyond.append(instant(exited) - stopped_at - kind_named(slot.rsplit("-", 1)[0]).watchdog_s)
        copy.wait(Happened.READY, slot, after=exited.seq)
    return {"SIGSTOP to death, beyond the threshold": spread(beyond)}


def calm(copy: Copy, given: argparse.Namespace) -> dict[str, Any]:
    """Trouble that is nobody's fault: count who was killed for it."""
    copy.all_ready()

    def harm(what: Callable[[], None]) -> dict[str, int]:
        before = copy.last()
        what()
        time.sleep(10.0)
        found = Counter(entry.event.value for entry in copy.events() if entry.seq > before and entry.event in (Happened.HUNG, Happened.EXITED))
        return dict(found)

    def busy() -> None:
        loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(given.loops)]
        time.sleep(given.seconds)
        for loop in loops:
            loop.kill()
            loop.wait()

    def paused(kind: str) -> Callable[[], None]:
        def pause() -> None:
            wrapper = copy.pid(f"{kind}-0")
            servers = descendants(scan(), [wrapper])
            for pid in servers:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(given.seconds)
            for pid in servers:
                os.kill(pid, signal.SIGCONT)

        return pause

    def everything() -> None:
        tree = [copy.process.pid, *descendants(scan(), [copy.process.pid])]
        for pid in tree:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(min(30.0, given.seconds))
        for pid in reversed(tree):
            os.kill(pid, signal.SIGCONT)

    return {
        f"{given.loops} busy loops for {given.seconds:g} s": harm(busy) or "nobody killed",
        f"PostgreSQL stopped for {given.seconds:g} s": harm(paused("postgres")) or "nobody killed",
        f"Redis stopped for {given.seconds:g} s": harm(paused("redis")) or "nobody killed",
        f"everything stopped for {min(30.0, given.seconds):g} s": harm(everything) or "nobody killed",
    }


COMMANDS: dict[str, tuple[Callable[[Copy, argparse.Namespace], dict[str, Any]], int]] = {
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
    parser.add_argument("-n", type=int, default=0, help="how often (default: small; issue B asks for 1000 kills and 200 orchestrators)")
    parser.add_argument("--kinds", default="api,meta,webdriver,recorder,sandbox,redis", help="whose processes are killed")
    parser.add_argument("--only", default="", help="kinds that run; empty: all")
    parser.add_argument("--ports", type=int, default=21000, help="first of 110 free ports")
    parser.add_argument("--loops", type=int, default=4, help="calm: busy loops")
    parser.add_argument("--seconds", type=float, default=60.0, help="calm: how long each trouble lasts")
    parser.add_argument("--json", type=Path, default=None, help="file that the figures are added to")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the copy is stopped on the way out
    for name in COMMANDS if given.command == "all" else [given.command]:
        run, usual = COMMANDS[name]
        copy = Copy(given.ports, only=given.only)
        try:
            copy.start()
            report(name, run(copy, argparse.Namespace(**(vars(given) | {"n": given.n or usual}))), given.json)
        finally:
            copy.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
