"""Requests and answers as plain values, which no HTTP library knows of; pure."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from bulkhead_client.errors import problem_of

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
_SAFE: Final = ("GET", "HEAD")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request.

    Attributes:
        path: without the installation's address, escaped. query: parameters; None leaves one out.
        body: what is sent, with `Content-Type` in the headers.
    """

    method: str
    path: str
    query: Mapping[str, str | int | bool | None] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    @property
    def target(self) -> str:
        """Path and query."""
        given = {name: _text(value) for name, value in self.query.items() if value is not None}
        return f"{self.path}?{urlencode(given)}" if given else self.path

    @property
    def is_repeatable(self) -> bool:
        """Whether it can be sent again without a second effect: it only reads, or it has an idempotency key."""
        return self.method in _SAFE or IDEMPOTENCY_KEY in self.headers


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer. `headers`: by name in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def json(self) -> Any:
        """Return the value in the body. Raises `Problem` for a refusal."""
        self.require_success()
        return json.loads(self.body)

    def require_success(self) -> None:
        """Raise `Problem` for a refusal."""
        if self.status >= 400:
            raise problem_of(self.status, self.headers, self.body)

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which the request can be sent again; None when the answer does not say."""
        # the header may also hold a date (RFC 9110 10.2.3), which Bulkhead never sends
        text = self.headers.get("retry-after", "")
        return float(text) if text.isdecimal() else None


@dataclass(frozen=True, kw_only=True)
class File:
    """A file to be sent.

    Attributes:
        content: its bytes. name: as the receiver sees it. mimetype: empty: decided by its name and first bytes.
    """

    content: bytes
    name: str = "file"
    mimetype: str = ""


def place(*parts: str | int) -> str:
    """Return a path of escaped parts below `/api/v2`."""
    return "/api/v2/" + "/".join(quote(str(part), safe="@") for part in parts)


def json_request(
    method: str, path: str, body: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None
) -> Request:
    """Return a request with a JSON body; fields that are None are left out."""
    if body is None:
        return Request(method=method, path=path, headers=dict(headers or {}))
    content = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
    return Request(
        method=method, path=path, headers={**(headers or {}), "Content-Type": "application/json"}, body=content
    )


def form_request(
    path: str, fields: Mapping[str, Any], file: File, *, headers: Mapping[str, str] | None = None
) -> Request:
    """Return a request with a form (RFC 7578): the fields first, then the file."""
    boundary = secrets.token_hex(16)
    described = {**fields, "filename": file.name, "mimetype": file.mimetype or None}
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{_text(value)}\r\n'.encode()
        for name, value in described.items()
        if value is not None
    ]
    # the name is a field too, since this one can hold ASCII without quotes only
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'.encode())
    body = b"".join((*parts, file.content, f"\r\n--{boundary}--\r\n".encode()))
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return Request(method="POST", path=path, headers={**(headers or {}), **kind}, body=body)


def new_idempotency_key() -> str:
    """Return a key for one message."""
    return secrets.token_urlsafe(24)


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
