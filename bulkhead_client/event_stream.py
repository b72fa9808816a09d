"""Reading of server-sent events (WHATWG HTML, 9.2.6); pure."""

from __future__ import annotations

import json
from typing import Any, cast

from bulkhead_client.models import Event


class EventStreamReader:
    """Makes events of the lines of a stream.

    Attributes:
        last_id: position of the last event, from which a new stream goes on. retry_s: the server's wait before a new
            stream, in seconds.
    """

    def __init__(self, last_id: str | None) -> None:
        self.last_id, self.retry_s = last_id, 2.0
        self._id: str | None = None
        self._data: list[str] = []

    def begin(self) -> None:
        """Forget what an earlier stream ended in the middle of."""
        self._id, self._data = self.last_id, []

    def feed(self, line: str) -> Event | None:
        """Return the event that ends with this line (without its line break), None for every other line."""
        if not line:
            return self._end()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value
        elif name == "retry" and value.isdecimal():
            self.retry_s = int(value) / 1000
        # a line that begins with a colon is a comment, and shows that the connection works
        return None

    def _end(self) -> Event | None:
        data, self._data = self._data, []
        if not data:
            return None
        # only now: an id without its event must not be skipped by the next stream
        self.last_id = self._id
        event: Any = json.loads("\n".join(data))
        return cast("Event", event)
