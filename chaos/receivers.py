"""Subscribers of webhooks, good and bad: HTTP servers of this program that record what they receive."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from chaos.hook_judge import Received, position

_HEAD_MOST: Final = 64 << 10
_CLOCKS_S: Final = 60.0
"""Seconds by which the time of a delivery may differ from its arrival: its process may have stood still."""
_LATE_S: Final = (0.1, 1.5)
_DRIP_S: Final = 0.3
_ENDLESS_S: Final = 30.0
"""Seconds after which an answer without end is given up here; its reader must have ended it before."""
_ENOUGH: Final = 64 << 20
"""Bytes of it: more than its reader may keep."""
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerManner:
    """How a subscriber answers.

    Attributes:
        share: of the events, whose first delivery is answered badly. answers: those, names in `HookReceiver.answers`.
    """

    share: float = 0.0
    answers: tuple[str, ...] = ()


MANNERS: Final[Mapping[str, AnswerManner]] = {
    "good": AnswerManner(),
    "slow": AnswerManner(share=0.3, answers=("late",)),
    "failing": AnswerManner(share=0.25, answers=("500", "503", "429", "404", "302")),
    "hasty": AnswerManner(share=1.0, answers=("hasty",)),
    "cutting": AnswerManner(share=0.25, answers=("cut", "half_head", "half_body")),
    # few: each keeps a place for as long as one delivery may take
    "endless": AnswerManner(
        share=0.05, answers=("dripping_head", "endless_head", "endless_informational", "endless_body")
    ),
    "gone": AnswerManner(share=0.05, answers=("410",)),
}
"""Every manner."""

_EXTRA: Final[Mapping[str, str]] = {"429": "Retry-After: 1\r\n", "302": "Location: http://127.0.0.1:9/\r\n"}
_TAKEN: Final = ("", "late", "half_body", "endless_body")
"""Answers whose head says 2xx, whatever follows."""
_Writer: TypeAlias = asyncio.StreamWriter
_Answer: TypeAlias = Callable[[_Writer], Awaitable[bool]]
"""Writes an answer. Returns whether the connection may be used again."""


class HookReceiver:
    """One subscriber.

    Args:
        name: unique. company: whose events it is to get. seed: for what it does to which event.
    Attributes:
        secrets: every one that it was given, the newest last. uncertain: a rotation was not answered, so that a secret
            may be missing here. bad: its bad answers, by name. deliveries: requests so far. types, after, hook_id: of
            its subscription. test: number of its test event; 0: none was asked for.
    """

    def __init__(self, name: str, company: str, manner: AnswerManner, seed: int, types: Sequence[str] = ()) -> None:
        self.name, self.company, self.types = name, company, frozenset(types)
        self._manner, self._dice = manner, random.Random(f"{seed} {name}")  # noqa: S311 - dice, not secrets
        self.hook_id, self.after, self.test = "", "0-0", 0
        self.secrets: list[str] = []
        self.uncertain = False
        self.bad: Counter[str] = Counter()
        self.deliveries = 0
        self._is_healed = False
        self._log: list[int] = []
        self._arrived: set[int] = set()
        self._taken: set[int] = set()
        # answered before their body came
        self._unread: set[int] = set()
        self._answered_badly: set[int] = set()
        self._ids: dict[int, str] = {}
        self._wrong: dict[str, str] = {}
        self._twice_signed: set[int] = set()
        # judged at the end, when every secret is known
        self._unproved: list[tuple[str, bytes, str]] = []
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open: set[_Writer] = set()
        self.answers: Mapping[str, _Answer] = {
            "late": self._late,
            "hasty": self._plainly,
            "cut": self._cut,
            "half_head": self._half_head,
            "half_body": self._half_body,
            "dripping_head": self._dripping_head,
            "endless_head": self._endless_head,
            "endless_informational": self._endless_informational,
            "endless_body": self._endless_body,
        }

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}/{self.name}"

    async def listen(self) -> None:
        """Start to listen, at the same port as before."""
        # a port that was given to another program meanwhile is an error that ends the run
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=_HEAD_MOST)
        self._port = self._server.sockets[0].getsockname()[1]

    async def deafen(self) -> None:
        """Refuse connections, and cut those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()

    def heal(self) -> None:
        """Answer well from now on."""
        self._is_healed = True

    def has(self, number: int) -> bool:
        """Whether it has taken an event."""
        return number in self._taken and number not in self._unread

    def is_signed_twice(self, number: int) -> bool:
        """Whether a delivery of an event was signed with the two newest secrets."""
        return number in self._twice_signed

    def received(self) -> Received:
        """Return what it received so far."""
        wrong = dict(self._wrong)
        for name, signed, signatures in self._unproved:
            if not self._signed_with(signed, signatures):
                wrong[name] = "signed with no secret of the subscriber"
        return Received(
            name=self.name,
            company=self.company,
            hook_id=self.hook_id,
            after=self.after,
            types=self.types,
            log=self._log,
            ids=self._ids,
            wrong=wrong,
            unread=frozenset(self._unread),
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: _Writer) -> None:
        self._open.add(writer)
        try:
            # the process that delivers is killed and cut off: a broken connection is the usual case
            with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: _Writer) -> bool:
        """Receive and answer one request. Returns whether the connection may be used again."""
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
        try:
            number = position(headers["webhook-id"])[1]
        except (KeyError, ValueError):
            self._wrong[headers.get("webhook-id", "?")] = "has no id"
            return False
        answer = self._choose(number)
        if answer == "hasty":
            # what follows upon the answer arrives after this
            self._note(number, is_taken=True)
            self._unread.add(number)
            writer.write(_OK)
        body = await reader.readexactly(int(headers["content-length"]))
        self._unread.discard(number)
        self.deliveries += 1
        try:
            self._check(number, headers, body)
        except (KeyError, ValueError) as problem:
            self._wrong[headers["webhook-id"]] = f"is malformed ({problem!r})"
        if answer == "hasty":
            return True
        # before it is answered, for the same reason
        self._note(number, is_taken=answer in _TAKEN)
        if answer in self.answers:
            return await self.answers[answer](writer)
        return await self._status(writer, answer or "200")

    def _choose(self, number: int) -> str:
        """Return a bad answer, or none."""
        if self._is_healed or number in self._answered_badly or self._dice.random() >= self._manner.share:
            return ""
        self._answered_badly.add(number)
        answer = self._dice.choice(self._manner.answers)
        # a habit, and no fault, since it answers each so
        if self._manner.share < 1.0:
            self.bad[answer] += 1
        return answer

    def _note(self, number: int, *, is_taken: bool) -> None:
        if number not in self._arrived or (is_taken and number not in self._taken):
            self._log.append(number if is_taken else -number)
        self._arrived.add(number)
        if is_taken:
            self._taken.add(number)

    def _check(self, number: int, headers: Mapping[str, str], body: bytes) -> None:
        """Note what is wrong with a delivery."""
        name = headers["webhook-id"]
        event = json.loads(body)
        if self._ids.setdefault(number, name) != name or event["id"] != name:
            self._wrong[name] = "has another id than before"
        if event["companyId"] != self.company:
            self._wrong[name] = f"is of company {event['companyId']}"
        if abs(int(headers["webhook-timestamp"]) - time.time()) > _CLOCKS_S:
            self._wrong[name] = "has another time"
        signed = f"{name}.{headers['webhook-timestamp']}.".encode() + body
        signatures = headers["webhook-signature"]
        proved = self._signed_with(signed, signatures)
        if not proved:
            # perhaps with a secret whose answer is still on its way
            self._unproved.append((name, signed, signatures))
        if set(self.secrets[-2:]) == proved and len(proved) == 2:
            self._twice_signed.add(number)

    def _signed_with(self, signed: bytes, signatures: str) -> set[str]:
        given = signatures.split(" ")
        return {secret for secret in self.secrets if _signature(secret, signed) in given}

    # --- answers

    async def _status(self, writer: _Writer, status: str) -> bool:
        writer.write(f"HTTP/1.1 {status} x\r\n{_EXTRA.get(status, '')}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()
        return True

    async def _plainly(self, writer: _Writer) -> bool:
        writer.write(_OK)
        await writer.drain()
        return True

    async def _late(self, writer: _Writer) -> bool:
        await asyncio.sleep(self._dice.uniform(*_LATE_S))
        return await self._plainly(writer)

    async def _cut(self, writer: _Writer) -> bool:
        writer.transport.abort()
        return False

    async def _half_head(self, writer: _Writer) -> bool:
        writer.write(_OK[:12])
        await writer.drain()
        return False

    async def _half_body(self, writer: _Writer) -> bool:
        writer.write(_OK.replace(b"Length: 2", b"Length: 999"))
        await writer.drain()
        return False

    async def _dripping_head(self, writer: _Writer) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(int(_ENDLESS_S / _DRIP_S)):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(_DRIP_S)
        return False

    async def _endless_head(self, writer: _Writer) -> bool:
        return await self._endless(writer, b"HTTP/1.1 200 OK\r\n", b"X-Endless: 0123456789\r\n" * 1000)

    async def _endless_informational(self, writer: _Writer) -> bool:
        return await self._endless(writer, b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)

    async def _endless_body(self, writer: _Writer) -> bool:
        return await self._endless(writer, b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 32_768)

    async def _endless(self, writer: _Writer, first: bytes, piece: bytes) -> bool:
        writer.write(first)
        async with asyncio.timeout(_ENDLESS_S):
            for _ in range(_ENOUGH // len(piece)):
                writer.write(piece)
                await writer.drain()
                # beside everything else of this program
                await asyncio.sleep(0)
        return False


def _signature(secret: str, signed: bytes) -> str:
    # its own, not the one of the room that signs: it would repeat that one's mistakes
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
