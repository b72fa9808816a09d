"""The process that reads one file: limits first, then the file from stdin, passages to stdout as lines of JSON.

Started by `index.reading` for each file and ended with it, so that whatever a file does to it is done to nothing else.
It has no settings, no secrets and no descriptor but its three streams.

    python -m index.reader OWNER MIMETYPE SIZE OVERLAP CPU_S MEMORY_MB

OWNER is the pid of the process that reads the result.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any, Final

from index.chunks import cut
from index.formats import FileFacts, FileRefused, blocks

_PR_SET_PDEATHSIG: Final = 1
_OWNER_GONE: Final = 75
"""EX_TEMPFAIL of sysexits.h."""
_DEPTH: Final = 2000
"""Levels of calls: nested pages and objects are followed by calls."""


def limit(owner: int, cpu_s: int, memory_mb: int) -> None:
    """Bound this process: CPU, memory, no writing of files; it ends with its parent, whose pid is `owner`."""
    # the parent may be killed: nothing would read the result
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # a parent that ended before that line sends no signal any more, and another process has become ours
    if os.getppid() != owner:
        os._exit(_OWNER_GONE)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # the kernel's first choice when memory is short on the machine
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as adjustment:  # noqa: PTH123 - no library before the limits
        adjustment.write("900")
    sys.setrecursionlimit(_DEPTH)


def main(arguments: list[str]) -> int:
    """Read one file. Returns 0 when its last line says how it went, whatever that is."""
    owner, mimetype, numbers = int(arguments[0]), arguments[1], arguments[2:]
    size, overlap, cpu_s, memory_mb = map(int, numbers)
    limit(owner, cpu_s, memory_mb)
    content = sys.stdin.buffer.read()
    facts = FileFacts()
    try:
        for chunk in cut(blocks(content, mimetype, facts), size=size, overlap=overlap):
            _write({"text": chunk.text, "tokens": chunk.tokens, "page": chunk.page, "section": chunk.section})
        _write({"end": {"pages": facts.pages, "unreadable": len(facts.unreadable)}})
    except FileRefused as error:
        _write({"refused": {"code": error.code, **error.facts}})
    except MemoryError:
        # what was being read goes first: the line itself needs memory
        del content
        _write({"refused": {"code": "too_much_memory"}})
    return 0


def _write(line: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(line).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # nothing is torn down: a large file's objects take seconds to go one by one
    os._exit(code)
