"""The API key: where it comes from, and how a request shows it."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from starlette.datastructures import Headers

from api.http.problems import Problem
from shared.errors import SettingsInvalid
from shared.settings import Settings

_CHALLENGE: Final = 'Bearer realm="bulkhead"'


def load_key(settings: Settings) -> str:
    """Return the key of API clients: the setting, else what the orchestrator put into BULKHEAD_HOME/api_key.

    Raises:
        SettingsInvalid: there is none; the API does not run without.
    """
    if settings.api_key:
        return settings.api_key
    kept = settings.path("api_key")
    try:
        key = kept.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise SettingsInvalid(
            [
                f"API_KEY is empty and {kept} cannot be read ({type(error).__name__}); start the orchestrator once, or set API_KEY"
            ]
        ) from error
    if not key:
        raise SettingsInvalid(
            [f"API_KEY is empty and so is {kept}; remove the file and start the orchestrator, or set API_KEY"]
        )
    return key


class KeyCheck:
    """Checks requests for the key. Digests are compared, in constant time, so that neither content nor length of the key shows."""

    def __init__(self, key: str) -> None:
        self._digest = _digest(key.encode())

    def require(self, headers: Headers) -> None:
        """Raise `Problem` unless every key that the request shows is the right one, and it shows at least one."""
        shown = [value.encode("latin-1") for value in headers.getlist("x-api-key")]
        for value in headers.getlist("authorization"):
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer":
                shown.append(token.strip().encode("latin-1"))
        if not any(shown):
            raise Problem("key_missing", "The request shows no API key.", headers={"WWW-Authenticate": _CHALLENGE})
        # no short cut: the time must not tell which of several keys was right
        right = [hmac.compare_digest(_digest(key), self._digest) for key in shown]
        if not all(right):
            raise Problem(
                "key_invalid",
                "The request shows a wrong API key.",
                headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'},
            )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
