"""The wait that an HTTP response asks for; pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from shared.clock import utc_now

_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?")


def retry_after_s(value: str, date: str = "") -> float:
    """Return the seconds that a Retry-After header asks for (RFC 9110 10.2.3), 0 for none and for what is none.

    Args:
        value: seconds, also with a fraction, which servers send although the RFC has none; or an HTTP date. date: the
            response's own Date header: the difference of both is right whatever our clock says.
    """
    if _SECONDS.fullmatch(value.strip()):
        return float(value)
    until = _http_date(value)
    if until is None:
        return 0.0
    return max(0.0, (until - (_http_date(date) or utc_now())).total_seconds())


def _http_date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value.strip())
        # asctime's form names no zone; HTTP dates are in GMT
        return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
    # The other end's own text: neither seconds nor a date, or one with numbers that no date has, as if there were no
    # header.
    except (ValueError, TypeError, OverflowError):
        return None
