"""How we connect to Redis: own time limits, no silent retries of the client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.errors import QueueUnavailable


def connect(url: str, timeout_s: float) -> redis.Redis:
    """Return a client whose every call ends within `timeout_s`; connects on first use.

    redis-py retries ten times by default, which makes a frozen server hang its callers for an hour and an enqueue
    happen twice.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        # a PING before a command would be one more round trip, and proves nothing about the command
        health_check_interval=0,
    )


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn Redis' errors into `QueueUnavailable`."""
    try:
        yield
    except RedisError as error:
        raise QueueUnavailable(f"Redis: {error or type(error).__name__}") from error
