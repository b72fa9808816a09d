"""The Channel of Meta's connections: one message through one HTTP call, and what its answer means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from meta import errors
from meta.accounts.registry import D360, PAGES, Account, Accounts, Unusable
from meta.errors import Accepted, ErrorAction, Reading, Refusal, Scope, ThrottlePolicy, Unclear
from meta.graph import Answer, Graph, Unwritten
from meta.sending import absence_evidence, messenger, payloads
from meta.sending import uploads as uploading
from meta.sending.absence_evidence import AbsenceEvidence
from meta.sending.throttle import Throttle
from meta.sending.uploads import Uploaded, Uploads
from shared import content
from shared.clock import monotonic, utc_now
from shared.delivery.channel import RecordToken
from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.messages import Dead, InDoubt, OutboundMessage, Outcome, Retry, Sent
from shared.process.metrics import Metrics
from shared.store import connections, pauses, windows
from shared.store.messages import Doubt
from shared.store.store import Store

log = logger(__name__)

UNUSABLE_S: Final = 5.0
"""How long a message waits for credentials that do not open; the connection heals by itself when they are mended."""
_UNREACHABLE: Final = ThrottlePolicy(base_s=1, growth=2, cap_s=5)
_HELD_S: Final = 1.0
"""A message of a paused connection is due again this soon; the claim holds it for as long as the pause lasts."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A body to post, and the uploads that it names."""

    body: bytes
    uploads: Mapping[str, Uploaded]


