"""Where work comes from: the request that asked for it, kept with a message and written into its log lines."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from dataclasses import dataclass
from random import Random
from typing import Final

# W3C Trace Context: version, trace id, parent id and flags; a later version may append fields
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


# seeded by the system. Ids must differ and need not be secret; bytes from the system cost a call of the kernel each
_random: Final = Random()  # noqa: S311
# two processes with one state would make the same ids
os.register_at_fork(after_in_child=_random.seed)


def random_id(size: int) -> str:
    """Return an id of `size` random bytes, in hexadecimal. It is unique, but not secret."""
    return f"{_random.getrandbits(8 * size):0{2 * size}x}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """One request.

    Attributes:
        request_id: its correlation id. traceparent: the W3C trace that it is part of. key_id: row of the API key; None:
            the key of the settings.
    """

    request_id: str
    traceparent: str
    key_id: int | None = None


origin: ContextVar[Origin | None] = ContextVar("origin", default=None)
"""The request that the work of this context is done for; None: no request."""


def continued(traceparent: str) -> str:
    """Return the trace of a request: the client's with a span of ours, or a new one if it sent none that is valid."""
    found = _TRACEPARENT.fullmatch(traceparent)
    # version ff is forbidden; of version 00 nothing may follow; ids of zeros mean none
    if found and found[1] != "ff" and (found[1] != "00" or not found[5]) and int(found[2], 16) and int(found[3], 16):
        return f"00-{found[2]}-{random_id(8)}-{found[4]}"
    # flags 00, not sampled: only a client can decide to record a trace
    return f"00-{random_id(16)}-{random_id(8)}-00"


def trace_id(traceparent: str) -> str:
    """Return the id of the whole trace."""
    return traceparent[3:35]


def log_fields(request_id: str, traceparent: str) -> dict[str, str]:
    """Return the fields of log lines about a message; none if no request asked for it."""
    return {"request_id": request_id, "trace_id": trace_id(traceparent)} if request_id else {}
