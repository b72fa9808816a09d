"""The state that all stand-ins of a sandbox share."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Final

from sandbox.accounts import Accounts
from sandbox.config import D360_GUARD, SandboxConfig
from sandbox.faults import Faults
from sandbox.knobs import Knobs
from sandbox.ledger import Ledger
from sandbox.limits import LimitValues, SandboxLimits
from sandbox.media import Shelf
from sandbox.media_links import Links
from sandbox.model import ModelScript
from sandbox.openapi.validators import MessageValidator
from sandbox.web import Phones
from sandbox.webhooks import Outbox, Spawn, WebhookTarget

_D360_FILE: Final = "d360_webhook.json"


class Sandbox:
    """The state of a running sandbox.

    Args:
        config: its configuration.
    Raises:
        OSError: the data directory cannot be used.
    """

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self.ledger = Ledger(config.data_directory)
        self.numbers = {number.phone_number_id: number for number in config.numbers}
        # compiled once, at the start, and shared by both providers
        self.validator = MessageValidator()
        self.knobs = Knobs(latency_ms=config.latency_s * 1000)
        self.limits = SandboxLimits(time.monotonic)
        self.shelf = Shelf(config.data_directory / "media")
        self.links = Links()
        self.faults = Faults()
        self.script = ModelScript()
        self.accounts = Accounts(config)
        self.phones = Phones(self.ledger, config.data_directory / "web-files")
        self.released = asyncio.Event()
        """Set to end the requests that are held by a `hang` fault."""
        # 360dialog does not sign: its webhooks are recognised by a header that the customer chose
        targets = {
            "graph": WebhookTarget(config.webhook_url, app_secret=config.app_secret),
            "d360": self._d360_target(),
        }
        self.outbox = Outbox(
            self.ledger, targets, self.numbers, self.knobs, self.faults, is_subscribed=self.accounts.is_subscribed
        )

    def start(self, spawn: Spawn) -> int:
        """Start posting webhooks, first those left by an earlier run; return how many messages those concern."""
        return self.outbox.start(spawn)

    def leave(self) -> None:
        """End the held requests and the pages' event streams, which would keep the server from stopping."""
        self.released.set()
        self.phones.close()

    async def close(self) -> None:
        """Close connections and the ledger."""
        self.leave()
        await self.outbox.close()
        await self.links.close()
        self.ledger.close()

    def reset(self, seed: int | None = None) -> None:
        """Reset every setting to its value at the start; the ledger and unposted updates stay.

        Args:
            seed: makes the faults' random numbers repeatable.
        """
        self.knobs.restore(Knobs(latency_ms=self.config.latency_s * 1000))
        self.limits.set(LimitValues())
        self.faults.disarm()
        self.script.disarm()
        # without a seed the random sequence continues: two resets need not give the same faults
        if seed is not None:
            self.faults.seed(seed)
            self.script.seed(seed)
        self.released.set()
        self.released = asyncio.Event()

    def set_d360_webhook(self, url: str, headers: dict[str, str]) -> None:
        """Set the address of 360dialog's webhooks, also for later runs of the sandbox."""
        # changed in place: the posting lane holds a reference
        target = self.outbox.target("d360")
        target.url, target.headers = url, headers
        file = self._d360_file()
        # written to a new file and renamed: a kill in between leaves the old address
        fresh = file.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps({"url": url, "headers": headers}), encoding="utf-8")
        fresh.replace(file)

    def _d360_target(self) -> WebhookTarget:
        if self._d360_file().exists():
            stored = json.loads(self._d360_file().read_bytes())
            return WebhookTarget(stored["url"], stored["headers"])
        return WebhookTarget(self.config.d360_webhook_url, {D360_GUARD: self.config.d360_webhook_secret})

    def _d360_file(self) -> Path:
        return self.config.data_directory / _D360_FILE
