"""Opens files in a thread, so that a slow disk does not stop the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import IO, Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_F = TypeVar("_F", bound=IO[Any])


async def opened(open_file: Callable[_P, _F], *arguments: _P.args, **named: _P.kwargs) -> _F:
    """Return the file that `open_file` opens in a thread; the caller closes it.

    A thread cannot be cancelled. When its caller is cancelled, a file that the thread opens afterwards is closed here,
    since nothing else refers to it.

    Raises:
        OSError: as `open_file` does.
    """
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(None, partial(open_file, *arguments, **named))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise


def _close(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
