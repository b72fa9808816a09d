"""The Channel of browser sessions: carries out one operation through one page. An identifier of the operation is stored
before the page is asked, so that its outcome can be looked up after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from shared import content as types
from shared.clock import left, monotonic, utc_now
from shared.delivery.channel import RecordToken
from shared.errors import StoreUnavailable
from shared.fail_points import hit
from shared.logs import logger
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Retry, Sent
from shared.store.messages import Doubt
from webdriver.chromium.browser import BrowserLost, CallTimedOut, ScriptFailed
from webdriver.page import outcomes, parsing
from webdriver.page.attachments import Attachment, Attachments
from webdriver.page.bridge import Bridge, PageRefused
from webdriver.page.operations import PageOperation, operation_of
from webdriver.session.session import Session
from webdriver.session.sessions import Sessions

log = logger(__name__)

_PREPARE_S: Final = 10.0
"""Longest time to open the chat and choose the id; nothing is sent before."""
_LEAST_SEND_S: Final = 1.0
"""Time that must be left for the send itself."""
_SLOT_S: Final = 30.0
"""Longest wait for a send slot: a message that waits holds capacity that other sessions could use."""
_LOOK_UP_S: Final = 5.0
"""Longest query about one message in doubt; queries about other messages wait for it."""
_NOT_READY: Final = 2.0
"""Pause in seconds before a message of a session that is not ready is tried again."""
_BUSY: Final = 0.5
"""Pause in seconds before a message that found no send slot is tried again."""
_FORWARD: Final = "forward:"
"""Prefix of a forward's identifier; the id of the chat's newest message before the forward follows."""
_EXPIRED: Final = Dead(code="expired", detail="it has no meaning any more")


class BrowserChannel:
    """Sends through the sessions of this process.

    Args:
        attachments: for the files of messages.
    """

    # the page chooses ids, and only when it is ready: the statement that claims a row cannot store one
    token_at_claim = False

    def __init__(self, sessions: Sessions, attachments: Attachments) -> None:
        self._sessions, self._attachments = sessions, attachments

    async def send(self, message: OutboundMessage, record_token: RecordToken, by: float) -> Outcome:
        """Carry out one row.

        Args:
            record_token: stores what names the operation in the row; called before the page is asked for it.
            by: monotonic deadline; what is not answered by then, or by the operation's own, is in doubt.
        Raises:
            Fenced: `record_token` found that the row has another owner by now; nothing was sent.
            StoreUnavailable: `record_token` could not store the name; nothing was sent.
        """
        operation = operation_of(message.type, message.content)
        if operation is None:
            return Dead(code="unsupported_type", detail=f"browser sessions do not send {message.type}")
        # an indicator of typing that waited too long would be wrong
        if _is_past(message):
            return _EXPIRED
        session = self._sessions.find(message.connection_id)
        if session is None or session.page() is None:
            return _not_ready(session)
        # the row was claimed for the account of this link, which is compared again after the waits below
        link = session.link
        # staged before a slot is taken: a download does not delay the session's texts
        async with self._file(message, operation, by - _LEAST_SEND_S) as attachment:
            if isinstance(attachment, Retry | Dead):
                return attachment
            # a file may take a minute: texts do not wait for it
            slot = session.uploading if attachment else session.sending
            try:
                await asyncio.wait_for(
                    slot.acquire(), left(min(by - _LEAST_SEND_S, monotonic() + _SLOT_S), monotonic())
                )
            except TimeoutError:
                return Retry(
                    code="session_busy",
                    detail="other messages of this session took the time",
                    after_s=_BUSY,
                    counts=False,
                )
            try:
                # both may have changed while we waited: the row was claimed for the account of this link
                page = session.page()
                return (
                    _not_ready(session)
                    if page is None or session.link != link
                    else await _Send(session, page, message, operation, record_token, by).carry_out(attachment)
                )
            finally:
                slot.release()

    async def look_up(self, doubt: Doubt) -> Outcome | None:
        """Find out the outcome of an operation whose end was not observed.

        A page's answer is evidence only about operations that used its own link to the phone: after a logout, a wipe or
        a scan with another phone it knows nothing of what was sent before. Then the only evidence is a message that the
        page shows under the id that we chose.

        Returns:
            Sent: the page shows the effect, and the server has the message if it is one. Retry, Dead: it was certainly
                not sent. None: the page does not know (yet).
            InDoubt: no page can be asked; the time limit of the look-up has not begun.
        """
        message = doubt.message
        operation = operation_of(message.type, message.content)
        if not message.token or operation is None:
            # the identifier is stored before the page is asked: without one the page was not asked
            return Retry(code="not_sent", detail="no message id had been chosen", after_s=0.0, counts=False)
        if message.type in types.HARMLESS_TWICE:
            return _EXPIRED if _is_past(message) else Retry(code="harmless_again", after_s=0.0, counts=False)
        session = self._sessions.find(message.connection_id)
        page = session.page() if session else None
        if session is None or page is None:
            return InDoubt(code="session_not_ready", detail=_not_ready(session).detail)
        try:
            return await self._evidence(doubt, operation, session, page)
        except (BrowserLost, CallTimedOut, ScriptFailed) as error:
            return InDoubt(code="page_unavailable", detail=str(error))

    async def _evidence(self, doubt: Doubt, operation: PageOperation, session: Session, page: Bridge) -> Outcome | None:
        message = doubt.message
        try:
            found = await _look(page, message, operation, monotonic() + _LOOK_UP_S)
        except PageRefused as refused:
            log.info(
                "lookup_unanswered", connection_id=message.connection_id, message_id=message.id, reason=str(refused)
            )
            if not operation.targeted or not await self._knows_outcome(doubt, session.link):
                return None
            return outcomes.TARGET_REFUSALS.get(refused.code)
        # the id of a message was chosen by us: a page that shows it knows the message, whatever its link
        shows_id = found["known"] and operation.naming == "message"
        if not shows_id and not await self._knows_outcome(doubt, str(found["link"])):
            return None
        return _of_lookup(session, message, found)

    async def _knows_outcome(self, doubt: Doubt, link: str) -> bool:
        """Whether a page with this link knows the outcome of an attempt: the attempt was made through this link, and
        the link is older than the claim.
        """
        message = doubt.message
        if doubt.link and doubt.link != link:
            log.info("lookup_link_differs", connection_id=message.connection_id, message_id=message.id)
            return False
        # by the store's clock on both sides, so that no two clocks are compared
        linked_at = await self._sessions.linked_at(message.connection_id, link) if link else None
        if linked_at is not None and linked_at <= doubt.claimed_at:
            return True
        log.info("lookup_link_too_new", connection_id=message.connection_id, message_id=message.id)
        return False

    @asynccontextmanager
    async def _file(
        self, message: OutboundMessage, operation: PageOperation, by: float
    ) -> AsyncIterator[Attachment | Retry | Dead | None]:
        if operation.page != "file":
            yield None
            return
        async with self._attachments.staged(message, by) as attachment:
            yield attachment


@dataclass(frozen=True, slots=True)
class _Send:
    """One attempt at one row."""

    session: Session
    page: Bridge
    message: OutboundMessage
    operation: PageOperation
    record_token: RecordToken
    by: float

    async def carry_out(self, attachment: Attachment | None) -> Outcome:
        # some of the time is reserved for the send itself
        by = min(self.by - _LEAST_SEND_S, monotonic() + _PREPARE_S)
        prepared = await self._prepare(by)
        if not isinstance(prepared, _Prepared):
            return prepared
        arguments = _arguments(self.message, self.operation, prepared.token)
        if not attachment:
            return await self._ask(prepared, arguments)
        try:
            file = await self.page.give_file(attachment.path, attachment.filename, attachment.mimetype, by)
        except (BrowserLost, CallTimedOut, ScriptFailed, PageRefused) as error:
            return Retry(code="page_unavailable", detail=str(error), after_s=_NOT_READY, counts=False)
        try:
            options = {**arguments["options"], "mimetype": attachment.mimetype, "filename": attachment.filename}
            return await self._ask(prepared, {**arguments, "file": file, "options": options})
        finally:
            # a page that is gone holds no file any more
            with suppress(BrowserLost, CallTimedOut, ScriptFailed, PageRefused):
                await self.page.drop_file(file, monotonic() + _LEAST_SEND_S)

    async def _prepare(self, by: float) -> _Prepared | Outcome:
        """Find the chat and choose the identifier. A phone number may lead to a chat with another id, which must be
        part of the message id."""
        message, operation = self.message, self.operation
        try:
            if operation.targeted:
                chat = parsing.chat_of(str(message.content["target"]))
                if not chat:
                    return outcomes.TARGET_REFUSALS["msg_not_found"]
                await self.page.find_chat(chat, by)
            else:
                chat = await self.page.find_chat(parsing.chat_id(message.chat_id), by)
                self.session.page_events.resolved(message.chat_id, chat)
            if operation.naming == "forward":
                # the page must have opened the chat of the message too
                await self.page.find_chat(parsing.chat_of(str(message.content["target"])), by)
            return _Prepared(chat, await self._name(chat, by))
        except PageRefused as refused:
            return outcomes.of_lookup(refused.code)
        except (BrowserLost, CallTimedOut, ScriptFailed) as error:
            return Retry(code="page_unavailable", detail=str(error), after_s=_NOT_READY, counts=False)

    async def _name(self, chat: str, by: float) -> str:
        message, kept = self.message, self.message.token
        match self.operation.naming:
            case "message" | "edit":
                # the id of an earlier attempt is kept, so that one id proves the send whichever attempt was carried
                # out; but it contains the chat's id, which may have changed
                return kept if kept and parsing.chat_of(kept) == chat else await self.page.new_message_id(chat, by)
            case "forward":
                # the position that the first attempt stored is kept: a later one would hide a message that the first
                # attempt sent
                return kept if kept.startswith(_FORWARD) else _FORWARD + await self.page.newest_message(chat, by)
            case "effect" if self.operation.page in ("revoke", "remove"):
                # a repetition changes nothing, so the target is identification enough
                return f"{self.operation.page}:{message.content['target']}"
            case _:
                return f"{message.type}:{message.id}"

    async def _ask(self, prepared: _Prepared, arguments: dict[str, Any]) -> Outcome:
        # before the page is asked: if this process dies in between, the row has an id that can be searched for in the
        # page
        # together with the link: after a scan with another phone the page knows nothing of this attempt
        await self.record_token(prepared.token, self.session.link)
        hit("page.token_stored")
        by = min(self.by, monotonic() + self.operation.lasts_s)
        # a send that cannot be answered in time would end in doubt
        if left(by, monotonic()) < _LEAST_SEND_S / 2:
            return Retry(
                code="no_time_left", detail="storing the message id took too long", after_s=_BUSY, counts=False
            )
        with self.session.page_events.sending(self.operation.page, prepared.chat, prepared.token, arguments) as sent_as:
            outcome = await self._answer(prepared, arguments, by)
            if isinstance(outcome, Sent):
                sent_as(outcome.provider_id)
        if self.operation.naming == "forward" and isinstance(outcome, Sent):
            # receipts name the id that the page chose
            with suppress(StoreUnavailable):
                await self.record_token(outcome.provider_id, self.session.link)
        # a repetition does no harm, so there is nothing to reconcile
        if isinstance(outcome, InDoubt) and self.message.type in types.HARMLESS_TWICE:
            return Retry(code=outcome.code, detail=outcome.detail)
        return outcome

    async def _answer(self, prepared: _Prepared, arguments: dict[str, Any], by: float) -> Outcome:
        try:
            answer = await self.page.run(self.operation.page, prepared.chat, prepared.token, arguments, by)
        except PageRefused as refused:
            return outcomes.of_refusal(refused.code, about_target="target" in arguments)
        except CallTimedOut:
            return InDoubt(code="page_answer_late", detail="the page did not answer by the deadline")
        # the call may have reached the page before it was lost
        except (BrowserLost, ScriptFailed) as error:
            return InDoubt(code="browser_lost", detail=str(error))
        hit("page.answered")
        return outcomes.of_answer(answer)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The chat as the page knows it, and the identifier of the operation in it."""

    chat: str
    token: str


