"""Facts that a Redis server reports about itself and our user, for `bulkhead doctor`."""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final

import redis

from shared.errors import QueueUnavailable
from shared.queues.connection import connect, redis_errors
from shared.queues.hints import Hints

_ANSWER_S: Final = 5.0


def server_facts(url: str) -> dict[str, Any]:
    """Return `version`, `policy` and `maxmemory` (None where our user may not ask).

    Raises:
        QueueUnavailable: it cannot be reached, or takes no writes.
    """
    try:
        hints = Hints(url, _ANSWER_S)
    except ValueError as error:
        # redis-py's parser of addresses
        raise QueueUnavailable(str(error)) from error
    hints.ping()
    hints.close()
    with closing(connect(url, _ANSWER_S)) as client, redis_errors():
        try:
            facts = client.info("memory") | client.info("server")
        except redis.exceptions.NoPermissionError:
            facts = {}
        return {
            "version": facts.get("redis_version"),
            "policy": facts.get("maxmemory_policy"),
            "maxmemory": facts.get("maxmemory"),
        }
