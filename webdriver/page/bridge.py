"""The page bridge: Python's side of `bridge.js`, which calls `WPP` and reports its events; one for each document."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.errors import BulkheadError
from shared.logs import logger
from webdriver.chromium.browser import Browser, BrowserLost

log = logger(__name__)

USED_FUNCTIONS: Final = (
    "conn.isAuthenticated",
    "conn.getStreamData",
    "conn.getAuthCode",
    "conn.getHistorySyncProgress",
    "conn.getMyDeviceId",
    "conn.getMyUserLid",
    "conn.genLinkDeviceCodeForPhoneNumber",
    "conn.logout",
    "chat.find",
    "chat.generateMessageID",
    "chat.sendTextMessage",
    "chat.sendFileMessage",
    "chat.sendLocationMessage",
    "chat.sendRawMessage",
    "chat.sendReactionToMessage",
    "chat.editMessage",
    "chat.deleteMessage",
    "chat.forwardMessages",
    "chat.markIsRead",
    "chat.markIsComposing",
    "chat.markIsRecording",
    "chat.markIsPaused",
    "chat.downloadMedia",
    "chat.getMessageById",
    "chat.getMessages",
    "chat.getReactions",
    "chat.list",
)
"""What `bridge.js` calls of `WPP`; a contract test compares it with wa-js's declarations and the sandbox."""

USED_EVENTS: Final = (
    "chat.new_message",
    "chat.msg_ack_change",
    "chat.msg_edited",
    "chat.msg_revoke",
    "chat.new_reaction",
    "conn.auth_code_change",
    "conn.authenticated",
    "conn.stream_mode_changed",
    "conn.stream_info_changed",
    "conn.main_ready",
    "conn.needs_update",
    "conn.logout",
)
"""Events of `WPP` that `bridge.js` subscribes to; the same test compares them."""

_PIECE: Final = 384 * 1024
"""Bytes read from the page in one call: half a megabyte of base64 text, which occupies this process's event loop for a
few milliseconds."""
_BINDING: Final = "__bulkheadReport"
"""Function that the page calls to report an event; `bridge.js` gets its name, which no page is likely to use itself."""
_SOURCE: Final = Path(__file__).with_name("bridge.js")
# analytics and link previews would send what people write to third parties
_CONFIG: Final = "window.WPPConfig = {deviceName: 'Bulkhead', disableGoogleAnalytics: true, linkPreviewApiServers: []};"
# which of our scripts the document has; wa-js is injected into WhatsApp's own origin only, never into an error
# page or the target of a redirect
_LOOK: Final = (
    "window.__bulkhead ? 'bridge' : window.WPP ? 'library' : "
    "(document.readyState !== 'loading' && location.hostname === 'web.whatsapp.com') ? 'bare' : ''"
)


class PageRefused(BulkheadError):
    """Raised when the page answered a call with an error.

    Attributes:
        code: WPPError's code, empty for any other error. name: the error's class in the page.
    """

    def __init__(self, what: str, code: str, name: str) -> None:
        self.code, self.name = code, name
        super().__init__(f"{what}: {code or name or 'error'}")


@dataclass(frozen=True, slots=True)
class PageState:
    """The state that the page reports.

    Attributes:
        loaded: the library is there and has found the page's own modules; the other attributes are valid only then.
            seq: number of events reported so far.
        mode, info: wa-js's StreamMode and StreamInfo. code: text for the QR picture.
        link: identifies the link to the phone by number and device (`60123456789:5@c.us`); a new link of the same
            number has a new device. Empty while the page is not linked or does not know yet.
    """

    loaded: bool
    seq: int = 0
    mode: str = ""
    info: str = ""
    authenticated: bool = False
    code: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class PageEvent:
    """One event of the page: `kind` is `message`, `ack`, `edit`, `revoke`, `reaction`, `changed` or `logout`."""

    kind: str
    data: Any


