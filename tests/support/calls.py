"""Records which file of the project calls which while something runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

_ROOT: Final = f"{Path(__file__).resolve().parents[2]}/"


class Call(NamedTuple):
    """A function that began: from which file it was called, "" for one outside the project, and where it stands."""

    caller: str
    file: str
    name: str

    @property
    def is_entry(self) -> bool:
        """Whether one file of the product calls another."""
        return self.caller not in ("", self.file) and not self.caller.startswith("tests/")


class Calls(list[Call]):
    """Calls of one thread, in the order in which they began. Continuing a coroutine or a generator is no call."""

    def __init__(self) -> None:
        super().__init__()
        # kept as objects: a frame that is freed could lend its identity to another call
        self._known: dict[int, FrameType] = {}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record what the current thread calls meanwhile."""
        sys.setprofile(self._on_event)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _on_event(self, frame: FrameType, event: str, _: Any) -> None:
        file = _file(frame)
        # a comprehension is a part of the function that holds it
        if event != "call" or not file or id(frame) in self._known or frame.f_code.co_name.startswith("<"):
            return
        self._known[id(frame)] = frame
        self.append(Call(_file(frame.f_back) if frame.f_back else "", file, frame.f_code.co_qualname))


def _file(frame: FrameType) -> str:
    name = frame.f_code.co_filename
    return name.removeprefix(_ROOT) if name.startswith(_ROOT) and "/.venv/" not in name else ""
