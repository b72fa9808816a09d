"""`sessions`: linked browser sessions that all send while one of them is killed, hangs, leaks, and dies repeatedly: the
effect on the others and on meta.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.request import urlopen

import requests

from bench.figures import Figures, quantile
from bench.installation import Installation, outcome, running
from bench.load import LoadResult
from bulkhead_client import place
from shared.kinds import admin_port
from shared.states import SessionState
from tests.support.waiting import NeverHappened, eventually
from webdriver.chromium import profile

_LINK_S: Final = 300.0
"""Seconds for linking all sessions; their browsers start a few at a time."""
_BACK_S: Final = 600.0
"""Seconds for a session's recovery, including the backoff of several restarts."""
_SENT_S: Final = 180.0
"""Seconds until accepted messages are sent: a session sends a few messages a second at most."""
_LEAK_MB: Final = 200
"""Megabytes that the page allocates each second: over both limits below within seconds."""
_LIMITS: Final = {"SESSION_MEMORY_SOFT_MB": 500, "SESSION_MEMORY_HARD_MB": 700, "SESSION_CONNECTS_PER_HOUR": 8}
"""Small enough that the failing session reaches them within the phase."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's parameters."""
    parser.add_argument("--sessions", type=int, default=10, help="linked sessions")
    parser.add_argument("--seconds", type=float, default=12.0, help="length of each phase")
    parser.add_argument(
        "--rate", type=float, default=5.0, help="messages a second through all browser sessions together"
    )
    parser.add_argument("--meta-rate", type=float, default=50.0, help="messages a second through meta beside them")
    parser.add_argument("--burst", type=int, default=200, help="messages in hand when the browser process is killed")


def quick(given: argparse.Namespace) -> None:
    """Reduce it to a run of a minute."""
    given.sessions, given.seconds, given.rate, given.meta_rate, given.burst = 3, 4.0, 3.0, 10.0, 30


def run(given: argparse.Namespace) -> Figures:
    """Measure calm and each fault of the first session in turn, and at the end the death of the whole browser
    process.
    """
    figures = Figures(
        command="sessions", parameters=vars(given), axes=("phase", "p99 from accepted to sent, others, ms")
    )
    limits: dict[str, Any] = {**_LIMITS, "META_PAIR_LIMIT": "off"}
    with running(only="api,meta,recorder,sandbox,postgres,redis,webdriver", **limits) as installation:
        # the provider of meta's messages; the browser sessions talk to the stand-in for WhatsApp Web
        installation.provider(latency_ms=100.0, statuses="sent,delivered")
        show = Show(installation, given)
        figures.values["link all sessions, s"] = show.link()
        troubles: dict[str, Callable[[], object]] = {
            "kill -9 of one Chromium": show.kill_browser,
            "hung tab": lambda: show.order("hang", 60),
            "leak": lambda: show.order("leak", _LEAK_MB),
            "crash loop": show.kill_always,
        }
        for name, trouble in troubles.items():
            # before each fault: the machine and the sessions change during the run
            calm = show.phase(f"calm before {name}", lambda: None)
            sick = show.phase(name, trouble)
            figures.values[name] = {**show.recovery(), **_reported(sick, calm)}
            figures.series.setdefault("others", []).append((float(len(figures.values)), sick.p99_ms(show.others)))
        for name, last in (
            ("kill -9 of the browser process", show.kill_process),
            ("outcome in the phones' ledger", show.outcome),
        ):
            try:
                figures.values[name] = last()
            except NeverHappened as missed:
                # earlier measurements are kept
                figures.values[name] = {"not shown": str(missed)}
    return figures


@dataclass
class BenchPhase:
    """The messages of one phase.

    Attributes:
        sent: message ids by session. waits: seconds from accepted to sent, by id. meta: the result of meta's own load.
    """

    sent: dict[int, list[int]] = field(default_factory=dict)
    waits: dict[int, float] = field(default_factory=dict)
    meta: Mapping[str, float] = field(default_factory=dict)

    def of(self, sessions: range) -> list[float]:
        """Return the waits of some sessions' messages, sorted."""
        return sorted(self.waits[one] for index in sessions for one in self.sent.get(index, ()) if one in self.waits)

    def p99_ms(self, sessions: range) -> float:
        """Return the 99th percentile of these waits."""
        return round(quantile(self.of(sessions), 0.99) * 1000, 1)


