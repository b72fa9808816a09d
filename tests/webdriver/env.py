"""The sandbox's page in a real server, a store in memory, and the sessions between them; every browser is a real
Chromium."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import uvicorn
import uvloop
from starlette.applications import Starlette

from sandbox.ledger import Ledger, LedgerEntry
from sandbox.web import Phones, web_routes
from shared.clock import utc_now
from shared.errors import StoreUnavailable
from shared.inbound_events import Contact
from shared.media.local import LocalStorage
from shared.media.reach import Reach
from shared.messages import InboundMessage, OutboundMessage, Receipt
from shared.states import DesiredSession, SessionState
from shared.store.sessions import TakenSessions
from tests.support.ports import free_ports
from tests.support.waiting import deadline_s, eventually, eventually_async, joined, patient_by
from webdriver.channel import BrowserChannel
from webdriver.chromium import profile
from webdriver.page import parsing
from webdriver.page.attachments import Attachments
from webdriver.session.policy import SessionContext, SessionPolicy
from webdriver.session.ports import DesiredSessionRow
from webdriver.session.session import Session
from webdriver.session.sessions import Sessions

_T = TypeVar("_T")

QUICK = SessionPolicy(
    probe_every_s=0.5,
    prove_every_s=0.5,
    backoff_base_s=0.1,
    backoff_cap_s=0.5,
    missing_chromium_s=0.5,
    quiet_s=0.5,
    replace_apart_s=0.0,
)
"""The default policy with short intervals. How long a page may take to answer is the default: a test that freezes no
page says nothing about it, and other tests use the processors too."""
IMPATIENT = replace(QUICK, probe_within_s=2.0, silent_s=3.0)
"""For tests that freeze a page."""


def run(scenario: Coroutine[Any, Any, _T]) -> _T:
    """Run a scenario on uvloop, as the product does; an error that is not awaited fails the test."""
    return uvloop.run(watched(scenario))


async def watched(scenario: Coroutine[Any, Any, _T]) -> _T:
    """Await a scenario; an error that is not awaited fails the test."""
    forgotten: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: forgotten.append(context))
    result = await scenario
    assert not forgotten, forgotten
    return result


class Web:
    """The page and its phones, served from a thread of their own.

    Attributes:
        since: number of the ledger's entry after which a test looks.
    """

    def __init__(self, directory: Path, *, code_life_s: float = 20.0) -> None:
        self.directory, self._code_life_s = directory, code_life_s
        self.since = 0
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}/web/"
        self.start()

    def start(self) -> None:
        """Start the server; again after `stop` with what the ledger remembers."""
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="sandbox-web")
        self._thread.start()
        assert self._up.wait(deadline_s(10))

    def stop(self) -> None:
        """Stop the server and end every page's line."""
        self._loop.call_soon_threadsafe(self._end)
        joined(self._thread, 10)

    def _end(self) -> None:
        self._server.should_exit = True
        self._phones.close()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.ledger = Ledger(self.directory)
        self._phones = Phones(self.ledger, self.directory / "files", code_life_s=self._code_life_s)
        config = uvicorn.Config(
            Starlette(routes=web_routes(self._phones)), port=self.port, ws="none", lifespan="off", log_config=None
        )
        self._server = uvicorn.Server(config)
        self._server.config.load()
        serving = asyncio.create_task(self._server.serve())
        while not self._server.started:
            await asyncio.sleep(0.005)
        self._up.set()
        await serving
        self.ledger.close()

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the sandbox and return its JSON; a refusal comes back as {status, code, detail}."""
        request = Request(
            f"http://127.0.0.1:{self.port}{path}", data=None if body is None else json.dumps(body).encode()
        )
        try:
            with urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except HTTPError as refused:
            with refused:
                return json.load(refused) | {"status": refused.code}

    def order(self, phone: str, what: str, body: Mapping[str, Any] | None = None) -> Any:
        """Give an order to the page or the phone."""
        return self.ask(f"/control/web/devices/{phone}/{what}", body or {})

    def phone(self, phone: str) -> dict[str, Any]:
        """Return what the sandbox shows of the device that is linked to a phone."""
        return next(dict(row) for row in self.ask("/control/web/devices")["devices"] if row["phone"] == phone)

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return what the ledger holds of one event, oldest first."""
        return [entry.fields for entry in self.ledger.scan(self.since) if entry.event == event]

    def arrived(self, body: str | None = None) -> list[LedgerEntry]:
        """Return what the phone truly got, all of it or one text."""
        found = [entry for entry in self.ledger.scan(self.since) if entry.event == "message_arrived"]
        return [entry for entry in found if body is None or entry.fields["body"] == body]


