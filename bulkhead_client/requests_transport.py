"""Requests over requests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from bulkhead_client.errors import Unreachable
from bulkhead_client.wire import Answer, Request


class RequestsTransport:
    """Connections to one installation.

    Args:
        url: its address. headers: of every request. session: the caller's own, which is then not closed.
    """

    def __init__(self, url: str, headers: Mapping[str, str], session: Any = None) -> None:
        self._url, self._headers, self._is_own = url.rstrip("/"), dict(headers), session is None
        self._session = requests.Session() if session is None else session

    def exchange(self, request: Request, timeout_s: float) -> Answer:
        """Return the answer, whatever its status. Raises `Unreachable` when there is none in time."""
        try:
            answer = self._session.request(
                request.method,
                self._url + request.target,
                headers={**self._headers, **request.headers},
                data=request.body,
                timeout=timeout_s,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise Unreachable(f"{request.method} {request.path}: {type(error).__name__}") from error
        return Answer(status=answer.status_code, headers=_lowered(answer.headers), body=answer.content)

    def lines(self, request: Request, idle_s: float) -> Iterator[str]:
        """Give the lines of an answer that does not end, without line breaks.

        Raises:
            Problem: a refusal. Unreachable: the connection broke, or nothing came for `idle_s`.
        """
        headers = {**self._headers, **request.headers}
        try:
            with self._session.request(
                request.method,
                self._url + request.target,
                headers=headers,
                timeout=idle_s,
                allow_redirects=False,
                stream=True,
            ) as answer:
                if answer.status_code >= 400:
                    Answer(
                        status=answer.status_code, headers=_lowered(answer.headers), body=answer.content
                    ).require_success()
                rest = b""
                # `chunk_size=None`: what came, when it comes
                for chunk in answer.iter_content(chunk_size=None):
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield line.decode()
        except requests.RequestException as error:
            raise Unreachable(f"{request.method} {request.path}: {type(error).__name__}") from error

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def now(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()

    def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        if self._is_own:
            self._session.close()


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
