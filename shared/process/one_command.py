"""Runs one operator's command with a kind's service: without a slot, an endpoint or a supervisor."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from shared import logs
from shared.errors import SettingsInvalid
from shared.kinds import ProcessKind
from shared.process.beats import Beats
from shared.process.exit_codes import ExitCode
from shared.process.heartbeat import Heartbeat
from shared.process.metrics import Metrics
from shared.process.service import Child, OpenService, Service
from shared.settings import ChildEnvironment, Settings, load, load_child
from shared.store.store import Store

Use = Callable[[Service], Awaitable[None]]


def run_with_service(kind_name: str, open_service: OpenService, do: Use, own: Mapping[str, Any]) -> int:
    """Open the kind's service, let `do` use it, and exit.

    Args:
        own: settings of this process alone, in place of the operator's.

    Returns:
        78 when the settings are wrong, each with a sentence on the error stream; otherwise the process ends in here.
    """
    # The operator sees what the command prints; of the log only what went wrong.
    logs.configure(level="error", kind=kind_name)
    try:
        asyncio.run(_run(kind_name, open_service, do, own))
    except SettingsInvalid as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return ExitCode.CONFIGURATION
    sys.stdout.flush()
    sys.stderr.flush()
    # An ordinary exit joins threads, which may wait for a frozen server.
    os._exit(ExitCode.OK)


async def _run(kind_name: str, open_service: OpenService, do: Use, own: Mapping[str, Any]) -> None:
    every = replace(load(), **own)
    kind = every.kind(kind_name)
    child = child_without_slot(kind, every.seen_by(kind), load_child(), connections=kind.pool_size or 1)
    try:
        service = await open_service(child)
        try:
            await service.start()
            await do(service)
        finally:
            await service.close()
    finally:
        await child.cancel_tasks()
        child.store.close()


def child_without_slot(kind: ProcessKind, settings: Settings, identity: ChildEnvironment, *, connections: int) -> Child:
    """Return what a kind's service is opened with, in a process that is not supervised. Its store is the caller's to
    close.
    """
    store, metrics = Store.open(settings, identity, limit=connections), Metrics()
    return Child(
        kind=kind,
        settings=settings,
        identity=identity,
        supervision=None,
        store=store,
        metrics=metrics,
        beats=Beats(),
        stopping=asyncio.Event(),
        # It only counts errors: a process without a slot has no row to write.
        heartbeat=Heartbeat(
            store,
            identity,
            metrics,
            host=settings.host,
            interval_s=settings.heartbeat_s,
            status=lambda: "",
        ),
    )