class Show:
    """About ten sessions of one installation; the first one is the failing one."""

    def __init__(self, installation: Installation, given: argparse.Namespace) -> None:
        self._installation, self._given = installation, given
        # above the indexes of the existing connections
        self._first = 100
        # a phone of its own for each session: one number is one account
        self._phones = {self._first + number: f"6011{number:07d}" for number in range(given.sessions)}
        self._bodies: dict[str, int] = {}
        self._client = requests.Session()
        self._since = 0.0
        self._over = threading.Event()
        self._killing: threading.Thread | None = None
        self.sick = self._first
        self.others = range(self._first + 1, self._first + given.sessions)

    # the sessions

    def link(self) -> float:
        """Create and link all sessions; return the seconds it took."""
        began_at = time.monotonic()
        for index in self._phones:
            self._installation.rows(
                "INSERT INTO phone_configs (company_id, phone_index, connection_type, process_name) "
                "VALUES ('demo', %s, 'wwebjs', '') RETURNING id",
                index,
            )
        by_index = {row["phoneIndex"]: row for row in self._sessions()}
        assert set(self._phones) <= set(by_index)
        scanned: set[int] = set()

        def all_ready() -> bool:
            shown = {row["phoneIndex"]: row for row in self._sessions()}
            for index in set(self._phones) - scanned:
                code = shown[index]["qr"]
                # if the code has changed since it was listed, the scan is refused, and repeated with the next one
                if (
                    code
                    and self._installation.bulkhead.sandbox(
                        "POST", "/control/web/scan", json={"code": code, "phone": self._phones[index]}
                    ).ok
                ):
                    scanned.add(index)
            return all(shown[index]["state"] == SessionState.READY for index in self._phones)

        eventually(
            all_ready, _LINK_S, lambda: str({row["phoneIndex"]: row["state"] for row in self._sessions()}), poll_s=0.5
        )
        return round(time.monotonic() - began_at, 1)

    def _sessions(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self._installation.bulkhead.client.get(place("sessions", "demo"))["sessions"]
        return listed

    def _sick(self) -> dict[str, Any]:
        return next(row for row in self._sessions() if row["phoneIndex"] == self.sick)

    def _sick_pid(self) -> int | None:
        (found,) = self._installation.rows(
            "SELECT id FROM phone_configs WHERE company_id = 'demo' AND phone_index = %s", self.sick
        )
        settings = self._installation.bulkhead.settings
        port = admin_port(settings.admin_port, settings.kind("webdriver"), 0)
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=20) as answer:
            sessions = json.load(answer)["sessions"]
        return next((row["pid"] for row in sessions if row["connectionId"] == found[0]), None)

    # the troubles

    def order(self, what: str, amount: float) -> None:
        """Make the failing session's page misbehave."""
        self._installation.bulkhead.sandbox(
            "POST", f"/control/web/devices/{self._phones[self.sick]}/{what}", json={"amount": amount}
        ).raise_for_status()

    def kill_browser(self) -> None:
        """Kill the failing session's Chromium."""
        if pid := self._sick_pid():
            # it may have died already, of its fault or by our last signal
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_always(self) -> None:
        """Kill the failing session's Chromium whenever it runs, until the session is quarantined."""
        self._over.clear()

        def kill() -> None:
            # faster than a browser starts, so that none becomes ready
            while not self._over.wait(0.3):
                self.kill_browser()

        self._killing = threading.Thread(target=kill)
        self._killing.start()

    def kill_process(self) -> dict[str, Any]:
        """Kill the browser process while many sends are in flight; report the recovery and leftovers."""
        home = self._installation.bulkhead.home
        # by profile, not by pid: this finds browsers that outlive their owner too
        before = set(profile.living(home))
        phase = BenchPhase()
        for number in range(self._given.burst):
            index = self.others[number % len(self.others)]
            phase.sent.setdefault(index, []).append(self._post(index, f"burst {number}"))
        # during the burst
        eventually(
            lambda: self._count_sent(phase) >= self._given.burst // 10, _SENT_S, "some of the burst is sent", poll_s=0.1
        )
        # before the signal, so that the kernel's part counts
        killed_at = time.monotonic()
        os.kill(self._installation.slot_pids()["webdriver-0"], signal.SIGKILL)
        eventually(
            lambda: not before & set(profile.living(home)),
            30,
            "no browser outlives its owner",
            poll_s=0.05,
        )
        browsers_gone_s = time.monotonic() - killed_at
        codes: set[int] = set()

        def back() -> bool:
            shown = [row for row in self._sessions() if row["phoneIndex"] in self.others]
            # a session that shows a new code has lost its link, which no restart may cause
            codes.update(row["phoneIndex"] for row in shown if row["state"] == SessionState.NEEDS_LINK)
            # a row shows the previous browser until the new one writes: a start after the kill proves a new browser
            restarted = all(
                row["browser"] and row["browser"]["ageSeconds"] < time.monotonic() - killed_at for row in shown
            )
            return restarted and all(row["state"] == SessionState.READY for row in shown)

        eventually(
            back,
            _BACK_S,
            lambda: str({row["phoneIndex"]: (row["state"], row["detail"]) for row in self._sessions()}),
            poll_s=0.5,
        )
        back_s = time.monotonic() - killed_at
        eventually(
            lambda: self._count_sent(phase) == self._given.burst,
            _SENT_S,
            lambda: f"{self._count_sent(phase)} of the burst sent",
            poll_s=0.5,
        )
        return {
            "browsers gone after, s": round(browsers_gone_s, 2),
            "the others ready again after, s": round(back_s, 1),
            "sessions that needed a new code": len(codes),
            "burst sent after, s": round(time.monotonic() - killed_at, 1),
        }

    def _count_sent(self, phase: BenchPhase) -> int:
        ids = [one for listed in phase.sent.values() for one in listed]
        return int(
            self._installation.rows(
                "SELECT count(*) FROM messages WHERE id = ANY(%s) AND state IN ('sent', 'delivered', 'read')", ids
            )[0][0]
        )

    # phases

    def phase(self, name: str, trouble: Callable[[], object]) -> BenchPhase:
        """Send through every session and through meta for a while, with a fault from the second second on."""
        installation, given, phase = self._installation, self._given, BenchPhase()
        spec = installation.spec(seconds=given.seconds, rate=given.meta_rate, chats=500, first_chat=15_560_000_000)
        with installation.load(spec):
            self._since = time.time()
            trouble()
            total = int(given.seconds * given.rate)
            began_at = time.monotonic()
            for number in range(total):
                # fixed instants: a slow response must not reduce the rate after it
                time.sleep(max(0.0, began_at + number / given.rate - time.monotonic()))
                index = self._first + number % given.sessions
                phase.sent.setdefault(index, []).append(self._post(index, f"{name} {number}"))
        result = installation.load_result(spec)
        healthy = [one for index in self.others for one in phase.sent.get(index, ())]
        eventually(lambda: self._are_sent(healthy), _SENT_S, f"{name}: every message of the others is sent", poll_s=0.2)
        # the failing session's messages wait for its recovery, which the phase does not measure
        installation.wait_idle() if name.startswith("calm") else None
        self._measure(phase)
        phase.meta = self._meta(result)
        return phase

    def _post(self, index: int, body: str) -> int:
        # unique: the phones' ledger has texts, not our ids
        text = f"{body} of {index}"
        # a chat for each message, so that none waits for another
        chat = f"6012{len(self._bodies):07d}"
        self._bodies[text] = int(self._installation.bulkhead.client.send_text(chat, text, phoneIndex=index)["id"])
        return self._bodies[text]

    def _are_sent(self, ids: list[int]) -> bool:
        return not self._installation.rows(
            "SELECT id FROM messages WHERE id = ANY(%s) AND sent_at IS NULL LIMIT 1", ids
        )

    def _measure(self, phase: BenchPhase) -> None:
        ids = [one for listed in phase.sent.values() for one in listed]
        rows = self._installation.rows(
            "SELECT id, extract(epoch FROM sent_at - created_at)::float8 FROM messages WHERE id "
            "= ANY(%s) AND sent_at IS NOT NULL",
            ids,
        )
        phase.waits = {int(row_id): float(wait) for row_id, wait in rows}

    def _meta(self, result: LoadResult) -> dict[str, float]:
        # reversed, so that the first arrival of a row wins
        first = {arrival.row_id: arrival.at for arrival in reversed(self._installation.arrived(result.began_at))}
        answered = sorted(answer - due for due, answer in zip(result.due_at, result.answered_at, strict=True))
        arrived = sorted(
            first[row_id] - due for row_id, due in zip(result.ids, result.due_at, strict=True) if row_id in first
        )
        found = outcome(self._installation, result)
        return {
            "due to 202": quantile(answered, 0.99) * 1000,
            "due to provider": quantile(arrived, 0.99) * 1000,
            "lost": found["lost"],
            "duplicated": found["duplicated"],
        }

    def recovery(self) -> dict[str, Any]:
        """Wait until the failing session is ready again or quarantined, and report its recovery."""

        def settled() -> str:
            seen = self._states()
            was_sick = any(one != SessionState.READY for _, one in seen)
            # events may lag behind the state, or the state behind events: it is settled when both agree
            ended = (
                was_sick
                and seen[-1][1] in (SessionState.READY, SessionState.QUARANTINED)
                and self._sick()["state"] == seen[-1][1]
            )
            return seen[-1][1] if ended else ""

        state = eventually(settled, _BACK_S, lambda: f"{self._sick()}; {self._states()}", poll_s=0.3)
        self._over.set()
        if self._killing is not None:
            self._killing.join()
            self._killing = None
        seen = self._states()
        # from the fault to the first other state: for this long the API reported the failing session as ready
        noticed = next(at for at, one in seen if one != SessionState.READY)
        reported: dict[str, Any] = {"sick session": state, "shown as ready for, s": round(noticed - self._since, 2)}
        if state == SessionState.READY:
            reported["ready again after, s"] = round(
                next(at for at, one in reversed(seen) if one == SessionState.READY) - self._since, 1
            )
        else:
            reported["browsers started until quarantine"] = sum(one == SessionState.STARTING for _, one in seen)
        return reported

    def _states(self) -> list[tuple[float, str]]:
        """Return the states of the failing session since the fault, with their instants."""
        return [
            (float(at), str(state))
            for at, state in self._installation.rows(
                "SELECT extract(epoch FROM e.at)::float8, e.state FROM events e JOIN phone_configs c "
                "ON c.id = e.connection_id "
                "WHERE e.subject = 'session' AND c.phone_index = %s AND e.state <> '' AND e.at >= "
                "to_timestamp(%s) ORDER BY e.id",
                self.sick,
                self._since,
            )
        ]

    def _bring_back(self) -> None:
        """End the quarantine, as an operator would."""
        if self._sick()["state"] != SessionState.READY:
            self._installation.bulkhead.client.call("POST", place("sessions", "demo", self.sick, "restart"))
            eventually(
                lambda: self._sick()["state"] == SessionState.READY,
                _BACK_S,
                "the quarantined session is back",
                poll_s=0.5,
            )

    def outcome(self) -> dict[str, Any]:
        """Compare accepted messages with arrivals at the phones."""
        self._bring_back()
        eventually(lambda: self._are_sent(list(self._bodies.values())), _SENT_S, "everything is sent", poll_s=0.5)
        arrived: Counter[str] = Counter()
        with (self._installation.bulkhead.home / "sandbox" / "ledger.jsonl").open("rb") as ledger:
            for line in ledger:
                if b'"event":"message_arrived"' in line[:200]:
                    arrived[json.loads(line)["body"]] += 1
        return {
            "accepted": len(self._bodies),
            "lost": sum(arrived[body] == 0 for body in self._bodies),
            "duplicated": sum(arrived[body] > 1 for body in self._bodies),
        }


def _reported(sick: BenchPhase, calm: BenchPhase) -> dict[str, Any]:
    others = range(min(sick.sent) + 1, max(sick.sent) + 1)
    waits, before = sick.of(others), calm.of(others)
    ratios = {
        f"meta p99 {name}, ratio to calm": round(sick.meta[name] / calm.meta[name], 2)
        for name in ("due to 202", "due to provider")
    }
    return {
        "others sent": len(waits),
        "others not sent": sum(len(sick.sent.get(index, ())) for index in others) - len(waits),
        "others p50, ms": round(statistics.median(waits) * 1000, 1),
        "others p99, ms": sick.p99_ms(others),
        "others p99, ratio to calm": round(quantile(waits, 0.99) / quantile(before, 0.99), 2),
        **ratios,
        "meta lost or duplicated": sick.meta["lost"] + sick.meta["duplicated"],
    }
