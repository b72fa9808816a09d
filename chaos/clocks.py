"""Wall clocks of further hosts that can be set wrong, by the library libfaketime, which stands between a process and
the system's clock. The monotonic clock goes right, as on a machine whose time was set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_NAME: Final = "libfaketime.so.1"
_FOLDERS: Final = ("/usr/lib", "/usr/local/lib", "/usr/lib64")


class Clock:
    """The wall clock of one host's processes.

    Args:
        file: by which it is set. library: path of libfaketime.
    """

    def __init__(self, file: Path, library: Path) -> None:
        self._file, self._library = file, library
        self.shift(0)

    @property
    def variables(self) -> Mapping[str, str]:
        """Variables of the processes whose clock it is."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # seconds until a change is seen; each look at the clock would read the file otherwise
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # the times of files are the file system's
            "NO_FAKE_STAT": "1",
        }

    def shift(self, by_s: int) -> None:
        """Set it `by_s` seconds ahead of the right time; below 0: behind it."""
        self._file.write_text(f"{by_s:+d}\n", encoding="ascii")


def faketime() -> Path | None:
    """Return the path of libfaketime: of the Python package of that name, or of the system; None: it is not there."""
    return next((path for path in _candidates() if path.exists()), None)


def _candidates() -> Iterable[Path]:
    package = find_spec("libfaketime")
    for folder in package.submodule_search_locations or () if package else ():
        yield from Path(folder).rglob(_NAME)
    for root in _FOLDERS:
        yield from Path(root).glob(f"**/faketime/{_NAME}")
