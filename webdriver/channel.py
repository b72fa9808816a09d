"""The Channel of browser sessions: one message through one page, under an id that is stored before it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.clock import left, monotonic
from shared.crash_points import reach
from shared.delivery.channel import RecordToken
from shared.logs import logger
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Retry, Sent
from shared.store.messages import Doubt
from webdriver import events, outcomes
from webdriver.bridge import Bridge, PageRefused
from webdriver.browser import BrowserLost, CallTimedOut, ScriptFailed
from webdriver.session import Session
from webdriver.sessions import Sessions

log = logger(__name__)

_PREPARE_S: Final = 10.0
_LEAST_SEND_S: Final = 1.0
_LOOK_UP_S: Final = 5.0
_NOT_READY: Final = 2.0
_BUSY: Final = 0.5


class BrowserChannel:
    """Sends through the sessions of this process."""

    token_at_claim = False

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def send(self, message: OutboundMessage, record_token: RecordToken, by: float) -> Outcome:
        """Send one message.

        Args:
            record_token: stores the chosen message id in the row; called before the page is asked to send.
            by: monotonic deadline; what is not answered by then is in doubt.
        Raises:
            Fenced: `record_token` says that the row belongs to somebody else by now; nothing was sent.
            StoreUnavailable: `record_token` could not store the id; nothing was sent.
        """
        if message.type != "text":
            return Dead(code="unsupported_type", detail=f"browser sessions do not send {message.type} yet")
        session = self._sessions.find(message.connection_id)
        if session is None or session.page() is None:
            return _not_ready(session)
        try:
            await asyncio.wait_for(session.sending.acquire(), left(by - _LEAST_SEND_S, monotonic()))
        except TimeoutError:
            return Retry(code="session_busy", detail="other messages of this session took the time", after_s=_BUSY, counts=False)
        try:
            # it may have changed while we waited
            page = session.page()
            return _not_ready(session) if page is None else await _send(session, page, message, record_token, by)
        finally:
            session.sending.release()

    async def look_up(self, doubt: Doubt) -> Outcome | None:
        """Find out what became of a send that nobody saw the end of.

        Returns:
            Sent: the page knows the message and the server has it. Retry, Dead: surely not sent. None: the page cannot tell yet.
            InDoubt: there is no page that could be asked; the time for finding out has not begun.
        """
        message = doubt.message
        if not message.token:
            # the id is stored before the page is asked: without one it never was
            return Retry(code="not_sent", detail="no message id had been chosen", after_s=0.0, counts=False)
        session = self._sessions.find(message.connection_id)
        page = session.page() if session else None
        if session is None or page is None:
            return InDoubt(code="session_not_ready", detail=_not_ready(session).detail)
        try:
            found = await page.look_up(events.chat_of(message.token), message.token, monotonic() + _LOOK_UP_S)
        except PageRefused as refused:
            log.info("lookup_unanswered", connection_id=message.connection_id, message_id=message.id, reason=str(refused))
            return None
        except (BrowserLost, CallTimedOut, ScriptFailed) as error:
            return InDoubt(code="page_unavailable", detail=str(error))
        session.witness.remember(message.token)
        return _of_lookup(session, message, found)


async def _send(session: Session, page: Bridge, message: OutboundMessage, record_token: RecordToken, by: float) -> Outcome:
    prepared = await _prepare(page, message, min(by - _LEAST_SEND_S, monotonic() + _PREPARE_S))
    if not isinstance(prepared, _Prepared):
        return prepared
    await record_token(prepared.token)
    reach("page.token_stored")
    session.witness.remember(prepared.token)
    if left(by, monotonic()) < _LEAST_SEND_S / 2:
        return Retry(code="no_time_left", detail="storing the message id took too long", after_s=_BUSY, counts=False)
    try:
        answer = await page.send_text(prepared.chat, str(message.content["body"]), prepared.token, str(message.content.get("quoted") or ""), by)
    except PageRefused as refused:
        return outcomes.of_refusal(refused.code)
    except CallTimedOut:
        return InDoubt(code="page_answer_late", detail="the page did not answer by the deadline")
    except (BrowserLost, ScriptFailed) as error:
        return InDoubt(code="browser_lost", detail=str(error))
    reach("page.answered")
    return outcomes.of_answer(answer)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The chat as the page knows it, and the message id to use in it."""

    chat: str
    token: str


async def _prepare(page: Bridge, message: OutboundMessage, by: float) -> _Prepared | Outcome:
    """Find the chat first: a phone number may lead to a chat with another id, and the message id must name that one."""
    try:
        chat = await page.find_chat(events.chat_id(message.chat_id), by)
        if message.token and events.chat_of(message.token) == chat:
            return _Prepared(chat, message.token)
        return _Prepared(chat, await page.new_message_id(chat, by))
    except PageRefused as refused:
        return outcomes.of_lookup(refused.code)
    except (BrowserLost, CallTimedOut, ScriptFailed) as error:
        return Retry(code="page_unavailable", detail=str(error), after_s=_NOT_READY, counts=False)


def _not_ready(session: Session | None) -> Retry:
    detail = f"the session is {session.state}" if session else "no session runs for this connection"
    return Retry(code="session_not_ready", detail=detail, after_s=_NOT_READY, counts=False)


def _of_lookup(session: Session, message: OutboundMessage, found: Mapping[str, Any]) -> Outcome | None:
    if not found["known"]:
        if not found["certain"]:
            return None
        return Retry(code="not_sent", detail="the page has synchronised and does not know the message id", after_s=0.0, counts=False)
    ack = int(found["ack"])
    if ack > 1:
        session.witness.acknowledged(message.token, ack)
    if ack >= 1:
        return Sent(provider_id=message.token)
    unsent = outcomes.KNOWN_UNSENT.get(ack)
    return unsent if isinstance(unsent, Retry | Dead) else None