class MetaChannel:
    """Sends through the Graph API and 360dialog.

    Args:
        window_s: how long webhooks must be silent about a message, although they are proven alive, before it counts as
            not sent.
    """

    token_at_claim = True

    def __init__(
        self,
        store: Store,
        accounts: Accounts,
        graph: Graph,
        uploads: Uploads,
        metrics: Metrics,
        *,
        kind: str,
        window_s: float,
    ) -> None:
        self._store, self._accounts, self._graph, self._uploads = store, accounts, graph, uploads
        self._kind, self._window_s = kind, window_s
        self._throttle = Throttle()
        self._call_seconds = metrics.histogram(
            "meta_call_seconds",
            "Time of one send call to a provider, from request to answer.",
            ("connection_type", "type"),
        )
        self._refusals = metrics.counter(
            "meta_refusals", "Sends that a provider refused, by its code.", ("connection_type", "code")
        )
        self._failures = metrics.counter(
            "meta_transport_failures", "Calls without an answer that proves anything.", ("connection_type", "code")
        )
        self.api_errors = 0

    async def send(self, message: OutboundMessage, record_token: RecordToken, by: float) -> Outcome:
        """See `Channel.send`.

        Raises:
            StoreUnavailable: the connection cannot be read; nothing was sent. Also whatever `record_token` raises,
                likewise.
        """
        account = await self._accounts.find(message.connection_id)
        if not isinstance(account, Account):
            return _unusable(account)
        if (wait_s := self._throttle.remaining_s(*_keys(message))) > 0:
            return Retry(code="throttled", detail="the provider asked to wait", after_s=wait_s, counts=False)
        try:
            prepared = await self._prepared(account, message, by)
        except payloads.PayloadRefused as refused:
            return Dead(code=refused.code, detail=str(refused))
        return (
            await self._post(account, message, prepared, record_token, by)
            if isinstance(prepared, _Prepared)
            else prepared
        )

    async def _prepared(self, account: Account, message: OutboundMessage, by: float) -> _Prepared | Outcome:
        """Return what is to be posted, with its files at the provider; or the outcome, when there is nothing to post.
        Raises `PayloadRefused`.
        """
        if (lasts_s := content.SHORT_LIVED.get(message.type)) and (
            utc_now() - message.created_at
        ).total_seconds() > lasts_s:
            return Dead(code="expired", detail=f"it would mean nothing after {lasts_s:g} s")
        speech = messenger if message.connection_type in PAGES else payloads
        if speech is messenger and (reason := await self._too_late(message)):
            return Dead(code=messenger.OUTSIDE, detail=reason)
        files = speech.files(message)
        uploads = await self._uploads.ids(account, message, files, by) if files else {}
        if not isinstance(uploads, Mapping):
            return await self._not_uploaded(account, message, uploads)
        return _Prepared(speech.build(message, {sha256: one.provider_id for sha256, one in uploads.items()}), uploads)

    async def _post(
        self, account: Account, message: OutboundMessage, prepared: _Prepared, record_token: RecordToken, by: float
    ) -> Outcome:
        started = monotonic()
        reply = await self._graph.post(account.endpoint, prepared.body, by, partial(record_token, message.token))
        if isinstance(reply, Answer):
            self._call_seconds.labels(message.connection_type, message.type).observe(monotonic() - started)
            reading = _read(reply, message)
            return await self._of_reading(account, message, reading, prepared.uploads)
        if isinstance(reply, Unwritten):
            return self._unreachable(message, reply.reason)
        return self._unknown(message, "no_answer", reply.reason)

    async def look_up(self, doubt: Doubt) -> Outcome | None:
        """See `Channel.look_up`: proof comes by webhook, so all that can be found here is evidence of the contrary.
        Raises `StoreUnavailable`.
        """
        if doubt.message.type in content.HARMLESS_TWICE:
            return Retry(code="harmless_twice", detail="doing it again changes nothing", after_s=0.0, counts=False)
        if doubt.doubt_s < self._window_s or doubt.message.connection_type in PAGES:
            # whether a Page's echoes are subscribed is unknown: their absence proves nothing
            return None
        account = await self._accounts.find(doubt.message.connection_id)
        if not isinstance(account, Account):
            return None
        # one that was held without evidence waits a whole window from the first later event on
        ago_s = self._window_s if doubt.held else 0.0
        evidence = await self._store.call(
            absence_evidence.weigh,
            kind=self._kind,
            connection_id=doubt.message.connection_id,
            since=doubt.claimed_at,
            ago_s=ago_s,
        )
        if evidence is AbsenceEvidence.UNREAD:
            return InDoubt(code="webhooks_unread", detail="webhooks that wait to be processed may hold the proof")
        if evidence is AbsenceEvidence.NONE:
            return None
        return Retry(
            code="not_sent", detail="this number's webhooks arrive, and none is about it", after_s=0.0, counts=False
        )

    async def _too_late(self, message: OutboundMessage) -> str:
        """Return why it is too late for a message on Messenger or Instagram, empty when it is not. Raises
        `StoreUnavailable`.
        """
        if not messenger.has_window(message):
            return ""
        last = await self._store.call(
            windows.last_heard,
            company_id=message.company_id,
            connection_id=message.connection_id,
            chat_id=message.chat_id,
        )
        return messenger.too_late(message, last, utc_now())

    async def _of_reading(
        self, account: Account, message: OutboundMessage, reading: Reading, uploads: Mapping[str, Uploaded]
    ) -> Outcome:
        if isinstance(reading, Accepted):
            self._throttle.passed(*_keys(message))
            await self._prove(account)
            if message.type in content.HARMLESS_TWICE:
                return Sent(provider_id="")
            return Sent(provider_id=reading.provider_id, code=reading.status, recipient=reading.recipient)
        if isinstance(reading, Unclear):
            return self._unknown(message, reading.code, reading.detail)
        if reading.code in errors.FORGOTTEN and uploads and await self._uploads.forget(message.connection_id, uploads):
            log.info("media_forgotten", message_id=message.id, connection_id=message.connection_id, code=reading.code)
            return Retry(code=reading.code, detail=reading.detail, after_s=0.0, counts=False)
        return await self._refused(account, message, reading)

    async def _prove(self, account: Account) -> None:
        """Note that the token reaches the account: the provider took a message for it, by the account's own address."""
        connection = account.connection
        if connection.connection_type == D360 or connection.is_proved(connection.account_id):
            return
        try:
            await self._store.call(connections.prove, connection.id, [connection.account_id], connection.credentials)
        except StoreUnavailable as error:
            # the next message, or the loop that proves connections, notes it
            log.info("connections_not_proved", reason=str(error))

    async def _not_uploaded(
        self, account: Account, message: OutboundMessage, result: uploading.Refused | Retry | Dead
    ) -> Outcome:
        """Return what it means for a message that its file has no id. Nothing of the message has left."""
        match result:
            case uploading.Refused(reading=Refusal() as refusal):
                return await self._refused(account, message, refusal)
            case uploading.Refused(reading=reading):
                code, detail = (
                    (reading.code, reading.detail) if isinstance(reading, Unclear) else ("answer_unreadable", "")
                )
                return self._failed(message, Retry(code=f"upload_{code}", detail=detail))
            case Retry(code="connection_failed"):
                return self._unreachable(message, result.detail)
            case Retry() | Dead():
                return result

    def _unreachable(self, message: OutboundMessage, reason: str) -> Outcome:
        # no request left, so no attempt is spent: an outage of the provider must not make dead letters of accepted
        # messages
        wait_s = self._throttle.refused(_keys(message)[1], _UNREACHABLE)
        return self._failed(message, Retry(code="connection_failed", detail=reason, after_s=wait_s, counts=False))

    def _unknown(self, message: OutboundMessage, code: str, detail: str) -> Outcome:
        """Return the outcome of a call that may have been carried out."""
        return self._failed(
            message,
            Retry(code=code, detail=detail)
            if message.type in content.HARMLESS_TWICE
            else InDoubt(code=code, detail=detail),
        )

    async def _refused(self, account: Account, message: OutboundMessage, refusal: Refusal) -> Outcome:
        self.api_errors += 1
        self._refusals.labels(message.connection_type, refusal.code).inc()
        rule, code, detail = refusal.rule, refusal.code, refusal.detail
        log.info(
            "send_refused",
            message_id=message.id,
            connection_id=message.connection_id,
            code=code,
            rule=str(rule.action),
            detail=detail,
        )
        match rule.action:
            case ErrorAction.DEAD:
                return Dead(code=code, detail=detail)
            case ErrorAction.RETRY:
                return Retry(
                    code=code,
                    detail=detail,
                    after_s=rule.after_s if refusal.requested_wait_s is None else refusal.requested_wait_s,
                )
            case ErrorAction.THROTTLE:
                chat, connection = _keys(message)
                wait_s = self._throttle.refused(
                    chat if rule.wait.scope is Scope.CHAT else connection, rule.wait, refusal.requested_wait_s
                )
                return Retry(code=code, detail=detail, after_s=wait_s, counts=False)
            case ErrorAction.PAUSE:
                await self._pause(
                    account,
                    f"{code}: {rule.meaning}",
                    rule.pause_s and max(rule.pause_s, refusal.requested_wait_s or 0.0),
                )
                return Retry(code=code, detail=detail, after_s=_HELD_S, counts=False)

    async def _pause(self, account: Account, reason: str, for_s: float | None) -> None:
        connection_id = account.connection.id
        try:
            if for_s is None:
                # not when the credentials were changed since
                paused = await self._store.call(
                    connections.pause, connection_id, reason, account.connection.credentials
                )
                shown = reason if paused else ""
            else:
                shown = await self._store.call(pauses.pause_for, connection_id, reason, for_s)
        except StoreUnavailable as error:
            # the message comes back and is refused again: then it is tried once more
            log.warning("pause_not_written", connection_id=connection_id, reason=str(error))
        else:
            if shown:
                log.warning("connection_paused", connection_id=connection_id, reason=shown)

    def _failed(self, message: OutboundMessage, outcome: Retry | InDoubt) -> Outcome:
        self.api_errors += 1
        self._failures.labels(message.connection_type, outcome.code).inc()
        log.info(
            "call_failed",
            message_id=message.id,
            connection_id=message.connection_id,
            code=outcome.code,
            reason=outcome.detail,
        )
        return outcome


def _read(reply: Answer, message: OutboundMessage) -> Reading:
    if message.connection_type in PAGES:
        return messenger.read(reply, message.type)
    return errors.read(reply, _done if message.type in content.HARMLESS_TWICE else None)


def _done(body: Mapping[str, Any]) -> str:
    """Return whether an answer that names no message says yes."""
    return "done" if body.get("success") is True else ""


def _keys(message: OutboundMessage) -> tuple[tuple[int, str], int]:
    return (message.connection_id, message.chat_id), message.connection_id


def _unusable(account: Unusable | None) -> Retry:
    if account is None:
        return Retry(code="connection_unknown", detail="the connection was not found", after_s=UNUSABLE_S, counts=False)
    return Retry(code="credentials_unusable", detail=account.problem, after_s=UNUSABLE_S, counts=False)
