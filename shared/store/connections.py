"""Connections of companies: one typed function for each named statement of `queries/connections.sql`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shared.kinds import KINDS
from shared.states import MESSAGE_TRANSITIONS, MessageState, require_transition
from shared.store.pool import Row, Transaction, json
from shared.store.texts import storable

CREDENTIAL_CODES: Final = ("0", "104", "190", "http_401", "360dialog_401")
"""Codes before the colon of a pause's reason that mean: the provider did not accept the credentials. 0, 104 and 190 are
error codes of Meta's Graph API for an access token that is missing or not valid; the others name an HTTP status.
"""
REMOVED: Final = "connection_removed"
"""Code of messages that failed because their connection was removed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """One company's phone on a channel.

    Attributes:
        account_id: the provider's name for it (Meta: phone number id). credentials: sealed, to be opened with the vault
            and the context `credentials_context`. options: channel's own, for example limits. waba_id: Meta's WhatsApp
            Business Account, where there is one.
        proved_ids: the provider's ids that its token was proved to reach. world: to which one it sends (`sandbox`,
            `live`); None: not known yet.
    """

    id: int
    company_id: str
    phone_index: int
    connection_type: str
    process_name: str
    status: str
    status_reason: str
    desired_state: str
    account_id: str
    # Sealed, and still in no log and no traceback.
    credentials: str = field(repr=False)
    options: Mapping[str, Any]
    waba_id: str = ""
    proved_ids: Sequence[str] = ()
    world: str | None = None

    def is_proved(self, account: str) -> bool:
        """Whether its token was proved to reach an account of the provider."""
        return account in self.proved_ids


def credentials_context(company_id: str, phone_index: int) -> str:
    """Return the associated data that ties a connection's credentials to its row."""
    return f"phone_configs/{company_id}/{phone_index}/credentials"


def ensure(
    transaction: Transaction,
    *,
    company_id: str,
    phone_index: int,
    connection_type: str,
    account_id: str = "",
    credentials: str = "",
    options: Mapping[str, Any] | None = None,
) -> int:
    """Make a connection, or take over a changed type, account or credential; `options` None leaves those that are set.
    Returns its id.
    """
    row = transaction.one(
        "ensure_connection",
        company_id=company_id,
        phone_index=phone_index,
        connection_type=connection_type,
        account_id=account_id,
        credentials=credentials,
        options=None if options is None else json(dict(options)),
    )
    return int(row["id"])


def by_index(transaction: Transaction, company_id: str, phone_index: int) -> Connection | None:
    """Return one connection of a company, None when it has none with this index."""
    row = transaction.row("connection_by_index", company_id=company_id, phone_index=phone_index)
    return Connection(**row) if row else None


def lock(transaction: Transaction, connection_id: int) -> Connection | None:
    """Return a connection and lock it until the transaction ends; None when it no longer exists."""
    row = transaction.row("lock_connection", id=connection_id)
    return Connection(**row) if row else None


def of_kind(transaction: Transaction, kind: str) -> list[Connection]:
    """Return every connection that a process kind serves."""
    return [Connection(**row) for row in transaction.rows("connections_of_kind", kind=kind)]


def of_company(transaction: Transaction, company_id: str) -> list[Row]:
    """Return a company's connections with their observed state."""
    return transaction.rows("connections_of_company", company_id=company_id)


def overview(transaction: Transaction, *, after: tuple[str, int] = ("", 0), most: int) -> list[Row]:
    """Return connections of all companies with what is observed of them, by company and index, at most `most` after a
    place in that order.
    """
    return transaction.rows("connection_overview", company_id=after[0], phone_index=after[1], most=most)


def desired_kinds(transaction: Transaction) -> list[str]:
    """Return the process kinds that some connection, or another row (`ProcessKind.needed_when`), needs."""
    # Two steps: rows of a kind's own tables need that kind too, and their statements stand on the kind's row.
    of_connections = {row["process_name"] for row in transaction.rows("desired_kinds")}
    of_rows = {row.name for row in KINDS if row.needed_when and transaction.row(row.needed_when) is not None}
    return sorted(of_connections | of_rows)


def pause(transaction: Transaction, connection_id: int, reason: str, credentials: str | None = None) -> bool:
    """Hold a connection's queue. Returns False when it was not active.

    Args:
        credentials: sealed, those that the provider refused; when the connection has others by now, nothing happens.
            None: whatever they are.
    """
    return transaction.row("pause_connection", id=connection_id, reason=reason, credentials=credentials) is not None


