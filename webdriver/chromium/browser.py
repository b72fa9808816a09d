"""The only import of pyppeteer: one tab of one Chromium. Each call has a deadline, and each failure a class of its own.

pyppeteer 2.0.0 is not maintained. Its connection may spin when the socket closes, loses its receive loop when a handler
fails, and answers None where it does not know; `_PipeConnection` and `_TabSession` stand in for those parts, on the
pipe in place of a socket (docs/adr/0020 has what replacing all of it would take).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from pyee import EventEmitter
from pyppeteer.connection import CDPSession, Connection
from pyppeteer.dialog import Dialog
from pyppeteer.errors import NetworkError, PyppeteerError
from pyppeteer.frame_manager import Frame
from pyppeteer.page import Page

from shared.clock import left
from shared.errors import BulkheadError
from shared.logs import logger
from webdriver.chromium.pipe import DebuggingPipe, PipeClosed

log = logger(__name__)

_UNUSED_DOMAINS: Final = ("Network", "Security", "Performance", "Log")
"""What pyppeteer switches on and we never read; Network alone keeps the bodies of the page's answers in memory."""

_UPDATE_CHECK: Final = "/check-update"
"""Path of WhatsApp Web's own query for a newer build of itself."""
_NO_WORKER: Final = (
    "if (navigator.serviceWorker) "
    "navigator.serviceWorker.register = () => "
    "Promise.reject(new DOMException('switched off: the page is pinned', 'SecurityError'));"
)

_RECOVERABLE_WORDS: Final = ("Protocol error", "Target closed", "Session closed")
"""Texts of such failures when they arrive as another class, for example from one of pyppeteer's tasks."""


class BrowserLost(BulkheadError):
    """Raised when tab, browser or connection are gone, or the page moved on: the call may have had its effect."""


class CallTimedOut(BulkheadError):
    """Raised when a call was not answered by its deadline: it may or may not have had its effect."""


class ScriptFailed(BulkheadError):
    """Raised when the page's script ended with an uncaught error."""


