"""The Channel of Meta's connections: one message through one HTTP call, and what its answer means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from meta import errors
from meta.accounts.registry import D360, PAGES, Account, AccountRegistry, UnusableAccount
from meta.errors import ErrorAction, ProviderAcceptance, Reading, Refusal, ThrottlePolicy, ThrottleScope, Unclear
from meta.graph import GraphAnswer, GraphClient, RequestUnwritten
from meta.sending import absence_evidence, messenger, payloads
from meta.sending import uploads as uploading
from meta.sending.absence_evidence import AbsenceEvidence
from meta.sending.throttle import Throttle
from meta.sending.uploads import UploadCache, Uploaded
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
"""Seconds that a message waits for credentials that do not open. A little more than the interval at which credentials
are read again (`REFRESH_S`), so that corrected ones are found at the next turn.
"""
_UNREACHABLE: Final = ThrottlePolicy(base_s=1, growth=2, cap_s=5)
"""Seconds 1, 2, 4, 5 between connection attempts while the provider is unreachable (ADR 33). No attempt is spent, so
the cap only decides how soon sending resumes after the outage, and one attempt each 5 s is no load.
"""
_HELD_S: Final = 1.0
"""Seconds. A message of a paused connection is due again this soon: the claim itself excludes paused connections, so
it continues at once when the connection is resumed.
"""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A body to post, and the uploads that it names."""

    body: bytes
    uploads: Mapping[str, Uploaded]