@dataclass
class MemoryStore:
    """A `SessionStore` that refuses a second arrival as the database does."""

    sessions: dict[int, DesiredSessionRow] = field(default_factory=dict)
    observed: dict[int, list[tuple[SessionState, str, str, float | None]]] = field(default_factory=dict)
    raw: list[Mapping[str, Any]] = field(default_factory=list)
    messages: dict[tuple[int, str], InboundMessage] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    contacts: list[Contact] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)
    stats: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    links: dict[int, tuple[str, datetime | None]] = field(default_factory=dict)
    events: dict[int, list[tuple[str, SessionState, str]]] = field(default_factory=dict)
    received_until: dict[int, datetime] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    away: bool = False
    others: int = 0

    def forget(self) -> None:
        """Drop what was sent and received; the state of sessions and their links stay."""
        for kept in (self.raw, self.messages, self.receipts, self.contacts, self.sent):
            kept.clear()

    def want(self, connection_id: int, desired: DesiredSession = DesiredSession.LINKED) -> None:
        """Say what a session should be."""
        self.sessions[connection_id] = DesiredSessionRow(
            connection_id=connection_id, company_id="demo", desired=desired
        )

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailable("away for the test")

    async def desired(self) -> Sequence[DesiredSessionRow]:
        self._reach()
        return list(self.sessions.values())

    async def take(self, kept: Collection[int], *, any_linked: bool) -> TakenSessions:
        self._reach()
        return TakenSessions(moved={}, others=self.others)

    async def removed(self, connection_ids: Sequence[int]) -> set[int]:
        self._reach()
        return self.gone & set(connection_ids)

    async def confirm_deleted(self, kept: Collection[int]) -> None:
        self._reach()
        self.kept = set(kept)

    async def observe(
        self,
        connection_id: int,
        state: SessionState,
        *,
        detail: str,
        qr: str,
        proved_s: float | None,
        link: str | None,
        stats: Mapping[str, Any],
    ) -> None:
        self._reach()
        self.observed.setdefault(connection_id, []).append((state, detail, qr, proved_s))
        self.stats[connection_id] = stats
        if link is not None and link != self.links.get(connection_id, ("", None))[0]:
            self.links[connection_id] = (link, utc_now())

    async def linked_at(self, connection_id: int, link: str) -> datetime | None:
        self._reach()
        known, at = self.links.get(connection_id, ("", None))
        return at if known == link else None

    async def note(self, connection_id: int, event: str, at: datetime, state: SessionState, detail: str) -> None:
        self._reach()
        self.events.setdefault(connection_id, []).append((event, state, detail))

    async def journal_inbound(self, connection_id: int, raw: Mapping[str, Any]) -> None:
        self._reach()
        message = parsing.read(connection_id, str(raw.get("event") or "message"), raw, utc_now())
        if message is not None and (connection_id, message.provider_id) in self.messages:
            return
        self.raw.append(raw)
        if message:
            self.messages[connection_id, message.provider_id] = message

    async def meet(self, contact: Contact) -> None:
        self._reach()
        self.contacts.append(contact)

    async def record_receipt(self, receipt: Receipt) -> None:
        self._reach()
        self.receipts.append(receipt)

    async def received(self, connection_id: int, until: datetime) -> None:
        self._reach()
        self.received_until[connection_id] = until

    async def position(self, connection_id: int) -> datetime | None:
        self._reach()
        return self.received_until.get(connection_id)

    async def known(self, connection_id: int, ids: Sequence[str]) -> set[str]:
        self._reach()
        return {one for one in ids if (connection_id, one) in self.messages or one in self.sent}

    async def unread_sends(self, connection_id: int, below: int | None = None) -> tuple[Sequence[str], int | None]:
        self._reach()
        # in pages of one
        ids, first = list(self.sent), 0 if below is None else below
        return ids[first : first + 1], first + 1 if first + 1 < len(ids) else None

    def states(self, connection_id: int) -> list[SessionState]:
        """Return the observed states, each once in a row."""
        seen: list[SessionState] = []
        for state, *_ in self.observed.get(connection_id, []):
            if not seen or seen[-1] is not state:
                seen.append(state)
        return seen

    def qr(self, connection_id: int) -> str:
        """Return the code that is shown now."""
        rows = self.observed.get(connection_id)
        return rows[-1][2] if rows else ""


