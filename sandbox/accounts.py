"""Account data apart from messages: tokens, registered numbers, subscriptions, profiles, templates. Kept in a file
across restarts.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

from sandbox.config import SandboxConfig
from sandbox.graph_errors import GraphError
from sandbox.request_bodies import token_in_body

CODE_S: Final = 30.0
"""Lifetime of an embedded signup's code."""
SCOPES: Final = ("business_management", "whatsapp_business_management", "whatsapp_business_messaging")
"""Permissions of every token: what embedded signup asks for."""
_FILE: Final = "accounts.json"
_HELLO: Final = {
    "id": "700000000000001",
    "name": "hello_world",
    "language": "en_US",
    "category": "UTILITY",
    "status": "APPROVED",
    "parameter_format": "POSITIONAL",
    "components": [{"type": "BODY", "text": "Hello World"}],
}
"""The template that every new account has."""
_NUMBER: Final = {
    "quality_rating": "GREEN",
    "messaging_limit_tier": "TIER_250",
    "throughput": {"level": "STANDARD"},
    "code_verification_status": "VERIFIED",
    "name_status": "APPROVED",
    "platform_type": "CLOUD_API",
}
"""Meta's fields of a number in good standing; the control API can change them one by one."""


@dataclass(frozen=True, slots=True)
class Code:
    """The code that a browser gets at the end of an embedded signup. `until`: monotonic."""

    waba_id: str
    phone_number_id: str
    until: float


