"""What webhooks told about accounts, numbers and templates, made use of: templates' states, a number's limits and name, warnings for operators.

The events wait in a table of their own (`account_events`); each is made use of once, in the transaction that marks it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from meta.calls import text
from shared.errors import StoreUnavailable
from shared.logs import logger
from shared.process.beats import LoopBeat
from shared.store import connections, inbound, templates
from shared.store.pool import Row, Transaction
from shared.store.store import Store

log = logger(__name__)

_LOOK_S: Final = 1.0
_MOST: Final = 100
_WORD_MOST: Final = 60


def _apply(
    transaction: Transaction,
    account: str,
    value: Mapping[str, Any],
    at: datetime,
    *,
    status: str | None = None,
    reason: str | None = None,
    quality: str | None = None,
    category: str | None = None,
) -> None:
    """Write what an event says about the template that it names."""
    number = value.get("message_template_id")
    templates.apply_status(
        transaction,
        at=at,
        waba_id=account,
        provider_id=str(number) if isinstance(number, int | str) and not isinstance(number, bool) else "",
        name=text(value, "message_template_name"),
        language=text(value, "message_template_language"),
        status=status,
        reason=reason,
        quality=quality,
        category=category,
    )


def _status(transaction: Transaction, account: str, value: Mapping[str, Any], at: datetime) -> None:
    status, reason = text(value, "event").upper()[:_WORD_MOST], text(value, "reason")
    if status:
        _apply(transaction, account, value, at, status=status, reason="" if reason == "NONE" else reason)


def _quality(transaction: Transaction, account: str, value: Mapping[str, Any], at: datetime) -> None:
    quality = text(value, "new_quality_score").upper()[:_WORD_MOST]
    if quality:
        _apply(transaction, account, value, at, quality=quality)


def _category(transaction: Transaction, account: str, value: Mapping[str, Any], at: datetime) -> None:
    category = text(value, "new_category").upper()[:_WORD_MOST]
    if category:
        _apply(transaction, account, value, at, category=category)


def _limits(transaction: Transaction, account: str, value: Mapping[str, Any], at: datetime) -> None:
    facts = {"event": text(value, "event"), "currentLimit": text(value, "current_limit"), "at": at.isoformat()}
    connections.note_facts_of_account(transaction, account, text(value, "display_phone_number"), {"limits": facts})


def _name(transaction: Transaction, account: str, value: Mapping[str, Any], at: datetime) -> None:
    facts = {
        "decision": text(value, "decision"),
        "requested": text(value, "requested_verified_name"),
        "at": at.isoformat(),
    }
    connections.note_facts_of_account(transaction, account, text(value, "display_phone_number"), {"name": facts})


def _account(transaction: Transaction, account: str, value: Mapping[str, Any], at: datetime) -> None:
    event = (text(value, "event") or text(value, "alert_type") or text(value, "decision"))[:_WORD_MOST]
    connections.note_facts_of_account(transaction, account, "", {"account": {"event": event, "at": at.isoformat()}})
    log.warning("account_changed", account_id=account, what=event)


USES: Final[Mapping[str, Callable[[Transaction, str, Mapping[str, Any], datetime], None]]] = {
    "message_template_status_update": _status,
    "message_template_quality_update": _quality,
    "template_category_update": _category,
    "phone_number_quality_update": _limits,
    "phone_number_name_update": _name,
    "account_update": _account,
    "account_alerts": _account,
    "account_review_update": _account,
}
"""What is made of each kind of event; others are kept and no more."""


class News:
    """Reads what was told. `kind`: of this process."""

    def __init__(self, store: Store, *, kind: str) -> None:
        self._store, self._kind = store, kind

    async def run(self, beat: LoopBeat) -> None:
        """Make use of events, for ever; a database that is away keeps them."""
        while True:
            beat.beat()
            try:
                more = await self._store.call(self.use) == _MOST
            except StoreUnavailable as error:
                log.info("account_events_not_read", reason=str(error))
                more = False
            if not more:
                await asyncio.sleep(_LOOK_S)

    def use(self, transaction: Transaction) -> int:
        """Make use of a batch, in one transaction. Returns how many there were."""
        rows = inbound.take_account_events(transaction, self._kind, most=_MOST)
        for row in rows:
            _use(transaction, row)
        if rows:
            inbound.finish_account_events(transaction, [row["id"] for row in rows])
        return len(rows)


def _use(transaction: Transaction, row: Row) -> None:
    use, value = USES.get(row["kind"]), row["value"]
    if use is not None and isinstance(value, Mapping):
        use(transaction, row["account_id"], value, row["at"])
