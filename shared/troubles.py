"""THE table of troubles: what can be wrong with an installation, in one sentence each, and what to do about it.

Health, alerts and commands all use its words; `shared.observations` finds them. This file imports only the standard
library.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from string import Formatter
from typing import Any, Final, Literal

About = Literal["service", "process", "company", "connection"]


class Impact(StrEnum):
    """How much a trouble impairs what it is about."""

    DOWN = "down"
    """It does not work."""
    DEGRADED = "degraded"
    """It works in part, or later than it should."""
    NOTICE = "notice"
    """It works; an operator should know."""


@dataclass(frozen=True, kw_only=True)
class TroubleKind:
    """One row of the table.

    Attributes:
        code: its name in answers, alerts and the documents; never changed.
        about: what it concerns.
        impact: on that; a trouble of one connection degrades its company and the service at most.
        sentence, mend: what is wrong and what to do; `{names}` are filled in from the observation.
    """

    code: str
    about: About
    impact: Impact
    sentence: str
    mend: str

    @property
    def names(self) -> frozenset[str]:
        """Names that the sentence and the mend need."""
        parsed = (*Formatter().parse(self.sentence), *Formatter().parse(self.mend))
        return frozenset(name for _, name, _, _ in parsed if name)


@dataclass(frozen=True, kw_only=True)
class TroubleFound:
    """One trouble that was found.

    Attributes:
        since_s: for how long it has lasted, as far as that is known. process: slot or kind; company_id, phone_index: of
            a company or connection.
    """

    code: str
    about: About
    impact: Impact
    sentence: str
    mend: str
    since_s: float | None = None
    process: str | None = None
    company_id: str | None = None
    phone_index: int | None = None


def _kind(code: str, about: About, impact: Impact, sentence: str, mend: str) -> TroubleKind:
    return TroubleKind(code=code, about=about, impact=impact, sentence=sentence, mend=mend)


_D, _G, _N = Impact.DOWN, Impact.DEGRADED, Impact.NOTICE

TROUBLES: Final = (
    _kind(
        "database_unavailable",
        "service",
        _D,
        "PostgreSQL takes no writes ({reason}): no message is accepted, and none is sent.",
        "Start PostgreSQL, or correct DATABASE_URL; `bulkhead doctor` says which. What was accepted is kept and sent "
        "afterwards.",
    ),
    _kind(
        "no_sender",
        "service",
        _D,
        "No process that sends messages is ready ({kinds}): messages are accepted and wait.",
        "`bulkhead status` shows why; `bulkhead logs KIND --err` shows the error. Nothing is lost meanwhile.",
    ),
    _kind(
        "redis_unavailable",
        "service",
        _G,
        "Redis takes no writes ({reason}): messages are accepted and sent, but up to seconds later.",
        "Start Redis, free its memory, or let the user of REDIS_URL write; `bulkhead doctor` says which.",
    ),
    _kind(
        "orchestrator_missing",
        "service",
        _G,
        "The orchestrator has reported nothing lately: a process that ends is not started again.",
        "Start it: `bulkhead`, or the service manager that keeps it running. It adopts the processes that run.",
    ),
    _kind(
        "disk_low",
        "service",
        _G,
        "The disk of BULKHEAD_HOME has {free_mb} MB left.",
        "Delete or move files there; logs, media and the embedded PostgreSQL need space. When it is full, messages are "
        "refused.",
    ),
    _kind(
        "inbound_stuck",
        "service",
        _G,
        "{count} received webhooks of {process} wait to be processed, the oldest for {oldest_s} s.",
        "`bulkhead logs {process} --err` shows why; they are kept, and processed in their order.",
    ),
    _kind(
        "inbound_failed",
        "service",
        _G,
        "{count} webhooks of {process} that came in the last day could not be processed.",
        "`bulkhead webhooks list --failed` names the reasons, `replay --failed` processes them again.",
    ),
    _kind(
        "sandbox_in_use",
        "service",
        _N,
        "Messages of these connection types go to the sandbox, and reach no person: {types}.",
        "Set the credentials of a real account (docs/connections.md), or SANDBOX=off.",
    ),
    _kind(
        "kind_down",
        "process",
        _G,
        "No process of {process} is ready: {reason}.",
        "`bulkhead status` and `bulkhead logs {process} --err` show why; other kinds are not affected.",
    ),
    _kind(
        "process_misconfigured",
        "process",
        _G,
        "{slot} does not start with these settings: {reason}.",
        "Correct the setting, then send SIGHUP to the orchestrator or restart it; `bulkhead doctor` checks them.",
    ),
    _kind(
        "process_quarantined",
        "process",
        _G,
        "{slot} ended too often and is tried again only once in a while: {reason}.",
        "`bulkhead logs {slot} --err` shows why it ends; `bulkhead restart {slot}` tries at once.",
    ),
    _kind(
        "process_not_ready",
        "process",
        _G,
        "{slot} takes no work ({state}): {reason}.",
        "Wait some seconds if it just started; otherwise `bulkhead logs {slot} --err`.",
    ),
    _kind(
        "process_silent",
        "process",
        _G,
        "{slot} has written no heartbeat for {silent_s} s.",
        "Its host may be down or cut off from PostgreSQL: look there with `bulkhead status`.",
    ),
    _kind(
        "memory_high",
        "process",
        _N,
        "{slot} and its helpers use {memory_mb} MB of the {limit_mb} MB at which they are replaced.",
        "Raise its {kind}_MEMORY limits if the machine has memory, or give it less to do; it is replaced by itself.",
    ),
    _kind(
        "embedder_failing",
        "process",
        _G,
        "{slot} gets no embeddings of {model} ({reason}): documents wait, and searches go by words alone.",
        "Check address, key, budget and name of the embedding model (docs/documents.md); documents are tried again by "
        "themselves.",
    ),
    _kind(
        "embedder_missing",
        "process",
        _N,
        "{slot} has no embedding model: documents are indexed and searched by their words alone ({reason}).",
        "`pip install '.[embeddings]'`, or set EMBEDDING_MODEL; then `bulkhead restart {slot}`. Documents are indexed "
        "anew by themselves.",
    ),
    _kind(
        "company_suspended",
        "company",
        _N,
        "Company {company_id} is suspended: nothing of it is sent.",
        "`bulkhead companies resume {company_id}` when it may send again.",
    ),
    _kind(
        "connection_paused",
        "connection",
        _G,
        "The queue of connection {phone_index} of {company_id} is paused: {reason}.",
        "Remove the cause if it names one, then `bulkhead connections resume --company {company_id} {phone_index}`.",
    ),
    _kind(
        "connection_warning",
        "connection",
        _N,
        "The provider says about connection {phone_index} of {company_id}: {reason}.",
        "`bulkhead connections test --company {company_id} {phone_index}` asks again after you have changed it.",
    ),
    _kind(
        "session_needs_link",
        "connection",
        _N,
        "Session {phone_index} of {company_id} was never linked to a phone.",
        "Scan the code: `bulkhead sessions link --company {company_id} {phone_index}`, or the dashboard.",
    ),
    _kind(
        "session_link_lost",
        "connection",
        _D,
        "Session {phone_index} of {company_id} lost its link to the phone; its messages wait.",
        "Scan the code with the same phone: `bulkhead sessions link --company {company_id} {phone_index}`.",
    ),
    _kind(
        "session_conflict",
        "connection",
        _D,
        "Session {phone_index} of {company_id} is open in another browser too.",
        "Close the other one, then `bulkhead sessions restart --company {company_id} {phone_index}`.",
    ),
    _kind(
        "session_offline",
        "connection",
        _D,
        "The page of session {phone_index} of {company_id} has no connection to WhatsApp.",
        "Check this machine's network and proxy; the session goes on by itself.",
    ),
    _kind(
        "session_quarantined",
        "connection",
        _D,
        "Session {phone_index} of {company_id} connected too often and waits, to protect its account: {reason}.",
        "Find the cause (`bulkhead events webdriver`), then `bulkhead sessions restart --company {company_id} "
        "{phone_index}`.",
    ),
    _kind(
        "session_not_ready",
        "connection",
        _D,
        "Session {phone_index} of {company_id} cannot send ({state}): {reason}.",
        "It is restarted by itself; if that lasts, `bulkhead logs webdriver --err`.",
    ),
    _kind(
        "queue_stuck",
        "connection",
        _G,
        "{count} messages of connection {phone_index} of {company_id} are due, the oldest for {oldest_s} s.",
        "If nothing else is named here, the number's rate is the limit (docs/delivery.md); else remove that cause.",
    ),
    _kind(
        "messages_held",
        "connection",
        _G,
        "Of {count} messages of connection {phone_index} of {company_id} it is not known whether they were sent, and a "
        "person decides.",
        "`bulkhead dead-letters list --company {company_id}`, then resolve each (docs/delivery.md).",
    ),
    _kind(
        "dead_letters",
        "connection",
        _G,
        "{count} messages of connection {phone_index} of {company_id} failed for good in the last hour.",
        "`bulkhead dead-letters list --company {company_id}` names the reasons, `redrive` queues them again.",
    ),
    _kind(
        "dead_letters_few",
        "connection",
        _N,
        "{count} messages of connection {phone_index} of {company_id} failed for good in the last hour.",
        "`bulkhead dead-letters list --company {company_id}` names the reasons.",
    ),
    _kind(
        "customers_waiting",
        "company",
        _N,
        "{count} customers of {company_id} wait for a human for longer than it allows, the first for {oldest_s} s.",
        "Answer them: GET /api/v2/conversations/{company_id}?state=waiting; or set `waitingTimeoutMinutes`.",
    ),
    _kind(
        "documents_stuck",
        "company",
        _G,
        "Documents of {company_id} that wait to be indexed: {count}, the first for {oldest_s} s.",
        "GET /api/v2/documents/{company_id} names a reason where there is one; else `bulkhead logs index --err`.",
    ),
    _kind(
        "documents_failed",
        "company",
        _N,
        "Documents of {company_id} of the last day that cannot be searched: {count}.",
        "GET /api/v2/documents/{company_id} names each reason and what to do about it.",
    ),
    _kind(
        "installation_hook_failing",
        "service",
        _G,
        "Webhook {hook_id} of the installation has taken nothing for {oldest_s} s: alerts do not arrive by it.",
        "Look at its last attempts: GET /api/v2/installation/hooks/{hook_id}/deliveries. Events are kept and repeated.",
    ),
    _kind(
        "installation_hook_disabled",
        "service",
        _G,
        "Webhook {hook_id} of the installation was switched off: {reason}; alerts do not arrive by it.",
        "Correct its address, then set its state to `active` (docs/alerts.md); events since then are kept.",
    ),
    _kind(
        "hook_failing",
        "company",
        _G,
        "Webhook {hook_id} of {company_id} has taken nothing for {oldest_s} s.",
        "Look at its last attempts: GET /api/v2/hooks/{company_id}/{hook_id}/deliveries. Events are kept and repeated.",
    ),
    _kind(
        "hook_disabled",
        "company",
        _G,
        "Webhook {hook_id} of {company_id} was switched off: {reason}.",
        "Correct its address, then set its state to `active` (docs/hooks.md); events since then are kept.",
    ),
)
"""Every trouble, in the order in which they matter within one impact."""

KINDS_OF_TROUBLE: Final = {row.code: row for row in TROUBLES}
RANK: Final = {row.code: (tuple(Impact).index(row.impact), place) for place, row in enumerate(TROUBLES)}
"""The worst first."""


def made(code: str, *, since_s: float | None = None, **values: Any) -> TroubleFound:
    """Return a trouble of the table. Raises `KeyError` for an unknown code or a missing value."""
    row = KINDS_OF_TROUBLE[code]
    return TroubleFound(
        code=code,
        about=row.about,
        impact=row.impact,
        sentence=row.sentence.format_map(values),
        mend=row.mend.format_map(values),
        since_s=since_s,
        process=values.get("slot", values.get("process")),
        company_id=values.get("company_id"),
        phone_index=values.get("phone_index"),
    )


def status(troubles: Iterable[TroubleFound], about: About) -> str:
    """Return `down`, `degraded` or `healthy` of something of which these troubles are known.

    A trouble of a part degrades the whole; only one that is about the whole itself means that it is down.
    """
    impacts = {Impact.DEGRADED if one.impact is Impact.DOWN and one.about != about else one.impact for one in troubles}
    return next((impact.value for impact in (Impact.DOWN, Impact.DEGRADED) if impact in impacts), "healthy")