class MetaChannel:
    """Sends through the Graph API and 360dialog.

    Args:
        window_s: how long the status of a message must be absent, while webhooks arrive, before it counts as not sent.
    """

    # the token consists of values that the claim knows (installation, row, attempt, instant of acceptance), so that the
    # claim writes it: no transaction of its own before each send
    token_at_claim = True

    def __init__(
        self,
        store: Store,
        accounts: AccountRegistry,
        graph: GraphClient,
        uploads: UploadCache,
        metrics: Metrics,
        *,
        kind: str,
        window_s: float,
    ) -> None:
        self._store, self._accounts, self._graph, self._uploads = store, accounts, graph, uploads
        self._kind, self._window_s = kind, window_s
        # in memory only: a restart costs one refused call for each limit (ADR 31), less than a write for each refusal
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
        # no call while the wait lasts: it would be refused again. Not counted as an attempt (ADR 31)
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
        # by the time of acceptance and not of the claim: the time in the queue makes it stale
        if (lasts_s := content.SHORT_LIVED.get(message.type)) and (
            utc_now() - message.created_at
        ).total_seconds() > lasts_s:
            return Dead(code="expired", detail=f"it would mean nothing after {lasts_s:g} s")
        speech = messenger if message.connection_type in PAGES else payloads
        # WhatsApp's window is checked by Meta (131047). On Pages and Instagram accounts only a tag extends it, so a
        # late message is recognised without a call
        if speech is messenger and (reason := await self._too_late(message)):
            return Dead(code=messenger.OUTSIDE, detail=reason)
        # files are uploaded before the message is sent, so a failure here never leaves the message in doubt
        files = speech.files(message)
        uploads = await self._uploads.ids(account, message, files, by) if files else {}
        if not isinstance(uploads, Mapping):
            return await self._not_uploaded(account, message, uploads)
        return _Prepared(speech.build(message, {sha256: one.provider_id for sha256, one in uploads.items()}), uploads)

    async def _post(
        self, account: Account, message: OutboundMessage, prepared: _Prepared, record_token: RecordToken, by: float
    ) -> Outcome:
        # `record_token` runs inside of the call, with a connection in hand and right before the request is written:
        # earlier would put every refused connection in doubt, later would miss requests of a killed process
        started = monotonic()
        reply = await self._graph.post(account.endpoint, prepared.body, by, partial(record_token, message.token))
        if isinstance(reply, GraphAnswer):
            self._call_seconds.labels(message.connection_type, message.type).observe(monotonic() - started)
            reading = _read(reply, message)
            return await self._of_reading(account, message, reading, prepared.uploads)
        # only `RequestUnwritten` proves that nothing left; anything else may have been carried out (ADR 30)
        if isinstance(reply, RequestUnwritten):
            return self._unreachable(message, reply.reason)
        return self._unknown(message, "no_answer", reply.reason)

    async def look_up(self, doubt: Doubt) -> Outcome | None:
        """See `Channel.look_up`: proof comes by webhook, so all that can be found here is evidence of the contrary.
        Raises `StoreUnavailable`.
        """
        # a read mark or typing indicator has no status webhook, and to repeat it changes nothing
        if doubt.message.type in content.HARMLESS_TWICE:
            return Retry(code="harmless_twice", detail="doing it again changes nothing", after_s=0.0, counts=False)
        if doubt.doubt_s < self._window_s or doubt.message.connection_type in PAGES:
            # whether a Page's echoes are subscribed is unknown: their absence proves nothing
            return None
        # it could not be sent again now, and a 360dialog number's webhooks are refused for the same reason
        account = await self._accounts.find(doubt.message.connection_id)
        if not isinstance(account, Account):
            return None
        # a message that was held for lack of evidence waits a whole window, from the first later event on
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
            windows.last_received_at,
            company_id=message.company_id,
            connection_id=message.connection_id,
            chat_id=message.chat_id,
        )
        return messenger.too_late(message, last, utc_now())

    async def _of_reading(
        self, account: Account, message: OutboundMessage, reading: Reading, uploads: Mapping[str, Uploaded]
    ) -> Outcome:
        if isinstance(reading, ProviderAcceptance):
            self._throttle.passed(*_keys(message))
            await self._prove(account)
            if message.type in content.HARMLESS_TWICE:
                return Sent(provider_id="")
            return Sent(provider_id=reading.provider_id, code=reading.status, recipient=reading.recipient)
        # a 2xx without an id, or a bare 5xx, perhaps from a proxy after the message was taken: in doubt (ADR 30)
        if isinstance(reading, Unclear):
            return self._unknown(message, reading.code, reading.detail)
        # the provider may have dropped the file before the 29 days that we rely on. Once only: `forget` is false for
        # ids of the last minutes, so a code that has another cause becomes a dead letter at the second refusal
        if reading.code in errors.FORGOTTEN and uploads and await self._uploads.forget(message.connection_id, uploads):
            log.info("media_forgotten", message_id=message.id, connection_id=message.connection_id, code=reading.code)
            return Retry(code=reading.code, detail=reading.detail, after_s=0.0, counts=False)
        return await self._refused(account, message, reading)

    async def _prove(self, account: Account) -> None:
        """Record that the token reaches the account: the provider accepted a message at the account's own address."""
        connection = account.connection
        if connection.connection_type == D360 or connection.is_proved(connection.account_id):
            return
        try:
            # with the credentials that proved it: when they were replaced during the call, nothing is noted
            await self._store.call(connections.prove, connection.id, [connection.account_id], connection.credentials)
        except StoreUnavailable as error:
            # the next message, or the loop that proves connections, notes it
            log.info("connections_not_proved", reason=str(error))

    async def _not_uploaded(
        self, account: Account, message: OutboundMessage, result: uploading.UploadRefused | Retry | Dead
    ) -> Outcome:
        """Return the outcome of a message whose file has no provider id. Nothing of the message has left."""
        match result:
            # a refused upload means the same as a refused send: a dead token pauses the connection in both
            case uploading.UploadRefused(reading=Refusal() as refusal):
                return await self._refused(account, message, refusal)
            # an unclear answer to an upload is retried, not in doubt: uploading twice is harmless (ADR 34)
            case uploading.UploadRefused(reading=reading):
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
        # for the whole connection: each of its messages would meet the same unreachable host
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
                    chat if rule.wait.scope is ThrottleScope.CHAT else connection, rule.wait, refusal.requested_wait_s
                )
                return Retry(code=code, detail=detail, after_s=wait_s, counts=False)
            # the pause is written before the outcome: a message that became due first would be claimed and refused
            # again
            case ErrorAction.PAUSE:
                await self._pause(
                    account,
                    f"{code}: {rule.meaning}",
                    # None stays None: a pause without an end needs an operator, whatever wait the provider asks for
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
            # the message is sent again later and refused again: then it is retried once more
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


def _read(reply: GraphAnswer, message: OutboundMessage) -> Reading:
    if message.connection_type in PAGES:
        return messenger.read(reply, message.type)
    return errors.read(reply, _done if message.type in content.HARMLESS_TWICE else None)


def _done(body: Mapping[str, Any]) -> str:
    """Return a stand-in for an id when an answer that names no message reports success; empty when it does not."""
    return "done" if body.get("success") is True else ""


def _keys(message: OutboundMessage) -> tuple[tuple[int, str], int]:
    # one throttle serves both scopes: a tuple is a chat's key, a number a connection's
    return (message.connection_id, message.chat_id), message.connection_id


def _unusable(account: UnusableAccount | None) -> Retry:
    if account is None:
        return Retry(code="connection_unknown", detail="the connection was not found", after_s=UNUSABLE_S, counts=False)
    return Retry(code="credentials_unusable", detail=account.problem, after_s=UNUSABLE_S, counts=False)