class Bridge:
    """Calls the page in `browser` and receives its events.

    Args:
        library: returns wa-js's source, for a page that brings no `WPP` of its own; called only then.
        handle: called with each event, in order. It must not fail and must not take long.

    Attributes:
        lost_events: set when an event's number was skipped or a new document was loaded; catch-up then queries the page
            and resets it.
    """

    def __init__(
        self, browser: Browser, library: Callable[[], Awaitable[str]], handle: Callable[[PageEvent], None]
    ) -> None:
        self._browser, self._library, self._handle = browser, library, handle
        self._source = _SOURCE.read_text()
        # no document has an empty epoch: events of a document whose bridge was not installed by this object are dropped
        self._epoch, self._seq = "", 0
        self.lost_events = True

    async def prepare(self, by: float) -> None:
        """Prepare the tab for the page. Raises as `Browser.prepare`."""
        await self._browser.prepare(_CONFIG, _BINDING, self._take, by)

    async def open(self, url: str, by: float) -> None:
        """Open the page in a prepared tab. Raises as `Browser.go`."""
        await self._browser.go(url, by)

    async def probe(self, by: float) -> PageState:
        """Query the page's state by a round trip through its script; first install bridge and library where missing.

        Raises:
            BrowserLost, CallTimedOut, ScriptFailed: see `Browser.evaluate`. PageRefused: the library failed.
        """
        found = await self._browser.evaluate(_LOOK, by, "looking at the page")
        if found == "bare":
            # null, so that the protocol does not serialise the script's last value; the library needs time to find the
            # page's modules, and the next probe continues from there
            await self._browser.evaluate(f"{await self._library()}\n;null", by, "injecting wa-js")
            return PageState(loaded=False)
        if not found:
            return PageState(loaded=False)
        if found == "library":
            # events between the two documents were not received: catch-up queries them
            self._epoch, self._seq, self.lost_events = secrets.token_hex(4), 0, True
            await self._browser.evaluate(
                f"({self._source})({json.dumps(_BINDING)}, {json.dumps(self._epoch)})", by, "installing the bridge"
            )
            log.debug("bridge_installed")
        state = await self._ask("state", by=by)
        # an answer arrives after all events that were sent before it: a higher number than that of the last received
        # event means that one was lost
        if state["seq"] > self._seq:
            self.lost_events, self._seq = True, state["seq"]
        return PageState(**state)

    async def find_chat(self, chat_id: str, by: float) -> str:
        """Return the id of the chat that `chat_id` leads to; a phone number may lead to a `…@lid`.

        Raises as `probe`.
        """
        return str(await self._ask("findChat", chat_id, by=by))

    async def new_message_id(self, chat_id: str, by: float) -> str:
        """Return a new message id for a chat that `find_chat` returned. Raises as `probe`."""
        return str(await self._ask("newMessageId", chat_id, by=by))

    async def newest_message(self, chat_id: str, by: float) -> str:
        """Return the id of the newest message of a chat, empty when there is none. Raises as `probe`."""
        return str(await self._ask("newestMessage", chat_id, by=by))

    async def run(
        self, operation: str, chat_id: str, token: str, arguments: Mapping[str, Any], by: float
    ) -> Mapping[str, Any]:
        """Carry out an operation and return {id, ack, result}.

        Args:
            operation: a name of `bridge.js`'s table. token: names this operation; for what makes a message, the
                message's id. arguments: the rest.
        Raises:
            As `probe`. Any error but `PageRefused` leaves it open whether it was carried out.
        """
        answer: Mapping[str, Any] = await self._ask("run", operation, chat_id, token, arguments, by=by)
        return answer

    async def look_up(
        self, operation: str, chat_id: str, token: str, arguments: Mapping[str, Any], by: float
    ) -> Mapping[str, Any]:
        """Ask whether the effect of an operation is there. Arguments as for `run`.

        Returns:
            {known: true, link, ack, id?}, or {known: false, link, certain}: certain when the page has synchronised and
            the operation is not under way. `link` is that of `PageState`.
        Raises:
            As `probe`.
        """
        answer: Mapping[str, Any] = await self._ask("lookUp", operation, chat_id, token, arguments, by=by)
        return answer

    async def acks(self, message_ids: Sequence[str], by: float) -> Mapping[str, int]:
        """Return the ack of each message that the page knows. Raises as `probe`."""
        answer: Mapping[str, int] = await self._ask("acks", list(message_ids), by=by)
        return answer

    async def since(self, instant: float, bounds: Mapping[str, int], by: float) -> tuple[list[PageEvent], bool, int]:
        """Query what is unread and what happened since an instant (seconds since 1970), in the form of events.

        Returns:
            The events, whether a bound cut something off, and how many chats the page could not open. Raises as
            `probe`.
        """
        answer = await self._ask("since", instant, dict(bounds), by=by)
        return (
            [PageEvent(row["event"], row["data"]) for row in answer["found"]],
            bool(answer["cut"]),
            int(answer["failed"]),
        )

    # files

    async def give_file(self, path: Path, filename: str, mimetype: str, by: float) -> str:
        """Give the page a file of this machine and return the name under which `run` finds it; `drop_file` forgets it.

        Raises as `probe`.
        """
        name = f"bulkhead-{secrets.token_hex(8)}"
        await self._browser.give_file(name, path, by)
        # the page compares the size with ours: it may see a file that is not complete, and would send it so
        await self._ask("takeFile", name, filename, mimetype, path.stat().st_size, by=by)
        return name

    async def open_file(self, message_id: str, by: float) -> tuple[str, int]:
        """Let the page download the file of a message; return the name for `pieces` and its size in bytes.

        Raises as `probe`.
        """
        name = f"bulkhead-{secrets.token_hex(8)}"
        answer = await self._ask("openFile", name, message_id, by=by)
        return name, int(answer["size"])

    async def pieces(self, name: str, size: int, by: float) -> AsyncIterator[bytes]:
        """Yield a file that `open_file` opened. Raises as `probe`."""
        for start in range(0, size, _PIECE):
            yield base64.b64decode(await self._ask("piece", name, start, _PIECE, by=by))

    async def drop_file(self, name: str, by: float) -> None:
        """Let the page forget a file. Raises as `probe`."""
        await self._ask("dropFile", name, by=by)

    async def pairing_code(self, phone: str, by: float) -> str:
        """Return a code of eight characters to be typed into the phone with this number (digits). Raises as `probe`."""
        return str(await self._ask("pairingCode", phone, by=by))

    async def log_out(self, by: float) -> None:
        """End the link to the phone. Raises as `probe`."""
        await self._ask("logOut", by=by)

    async def _ask(self, function: str, *arguments: Any, by: float) -> Any:
        call = f"window.__bulkhead.{function}({', '.join(json.dumps(argument) for argument in arguments)})"
        answer = await self._browser.evaluate(call, by, function)
        # `bridge.js` always answers with {ok, …}: anything else came from another script and proves nothing
        if not isinstance(answer, dict) or "ok" not in answer:
            raise BrowserLost(f"{function}: the page gave no answer")
        if not answer["ok"]:
            raise PageRefused(function, answer.get("code", ""), answer.get("name", ""))
        return answer["value"]

    def _take(self, line: str) -> None:
        try:
            event = json.loads(line)
            epoch, seq, kind, data = str(event["epoch"]), int(event["seq"]), str(event["kind"]), event["data"]
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            # any script of the page can call the binding, with any number and nested as deeply as it likes
            log.warning("page_event_unreadable", length=len(line))
            return
        # from a document that has been replaced, whose events were numbered separately
        if epoch != self._epoch:
            return
        if seq != self._seq + 1:
            self.lost_events = True
            log.warning("page_events_lost", missing=seq - self._seq - 1)
        self._seq = seq
        self._handle(PageEvent(kind, data))
