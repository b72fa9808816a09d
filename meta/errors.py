"""What Meta's and 360dialog's answers mean, as data: one row for each code, and rules for codes that have none. Pure.

Decided by code, never by title or HTTP status, except where there is no code. An HTTP 5xx counts as "not accepted" only
when Meta's own error body says so: a bare 5xx may come from a proxy after the message was accepted, so the message is
in doubt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias

from meta.graph import GraphAnswer
from shared.backoff import BackoffPolicy
from shared.logs import scrub
from shared.retry_after import retry_after_s


class ErrorAction(StrEnum):
    """What a code requires."""

    RETRY = "retry"
    """Not accepted; the retry policy decides when again, and the attempt counts."""
    THROTTLE = "throttle"
    """Not accepted because of a limit that passes by itself: wait by the code's own policy, and do not count the
    attempt.
    """
    PAUSE = "pause"
    """Nothing of this connection can be sent until an operator acts, or for hours: hold its queue."""
    DEAD = "dead"
    """Trying again cannot help."""


class ThrottleScope(StrEnum):
    """What a throttle concerns."""

    CHAT = "chat"
    CONNECTION = "connection"


@dataclass(frozen=True, kw_only=True, slots=True)
class ThrottlePolicy(BackoffPolicy):
    """How long to wait after refusals in a row, and what waits."""

    scope: ThrottleScope = ThrottleScope.CONNECTION


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One row of the table.

    Attributes:
        wait: for throttles. after_s: a provider's fixed wait for a retry; None leaves it to the retry policy. pause_s:
            for how long a connection is paused; None: until an operator resumes it.
    """

    action: ErrorAction
    meaning: str
    wait: ThrottlePolicy = ThrottlePolicy(base_s=1, growth=2, cap_s=60)
    after_s: float | None = None
    pause_s: float | None = None


_HOUR_S: Final = 3600.0
_THROUGHPUT: Final = ThrottlePolicy(base_s=1, growth=2, cap_s=60)
"""The number's messages per second: a window of a second, so the first wait is one."""
_CALLS: Final = ThrottlePolicy(base_s=60, growth=2, cap_s=_HOUR_S)
"""Graph's call limits are counted by the hour, in a sliding window: shorter waits would be refused again and again."""
_MAINTENANCE: Final = ThrottlePolicy(base_s=15, growth=2, cap_s=60)
"""A number in maintenance (a change of its throughput) is back within about a minute."""
_PAIR: Final = ThrottlePolicy(base_s=1, growth=4, cap_s=300, scope=ThrottleScope.CHAT)
"""Meta's own rule for a pair of number and customer: retry after 4^x seconds, x beginning at 0."""


def _retry(meaning: str, after_s: float | None = None) -> ErrorRule:
    return ErrorRule(ErrorAction.RETRY, meaning, after_s=after_s)


def _throttle(meaning: str, wait: ThrottlePolicy) -> ErrorRule:
    return ErrorRule(ErrorAction.THROTTLE, meaning, wait=wait)


def _pause(meaning: str, for_s: float | None = None) -> ErrorRule:
    return ErrorRule(ErrorAction.PAUSE, meaning, pause_s=for_s)


def _dead(meaning: str) -> ErrorRule:
    return ErrorRule(ErrorAction.DEAD, meaning)


