"""`bulkhead shadow`: the command line of the proxy."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from moving.shadow import NotInSandbox, Shadow
from shared.process.exit_codes import ExitCode


def main(argv: Sequence[str]) -> int:
    """Run the proxy until it is stopped, print what was compared, and return an exit code (`ExitCode`; 1: answers
    differed).

    Args:
        argv: what the command line said, checked, as one JSON object.
    """
    (text,) = argv
    given = SimpleNamespace(**json.loads(text))
    try:
        return asyncio.run(_serve(given, Path(given.key_file).read_text(encoding="utf-8").strip()))
    except NotInSandbox as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.CONFIGURATION
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.BOOT


async def _serve(given: SimpleNamespace, key: str) -> int:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    def report(difference: Mapping[str, Any]) -> None:
        line = json.dumps(difference) + "\n"
        if given.report is None:
            sys.stdout.write(line)
        else:
            with Path(given.report).open("a", encoding="utf-8") as file:
                file.write(line)

    host, port = given.listen
    shadow = Shadow(given.old, given.new, key=key, report=report)
    try:
        await shadow.run(host, port, stopping)
    finally:
        sys.stdout.write("".join(f"{line}\n" for line in shadow.counts.lines()))
    return 1 if shadow.counts.differences else ExitCode.OK
