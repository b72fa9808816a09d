"""Simulates a loss of power: every process dies at once, unsynced files return to their state before the last sends,
and the recorded boot id is another one.
"""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Final

from chaos.installation import ChaosInstallation
from shared.process import runtime
from shared.process.slot_lock import boot_id

_NEVER_SYNCED: Final = "*.flight"
"""In-flight journals: memory-mapped, so that the disk may hold any earlier state of them."""
_LARGEST: Final = 4 << 20
"""Bytes: files under `run/` with the boot id are small; the embedded server's own files are there too."""


async def lose_power(installation: ChaosInstallation, under_way_s: float) -> None:
    """Simulate it.

    Args:
        under_way_s: seconds between the restored state of the files and the loss.
    """
    run_directory = runtime.run_dir(installation.home)
    before = {path: path.read_bytes() for path in run_directory.glob(_NEVER_SYNCED)}
    await asyncio.sleep(under_way_s)
    await installation.kill_everything()
    for path, content in before.items():
        # a file that was removed meanwhile stays removed: the database shows that its rows are settled
        if path.exists():
            path.write_bytes(content)
    _name_another_boot(run_directory)


def _name_another_boot(directory: Path) -> None:
    this, other = boot_id().encode(), str(uuid.uuid4()).encode()
    for path in directory.iterdir():
        if path.is_file() and path.stat().st_size <= _LARGEST and this in (content := path.read_bytes()):
            path.write_bytes(content.replace(this, other))
