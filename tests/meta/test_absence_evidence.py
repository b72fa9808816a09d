"""Which webhooks prove a number's door, so that a missing status means that a message was not sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from meta.inbound.processor import WebhookProcessor
from meta.sending import absence_evidence
from meta.sending.absence_evidence import AbsenceEvidence
from shared.process.metrics import Metrics
from shared.settings import Settings
from shared.store import inbound, inbound_journal
from shared.store.inbound import RawEvent
from tests.meta.channel_env import KIND, ChannelEnv
from tests.meta.seed import D360, DIRECT, EMBEDDED, status, text, webhook
from tests.meta.test_processor import NUMBER_OF, journal, read_all, scenario

MakeSettings = Callable[..., Settings]
SINCE_S = 20.0
"""How long ago the message in doubt was claimed."""


SINCE = datetime.now(UTC) - timedelta(seconds=SINCE_S)
"""When it was claimed: one instant for all tests, however long they take."""


def weigh(own: ChannelEnv, index: int = DIRECT, **more: Any) -> AbsenceEvidence:
    return own.store.run(absence_evidence.weigh, kind=KIND.name, connection_id=own.ids[index], since=SINCE, **more)


def at(happened_s: float) -> int:
    """Seconds since 1970 of what happened so long after the claim."""
    return int(SINCE.timestamp() + happened_s)


def without_time(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != "timestamp"}


@pytest.mark.parametrize("index", [DIRECT, EMBEDDED])
def test_only_the_same_number_proves_its_door(portless: MakeSettings, index: int) -> None:
    """Numbers of one app share an address and a secret; an event of one does not show that another is subscribed."""

    async def play(own: ChannelEnv) -> None:
        journal(own, webhook({"statuses": [status("sent", at=at(5))]}, number=NUMBER_OF[index]))
        await read_all(own.processor)
        assert weigh(own, index) is AbsenceEvidence.UNSENT
        for other in {DIRECT, EMBEDDED, D360} - {index}:
            assert weigh(own, other) is AbsenceEvidence.NONE

    scenario(portless, play)


@pytest.mark.parametrize(
    ("happened_s", "expected"),
    [
        (0.0, True),  # in the same second, which the provider rounds down
        (5.0, True),
        (-2.0, False),  # a queue that lags brings what was before
        (-7 * 86400.0, False),  # after an outage of days
        (-400 * 86400.0, False),  # imported history
    ],
)
@pytest.mark.parametrize("part", ["statuses", "messages"])
def test_only_what_happened_later_proves_the_door(
    portless: MakeSettings, happened_s: float, expected: bool, part: str
) -> None:
    async def play(own: ChannelEnv) -> None:
        parts = {"statuses": status("sent", at=at(happened_s)), "messages": text("x", "wamid.1")}
        parts["messages"]["timestamp"] = str(at(happened_s))
        journal(own, webhook({part: [parts[part]]}))
        await read_all(own.processor)
        assert weigh(own) is (AbsenceEvidence.UNSENT if expected else AbsenceEvidence.NONE)

    scenario(portless, play)


@pytest.mark.parametrize(
    ("entry_s", "expected"), [(None, False), (-3600.0, False), (5.0, True)], ids=["no time", "old", "new"]
)
def test_without_an_own_timestamp_the_entrys_time_counts(
    portless: MakeSettings, entry_s: float | None, expected: bool
) -> None:
    """A webhook that waited at the provider for an hour, and does not say when its event happened, did not happen just
    now.
    """

    async def play(own: ChannelEnv) -> None:
        payload = webhook({"statuses": [without_time(status("sent"))]})
        if entry_s is not None:
            payload["entry"][0]["time"] = at(entry_s)
        journal(own, payload)
        await read_all(own.processor)
        assert weigh(own) is (AbsenceEvidence.UNSENT if expected else AbsenceEvidence.NONE)

    scenario(portless, play)


def test_what_is_replayed_or_not_processed_proves_nothing(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        ids = journal(own, webhook({"statuses": [status("sent", at=at(5))]}))
        assert weigh(own) is AbsenceEvidence.NONE
        await read_all(own.processor)
        own.store.run(forget_evidence)
        own.store.run(inbound_journal.replay, ids)
        await read_all(own.processor)
        assert weigh(own) is AbsenceEvidence.NONE

    scenario(portless, play)


def test_an_unprocessed_webhook_that_came_earlier_may_hold_the_proof(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        (waiting,) = own.store.run(inbound.journal, "other", [RawEvent(source="meta", body=b"{}")])
        journal(own, webhook({"statuses": [status("sent", at=at(5))]}))
        await read_all(own.processor)
        own.store.run(becomes_ours, waiting)
        assert weigh(own) is AbsenceEvidence.UNREAD

    scenario(portless, play)


def test_evidence_is_kept_for_an_hour(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        journal(own, webhook({"statuses": [status("sent", at=at(5))]}))
        await read_all(own.processor)
        own.store.run(grow_old)
        journal(own, webhook({"statuses": [status("sent", at=at(5))]}, number=NUMBER_OF[EMBEDDED]))
        await read_all(WebhookProcessor(own.store, own.accounts, Metrics(), kind=KIND.name))
        assert own.store.run(seconds_kept) == 1, "a later event of any connection lets it be deleted"

    scenario(portless, play)


def forget_evidence(transaction: Any) -> None:
    transaction._cursor.execute("DELETE FROM webhook_evidence")


def becomes_ours(transaction: Any, row_id: int) -> None:
    transaction._cursor.execute("UPDATE inbound_journal SET process_name = %s WHERE id = %s", (KIND.name, row_id))


def grow_old(transaction: Any) -> None:
    transaction._cursor.execute(
        "UPDATE webhook_evidence SET second = second - interval '2 hours', received_at = "
        "received_at - interval '2 hours'"
    )


def seconds_kept(transaction: Any) -> int:
    transaction._cursor.execute("SELECT count(*) FROM webhook_evidence")
    (found,) = transaction._cursor.fetchone()
    return int(found)