def resume(transaction: Transaction, connection_id: int) -> bool:
    """Let a paused connection send again. Returns False when it was not paused."""
    return _resume(transaction, connection_id)


def resume_mended(transaction: Transaction, connection_id: int) -> bool:
    """Let a connection send again that was paused because its credentials did not work. Returns False when it was not
    paused for that: a pause by an operator, or by a breaker, is not ended because credentials work again.
    """
    return _resume(transaction, connection_id, codes=CREDENTIAL_CODES)


def resume_from(transaction: Transaction, connection_id: int, reason: str) -> bool:
    """Let a connection send again that was paused for a reason beginning with `reason`. Returns False when it was
    not.
    """
    return _resume(transaction, connection_id, beginning=reason)


def _resume(
    transaction: Transaction, connection_id: int, *, codes: Iterable[str] | None = None, beginning: str = ""
) -> bool:
    listed = None if codes is None else list(codes)
    return transaction.row("resume_connection", id=connection_id, codes=listed, beginning=beginning) is not None


def by_account(
    transaction: Transaction, *, company_id: str, connection_type: str, account_id: str
) -> Connection | None:
    """Return a company's connection with this account of the provider, of whatever type the same process kind
    serves.
    """
    row = transaction.row(
        "connection_by_account", company_id=company_id, connection_type=connection_type, account_id=account_id
    )
    return Connection(**row) if row else None


def company_of(transaction: Transaction, connection_id: int) -> str:
    """Return the company of a connection. Raises `LookupError` when there is none."""
    return str(transaction.one("company_of_connection", id=connection_id)["company_id"])


def observe(
    transaction: Transaction,
    *,
    connection_id: int,
    status: str,
    incarnation: str,
    detail: str = "",
    qr: str = "",
    proved_s: float | None = None,
    figures: Mapping[str, Any] | None = None,
    link: str | None = None,
) -> None:
    """Write what a connection is observed to be.

    Args:
        proved_s: seconds since its proof, so that this database's clock alone decides how old that is; None keeps the
            last proof.
        figures: what its browser uses; None keeps the last ones. link: of a browser session to its phone,
            `<number>:<device>@…`; empty: there is none, None: it stays. The account, its number, is kept when the link
            ends.
    """
    transaction.execute(
        "observe_connection",
        connection_id=connection_id,
        status=status,
        # the wording may be a page's
        detail=storable(detail),
        qr=qr,
        proved_s=proved_s,
        incarnation=incarnation,
        figures=None if figures is None else json(dict(figures)),
        link=link,
    )


def removed(transaction: Transaction, ids: Sequence[int]) -> set[int]:
    """Return those of these connections that were removed; one that is not known at all is not among them."""
    return {row["id"] for row in transaction.rows("removed_connections", ids=list(ids))}


def touch(transaction: Transaction, connection_ids: Iterable[int]) -> None:
    """Record that the provider has just sent something about these connections."""
    transaction.execute("touch_connections", connection_ids=sorted(set(connection_ids)))


def add(
    transaction: Transaction,
    *,
    company_id: str,
    connection_type: str,
    phone_index: int | None = None,
    account_id: str = "",
    waba_id: str = "",
    options: Mapping[str, Any] | None = None,
) -> tuple[int, int] | None:
    """Make a connection without credentials and return its id and index, None when the index is taken. `phone_index`
    None: the first that is free.
    """
    row = transaction.row(
        "add_connection",
        company_id=company_id,
        phone_index=phone_index,
        connection_type=connection_type,
        account_id=account_id,
        waba_id=waba_id,
        options=json(dict(options or {})),
    )
    return (row["id"], row["phone_index"]) if row else None