RULES: Final[Mapping[int, ErrorRule]] = {
    0: _pause("the access token could not be authenticated"),
    1: _retry("unknown method or server error"),
    2: _retry("temporary trouble of the API"),
    3: _dead("capability or permission missing"),
    4: _throttle("call limit of the app", _CALLS),
    10: _dead("permission missing"),
    17: _throttle("call limit of the user", _CALLS),
    32: _throttle("call limit of the page", _CALLS),
    33: _dead("the business number was deleted"),
    100: _dead("bad parameter, or an object that is absent or unseen"),
    104: _pause("access token missing"),
    190: _pause("the access token is no longer valid"),
    341: _throttle("limit of the application", _CALLS),
    368: _pause("blocked for policy violations"),
    613: _throttle("custom rate limit", _CALLS),
    803: _dead("the object does not exist"),
    # Meta lists the hourly limit of the business account under this code, not 4
    80007: _throttle("rate limit of the WhatsApp Business Account", _CALLS),
    130403: _dead("the business has blocked this user"),
    130429: _throttle("throughput of the number passed", _THROUGHPUT),
    130472: _dead("the user is part of an experiment of Meta's (marketing)"),
    130497: _dead("not allowed to message users in this country"),
    130501: _dead("message type not allowed in groups"),
    131000: _retry("unknown failure"),
    131005: _dead("access denied"),
    131008: _dead("required parameter missing"),
    131009: _dead("parameter value not valid"),
    131016: _retry("service unavailable"),
    131021: _dead("the recipient is the sender"),
    131026: _dead("undeliverable: no WhatsApp, an old client, or terms not accepted"),
    131030: _dead("test number: recipient not on the list"),
    131031: _pause("account locked"),
    131037: _dead("display name not approved"),
    # of the business account, so that every message would be refused until it is paid
    131042: _pause("payment problem"),
    131044: _dead("payment for calling"),
    131045: _dead("registration or certificate: register the number"),
    131047: _dead("more than 24 hours since the user wrote: use a template"),
    # hours and not until an operator acts: the limit is lifted by itself (ADR 31)
    131048: _pause("spam rate limit: quality of the number", for_s=4 * _HOUR_S),
    # dead and not a wait of a day: Meta advises against sending it again at once, and after a day it may be out of date
    131049: _dead("held back by Meta for engagement (marketing); not before 24 hours"),
    131050: _dead("the user stopped marketing messages"),
    131051: _dead("message type not supported"),
    131052: _dead("inbound media could not be fetched"),
    131053: _dead("outbound media could not be used"),
    131055: _dead("method not allowed (Marketing Messages)"),
    131056: _throttle("too many messages to the same user", _PAIR),
    131057: _throttle("the number is in maintenance", _MAINTENANCE),
    131062: _dead("not allowed to a business-scoped user id"),
    131063: _dead("marketing messages are off on the Cloud API"),
    131064: _dead("template misclassification limit"),
    132000: _dead("number of template parameters"),
    132001: _dead("template or language absent"),
    132005: _dead("translated text too long"),
    132007: _dead("template breaks a policy or character rule"),
    132008: _dead("template parameter value"),
    132012: _dead("template parameter format"),
    132015: _dead("template paused"),
    132016: _dead("template disabled"),
    132018: _dead("template parameter problem"),
    132068: _dead("flow blocked"),
    132069: _dead("flow throttled; not before an hour"),
    133000: _dead("an earlier deregistration is incomplete"),
    133004: _retry("registration server busy"),
    133005: _dead("two-step PIN wrong"),
    133006: _dead("number must be verified again"),
    133008: _dead("too many PIN tries"),
    133009: _dead("PIN tried too fast"),
    133010: _dead("number not registered"),
    133015: _retry("number deleted just now: wait five minutes", after_s=300),
    133016: _dead("limit of registrations"),
    134011: _dead("payment terms not accepted"),
    134100: _dead("template not for marketing messages"),
    134101: _dead("template still being prepared for marketing messages"),
    134102: _dead("template not available for marketing messages"),
    135000: _dead("generic parameter error"),
    136024: _dead("verification code cannot be requested"),
    136025: _dead("verification code wrong"),
    137000: _dead("identity hash mismatch: check, then send without the hash"),
    2494100: _throttle("the number is in maintenance", _MAINTENANCE),
}
"""Every code that concerns sending, and those of related calls that may occur in it. Meta's reference asks clients
to decide by the code, since titles may change.
"""

RULE_RANGES: Final[tuple[tuple[range, ErrorRule], ...]] = (
    (range(200, 300), _dead("permission")),
    (range(131200, 131300), _dead("groups")),
    (range(138000, 139000), _dead("calling")),
    (range(139000, 140000), _dead("flows or the block list")),
    (range(147001, 147006), _dead("usernames")),
    (range(2388000, 2389000), _dead("templates or migration")),
    (range(2593107, 2593109), _dead("limit of synchronisations")),
)
"""Families of codes that mean the same; a row of `RULES` wins."""

TOKEN_SUBCODES: Final[Mapping[int, str]] = {
    458: "the app was removed",
    459: "the user must pass a check at Facebook",
    460: "the password was changed",
    463: "the token has expired",
    464: "the user is not confirmed",
    467: "the token was made invalid",
    492: "the user lost the role on the account",
}
"""Why the token is invalid, by the subcode of 190."""

STATUS_RULES: Final[Mapping[int, ErrorRule]] = {
    401: _pause("the key or token was not accepted"),
    408: _retry("the request did not arrive in time"),
    425: _retry("too early"),
    429: _throttle("too many requests", _THROUGHPUT),
}
"""Refusals without a code of Meta's, by HTTP status; other 4xx are dead."""

D360_STATUS_RULES: Final[Mapping[int, ErrorRule]] = {**STATUS_RULES, 403: _pause("blocked by 360dialog")}
"""Refusals in 360dialog's own error format, by their `http_code`."""