class Accounts:
    """The accounts of one sandbox.

    Raises:
        OSError: the data directory cannot be used.
    """

    def __init__(self, config: SandboxConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._path = config.data_directory / _FILE
        self._codes: dict[str, Code] = {}
        # digests only, since the file of issued tokens must not be a list of secrets either
        self._own = {_digest(token) for token in config.access_tokens}
        self._kept: dict[str, Any] = {"tokens": {}, "numbers": {}, "wabas": {}, "revoked": False, "expires_at": 0}
        if self._path.exists():
            self._kept |= json.loads(self._path.read_bytes())

    def save(self) -> None:
        """Write the file that the next start reads."""
        fresh = self._path.with_suffix(".new")
        # created with its mode before anything is written, then renamed: a reader sees the old or the new file, even
        # after a kill here
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(self._kept), encoding="utf-8")
        fresh.replace(self._path)

    async def require_token(self, request: Request) -> str:
        """Return the token of a call: from its header, its query or its body. Raises `GraphError` without a
        valid one.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = ((token if scheme.lower() == "bearer" else "") or request.query_params.get("access_token", "")).strip()
        # last, since this reads the body: Meta's examples pass `access_token` as a parameter of a POST
        given = given or await token_in_body(request)
        if not given:
            raise GraphError(104)
        if not self.is_valid(given):
            raise GraphError(190, message="Invalid OAuth access token - Cannot parse access token")
        return given

    async def require_app(self, request: Request) -> None:
        """Raise `GraphError` unless the call comes from the app itself (`APP_ID|APP_SECRET`), or has a valid token."""
        # an app authenticates by `APP_ID|APP_SECRET` in place of a token (Meta's page about access tokens)
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip() or request.query_params.get(
            "access_token", ""
        )
        if not secrets.compare_digest(given.encode(), f"{self._config.app_id}|{self._config.app_secret}".encode()):
            await self.require_token(request)

    def is_known(self, token: str) -> bool:
        """Whether a token was ever issued."""
        # by digest, so that the timing of a look-up reveals nothing about known tokens
        return _digest(token) in self._own or _digest(token) in self._kept["tokens"]

    def is_valid(self, token: str) -> bool:
        """Whether a token is valid now."""
        expires_at = self._kept["expires_at"]
        return self.is_known(token) and not self._kept["revoked"] and not (expires_at and expires_at <= time.time())

    def about(self, token: str) -> dict[str, Any]:
        """Return the answer of `debug_token`."""
        given = self._kept["tokens"].get(_digest(token))
        if not self.is_known(token):
            error = {"code": 190, "message": "Invalid OAuth access token - Cannot parse access token"}
            return {"is_valid": False, "scopes": [], "error": error}
        wabas = [given["waba_id"]] if given else sorted({number.waba_id for number in self._config.numbers})
        valid = self.is_valid(token)
        error = (
            {}
            if valid
            else {
                "error": {"code": 190, "subcode": 463, "message": "Error validating access token: Session has expired"}
            }
        )
        return {
            "app_id": self._config.app_id,
            "type": "SYSTEM_USER",
            "application": "Bulkhead sandbox",
            "data_access_expires_at": 0,
            "expires_at": self._kept["expires_at"],
            "is_valid": valid,
            # configured tokens have no time of issue; any fixed instant of the past serves
            "issued_at": given["issued_at"] if given else 1_700_000_000,
            "scopes": list(SCOPES),
            "granular_scopes": [
                {"scope": "whatsapp_business_management", "target_ids": wabas},
                {"scope": "whatsapp_business_messaging", "target_ids": wabas},
            ],
            "user_id": "600000000000001",
            **error,
        }

    def turn_tokens(self, *, valid: bool | None, expires_at: int | None) -> None:
        """Revoke or restore every token, or set when they expire (seconds since 1970; 0: never)."""
        if valid is not None:
            self._kept["revoked"] = not valid
        if expires_at is not None:
            self._kept["expires_at"] = expires_at
        self.save()

    def new_code(self, waba_id: str, phone_number_id: str) -> str:
        """Return a new code, as a browser gets it at the end of an embedded signup."""
        code = "AQB" + secrets.token_urlsafe(24)
        self._codes[code] = Code(waba_id, phone_number_id, self._clock() + CODE_S)
        return code

    def exchange(self, code: str) -> str:
        """Exchange a code, once, for a token. Raises `GraphError`."""
        # removed even if it has expired: a code works once
        bought = self._codes.pop(code, None)
        if bought is None:
            raise GraphError(100, message="This authorization code has been used.", subcode=36009)
        if self._clock() > bought.until:
            raise GraphError(100, message="This authorization code has expired.", subcode=36007)
        token = "EAAsandbox" + secrets.token_urlsafe(24)
        self._kept["tokens"][_digest(token)] = {"waba_id": bought.waba_id, "issued_at": int(time.time())}
        self.save()
        return token

    def number(self, phone_number_id: str) -> dict[str, Any]:
        """Return a number's mutable state; call `save` after a change."""
        configured = next(number for number in self._config.numbers if number.phone_number_id == phone_number_id)
        kept: dict[str, Any] = self._kept["numbers"].setdefault(phone_number_id, {})
        # after `fresh` has cleared it, a number has its configured values again
        kept.setdefault("registered", configured.registered)
        return kept

    def is_registered(self, phone_number_id: str) -> bool:
        """Whether a number may send."""
        return bool(self.number(phone_number_id)["registered"])

    def fields(self, phone_number_id: str) -> dict[str, Any]:
        """Return every field of a number's node."""
        configured = next(number for number in self._config.numbers if number.phone_number_id == phone_number_id)
        kept = self.number(phone_number_id)
        return {
            "id": phone_number_id,
            "display_phone_number": f"+{configured.display_phone_number}",
            "verified_name": "Bulkhead sandbox",
            **_NUMBER,
            "status": "CONNECTED" if kept["registered"] else "PENDING",
            **{name: value for name, value in kept.items() if name in _NUMBER},
        }

    def waba(self, waba_id: str) -> dict[str, Any]:
        """Return the mutable state of a WhatsApp Business Account or a Page: `apps` (subscribed), `templates`. Call
        `save` after a change.
        """
        kept: dict[str, Any] = self._kept["wabas"].setdefault(
            waba_id, {"apps": [self._config.app_id], "templates": [dict(_HELLO)]}
        )
        return kept

    def is_subscribed(self, waba_id: str) -> bool:
        """Whether our app gets the webhooks of an account."""
        return self._config.app_id in self.waba(waba_id)["apps"]

    def unsubscribed(self, waba_id: str) -> None:
        """Add an account without subscriptions, unless it exists."""
        if waba_id not in self._kept["wabas"]:
            self.waba(waba_id)["apps"] = []


def chosen(everything: Mapping[str, Any], fields: str) -> dict[str, Any]:
    """Return the requested fields and the id, as the Graph API does; all fields if none is requested."""
    # `fields=owner{id,name}` requests parts of a field; the whole field is returned
    names = [name.partition("{")[0].strip() for name in fields.split(",") if name.strip()]
    return (
        {"id": everything["id"], **{name: everything[name] for name in names if name in everything}}
        if names
        else dict(everything)
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
