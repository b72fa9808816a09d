"""The clients of `bench move`: each sends one message after the other in a chat of its own, to whom its company's
traffic goes.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import requests

from bench.installation import Installation
from bench.old_server import NO_CHAT, NUMBERS, new_session
from tests.support.waiting import deadline_s, eventually, joined

_AGAIN_S: Final = 0.1
"""Seconds until a client that was refused asks again."""


@dataclass
class MovedText:
    """One message of a client. `by`: who accepted it. `phase`: when it was asked for."""

    company: str
    chat: str
    number: int
    by: str
    phase: str


@dataclass
class MovingClients:
    """Clients, each with a chat of its own, in which it sends one message after the other.

    Attributes:
        old_url: where the server is reached, perhaps by way of the shadow. bulkhead: the installation beside it.
        asks_oddly: while it is set, one client asks for what the two answer differently. refused, broken: requests, by
            the phase. failed: texts that Bulkhead reports as failed.
    """

    old_url: str
    given: argparse.Namespace
    bulkhead: Installation | None = None
    accepted: dict[str, MovedText] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    phases: list[tuple[str, float, float]] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    asks_oddly: threading.Event = field(default_factory=threading.Event)
    _route: dict[str, str] = field(default_factory=lambda: dict.fromkeys(NUMBERS, "old"))
    _mark: str = field(default_factory=lambda: os.urandom(4).hex())
    _phase: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def send_by(self, old_url: str) -> None:
        """Reach the server at another address from now on."""
        self.old_url = old_url

    def route(self, company: str, to: str) -> None:
        """Send a company's traffic to `old` or `new` from now on."""
        self._route[company] = to

    @property
    def goes_back(self) -> bool:
        """Whether some company's traffic goes to the server."""
        return "old" in self._route.values()

    def name_phase(self, name: str) -> None:
        """Count what is asked for from now on under a name."""
        self._phase = name

    def route_all(self, to: str) -> None:
        """Send all companies' traffic to one of the two."""
        for company in NUMBERS:
            self.route(company, to)

    def phase(self, name: str, seconds: float) -> None:
        """Let the clients go on for so long under a name."""
        print(f"{name} …", file=sys.stderr, flush=True)
        self.name_phase(name)
        began, before = time.time(), len(self.accepted)
        time.sleep(seconds)
        self.phases.append((name, began, time.time()))
        # a phase in which nothing is accepted would show nothing
        eventually(lambda: len(self.accepted) > before, 60.0, f"messages are accepted: {name}")
        self.name_phase(f"after {name}")

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Let all clients send while the block runs."""
        threads = [
            threading.Thread(target=self._send_on, args=(company, f"1555{place}10{chat:04}"))
            for place, company in enumerate(NUMBERS)
            for chat in range(self.given.chats)
        ]
        threads.append(threading.Thread(target=self._ask_oddly))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                joined(thread, 90)

    def text(self, company: str, chat: str, number: int) -> str:
        """Return what the message of a chat with this number says."""
        return f"{self._mark} {company} {chat} {number}"

    def of_text(self, text: str) -> bool:
        """Whether a text is one of these clients'."""
        return text.startswith(self._mark)

    def note_failed(self, installation: Installation) -> None:
        """Note which messages Bulkhead reports as failed."""
        rows = installation.rows("SELECT content ->> 'body' FROM messages WHERE state = 'failed' AND type = 'text'")
        self.failed = {text for (text,) in rows}

    def _send_on(self, company: str, chat: str) -> None:
        each_s = len(NUMBERS) * self.given.chats / self.given.rate
        session = new_session()
        number = 0
        # spread over the period, so that a number is never silent for long
        self._stop.wait(each_s * int(chat[-4:]) / self.given.chats)
        while not self._stop.wait(each_s):
            phase = self._phase
            if (by := self._accepted_by(session, company, chat, self.text(company, chat, number), phase)) is None:
                return
            with self._lock:
                self.accepted[self.text(company, chat, number)] = MovedText(company, chat, number, by, phase)
            number += 1

    def _accepted_by(self, session: requests.Session, company: str, chat: str, text: str, phase: str) -> str | None:
        """Ask until one of the two accepts, and return which; None when it is over."""
        while not self._stop.is_set():
            to = self._route[company]
            try:
                answer = self._ask(session, to, company, chat, text)
            except requests.RequestException:
                with self._lock:
                    self.broken[f"{to}: {phase}"] += 1
            else:
                if answer.ok:
                    return to
                with self._lock:
                    self.refused[f"{to} {answer.status_code}: {phase}"] += 1
            self._stop.wait(_AGAIN_S)
        return None

    def _ask(self, session: requests.Session, to: str, company: str, chat: str, text: str) -> requests.Response:
        installation = self.bulkhead if to == "new" else None
        port = installation.bulkhead.settings.port("api") if installation else 0
        key = installation.bulkhead.settings.api_key if installation else "a-key-of-the-server"
        return session.post(
            f"{f'http://127.0.0.1:{port}' if installation else self.old_url}/api/v2/messages/text/{company}/{chat}",
            json={"message": text, "phoneIndex": 0},
            headers={"Authorization": f"Bearer {key}", "Idempotency-Key": text.replace(" ", "-")},
            timeout=deadline_s(30),
        )

    def _ask_oddly(self) -> None:
        session = new_session()
        while not self._stop.wait(0.5):
            if self.asks_oddly.is_set():
                self._ask(session, "old", next(iter(NUMBERS)), NO_CHAT, "odd")
