"""A sending process of kind `meta` whose provider is a file: the real consumer in the real lifecycle; run as a module.

The provider's book, `LEDGER`, has a line for each message that it took. `SLOWNESS_S` is how long it thinks before and
after.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from shared.delivery.channel import RecordToken
from shared.delivery.consumer import Consumer
from shared.messages import OutboundMessage, Outcome, Retry, Sent
from shared.process.child import run_child
from shared.process.service import Child, Service, Severity
from shared.store.messages import Doubt

LEDGER = Path(os.environ["LEDGER"])
SLOWNESS_S = float(os.environ.get("SLOWNESS_S", "0.01"))


class LedgerChannel:
    """Writes into the book, and looks there when asked."""

    token_at_claim = True

    async def send(self, message: OutboundMessage, record_token: RecordToken, by: float) -> Outcome:
        """Take the message."""
        await asyncio.sleep(SLOWNESS_S)
        await record_token(message.token)
        with LEDGER.open("a", encoding="ascii") as book:
            book.write(f"{message.id} {message.attempt}\n")
        await asyncio.sleep(SLOWNESS_S)
        return Sent(provider_id=f"p-{message.id}")

    async def look_up(self, doubt: Doubt) -> Outcome | None:
        """Look into the book."""
        taken = any(line.split()[0] == str(doubt.message.id) for line in LEDGER.read_text().splitlines())
        return Sent(provider_id=f"p-{doubt.message.id}") if taken else Retry(code="not_in_the_book")


class LedgerService:
    """A consumer and nothing else."""

    app: ASGIApp | None = None

    def __init__(self, child: Child) -> None:
        self._consumer = Consumer(child, LedgerChannel(), in_flight=20, send_s=5.0, retry_base_s=0.1)

    async def start(self) -> None:
        """Begin to deliver."""
        self._consumer.start()

    async def drain(self, by: float) -> bool:
        """Finish."""
        return await self._consumer.drain(by)

    async def close(self) -> None:
        """Stop."""
        await self._consumer.close()

    def readiness(self) -> Mapping[str, str]:
        """What the consumer misses."""
        return self._consumer.readiness()

    def health(self) -> Mapping[str, Any]:
        """Return the consumer's facts."""
        return self._consumer.health()

    def classify(self, _: BaseException) -> Severity:
        """Survive nothing."""
        return Severity.CRITICAL


async def open_service(child: Child) -> Service:
    """Open the post office."""
    return LedgerService(child)


if __name__ == "__main__":
    sys.exit(run_child("meta", open_service))
