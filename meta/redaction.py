"""Removes the secrets of a request from its response: providers repeat them in error messages, which end in histories
and logs.

A secret is known by its source, the request's own headers and parameters, and not by its form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

_MARK: Final = b"[secret]"
_PREFIX: Final = 12
"""Characters. A response that repeats so many first characters of a secret quotes it, perhaps cut; fewer may be
chance: Meta's tokens all begin with `EAA`.
"""
_SHORTEST: Final = 6
"""Characters. A shorter value (a test's, a PIN of fewer digits) would be found by chance in any text."""
# what our own calls carry: Graph's token, 360dialog's key, the code of a signup and the tokens that are inspected
_HEADERS: Final = ("authorization", "d360-api-key")
_PARAMETERS: Final = ("code", "client_secret", "input_token", "access_token")


def secrets_of(headers: Mapping[str, str], parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secrets of one request."""
    return tuple(_secrets(headers, parameters))


def redacted(body: bytes, secrets: Iterable[str]) -> bytes:
    """Return a response without the secrets of its request: whole, cut after its beginning, or with JSON's escaped
    slashes.
    """
    for secret in secrets:
        # JSON may escape a slash (RFC 8259, 7), and PHP's encoder does by default
        for spelled in {secret.encode(), secret.replace("/", "\\/").encode()}:
            body = _without(body, spelled)
    return body


def _without(body: bytes, secret: bytes) -> bytes:
    beginning = secret[:_PREFIX]
    found = body.find(beginning)
    if found < 0:
        return body
    # not `bytes.replace`: an error message may quote a beginning of the secret only, as long as it likes
    parts, at = [], 0
    while found >= 0:
        end = found + len(beginning)
        while end - found < len(secret) and end < len(body) and body[end] == secret[end - found]:
            end += 1
        parts += [body[at:found], _MARK]
        at = end
        found = body.find(beginning, at)
    return b"".join([*parts, body[at:]])


def _secrets(headers: Mapping[str, str], parameters: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        if name.lower() in _HEADERS:
            own = value.removeprefix("Bearer ")
            # an app's own token is its public id, a bar and its secret
            yield from _long(own.rpartition("|")[2])
    for name in _PARAMETERS:
        yield from _long(parameters.get(name, ""))


def _long(value: str) -> Iterator[str]:
    if len(value) >= _SHORTEST:
        yield value
