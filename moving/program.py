"""`bulkhead shadow`: the command line of the proxy."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from moving.shadow import NotInSandbox, Shadow
from shared.process.exit_codes import ExitCode


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\n")


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ArgumentTypeError(f"{text!r} is not an address like http://127.0.0.1:3000")
    return text


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ArgumentTypeError(f"{text!r} is not ADDRESS:PORT")
    return host or "127.0.0.1", int(port)


def main(argv: Sequence[str]) -> int:
    """Run the proxy until it is stopped, print what was compared, and return an exit code (`ExitCode`; 1: answers
    differed)."""
    parser = _Parser(
        prog="bulkhead shadow",
        description="Pass requests to a single-process server, copy them to a shadow installation of Bulkhead that "
        "sends to its sandbox alone, and report where the answers differ.",
    )
    parser.add_argument("--old", type=_origin, required=True, metavar="URL", help="the single-process server")
    parser.add_argument("--new", type=_origin, required=True, metavar="URL", help="the shadow installation's API")
    parser.add_argument("--key-file", type=Path, required=True, metavar="FILE", help="file with the shadow's API key")
    parser.add_argument(
        "--listen", type=_place, default=("127.0.0.1", 3900), metavar="ADDRESS:PORT", help="default 127.0.0.1:3900"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="a JSON object a line for each difference")
    given = parser.parse_args(argv)
    try:
        return asyncio.run(_serve(given, given.key_file.read_text(encoding="utf-8").strip()))
    except NotInSandbox as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.CONFIGURATION
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.BOOT


async def _serve(given: Namespace, key: str) -> int:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    def report(difference: Mapping[str, Any]) -> None:
        line = json.dumps(difference) + "\n"
        if given.report is None:
            sys.stdout.write(line)
        else:
            with given.report.open("a", encoding="utf-8") as file:
                file.write(line)

    host, port = given.listen
    shadow = Shadow(given.old, given.new, key=key, report=report)
    try:
        await shadow.run(host, port, stopping)
    finally:
        sys.stdout.write("".join(f"{line}\n" for line in shadow.counts.lines()))
    return 1 if shadow.counts.differences else ExitCode.OK
