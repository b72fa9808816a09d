"""Requests as bytes, made so that nothing in an address or a header can become another line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from shared.http_client.errors import NotWritten

PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
"""Ports by scheme."""


class HttpOrigin(NamedTuple):
    """What a connection leads to."""

    is_tls: bool
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port as the header `Host` has them."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == PORTS["https" if self.is_tls else "http"] else f"{name}:{self.port}"


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """Whom to connect to, and the beginning of each request, which may hold secrets."""

    origin: HttpOrigin
    start: str = field(repr=False)


def post_target(origin: HttpOrigin, path: str, headers: Mapping[str, str]) -> HttpTarget:
    """Return what does not change between POSTs of JSON to one address.

    Args:
        path: with its query, escaped. headers: that all of them have.
    Raises:
        NotWritten: the address or a header would not stay in its line.
    """
    # a space would end the target
    if not _is_line(path) or " " in path or not _is_line(origin.host):
        raise NotWritten("InvalidAddress")
    always = {
        "Host": origin.authority,
        "Accept": "*/*",
        # a compressed answer would hide the secrets that are removed from it, and no answer is long
        "Accept-Encoding": "identity",
        "User-Agent": "bulkhead",
        "Content-Type": "application/json",
    }
    return HttpTarget(origin, f"POST {path} HTTP/1.1\r\n{_lines(always)}{_lines(headers)}")


def request_of(target: HttpTarget, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return a whole request. Raises `NotWritten` for a header that would not stay one."""
    return f"{target.start}{_lines(headers)}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body


def _lines(headers: Mapping[str, str]) -> str:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    # a line break would add headers to the request (CWE-113); all values are checked at once
    if lines.count("\r\n") != len(headers) or not _is_line(lines.replace("\r\n", "")):
        raise NotWritten("InvalidHeader")
    for name in headers:
        if not name or ":" in name or " " in name:
            raise NotWritten("InvalidHeader")
    return lines


def _is_line(text: str) -> bool:
    return text.isascii() and text.isprintable()
