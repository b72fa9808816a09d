"""How long one send takes, by type: `python -m tests.meta.measure_sends DATABASE_URL`. The provider is a sandbox in
another process's place: a thread here.

What is measured is `MetaChannel.send`: reading the connection, the file's name at the provider, building, the call and
reading its answer.
"""

from __future__ import annotations

import asyncio
import base64
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from shared.clock import monotonic
from shared.messages import Sent
from shared.settings import load
from tests.meta.channel_env import ChannelEnv, channel_env
from tests.meta.seed import SECRETS
from tests.meta.test_sends import FILES, SENDS
from tests.sandbox.env import Receiver, SandboxEnv
from tests.support import environment, samples

SENDS_EACH: Final = 50


async def _timed(own: ChannelEnv, rows: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {}
    for name, (type_name, content) in rows.items():
        for number in range(SENDS_EACH):
            started = monotonic()
            outcome = await own.send(own.message(number + 1, type=type_name, content=content), within_s=20)
            assert isinstance(outcome, Sent), outcome
            taken.setdefault(name, []).append((monotonic() - started) * 1000)
    return taken


async def _measure(settings: Any) -> dict[str, list[float]]:
    async with channel_env(settings) as own:
        rows: dict[str, tuple[str, Mapping[str, Any]]] = {
            name: (type_name, content) for name, (type_name, content, _) in SENDS.items()
        }
        for type_name, (content, mimetype) in FILES.items():
            rows[f"{type_name} from storage, uploaded before"] = (
                type_name,
                {"media": await own.keep(content, mimetype)},
            )
        rows |= {"read": ("read", {"target": "wamid.X"}), "typing": ("typing", {"target": "wamid.X"})}
        await _timed(own, {"warm-up": rows["text"]})
        taken = await _timed(own, rows)
        for size, label in ((100_000, "100 KB"), (5_000_000, "5 MB")):
            for number in range(10):
                media = await own.keep(samples.png(b"%d" % number).ljust(size, b"0"), "image/png")
                started = monotonic()
                assert isinstance(
                    await own.send(own.message(type="image", content={"media": media}), within_s=20), Sent
                )
                taken.setdefault(f"image from storage with its upload, {label}", []).append(
                    (monotonic() - started) * 1000
                )
        return taken


def main() -> None:
    """Print a table of milliseconds."""
    receiver = Receiver()
    with tempfile.TemporaryDirectory(prefix="bh-") as home, SandboxEnv(Path(home) / "sandbox", receiver) as sandbox:
        own = {
            "graph_base_url": f"{sandbox.base}/graph",
            "d360_base_url": f"{sandbox.base}/d360",
            "database_url": sys.argv[1],
        }
        keys = {"BULKHEAD_HOME": home, "SECRET_ENCRYPTION_KEY": base64.b64encode(os.urandom(32)).decode()}
        taken = asyncio.run(_measure(load(keys | environment.as_environ({**SECRETS, **own}))))
    receiver.close()
    lines = ["| type | median | p99 | slowest |", "|---|---|---|---|"]
    for name, times in taken.items():
        p99 = statistics.quantiles(times, n=100, method="inclusive")[98] if len(times) >= SENDS_EACH else max(times)
        lines.append(f"| {name} | {statistics.median(times):.1f} ms | {p99:.1f} ms | {max(times):.1f} ms |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