def _arguments(message: OutboundMessage, operation: PageOperation, token: str = "") -> dict[str, Any]:
    arguments = operation.arguments(message.content)
    if quoted := message.content.get("quoted"):
        arguments["quoted"] = str(quoted)
    if operation.naming == "forward":
        name = token or message.token
        # an identifier without the prefix is the id that the page had already reported
        arguments["after"] = name.removeprefix(_FORWARD) if name.startswith(_FORWARD) else ""
    return arguments


async def _look(page: Bridge, message: OutboundMessage, operation: PageOperation, by: float) -> Mapping[str, Any]:
    chat = _chat_of(message, operation) or await page.find_chat(parsing.chat_id(message.chat_id), by)
    # a forwarded message whose id the page has reported is looked up like any other
    named = "text" if operation.naming == "forward" and not message.token.startswith(_FORWARD) else operation.page
    return await page.look_up(named, chat, message.token, _arguments(message, operation), by)


def _chat_of(message: OutboundMessage, operation: PageOperation) -> str:
    """Return the chat that an operation in doubt was about; empty when the page must be asked."""
    return parsing.chat_of(str(message.content["target"])) if operation.targeted else parsing.chat_of(message.token)


def _is_past(message: OutboundMessage) -> bool:
    lasts_s = types.SHORT_LIVED.get(message.type)
    return lasts_s is not None and (utc_now() - message.created_at).total_seconds() > lasts_s


def _not_ready(session: Session | None) -> Retry:
    detail = f"the session is {session.state}" if session else "no session runs for this connection"
    return Retry(code="session_not_ready", detail=detail, after_s=_NOT_READY, counts=False)


def _of_lookup(session: Session, message: OutboundMessage, found: Mapping[str, Any]) -> Outcome | None:
    if not found["known"]:
        if not found["certain"]:
            return None
        return Retry(
            code="not_sent", detail="the page has synchronised and shows nothing of it", after_s=0.0, counts=False
        )
    ack, provider_id = int(found["ack"]), str(found.get("id") or message.token)
    if parsing.chat_of(provider_id):
        session.page_events.remember(provider_id)
    # the receipt's own event may have been among those that were lost
    if ack > 1:
        session.page_events.acknowledged(provider_id, ack)
    if ack >= 1:
        return Sent(provider_id=provider_id)
    # an ack of 0: the server has not acknowledged it yet, so there is no outcome
    unsent = outcomes.KNOWN_UNSENT.get(ack)
    return unsent if isinstance(unsent, Retry | Dead) else None
