"""Reads a file's text by a process of its own (`index.reader`), and takes no more from it than was agreed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from index.chunks import Chunk
from index.reasons import REASONS, IndexingFailed

_ROOT: Final = Path(__file__).parents[1]
_LINE_BYTES: Final = 1 << 20
"""Longest line: one passage of the largest size."""
_CHUNKS_MOST: Final = 20_000
_END_S: Final = 5.0
"""Longest wait for the process to go after SIGKILL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingLimits:
    """What reading one file may take.

    Attributes:
        cpu_s: seconds of CPU. wall_s: seconds in all. memory_mb: address space. chunks: passages.
    """

    cpu_s: int = 120
    wall_s: float = 600.0
    memory_mb: int = 1024
    chunks: int = _CHUNKS_MOST


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadFile:
    """What was read; `unreadable`: pages whose text could not be read."""

    chunks: list[Chunk]
    pages: int | None
    unreadable: int


async def read_file(
    source: AsyncGenerator[bytes, None],
    mimetype: str,
    *,
    size: int,
    overlap: int,
    markers: Mapping[str, str],
    limits: ReadingLimits,
) -> ReadFile:
    """Return the passages of a file.

    Args:
        source: its bytes. size, overlap: see `index.chunks.cut`. markers: BULKHEAD_HOME and PROCESS_INCARNATION, by
            which the orchestrator finds the process when this one is dead.
    Raises:
        IndexingFailed: it cannot be read within the limits. Whatever `source` raises.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "index.reader",
        str(os.getpid()),
        mimetype,
        *(str(number) for number in (size, overlap, limits.cpu_s, limits.memory_mb)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=_LINE_BYTES,
        cwd=_ROOT,
        # no secret of ours, and nothing by which Python would load other code
        env={**markers, "PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"},
        start_new_session=True,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a process that was started with pipes has none")
    feeding = asyncio.ensure_future(_feed(process.stdin, source))
    collecting = asyncio.ensure_future(_collect(process, process.stdout, limits))
    try:
        done, _ = await asyncio.wait({feeding, collecting}, timeout=limits.wall_s, return_when=asyncio.FIRST_EXCEPTION)
        # first: half of a file must not be taken for a damaged one
        if feeding in done:
            feeding.result()
        if collecting not in done:
            raise _failed("too_slow", limits)
        return collecting.result()
    finally:
        feeding.cancel()
        collecting.cancel()
        await _end(process)
        await asyncio.wait({feeding, collecting})


async def _feed(stdin: asyncio.StreamWriter, source: AsyncGenerator[bytes, None]) -> None:
    try:
        async with aclosing(source) as pieces:
            async for piece in pieces:
                stdin.write(piece)
                await stdin.drain()
        stdin.close()
        await stdin.wait_closed()
    # it died, or wants no more: `_collect` knows why
    except (BrokenPipeError, ConnectionResetError):
        return


async def _collect(
    process: asyncio.subprocess.Process, stdout: asyncio.StreamReader, limits: ReadingLimits
) -> ReadFile:
    chunks: list[Chunk] = []
    while True:
        try:
            line = await stdout.readline()
            found: dict[str, Any] = json.loads(line) if line else {}
        except ValueError as error:
            raise _failed("reader_died", limits, error="a line that is none") from error
        if not line:
            code, cause = await _death(process)
            raise _failed(code, limits, error=cause)
        if end := found.get("end"):
            return ReadFile(chunks=chunks, pages=end["pages"], unreadable=end["unreadable"])
        if refused := found.get("refused"):
            # a code of our own program, though hostile bytes were in its hands
            code = refused.pop("code")
            raise _failed(code if code in REASONS else "reader_died", limits, **refused)
        chunks.append(Chunk(**found))
        if len(chunks) > limits.chunks:
            raise _failed("too_much_text", limits, limit=limits.chunks)


async def _death(process: asyncio.subprocess.Process) -> tuple[str, str]:
    """Return the code and the cause for a process that ended without a last line."""
    code = await process.wait()
    if code == -signal.SIGXCPU:
        return "too_slow", ""
    return "reader_died", signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _failed(code: str, limits: ReadingLimits, **facts: Any) -> IndexingFailed:
    known = {"error": "no reason given", "cpu_s": limits.cpu_s, "wall_s": limits.wall_s, "memory_mb": limits.memory_mb}
    return IndexingFailed(code, **{**known, **facts})


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        # it may end by itself in this instant; its group: a parser's helpers, should one ever start some
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    async with asyncio.timeout(_END_S):
        await process.wait()