class SessionEnv:
    """Sessions on a home directory against one sandbox."""

    def __init__(self, home: Path, web: Web, policy: SessionPolicy = QUICK, **context: Any) -> None:
        self.store, self.web = MemoryStore(), web
        self._tasks: set[asyncio.Task[Any]] = set()
        self.failed: list[BaseException] = []
        self.context = SessionContext(
            home=home,
            chromium_path="",
            url=web.url,
            slot_lock_fd=-1,
            page_library=_no_library,
            starts=asyncio.Semaphore(2),
            policy=policy,
        )
        self.context = replace(self.context, **context)
        self.sessions = Sessions(self.store, self.context, self.spawn)
        self.storage = LocalStorage(home / "media")
        self.channel = BrowserChannel(self.sessions, Attachments(self.storage, home, Reach.LOOPBACK))

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run in the background and keep an error that leaves."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()):
                self.failed.append(error)

        task.add_done_callback(ended)
        return task

    def session(self, connection_id: int = 1) -> Session:
        """Return a running session."""
        found = self.sessions.find(connection_id)
        assert found is not None
        return found

    async def until(self, state: SessionState, connection_id: int = 1, within_s: float = 40.0) -> None:
        """Wait until a session is in a state, as it was written to the store."""

        async def seen() -> bool:
            rows = self.store.observed.get(connection_id, [])
            return bool(rows) and rows[-1][0] is state

        await eventually_async(
            seen, within_s, lambda: f"{state}; seen {self.store.states(connection_id)}; failed {self.failed}"
        )

    async def passed(self, state: SessionState, connection_id: int = 1, within_s: float = 40.0) -> str:
        """Wait until a session has been in a state, however short, and return its detail then (the last time)."""

        async def seen() -> list[str]:
            return [detail for written, detail, *_ in self.store.observed.get(connection_id, []) if written is state]

        return (
            await eventually_async(
                seen, within_s, lambda: f"{state}; seen {self.store.states(connection_id)}; failed {self.failed}"
            )
        )[-1]

    async def link(self, connection_id: int = 1, phone: str = "60111222333") -> None:
        """Want a session, scan its code as soon as it is shown, and wait until it is ready."""
        self.store.want(connection_id)
        self.sessions.notify()
        await self.until(SessionState.NEEDS_LINK, connection_id)
        scanned = await self.ask("/control/web/scan", {"code": self.store.qr(connection_id), "phone": phone})
        assert scanned.get("phone") == phone, scanned
        await self.until(SessionState.READY, connection_id)

    async def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the sandbox without blocking the loop."""
        return await asyncio.to_thread(self.web.ask, path, body)

    async def order(self, phone: str, what: str, body: Mapping[str, Any] | None = None) -> Any:
        """Give an order to the page or the phone."""
        return await asyncio.to_thread(self.web.order, phone, what, body)


@asynccontextmanager
async def session_env(home: Path, web: Web, policy: SessionPolicy = QUICK, **context: Any) -> AsyncIterator[SessionEnv]:
    """Sessions that are swept, run, and closed again; nothing of Chromium is left afterwards."""
    made = SessionEnv(home, web, policy, **context)
    await made.sessions.sweep()
    made.spawn(made.sessions.run(), "sessions")
    try:
        yield made
        assert not made.failed, made.failed
    finally:
        await made.sessions.close(patient_by(10))
        assert chromiums(home) == []


@asynccontextmanager
async def successor(
    home: Path, web: Web, before: SessionEnv, store: MemoryStore, how: str
) -> AsyncIterator[SessionEnv]:
    """The session_env that goes on with a store: `before` itself, or for a "new process" another one on the same
    home."""
    if how != "new process":
        yield before
        return
    async with session_env(home, web) as made:
        made.store = made.sessions._store = store
        made.sessions.notify()
        yield made


strangers: set[int] = set()
"""Processes of a test that name a profile and are no browser."""


def chromiums(home: Path) -> list[int]:
    """Return the processes of a home's browsers: those that the product finds, and those whose command line names a
    profile."""
    found = set(profile.living(home))
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"--user-data-dir={home}/sessions/".encode() in (path / "cmdline").read_bytes():
                found.add(int(path.name))
    return sorted(found - strangers)


def kill_browser(session: Session) -> None:
    """Kill the main process of a session's Chromium as the kernel would when memory is short."""
    assert session.pid
    os.kill(session.pid, signal.SIGKILL)


def message(body: str = "hello", chat_id: str = "60123456789", **fields: Any) -> OutboundMessage:
    """Return one claimed row."""
    row: dict[str, Any] = {
        "id": 7,
        "company_id": "demo",
        "connection_id": 1,
        "connection_type": "wwebjs",
        "chat_id": chat_id,
        "type": "text",
        "content": {"body": body, "quoted": None},
        "attempt": 1,
        "token": "",
        "incarnation": "webdriver-0.test",
    }
    return OutboundMessage(**row | fields)


class Tokens(list[str]):
    """Records the chosen message ids in their order, and runs `then` after each."""

    def __init__(self, then: Callable[[str], Awaitable[None]] | None = None) -> None:
        super().__init__()
        self.links: list[str] = []
        self._then = then

    async def record(self, token: str, link: str = "") -> None:
        """Take one; this is `record_token`."""
        self.append(token)
        self.links.append(link)
        if self._then:
            await self._then(token)


async def soon(condition: Callable[[], Any], within_s: float = 10.0, describe: Callable[[], object] | str = "") -> Any:
    """Wait for a condition without blocking the loop."""

    async def asked() -> Any:
        return condition()

    return await eventually_async(asked, within_s, describe)


async def _no_library() -> str:
    raise AssertionError("the sandbox's page brings its own library")


__all__ = [
    "IMPATIENT",
    "QUICK",
    "MemoryStore",
    "SessionEnv",
    "Tokens",
    "Web",
    "chromiums",
    "eventually",
    "kill_browser",
    "message",
    "run",
    "session_env",
    "soon",
    "strangers",
    "successor",
    "watched",
]
