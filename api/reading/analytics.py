"""Figures of a company: how many messages there were, their outcome, and how long they took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.instants import day, read_day
from api.http.operations import Operation
from api.http.parameters import Parameter, query_invalid, query_of
from api.http.shapes import choice
from api.reading.chats import PHONE_INDEX
from shared.channels.registry import connection_types
from shared.clock import utc_now
from shared.compose.directory import Directory, require_possible
from shared.store import reading
from shared.store.pool import Row, Transaction
from shared.store.reading import UNCOUNTED, FigureFilter
from shared.store.store import Store
from shared.timestamps import iso

_DAYS: Final = 30
_MOST_DAYS: Final = 400
"""Days of one answer: a year, and the month before it to compare with."""
_GROUPS: Final = ("day", "connection", "channel", "type")
_MOST_ROWS: Final = 5000
"""Rows of one answer, which is held in memory."""
_SENT: Final = ("sent", "delivered", "read")
_PER_DOUBLING: Final = 8
"""Buckets of latencies for each doubling of the milliseconds, as `latency_bucket` has them."""
_KEYS: Final = ("day", "phone_index", "connection_type", "type")


class AnalyticsOperations:
    """The operation that reads figures."""

    def __init__(self, directory: Directory, store: Store) -> None:
        self._directory, self._store = directory, store

    def operations(self) -> list[Operation]:
        """Return it."""
        return [
            Operation(
                method="GET",
                path="/api/v2/analytics/{companyId}",
                operation_id="getAnalytics",
                scope="read",
                group="Reading",
                summary="How many messages were sent, delivered, read, received, failed, and how long they took",
                handler=self.show,
                parameters=(
                    day("since", f"First day (UTC) on which they were accepted; default: {_DAYS} days ago."),
                    day("until", "Last such day; default: today."),
                    Parameter(
                        name="by",
                        place="query",
                        purpose=f"What the rows are for, separated by commas: {', '.join(_GROUPS)}; absent: `day`.",
                        schema={"type": "string", "maxLength": 60},
                    ),
                    PHONE_INDEX,
                    Parameter(
                        name="connectionType",
                        place="query",
                        purpose="Only of this type of connections.",
                        schema=choice("ConnectionType", *connection_types()),
                    ),
                    Parameter(
                        name="type",
                        place="query",
                        purpose=f"Only messages of this type; absent: all but {', '.join(UNCOUNTED)}.",
                        schema={"type": "string", "pattern": "^[a-z_]{1,20}$"},
                        rule="a type of messages, for example image",
                    ),
                ),
                answers={200: ("`total` of everything, and a row for each group.", "Analytics")},
                problems=("company_unknown", "query_invalid"),
            )
        ]

    async def show(self, request: Request) -> Response:
        """Answer with figures."""
        company_id, query = request.path_params["companyId"], query_of(request)
        require_possible(company_id)
        until = read_day(query, "until") or utc_now().date()
        since = read_day(query, "since") or max(until, date.min + timedelta(_DAYS)) - timedelta(_DAYS - 1)
        if not 0 <= (until - since).days < _MOST_DAYS:
            raise query_invalid("since", f"since must be at most {_MOST_DAYS - 1} days before until, and not after it.")
        groups = frozenset(("day",) if query["by"] is None else (name.strip() for name in query["by"].split(",")))
        if not groups.issubset(_GROUPS):
            raise query_invalid("by", f"by must be of {', '.join(_GROUPS)}, separated by commas.")
        selection = FigureFilter(
            since=since,
            until=until,
            groups=groups,
            phone_index=query["phoneIndex"],
            channel=query["connectionType"],
            type=query["type"],
        )
        counts, latencies, as_of = await self._store.as_company(company_id).call(_read, company_id, selection)
        if not counts:
            await self._directory.require_company(company_id)
        rows = [{**_named(key, groups), **figures} for key, figures in _grouped(counts, latencies)]
        if len(rows) > _MOST_ROWS:
            raise query_invalid("by", f"There are more than {_MOST_ROWS} rows: ask for fewer days or groups.")
        total = _figures(counts, latencies)
        return JSONResponse(
            {
                "companyId": company_id,
                "since": since.isoformat(),
                "until": until.isoformat(),
                "asOf": iso(as_of),
                "total": total,
                "rows": rows,
            }
        )


def _read(transaction: Transaction, company_id: str, selection: FigureFilter) -> tuple[list[Row], list[Row], Any]:
    counts, latencies = reading.figures(transaction, company_id, selection)
    return counts, latencies, reading.indexed_at(transaction)


def _grouped(counts: Sequence[Row], latencies: Sequence[Row]) -> list[tuple[tuple[Any, ...], Mapping[str, Any]]]:
    """Return (key, figures) of each group, in the order of keys."""
    found: dict[tuple[Any, ...], tuple[list[Row], list[Row]]] = {}
    for place, rows in enumerate((counts, latencies)):
        for row in rows:
            found.setdefault(tuple(row[name] for name in _KEYS), ([], []))[place].append(row)
    # a column that is not grouped by is null in every row
    return [(key, _figures(*found[key])) for key in sorted(found)]


def _named(key: tuple[Any, ...], groups: frozenset[str]) -> Mapping[str, Any]:
    day_, phone_index, connection_type, type_ = key
    shown: dict[str, Any] = {}
    if "day" in groups:
        shown["day"] = day_.isoformat()
    if "connection" in groups:
        shown["phoneIndex"] = phone_index
    if groups & {"connection", "channel"}:
        shown["connectionType"] = connection_type
    if "type" in groups:
        shown["type"] = type_
    return shown


def _figures(counts: Iterable[Row], latencies: Sequence[Row]) -> Mapping[str, Any]:
    by_outcome: dict[str, int] = {}
    for row in counts:
        by_outcome[row["outcome"]] = by_outcome.get(row["outcome"], 0) + row["messages"]
    known = by_outcome.get
    return {
        "accepted": sum(number for outcome, number in by_outcome.items() if outcome not in ("received", "echoed")),
        "open": known("open", 0),
        "sent": sum(known(outcome, 0) for outcome in _SENT),
        "delivered": known("delivered", 0) + known("read", 0),
        "read": known("read", 0),
        "failed": known("failed", 0),
        "cancelled": known("cancelled", 0),
        "received": known("received", 0),
        "echoed": known("echoed", 0),
        **{
            f"{step}LatencyMs": _percentiles([row for row in latencies if row["step"] == step])
            for step in ("sent", "delivered")
        },
    }


def _percentiles(rows: Sequence[Row]) -> Mapping[str, Any] | None:
    """Return what half, and 95 of 100 messages were at most as slow as, in milliseconds; None: none was timed."""
    buckets: dict[int, int] = {}
    for row in rows:
        buckets[row["bucket"]] = buckets.get(row["bucket"], 0) + row["messages"]
    if not buckets:
        return None
    total = sum(buckets.values())
    return {"messages": total, **{f"p{percent}": _percentile(buckets, total, percent) for percent in (50, 95)}}


def _percentile(buckets: Mapping[int, int], total: int, percent: int) -> int:
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen * 100 >= total * percent:
            break
    # the middle of the bucket, as ratios go
    return round(2 ** ((bucket + 0.5) / _PER_DOUBLING))
