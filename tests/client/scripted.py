"""A transport that answers by a script, on a clock of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from bulkhead_client import Bulkhead, RetryPolicy, Unreachable
from bulkhead_client.wire import Answer, Request

Outcome = Answer | Unreachable
LOST = Unreachable("the connection broke")


def answer(status: int = 200, body: Any = None, **headers: str) -> Answer:
    """Return an answer; `headers` with underscores in place of hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=named, body=json.dumps(body).encode())


class ScriptedTransport:
    """Answers requests in turn.

    Attributes:
        asked: the requests. slept: the pauses in seconds. streams: what each stream gives, and how it ends.
    """

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[Request] = []
        self.slept: list[float] = []
        self.streams: list[tuple[str, Unreachable | None]] = []
        self.time_s = 0.0

    def exchange(self, request: Request, timeout_s: float) -> Answer:
        """Return the next outcome."""
        self.asked.append(request)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Unreachable):
            raise outcome
        return outcome

    def lines(self, request: Request, idle_s: float) -> Iterator[str]:
        """Give the lines of the next stream."""
        self.asked.append(request)
        text, end = self.streams.pop(0)
        yield from text.split("\n")
        if end is not None:
            raise end

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.slept.append(seconds)
        self.time_s += seconds

    def now(self) -> float:
        """Return the time."""
        return self.time_s

    def close(self) -> None:
        """Do nothing."""


def client(
    *outcomes: Outcome, streams: Iterable[tuple[str, Unreachable | None]] = ()
) -> tuple[Bulkhead, ScriptedTransport]:
    """Return a client of company demo and its transport."""
    transport = ScriptedTransport(*outcomes)
    transport.streams = list(streams)
    retries = RetryPolicy(attempts=4, first_s=1.0, longest_s=8.0, deadline_s=60.0)
    return Bulkhead("http://nowhere.invalid", "key", company="demo", transport=transport, retries=retries), transport
