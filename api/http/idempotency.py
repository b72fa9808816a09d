"""The header Idempotency-Key."""

from __future__ import annotations

import re
from typing import Final

from starlette.datastructures import Headers

from api.http.problems import Problem

# visible ASCII: proxies may trim or recode anything else, and one key would become two; 255 as in other APIs with
# this header
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


def read_key(headers: Headers) -> str | None:
    """Return the client's idempotency key, None when it sent none. Raises `Problem` for one that cannot be used."""
    given = headers.getlist("idempotency-key")
    if not given:
        return None
    # of two keys it is unclear which is meant
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise Problem(
            "header_invalid",
            "Idempotency-Key must stand once, with 1 to 255 visible ASCII characters.",
            header="Idempotency-Key",
        )
    return given[0]
