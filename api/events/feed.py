"""The feed of events: a page, a long poll, or a stream of server-sent events."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.http.keys import require_still_valid
from api.http.limits import EVENT_STREAM
from api.http.operations import Operation
from api.http.parameters import Parameter, limit, query_invalid, query_of
from api.http.problems import Problem
from api.messages.waiting import read_wait_s
from shared.clock import monotonic
from shared.compose.directory import Directory, require_possible
from shared.errors import StoreUnavailable
from shared.events.catalogue import PUBLIC_TYPES, Selection
from shared.events.public import PositionExpired, PositionUnknown, PublicEvent, PublicPage
from shared.events.reader import Position
from shared.events.tail import EventTail
from shared.store import events
from shared.store.store import Store

_PAGE: Final = 100
_LONGEST_PAGE: Final = 500
"""Most events in a page, which is held in memory."""
FOLLOWERS_MOST: Final = 500
"""Requests of one process that wait for events at once: each holds a connection. One company gets half of them."""
_STREAM_PAGE: Final = 100
"""Events written to a stream at once; the next are read when the client has received these."""
HEARTBEAT_S: Final = 15.0
"""Seconds of silence after which a stream gets a comment: many proxies end a connection after half a minute."""
_RECONNECT_MS: Final = 2000
"""Milliseconds until a browser reopens a stream that ended, for example when the process is replaced."""
_LATEST: Final = "latest"
"""Value of `after` for: from now on."""


class Places:
    """Places for requests that wait. One company gets half of them at most, so that it leaves some to the others."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str | None] = Counter()

    @contextmanager
    def one(self, company_id: str | None) -> Iterator[None]:
        """Hold a place for as long as the block runs; `company_id`: whose events are waited for, None: all companies'.

        Raises:
            Problem: there is none.
        """
        # checked and counted in one step of the event loop
        if self._taken.total() >= self._most or self._taken[company_id] >= self._most // 2:
            raise Problem(
                "too_many_waiting", "Too many requests wait for events already.", headers={"Retry-After": "5"}
            )
        self._taken[company_id] += 1
        try:
            yield
        finally:
            self._taken[company_id] -= 1
            if not self._taken[company_id]:
                del self._taken[company_id]


