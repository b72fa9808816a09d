"""Which uncaught errors the kind survives."""

from __future__ import annotations

import aiohttp
import pytest
from yarl import URL

from meta.severity import classify
from shared.errors import Fenced, IllegalTransition, QueueUnavailable, StoreUnavailable
from shared.process.service import Severity

_REQUEST = aiohttp.RequestInfo(URL("http://127.0.0.1/"), "POST", None)  # type: ignore[arg-type]  # its headers do not matter here


def _answered(status: int) -> aiohttp.ClientResponseError:
    return aiohttp.ClientResponseError(_REQUEST, (), status=status)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        ConnectionResetError(),
        BrokenPipeError(),
        TimeoutError(),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientPayloadError(),
        _answered(400),
        _answered(404),
        _answered(500),
        _answered(503),
        StoreUnavailable("away"),
        QueueUnavailable("away"),
        Fenced("late"),
    ],
    ids=repr,
)
def test_survived(error: BaseException) -> None:
    assert classify(error) is Severity.RECOVERABLE


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(),
        KeyError("x"),
        AssertionError(),
        MemoryError(),
        OSError(24, "Too many open files"),
        IllegalTransition("x"),
        SystemExit(1),
    ],
    ids=repr,
)
def test_everything_else_ends_the_process(error: BaseException) -> None:
    assert classify(error) is Severity.CRITICAL
