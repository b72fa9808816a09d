"""Message templates as the provider has them: typed functions for `queries/templates.sql`.

They are known per connection and world (`sandbox` or `live`): what one provider has says nothing about the other's.
Until a connection's templates were read once (`synced_at`), nothing is known about any,
and nothing is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.store.pool import Row, Transaction, records
from shared.store.texts import storable

SENDABLE: Final = frozenset({"APPROVED", "FLAGGED", "LIMIT_EXCEEDED"})
"""Statuses in which the provider still accepts a template (Meta, message template status). FLAGGED and LIMIT_EXCEEDED
are warnings. A status that we do not know is left to the provider as well.
"""
UNSENDABLE: Final[Mapping[str, str]] = {
    "PENDING": "it is being reviewed",
    "IN_APPEAL": "its rejection is being appealed",
    "REJECTED": "it was rejected",
    "PAUSED": "it is paused for its quality",
    "DISABLED": "it is disabled",
    "PENDING_DELETION": "it is being deleted",
    "DELETED": "it was deleted",
    "ARCHIVED": "it is archived",
}
"""Statuses in which the provider refuses a template, with what they mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """One template in one language.

    Attributes:
        status: the provider's word in capitals. reason: why it was rejected. quality: GREEN, YELLOW, RED or UNKNOWN;
            empty: never received.
        components: as the provider gives them. status_at: the provider's instant of what is known.
    """

    id: int
    provider_id: str
    name: str
    language: str
    category: str
    status: str
    reason: str
    quality: str
    components: Sequence[Mapping[str, Any]]
    status_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownTemplate:
    """What is known about a template.

    Attributes:
        synced_at: when the connection's templates were read last; None: never. template: None when the provider has
            none of this name and language.
    """

    synced_at: datetime | None
    template: Template | None

    @property
    def problem(self) -> str:
        """Why a message with it would be refused, as a sentence without its stop; empty when it would not, or no
        process can know.
        """
        if self.template is None:
            return "" if self.synced_at is None else "the account has no such template in this language"
        meaning = UNSENDABLE.get(self.template.status)
        return f"the template cannot be sent: {meaning}" if meaning else ""


def find_template(
    transaction: Transaction, *, connection_id: int, world: str | None, name: str, language: str
) -> KnownTemplate:
    """Return what is known about a template of a connection."""
    row = transaction.row("find_template", connection_id=connection_id, world=world, name=name, language=language)
    # The connection does not exist: nothing is known, and the caller reports that in its own way.
    if row is None:
        return KnownTemplate(synced_at=None, template=None)
    return KnownTemplate(synced_at=row["templates_synced_at"], template=None if row["id"] is None else _template(row))


def of_connection(
    transaction: Transaction,
    connection_id: int,
    world: str | None,
    *,
    after: tuple[str, str] = ("", ""),
    status: str | None = None,
    most: int,
) -> list[Template]:
    """Return templates of a connection by name and language, strictly after that pair; `status`: only those."""
    rows = transaction.rows(
        "templates_of",
        connection_id=connection_id,
        world=world,
        after_name=after[0],
        after_language=after[1],
        status=status,
        most=most,
    )
    return [_template(row) for row in rows]


def _template(row: Row) -> Template:
    return Template(**{name: row[name] for name in Template.__slots__})


def write(
    transaction: Transaction,
    connection_id: int,
    world: str | None,
    rows: Sequence[Mapping[str, Any]],
    *,
    at: datetime,
    whole: bool,
) -> int:
    """Keep templates as a provider's list or answer has them.

    Args:
        rows: each with `provider_id`, `name`, `language`, `category`, `status`, `reason`, `quality`, `components`. at:
            our instant before the list was asked for. whole: these are all; others that were known before `at` go, and
            the connection counts as synced.
    Returns:
        How many were removed.
    """
    listed = records(rows)
    # Written before the others are removed: a failed list removes nothing, and the transaction shows both at once.
    transaction.execute("write_templates", connection_id=connection_id, world=world, rows=listed, at=at)
    if not whole:
        return 0
    # Only a whole list proves that a template does not exist, which is what `KnownTemplate.problem` reports afterwards.
    transaction.execute("templates_synced", connection_id=connection_id)
    return transaction.execute("forget_templates", connection_id=connection_id, world=world, rows=listed, before=at)


def delete(
    transaction: Transaction, connection_id: int, world: str | None, *, name: str, language: str | None = None
) -> int:
    """Forget the templates of one name, in one language or (None) in all. Returns how many there were."""
    return transaction.execute(
        "delete_templates", connection_id=connection_id, world=world, name=name, language=language
    )


def apply_status(
    transaction: Transaction,
    *,
    at: datetime,
    connection_ids: Sequence[int],
    provider_id: str = "",
    name: str = "",
    language: str = "",
    status: str | None = None,
    reason: str | None = None,
    quality: str | None = None,
    category: str | None = None,
) -> int:
    """Write what a template event of the provider reports (`message_template_status_update`, `…_quality_update`,
    `template_category_update`).

    Args:
        at: the event's instant; an older one than the last changes nothing. connection_ids: the connections of the
            account that the event names. provider_id, name, language: which template.
        status, reason, quality, category: the new values; None: unchanged.
    Returns:
        How many rows changed; 0 also for a template that no process has read yet.
    """
    rows = transaction.rows(
        "apply_template_event",
        at=at,
        connection_ids=list(connection_ids),
        provider_id=storable(provider_id),
        name=storable(name),
        language=storable(language),
        status=None if status is None else storable(status),
        reason=None if reason is None else storable(reason),
        quality=quality,
        category=category,
    )
    return len(rows)