def is_browser_failure(error: BaseException) -> bool:
    """Return whether `error` means only that a browser, a tab or the connection to it is gone: one session's end."""
    if isinstance(error, BrowserLost | CallTimedOut | PipeClosed | PyppeteerError):
        return True
    return any(word in str(error) for word in _RECOVERABLE_WORDS)


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Retrieve the error of a future that is not awaited any more, so that asyncio does not report it as forgotten."""
    if not future.cancelled():
        future.exception()


def _label(answer: Any, method: str) -> None:
    """Set on an open call what pyppeteer reads from it when it fails."""
    answer.error, answer.method = NetworkError(), method


async def _within(awaitable: Awaitable[Any], by: float, what: str) -> Any:
    """Await under a deadline without cancelling what pyppeteer waits for: it breaks on futures that were cancelled."""
    # a late answer, or error, ends the task and is dropped
    task = asyncio.ensure_future(awaitable)
    task.add_done_callback(_retrieve)
    done, _ = await asyncio.wait({task}, timeout=left(by))
    if not done:
        raise CallTimedOut(f"{what} was not answered in time")
    try:
        return task.result()
    except (PyppeteerError, PipeClosed, ConnectionError) as error:
        raise BrowserLost(f"{what}: {error}") from error


class _TabSession(CDPSession):  # type: ignore[misc]  # pyppeteer has no types
    """A protocol session whose calls always end: with the answer, or with an error when no answer can come any more."""

    _connection: _PipeConnection | None

    def send(self, method: str, params: dict[str, Any] | None = None) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = self._loop.create_future()
        answer.add_done_callback(_retrieve)
        if self._connection is None:
            answer.set_exception(NetworkError(f"Protocol error ({method}): Session closed."))
            return answer
        self._lastId += 1
        _label(answer, method)
        self._callbacks[self._lastId] = answer
        message = json.dumps({"id": self._lastId, "method": method, "params": params or {}})
        # the answer is registered before: if the connection ends within this call, it fails with all others
        carried = self._connection.send(
            "Target.sendMessageToTarget", {"sessionId": self._sessionId, "message": message}
        )
        carried.add_done_callback(lambda done: self._not_carried(answer, method, done))
        return answer

    @staticmethod
    def _not_carried(answer: asyncio.Future[Any], method: str, carried: asyncio.Future[Any]) -> None:
        if not carried.cancelled() and (error := carried.exception()) is not None and not answer.done():
            answer.set_exception(NetworkError(f"Protocol error ({method}): {error}"))

    def _on_closed(self) -> None:
        for answer in self._callbacks.values():
            if not answer.done():
                answer.set_exception(NetworkError(f"Protocol error ({answer.method}): Target closed."))
        self._callbacks.clear()
        self._connection = None


class _PipeConnection(Connection):  # type: ignore[misc]  # pyppeteer has no types
    """The pipe to one Chromium in place of pyppeteer's websocket. It ends once, for all callers, and a malformed event
    does not end it.

    Attributes:
        lost: done when the connection has ended, with the reason.
    """

    def __init__(self, pipe: DebuggingPipe) -> None:
        # not Connection.__init__, which would open a socket of its own and start a loop that cannot be stopped
        EventEmitter.__init__(self)
        self._pipe, self._loop = pipe, asyncio.get_running_loop()
        self._lastId = 0
        self._callbacks: dict[int, Any] = {}
        self._sessions: dict[str, _TabSession] = {}
        self._connected = True
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self._receiving = self._loop.create_task(self._receive())

    def send(self, method: str, params: dict[str, Any] | None = None) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = self._loop.create_future()
        answer.add_done_callback(_retrieve)
        if not self._connected:
            answer.set_exception(NetworkError(f"Protocol error ({method}): Target closed."))
            return answer
        self._lastId += 1
        _label(answer, method)
        self._callbacks[self._lastId] = answer
        try:
            self._pipe.send({"id": self._lastId, "method": method, "params": params or {}})
        except PipeClosed as error:
            self._end(str(error))
        return answer

    async def createSession(self, targetInfo: dict[str, Any]) -> _TabSession:  # noqa: N802, N803 - pyppeteer's names
        attached = await self.send("Target.attachToTarget", {"targetId": targetInfo["targetId"]})
        session = _TabSession(self, targetInfo["type"], attached["sessionId"], self._loop)
        self._sessions[attached["sessionId"]] = session
        return session

    async def dispose(self) -> None:
        self._end("closed by us")
        await asyncio.wait({self._receiving})

    async def _receive(self) -> None:
        try:
            while True:
                message = await self._pipe.receive()
                try:
                    self._take(message)
                except Exception as error:  # noqa: BLE001 - see below
                    # pyppeteer's handlers fail on events of targets that have just gone; the connection itself is well
                    log.debug("browser_event_refused", error=type(error).__name__)
                # the caller that waits for this message runs before the next one is handled, which may be about a
                # session that it is to register
                await asyncio.sleep(0)
        except PipeClosed as error:
            self._end(str(error))

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("id") in self._callbacks:
            # pyppeteer sets a result unasked, which raises on a future that has failed already
            if self._callbacks[message["id"]].done():
                del self._callbacks[message["id"]]
            else:
                self._on_response(message)
        else:
            self._on_query(message)

    def _end(self, reason: str) -> None:
        if not self._connected:
            return
        # before the futures fail: a call that one of their callbacks makes must fail too, and not wait for ever
        self._connected = False
        for answer in self._callbacks.values():
            if not answer.done():
                answer.set_exception(NetworkError(f"Protocol error ({answer.method}): Target closed."))
        self._callbacks.clear()
        for session in self._sessions.values():
            session._on_closed()
        self._sessions.clear()
        self._pipe.close()
        self.lost.set_result(reason)


class _TabTarget:
    """The part of pyppeteer's Target that `Page` needs; Target itself fails in tasks that are not awaited."""

    def __init__(self) -> None:
        self._isClosedPromise: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Browser:
    """One tab of a running Chromium.

    Attributes:
        lost: done when the tab, its renderer or the connection is gone, with the reason.
    """

    def __init__(self, connection: _PipeConnection, page: Page, calls: _TabSession, target_id: str) -> None:
        self._connection, self._page, self._calls, self._target_id = connection, page, calls, target_id
        self.lost = connection.lost
        connection.on("Target.targetCrashed", lambda event: self._target_ended(event, "the tab crashed"))
        connection.on("Target.targetDestroyed", lambda event: self._target_ended(event, "the tab was closed"))
        # pyee raises on an "error" event without a listener; a crashed tab is reported by the line above
        page.on("error", lambda _: None)
        page.on("dialog", self._answer_dialog)

    @classmethod
    async def open(cls, pipe: DebuggingPipe, by: float) -> Browser:
        """Take the first tab of the Chromium at the other end of `pipe`, until the monotonic instant `by`.

        The pipe is closed with the browser.

        Raises:
            BrowserLost: it does not answer as a browser. CallTimedOut: not in time.
        """
        connection = _PipeConnection(pipe)
        try:
            return await cls._first_tab(connection, by)
        except BaseException:
            await connection.dispose()
            raise

    @classmethod
    async def _first_tab(cls, connection: _PipeConnection, by: float) -> Browser:
        # without discovery Chromium reports no `targetCrashed` and no `targetDestroyed`
        await _within(connection.send("Target.setDiscoverTargets", {"discover": True}), by, "discovering tabs")
        known = await _within(connection.send("Target.getTargets"), by, "listing tabs")
        tabs = [row for row in known["targetInfos"] if row["type"] == "page"]
        if not tabs:
            raise BrowserLost("the browser has no tab")
        session = await _within(connection.createSession(tabs[0]), by, "taking the tab")
        page = await _within(Page.create(session, _TabTarget(), False, None), by, "reading the tab")
        # `Page.create` enables them on this session
        for domain in _UNUSED_DOMAINS:
            await _within(session.send(f"{domain}.disable"), by, f"switching off {domain}")
        # pyppeteer would query every console message again, in tasks that are not awaited
        session.remove_all_listeners("Runtime.consoleAPICalled")
        # a session of its own for our calls: no domain is enabled on it, so it brings no event a second time
        calls = await _within(connection.createSession(tabs[0]), by, "opening a session for calls")
        return cls(connection, page, calls, tabs[0]["targetId"])

    async def prepare(self, script: str, binding: str, take: Callable[[str], None], by: float) -> None:
        """Get the tab ready for a page, before it is opened.

        Args:
            script: an expression to run first in every document.
            binding: name of the function in the page that passes one string to `take`, which must not fail.
        """
        # the policy is read when a document begins, so this comes before the first one
        await _within(self._page.setBypassCSP(True), by, "setBypassCSP")
        await _within(
            self._page._client.send("Page.addScriptToEvaluateOnNewDocument", {"source": script}),
            by,
            "addScriptToEvaluateOnNewDocument",
        )
        await _within(self._page.exposeFunction(binding, take), by, "exposeFunction")

    async def pin(self, url: str, document: bytes, by: float) -> None:
        """Answer requests for the page at `url` with `document`, refuse its query for updates and its service workers.

        Args:
            document: a stored build of the page: its HTML. by: monotonic deadline.
        """
        session, page_url = self._page._client, url.partition("?")[0]
        body = base64.b64encode(document).decode()
        headers = [{"name": "Content-Type", "value": "text/html; charset=utf-8"}]

        def answer(event: dict[str, Any]) -> None:
            requested, request = event["request"]["url"], {"requestId": event["requestId"]}
            if requested.partition("?")[0] == page_url:
                session.send(
                    "Fetch.fulfillRequest", request | {"responseCode": 200, "responseHeaders": headers, "body": body}
                )
            # the page would load the newer build that the answer names
            elif _UPDATE_CHECK in requested:
                session.send("Fetch.failRequest", request | {"errorReason": "BlockedByClient"})
            else:
                session.send("Fetch.continueRequest", request)

        # before `Fetch.enable`: a request that was paused without a handler would wait for ever
        session.on("Fetch.requestPaused", answer)
        origin = "/".join(url.split("/")[:3])
        # a worker that an earlier visit left would answer with the build that it knows
        await _within(
            session.send(
                "Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "service_workers,cache_storage"}
            ),
            by,
            "removing workers",
        )
        await _within(
            session.send("Page.addScriptToEvaluateOnNewDocument", {"source": _NO_WORKER}), by, "refusing workers"
        )
        patterns = [{"urlPattern": f"{page_url}*", "resourceType": "Document"}, {"urlPattern": f"*{_UPDATE_CHECK}*"}]
        await _within(session.send("Fetch.enable", {"patterns": patterns}), by, "pinning the page")

    def on_navigated(self, moved: Callable[[str], None]) -> None:
        """Call `moved` with the address after each navigation of the main frame."""

        def take(frame: Frame) -> None:
            # frames of third parties navigate independently
            if frame is self._page.mainFrame:
                moved(frame.url)

        self._page.on("framenavigated", take)

    async def go(self, url: str, by: float) -> None:
        """Open `url`; returns when the answer has begun, not when the page is loaded.

        Raises:
            BrowserLost: the address cannot be opened, or the browser is gone. CallTimedOut: not in time.
        """
        answer = await _within(self._page._client.send("Page.navigate", {"url": url}), by, "opening the page")
        # the protocol reports a failed navigation (name, connection, certificate) as an answer, not as an error
        if answer.get("errorText"):
            raise BrowserLost(f"opening the page: {answer['errorText']}")

    async def evaluate(self, expression: str, by: float, what: str) -> Any:
        """Evaluate an expression in the page, await it there if it is a promise, and return its value (JSON).

        Args:
            what: names the call in errors; never its content.
        Raises:
            BrowserLost: tab, browser or connection are gone, the page moved on, or no answer can come any more.
            CallTimedOut: not by the monotonic instant `by`.
            ScriptFailed: the expression threw.
        """
        call = self._calls.send(
            "Runtime.evaluate",
            {"expression": expression, "awaitPromise": True, "returnByValue": True, "userGesture": True},
        )
        answer = await _within(call, by, what)
        if not isinstance(answer, dict) or "result" not in answer:
            raise BrowserLost(f"{what}: the connection closed without an answer")
        if failure := answer.get("exceptionDetails"):
            # the wording may hold message text: only the error's class is passed on
            raise ScriptFailed(f"{what}: {failure.get('exception', {}).get('className', 'error')}")
        return answer["result"].get("value")

    async def give_file(self, element_id: str, path: Path, by: float) -> None:
        """Put a file of this machine into a new, hidden file input of the page; Chromium reads the bytes itself.

        Args:
            element_id: of the input. path: must stay there for as long as the page uses the file.
        Raises:
            As `evaluate`.
        """
        attributes = json.dumps({"type": "file", "hidden": True, "id": element_id})
        made = f"document.documentElement.appendChild(Object.assign(document.createElement('input'), {attributes}))"
        answer = await _within(self._calls.send("Runtime.evaluate", {"expression": made}), by, "making a file input")
        if not isinstance(answer, dict) or "objectId" not in answer.get("result", {}) or answer.get("exceptionDetails"):
            raise BrowserLost("making a file input: no answer")
        file = {"files": [str(path)], "objectId": answer["result"]["objectId"]}
        await _within(self._calls.send("DOM.setFileInputFiles", file), by, "passing a file")

    async def close(self, by: float) -> bool:
        """Ask the browser to close, which writes its profile, and close the pipe.

        Returns whether it accepted; `Chromium.end` ends the rest.
        """
        try:
            await _within(self._connection.send("Browser.close"), by, "Browser.close")
        # gone or hung: `Chromium.end` does not need its consent
        except (BrowserLost, CallTimedOut):
            return False
        finally:
            await self._connection.dispose()
        return True

    def _target_ended(self, event: dict[str, Any], reason: str) -> None:
        if event.get("targetId") == self._target_id:
            self._connection._end(reason)

    def _answer_dialog(self, dialog: Dialog) -> None:
        # a dialog stops the page's script until it is answered
        answering = asyncio.ensure_future(dialog.accept() if dialog.type == "beforeunload" else dialog.dismiss())
        answering.add_done_callback(_retrieve)
