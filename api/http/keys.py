"""API keys: loads the first one, checks requests, and delays guesses."""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message, Send

from api.http.addresses import client_network
from api.http.parameters import query_of
from api.http.problems import Problem
from shared.clock import Monotonic, monotonic
from shared.compose.directory import require_possible
from shared.errors import SettingsInvalid, StoreUnavailable
from shared.settings import Settings
from shared.tenancy.audit import Act
from shared.tenancy.key_text import digest, is_well_formed
from shared.tenancy.known_companies import company_unknown
from shared.tenancy.known_keys import KnownKeys
from shared.tenancy.principals import FIRST_ADMIN, Principal

# RFC 9110 15.5.2: a 401 names the scheme; realm and errors as in RFC 6750 3
_CHALLENGE: Final = 'Bearer realm="bulkhead"'
_FREE_GUESSES: Final = 10
"""Wrong keys from one address that are answered at once: a client with an old key gets a quick answer."""
_FIRST_DELAY_S: Final = 0.1
"""Seconds; doubled with each further wrong key of an address."""
_LONGEST_DELAY_S: Final = 5.0
"""Seconds: one guess in five seconds is useless to an attacker, and a longer wait would only occupy connections."""
_FORGOTTEN_S: Final = 60.0
"""Seconds after its last wrong key from which an address counts as new: a mistyped key costs a minute at most."""
_ADDRESSES_MOST: Final = 10_000
"""Networks remembered, about a megabyte: an attacker with many IPv6 networks could fill the memory otherwise."""
_ASKED_AGAIN_S: Final = 10.0
"""Seconds for which an answer in pieces goes on when its key could not be looked up: each look-up waits for a database
that is away.
"""


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
        # ValueError: the file is not UTF-8
        raise SettingsInvalid(
            [
                f"API_KEY is empty and {kept} cannot be read ({type(error).__name__}); "
                "start the orchestrator once, or set API_KEY"
            ]
        ) from error
    if not key:
        raise SettingsInvalid(
            [f"API_KEY is empty and so is {kept}; remove the file and start the orchestrator, or set API_KEY"]
        )
    return key


class WrongKeys:
    """Counts wrong keys by client network (`client_network`), and delays answers to them.

    A proxy may share its address among many clients: nothing but answers to wrong keys is delayed.
    """

    def __init__(self, clock: Monotonic = monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def delay_s(self, address: str) -> float:
        """Count one wrong key and return the seconds until it is answered."""
        now, network = self._clock(), client_network(address)
        # removed and added again: the order is that of the last wrong key, so the one removed below is the oldest
        count, at = self._seen.pop(network, (0, now))
        count = 1 if now - at > _FORGOTTEN_S else count + 1
        self._seen[network] = (count, now)
        if len(self._seen) > _ADDRESSES_MOST:
            self._seen.popitem(last=False)
        return (
            0.0
            if count <= _FREE_GUESSES
            # the exponent is bounded, since a large one overflows the float
            else min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(count - _FREE_GUESSES - 1, 20))
        )


class KeyCheck:
    """Authenticates requests.

    Args:
        key: the key of the settings; works without a database. known: the keys that are rows.
    """

    def __init__(self, key: str, known: KnownKeys) -> None:
        self._first, self.known = digest(key.encode()), known
        self._wrong = WrongKeys()

    async def require(self, request: Request) -> Principal:
        """Return the principal of a request. Raises `Problem` unless it has a valid key of a company that is not
        suspended, and no second one. Wrong keys are answered late.
        """
        given = _given(request.headers)
        if not given:
            raise Problem("key_missing", "The request has no API key.", headers={"WWW-Authenticate": _CHALLENGE})
        # with two valid keys the principal would be ambiguous; the usual request has one
        principal = await self._find(given[0]) if len(set(given)) == 1 else None
        if principal is None:
            # the same response for unknown, expired, revoked and rotated keys, so that guessing reveals nothing. A
            # valid key never gets here, even from an address with many invalid ones
            await asyncio.sleep(self._wrong.delay_s(request.client.host if request.client else ""))
            raise Problem(
                "key_invalid",
                "The request has a wrong API key.",
                headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'},
            )
        if principal.is_suspended:
            # before anything else is read: whatever is asked for, also by a stream that began earlier
            raise Problem("company_suspended", "The company of this API key is suspended.")
        return principal

    async def _find(self, key: bytes) -> Principal | None:
        given = digest(key)
        # in constant time, so that timing reveals no part of the key
        if hmac.compare_digest(given, self._first):
            return FIRST_ADMIN
        # the look-up by digest needs no constant time: computing a digest near a valid one requires the key
        return await self.known.find(given) if is_well_formed(key) else None


def _given(headers: Headers) -> list[bytes]:
    # Starlette decodes headers as Latin-1, so this returns the bytes that were sent
    given = [value.encode("latin-1") for value in headers.getlist("x-api-key")]
    for value in headers.getlist("authorization"):
        scheme, _, token = value.partition(" ")
        # schemes are case-insensitive (RFC 9110 11.1); others, such as a proxy's Basic, are not ours
        if scheme.lower() == "bearer":
            given.append(token.strip().encode("latin-1"))
    return given if any(given) else []


def principal_of(request: Request) -> Principal:
    """Return the principal of a request, in the handler of an operation that needs a key."""
    principal: Principal = request.scope["principal"]
    return principal


def asked_company(request: Request) -> str | None:
    """Return the company that a list is asked for by `companyId`, or that of the key; None: all. Raises `Problem` when
    the key may not reach it.
    """
    principal, given = principal_of(request), query_of(request)["companyId"]
    if given is None:
        return principal.company_id
    company_id: str = given
    require_possible(company_id)
    if not principal.may_reach(company_id):
        raise company_unknown()
    return company_id


async def require_still_valid(request: Request) -> None:
    """Raise `Problem` when the key of a request was revoked or ended since: for handlers that wait or stream."""
    await request.scope["revalidate"]()


def while_valid(request: Request, send: Send) -> Send:
    """Return `send` for an answer that is sent in pieces: a piece raises `Problem` when the key of the request was
    revoked or ended since.

    While the database is away pieces go on: no key can be revoked then.
    """
    ask_at = 0.0

    async def checked(message: Message) -> None:
        nonlocal ask_at
        # for each piece: the look-up is one of what is remembered, and costs less than reading a piece
        if message["type"] == "http.response.body" and message.get("body") and monotonic() >= ask_at:
            try:
                await require_still_valid(request)
            except StoreUnavailable:
                ask_at = monotonic() + _ASKED_AGAIN_S
        await send(message)

    return checked


def act_of(request: Request) -> Act | None:
    """Return the request's act for the audit; None when its operation is not audited."""
    act: Act | None = request.scope.get("act")
    return act
