"""Tables partitioned by day: partitions are made in advance, and dropped when retention ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.store.pool import Transaction

PARTITIONS_AHEAD: Final = 3
"""Days for which partitions are made in advance: as long as the recorder may be away without a row in a default
partition, from which it would have to be moved under an exclusive lock.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DayPartitions:
    """One table in partitions of a UTC day each.

    Attributes:
        instant: column that names the day. setting: for how many days it is kept.
    """

    instant: str
    setting: str


PARTITIONED: Final[Mapping[str, DayPartitions]] = {
    "events_others": DayPartitions(instant="written_at", setting="retention_days"),
    "events_messages": DayPartitions(instant="written_at", setting="message_retention_days"),
    "process_metrics": DayPartitions(instant="at", setting="metrics_retention_days"),
    "hook_deliveries": DayPartitions(instant="at", setting="retention_days"),
}
"""Tables in partitions of a day each, each with a default partition for days that have none."""


def make_partitions(transaction: Transaction, *, ahead: int = PARTITIONS_AHEAD) -> int:
    """Make the partitions of today and of `ahead` further days, and move there what went to a default partition.
    Returns how many were made.
    """
    return sum(
        int(transaction.one("make_day_partitions", parent=parent, instant=table.instant, ahead=ahead)["made"])
        for parent, table in PARTITIONED.items()
    )


def drop_partitions(transaction: Transaction, parent: str, *, age_s: float) -> int:
    """Drop the partitions of a table of `PARTITIONED` that ended `age_s` seconds ago. Returns how many there were."""
    return int(transaction.one("drop_day_partitions", parent=parent, age_s=age_s)["dropped"])
