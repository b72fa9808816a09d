"""The sandbox as a supervised process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp

from sandbox.app import build_app
from sandbox.config import APP_ID, SandboxConfig
from sandbox.state import Sandbox
from shared.errors import SettingsInvalid
from shared.logs import logger
from shared.process.service import Child, Service, Severity
from shared.settings import Settings

log = logger(__name__)

# made by the orchestrator at its first start, and shared with the product by the same settings
_SECRETS = (
    "meta_app_secret",
    "meta_verify_token",
    "sandbox_access_token",
    "sandbox_d360_api_key",
    "sandbox_d360_webhook_secret",
)


def config_from(settings: Settings) -> SandboxConfig:
    """Return the sandbox's configuration.

    Raises:
        SettingsInvalid: a secret is missing; the orchestrator makes them, a sandbox that is started by hand must be
            given them.
    """
    if missing := [name.upper() for name in _SECRETS if not getattr(settings, name)]:
        raise SettingsInvalid([f"{name} is empty; the sandbox does not run without it" for name in missing])
    # an address that stands for all interfaces is no address to connect to (S104: compared, not bound)
    host = "127.0.0.1" if settings.bind_address in {"", "0.0.0.0", "::"} else settings.bind_address  # noqa: S104
    webhooks = f"http://{f'[{host}]' if ':' in host else host}:{settings.port('meta')}"
    return SandboxConfig(
        data_directory=settings.path("sandbox"),
        app_id=settings.meta_app_id or APP_ID,
        app_secret=settings.meta_app_secret,
        verify_token=settings.meta_verify_token,
        access_tokens=(settings.sandbox_access_token,),
        d360_api_key=settings.sandbox_d360_api_key,
        d360_webhook_secret=settings.sandbox_d360_webhook_secret,
        webhook_url=f"{webhooks}/api/meta/webhook",
        # where the product listens for phoneIndex 2 of the first company, its 360dialog number
        d360_webhook_url=f"{webhooks}/webhooks/360dialog/{settings.company_id}/2",
    )


class SandboxService:
    """The sandbox under `run_child`."""

    def __init__(self, child: Child) -> None:
        self._child = child
        app = build_app(config_from(child.settings))
        self.app: ASGIApp | None = app
        self._sandbox: Sandbox = app.state.sandbox

    async def start(self) -> None:
        """Begin to post webhooks."""
        restored = self._sandbox.start(self._child.spawn)
        self._child.spawn(self._leave_in_time(), "leave")
        log.info("sandbox_opened", restored=restored, ledger_seq=self._sandbox.ledger.seq)

    async def _leave_in_time(self) -> None:
        # held requests and open pages would keep the server from draining until its deadline
        await self._child.stopping.wait()
        self._sandbox.leave()

    async def drain(self, by: float) -> bool:
        """Finish the POSTs under way; what is still to be posted stands in the ledger for the next life."""
        return await self._sandbox.outbox.drain(by)

    async def close(self) -> None:
        """Close connections and the ledger."""
        await self._sandbox.close()

    def readiness(self) -> Mapping[str, str]:
        """Always ready: the sandbox has no dependencies."""
        return {}

    def health(self) -> Mapping[str, Any]:
        """Return how far the ledger is and what is still to be posted."""
        return {"ledgerSeq": self._sandbox.ledger.seq, "webhooksPending": self._sandbox.outbox.pending}

    def classify(self, error: BaseException) -> Severity:
        """An unexpected error makes the ledger unreliable, and it is the only evidence."""
        return Severity.CRITICAL


async def open_service(child: Child) -> Service:
    """Return the sandbox of this process. Raises `SettingsInvalid` when a secret is missing."""
    return SandboxService(child)
