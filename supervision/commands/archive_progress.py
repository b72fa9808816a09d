"""Runs the process that writes or reads a backup, and shows how far it is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import click

from shared.process.exit_codes import ExitCode
from supervision.commands.context import Context
from supervision.commands.entry_process import entry_of


def run_with_progress(context: Context, *words: str) -> tuple[int, dict[str, Any]]:
    """Run `proc_recorder.py WORDS`, whose standard output is one JSON object a line about its progress.

    Returns:
        Its exit code, and the last object: what it did.
    """
    command, environ = entry_of(context, "recorder", *words)
    process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    last: dict[str, Any] = {}
    bar: Any = None
    if process.stdout is None:
        raise TypeError("the process has no output")
    try:
        for line in process.stdout:
            last = json.loads(line)
            if last["stage"] == "files" and last["total"] and sys.stderr.isatty():
                bar = bar or _bar(last["total"])
                bar.update(last["done"] - bar.pos)
            elif last["stage"] == "database":
                click.echo("database …", err=True)
    finally:
        if bar is not None:
            bar.render_finish()
        process.stdout.close()
        code = process.wait()
    return (code if code >= 0 else ExitCode.CRASH), last


def _bar(total: int) -> Any:
    bar: Any = click.progressbar(length=total, label="files", file=sys.stderr)
    bar.render_progress()
    return bar