class FeedOperations:
    """The operations that read events.

    Args:
        heartbeat_s: silence after which a stream gets a comment.
    """

    def __init__(
        self, directory: Directory, store: Store, tail: EventTail, *, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self._directory, self._store, self._tail, self._heartbeat_s = directory, store, tail, heartbeat_s
        self._places = Places(FOLLOWERS_MOST)

    def operations(self) -> list[Operation]:
        """Return them."""
        parameters = (
            Parameter(
                name="after",
                place="query",
                purpose="`next` of the page before, or the `id` of an event; `latest`: only what happens from now on; "
                "absent: from the oldest event that is kept.",
                schema={"type": "string", "pattern": f"^([0-9]{{1,19}}-[0-9]{{1,19}}|{_LATEST})$"},
                rule="`next` of a page, the `id` of an event, or `latest`",
            ),
            limit("Events in one page.", default=_PAGE, most=_LONGEST_PAGE),
            Parameter(
                name="types",
                place="query",
                purpose="Only these types, separated by commas; `message.*` stands for all of a subject.",
            ),
            Parameter(
                name="Prefer",
                place="header",
                purpose="`wait=N`: where there is nothing yet, answer when something happens, or after N seconds.",
            ),
            Parameter(
                name="Last-Event-ID",
                place="header",
                purpose="Of a stream that is opened again: the `id` that came last; wins over `after`.",
                schema={"type": "string", "pattern": "^[0-9]{1,19}-[0-9]{1,19}$"},
            ),
        )
        answers = {200: ("Oldest first; with `Accept: text/event-stream` a stream of them.", "EventPage", EVENT_STREAM)}
        problems = ("query_invalid", "header_invalid", "events_expired", "too_many_waiting")
        return [
            Operation(
                operation_id="listEvents",
                method="GET",
                path="/api/v2/events/{companyId}",
                group="Events",
                summary="What happened in a company: a page, a long poll, or server-sent events",
                scope="read",
                handler=self.of_company,
                parameters=parameters,
                answers=answers,
                problems=("company_unknown", *problems),
            ),
            Operation(
                operation_id="listAllEvents",
                method="GET",
                path="/api/v2/events",
                group="Events",
                summary="What happened in all companies and to processes",
                scope="operate",
                owner="installation",
                handler=self.of_all,
                parameters=parameters,
                answers=answers,
                problems=problems,
            ),
        ]

    async def of_company(self, request: Request) -> Response:
        """Answer with a company's events."""
        company_id = request.path_params["companyId"]
        require_possible(company_id)
        return await self._answer(request, company_id)

    async def of_all(self, request: Request) -> Response:
        """Answer with the events of all companies and of the installation."""
        return await self._answer(request, None)

    async def _answer(self, request: Request, company_id: str | None) -> Response:
        selection = _read_selection(request, company_id)
        most = query_of(request)["limit"]
        streams = EVENT_STREAM in request.headers.get("accept", "")
        wait_s = read_wait_s(request.headers)
        position = await self._read_position(request)
        # first without a wait, so that a stream too can be refused before its head is sent
        page = await self._page(selection, position, most)
        if company_id is not None and not page.events:
            await self._directory.require_company(company_id)
        if streams:
            # the page is read again: its position is kept by the stream
            return StreamingResponse(
                self._stream(request, selection, position),
                media_type=EVENT_STREAM,
                headers={"Cache-Control": "no-store"},
            )
        headers = {}
        if wait_s:
            headers["Preference-Applied"] = f"wait={wait_s}"
            if not page.events and page.complete:
                with self._following(selection.company_id):
                    page = await self._page(selection, page.position, most, wait_by=monotonic() + wait_s)
                await require_still_valid(request)
        return Response(_as_json(page), media_type="application/json", headers=headers)

    async def _page(
        self, selection: Selection, position: Position, most: int, wait_by: float | None = None
    ) -> PublicPage:
        try:
            return await self._tail.page(selection, position, most=most, wait_by=wait_by)
        except PositionExpired:
            raise Problem(
                "events_expired", "Events that follow this position are not kept any more.", parameter="after"
            ) from None
        except PositionUnknown:
            raise query_invalid("after", "after is beyond the last event.") from None

    @contextmanager
    def _following(self, company_id: str | None) -> Iterator[None]:
        with self._places.one(company_id), self._tail.following():
            yield

    async def _stream(self, request: Request, selection: Selection, position: Position) -> AsyncIterator[bytes]:
        yield f"retry: {_RECONNECT_MS}\n\n".encode()
        try:
            with self._following(selection.company_id):
                while not self._tail.stopping:
                    # one page in memory for each stream, even with a slow client: the server requests the next chunk
                    # when this one is written
                    page = await self._tail.page(
                        selection, position, most=_STREAM_PAGE, wait_by=monotonic() + self._heartbeat_s
                    )
                    position = page.position
                    # a stream may last for days: its key may have been revoked
                    await require_still_valid(request)
                    yield b"".join(map(_frame, page.events)) or b": heartbeat\n\n"
        except (StoreUnavailable, PositionExpired, Problem):
            # the end of the stream: the client reconnects with its last id, and gets a proper response
            return

    async def _read_position(self, request: Request) -> Position:
        last_id = request.headers.get("last-event-id")
        given = query_of(request)["after"] if last_id is None else last_id
        if given is None:
            return Position()
        if given == _LATEST and last_id is None:
            return Position((await self._store.call(events.horizon)).oldest)
        try:
            return Position.parse(given)
        # only a number that is too large: the form of `after` is checked already
        except ValueError:
            if last_id is None:
                raise query_invalid("after", "after is beyond the last event.") from None
            raise Problem(
                "header_invalid", "Last-Event-ID must be the `id` of an event.", header="Last-Event-ID"
            ) from None


def _read_selection(request: Request, company_id: str | None) -> Selection:
    given = query_of(request)["types"]
    names = frozenset(() if given is None else (name.strip() for name in given.split(",")))
    try:
        return Selection(company_id=company_id, types=names)
    except ValueError:
        raise query_invalid(
            "types",
            "types must be names of types of events, separated by commas.",
            known=[row.name for row in PUBLIC_TYPES if company_id is None or not row.is_installations],
        ) from None


def _as_json(page: PublicPage) -> bytes:
    # each event was serialised when it was read
    return b'{"events":[%b],"next":"%b"}' % (
        b",".join(event.body for event in page.events),
        str(page.position).encode(),
    )


def _frame(event: PublicEvent) -> bytes:
    # JSON has no line breaks outside of strings, and escapes those inside: one `data` line
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(event.position).encode(), event.type.encode(), event.body)