def update(
    transaction: Transaction,
    connection_id: int,
    *,
    account_id: str | None = None,
    waba_id: str | None = None,
    credentials: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> bool:
    """Change what is given (None: stays). `credentials` are sealed; `options` are merged, a null takes one away.
    Returns False when it is gone.
    """
    row = transaction.row(
        "update_connection",
        id=connection_id,
        account_id=account_id,
        waba_id=waba_id,
        credentials=credentials,
        options=None if options is None else json(dict(options)),
    )
    return row is not None


def account_in_use(transaction: Transaction, *, connection_type: str, account_id: str, but: int | None = None) -> bool:
    """Return whether another connection than `but`, of whatever company, is proved to serve this account of the
    provider.
    """
    row = transaction.one("account_in_use", connection_type=connection_type, account_id=account_id, but=but)
    return bool(row["is_used"])


def prove(transaction: Transaction, connection_id: int, ids: Iterable[str], credentials: str) -> bool:
    """Note ids that a connection's token was proved to reach. Returns whether any of them is new.

    Args:
        credentials: sealed, those that proved it; when the connection has others by now, nothing is noted.
    """
    row = transaction.row("prove_connection", id=connection_id, ids=sorted(set(ids)), credentials=credentials)
    return row is not None


def enter_worlds(transaction: Transaction, kind: str, worlds: Mapping[str, str]) -> list[int]:
    """Note to which world the connections of a kind send, by connection type. What is known from the other world is
    deleted.

    Returns:
        The connections that sent to the other one before.
    """
    rows = transaction.rows("enter_worlds", kind=kind, types=list(worlds), worlds=list(worlds.values()))
    return [row["id"] for row in rows]


def open_messages(transaction: Transaction, connection_id: int) -> int:
    """Return how many messages of a connection are not finished: queued, being sent, or in doubt."""
    return int(transaction.one("open_messages", id=connection_id)["messages"])


def remove(transaction: Transaction, connection_id: int, reason: str) -> int | None:
    """End a connection, wipe its credentials, and fail what waits there.

    Its messages keep their history. A send in progress finishes by itself; if its message is requeued, `fail_leftovers`
    fails it.

    Returns:
        How many messages failed, None when the connection was gone already.
    """
    # The state first: from here on no claim takes a row of it, and what is accepted in this instant `fail_leftovers`
    # finds.
    if transaction.row("remove_connection", id=connection_id, reason=reason) is None:
        return None
    return _fail_messages(transaction, connection_id)


def fail_leftovers(transaction: Transaction) -> int:
    """Fail what came back to removed connections, or was accepted while they were removed. Returns how many there
    were.
    """
    return _fail_messages(transaction, None)


def _fail_messages(transaction: Transaction, connection_id: int | None) -> int:
    # The statement's states, checked against the table of transitions: the table may change, and this must then fail.
    for state in (MessageState.QUEUED, MessageState.IN_DOUBT):
        require_transition(MESSAGE_TRANSITIONS, state, MessageState.FAILED)
    row = transaction.one(
        "fail_messages_of_removed",
        id=connection_id,
        code=REMOVED,
        detail="the connection was removed before it was sent",
    )
    return int(row["messages"])


def note_facts(
    transaction: Transaction,
    connection_id: int,
    facts: Mapping[str, Any],
    *,
    warning: str | None = None,
    checked: bool = False,
) -> None:
    """Keep what the provider reports about a connection; each fact replaces the one of its name.

    Args:
        facts: by name, for example `number` (quality, limits) and `token` (validity, expiry); never a secret. warning:
            what an operator should act on, empty takes it back, None leaves it. checked: the connection was looked at
            just now.
    """
    transaction.execute(
        "note_facts", connection_id=connection_id, facts=json(dict(facts)), warning=warning, checked=checked
    )


def note_facts_of_account(
    transaction: Transaction, connection_ids: Iterable[int], display_number: str, facts: Mapping[str, Any]
) -> int:
    """Like `note_facts` for an account's connections, or for those of them with this number. Returns how many there
    are.
    """
    # A display number is written for people (`+49 30 1234`); stored ones are compared by their digits alone.
    digits = "".join(character for character in display_number if character.isdecimal())
    return len(
        transaction.rows(
            "note_facts_of_account", connection_ids=list(connection_ids), digits=digits, facts=json(dict(facts))
        )
    )


def unchecked(
    transaction: Transaction, kind: str, *, older_s: float, operation: str, again_s: float, most: int
) -> list[int]:
    """Return (and lock) connections of a kind that were not looked at for `older_s` seconds and have no task
    `operation` younger than `again_s`.
    """
    rows = transaction.rows(
        "unchecked_connections", kind=kind, older_s=older_s, operation=operation, again_s=again_s, most=most
    )
    return [row["id"] for row in rows]