_UNKNOWN_DEAD: Final = _dead("unknown code, refused")
_UNKNOWN_RETRY: Final = _retry("unknown code, said to pass")
_REDIRECTED: Final = _retry("the address answers with a redirect")
_DETAIL_MOST: Final = 300
"""Characters of a provider's text that are kept in the history."""
_ACCEPTED: Final = "accepted"
# a status is shown to clients: only what looks like one of Meta's constants is passed on
_WORD: Final = re.compile(r"[a-z_]{1,40}")
_LONGEST_WAIT_S: Final = 24 * _HOUR_S
"""Longest wait that a header may ask for, in seconds: a wrong one must not stop a connection for weeks."""
_TOKEN: Final = 190

SANDBOX_HEADER: Final = "X-Bulkhead-Sandbox"
"""Header of every answer of our own sandbox; no provider has it."""
_BY_SANDBOX: Final = "the sandbox answered, not the provider"

FORGOTTEN: Final = frozenset({"100", "131009", "131052", "131053"})
"""Codes with which a message is refused whose file the provider no longer has; each has other causes too."""


@dataclass(frozen=True, slots=True)
class ProviderAcceptance:
    """The provider accepted the message.

    Attributes:
        status: what the provider does before sending it (`held_for_quality_assessment`, `paused`); empty: it sends it.
            recipient: the provider's id of the recipient; empty when it names none.
    """

    provider_id: str
    status: str = ""
    recipient: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The provider did not accept the message.

    Attributes:
        code: Meta's, or `http_<status>`, or `360dialog_<status>`. detail: its words and trace id. requested_wait_s:
            wait that its headers ask for, in seconds.
    """

    code: str
    rule: ErrorRule
    detail: str
    requested_wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unclear:
    """An answer that proves neither."""

    code: str
    detail: str = ""


def read(
    answer: GraphAnswer, named: Callable[[Mapping[str, Any]], str] | None = None
) -> ProviderAcceptance | Refusal | Unclear:
    """Return the meaning of an HTTP answer.

    Args:
        named: finds the provider's id in the body of a success response, "" when there is none; None: the id of a
            message that was sent.
    """
    reading = _read(answer, named)
    # a real token that the sandbox does not know is no dead token: the sentence has to name who answered
    if SANDBOX_HEADER not in answer.headers or isinstance(reading, ProviderAcceptance):
        return reading
    detail = f"{reading.detail} ({_BY_SANDBOX})" if reading.detail else _BY_SANDBOX
    if isinstance(reading, Unclear):
        return replace(reading, detail=detail)
    return replace(reading, rule=answered_by(answer, reading.rule), detail=detail)


def answered_by(answer: GraphAnswer, rule: ErrorRule) -> ErrorRule:
    """Return a rule whose meaning says so when the sandbox answered."""
    return replace(rule, meaning=f"{rule.meaning} ({_BY_SANDBOX})") if SANDBOX_HEADER in answer.headers else rule


def _read(
    answer: GraphAnswer, named: Callable[[Mapping[str, Any]], str] | None
) -> ProviderAcceptance | Refusal | Unclear:
    body = _parsed(answer.body)
    # Graph's error object is `error`; 360dialog's own, with `http_code` and `developer_message`, is `meta`
    error, own = body.get("error"), body.get("meta")
    # before the status: Graph's code is more precise than any HTTP status
    if isinstance(error, Mapping):
        return _of_error(answer, error)
    if 200 <= answer.status < 300:
        provider_id = (named or _message_id)(body)
        return (
            ProviderAcceptance(provider_id, "" if named else _message_status(body), _recipient(body))
            if provider_id
            else Unclear("answer_unreadable", f"HTTP {answer.status} without a message id")
        )
    if answer.status >= 500:
        return Unclear(f"http_{answer.status}", _words(own) if isinstance(own, Mapping) else "")
    if isinstance(own, Mapping):
        status = whole_number(own.get("http_code")) or answer.status
        return Refusal(
            f"360dialog_{status}",
            D360_STATUS_RULES.get(status, _UNKNOWN_DEAD),
            _words(own),
            _requested_wait_s(answer.headers),
        )
    rule = _REDIRECTED if answer.status < 400 else STATUS_RULES.get(answer.status, _UNKNOWN_DEAD)
    return Refusal(f"http_{answer.status}", rule, "", _requested_wait_s(answer.headers))


def rule_of(code: int, *, status: int = 400, transient: bool = False) -> ErrorRule:
    """Return the rule for one code; unknown ones by HTTP status and by Meta's flag `is_transient`."""
    if rule := RULES.get(code):
        return rule
    for family, rule in RULE_RANGES:
        if code in family:
            return rule
    # a code of Meta's means "not accepted" also with a 5xx (ADR 30), so that a retry cannot send twice
    return _UNKNOWN_RETRY if transient or status >= 500 else _UNKNOWN_DEAD


def _of_error(answer: GraphAnswer, error: Mapping[str, Any]) -> Refusal | Unclear:
    code = whole_number(error.get("code"))
    data = error.get("error_data")
    words = data.get("details") if isinstance(data, Mapping) else None
    detail = describe(words or error.get("message"), subcode=error.get("error_subcode"), trace=error.get("fbtrace_id"))
    if code is None:
        # an error object without a code proves nothing: it may come from a proxy
        if answer.status >= 500 or answer.status < 300:
            return Unclear(f"http_{answer.status}", detail)
        return Refusal(
            f"http_{answer.status}",
            STATUS_RULES.get(answer.status, _UNKNOWN_DEAD),
            detail,
            _requested_wait_s(answer.headers),
        )
    rule = rule_of(code, status=answer.status, transient=error.get("is_transient") is True)
    if code == _TOKEN and (why := TOKEN_SUBCODES.get(whole_number(error.get("error_subcode")) or 0)):
        rule = replace(rule, meaning=f"{rule.meaning}: {why}")
    return Refusal(str(code), rule, detail, _requested_wait_s(answer.headers))


def describe(words: object, *, subcode: object = None, trace: object = None) -> str:
    """Return a provider's words for the history: without what looks like a phone number, with subcode and trace id when
    there are any.
    """
    # NUL cannot be stored in PostgreSQL; numbers of customers do not belong in the history
    text = scrub(words.replace("\0", ""))[:_DETAIL_MOST] if isinstance(words, str) else ""
    marks = [f"subcode {subcode}"] if whole_number(subcode) else []
    marks += (
        [f"fbtrace_id {trace[:64]}"]
        if isinstance(trace, str) and trace.isascii() and trace.isprintable() and trace
        else []
    )
    return f"{text} ({', '.join(marks)})" if marks else text


def _words(own: Mapping[str, Any]) -> str:
    return describe(own.get("developer_message"))


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(body)
    # no JSON, or nested too deeply: the HTTP status decides then
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _recipient(body: Mapping[str, Any]) -> str:
    """Return the id under which WhatsApp knows the number that a message was sent to: it may spell it otherwise."""
    contacts = body.get("contacts")
    first = contacts[0] if isinstance(contacts, list) and contacts else None
    wa_id = first.get("wa_id") if isinstance(first, dict) else None
    return wa_id if isinstance(wa_id, str) and wa_id.isascii() and wa_id.isdecimal() and len(wa_id) <= 20 else ""


def _message_id(body: Mapping[str, Any]) -> str:
    messages = body.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    provider_id = first.get("id") if isinstance(first, dict) else None
    return (
        provider_id
        if isinstance(provider_id, str) and "\0" not in provider_id and len(provider_id) <= PROVIDER_ID_MOST
        else ""
    )


def _message_status(body: Mapping[str, Any]) -> str:
    """Return the status of a template message that Meta holds before it sends it; empty when it only accepted it."""
    status = body["messages"][0].get("message_status")
    return status if isinstance(status, str) and _WORD.fullmatch(status) and status != _ACCEPTED else ""


def whole_number(value: object) -> int | None:
    """Return a whole number, also one in digits; None for anything else."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 12:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _requested_wait_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait in seconds that the headers ask for: Retry-After, or else the usage header's minutes."""
    if wait_s := retry_after_s(headers.get("Retry-After", ""), headers.get("Date", "")):
        return min(wait_s, _LONGEST_WAIT_S)
    # minutes by business id, then by kind of limit; the longest one is what a send has to wait for
    usage = _parsed(headers.get("X-Business-Use-Case-Usage", "").encode())
    rows = [row for rows in usage.values() if isinstance(rows, list) for row in rows if isinstance(row, dict)]
    minutes = max((whole_number(row.get("estimated_time_to_regain_access")) or 0 for row in rows), default=0)
    return min(minutes * 60.0, _LONGEST_WAIT_S) if minutes > 0 else None


PROVIDER_ID_MOST: Final = 255
"""Longest provider id that is accepted, in characters; Meta's have about 60."""

Reading: TypeAlias = ProviderAcceptance | Refusal | Unclear
