"""Further companies of a run: one with a number of its own, and one that misuses its webhook address against the
others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from chaos.installation import ChaosInstallation, InstallationUnusable
from chaos.load import Tenant

SECOND: Final = Tenant(company="chaos-second", phone_index=0, account="100000000000004")
"""Sends through the sandbox's fourth number, which no other company uses."""
SECOND_WABA: Final = "200000000000004"
"""The account of that number."""


@dataclass(frozen=True, slots=True)
class Attacker:
    """A company with a 360dialog connection, which therefore knows a webhook address and its secret."""

    company: str = "chaos-attacker"
    phone_index: int = 0
    account: str = "109999999999999"
    secret: str = "a-secret-that-the-attacker-knows"  # noqa: S105 - it guards nothing

    @property
    def path(self) -> str:
        """Path of its webhook address on META_PORT."""
        return f"/webhooks/360dialog/{self.company}/{self.phone_index}"


ATTACKER: Final = Attacker()


async def prepare(installation: ChaosInstallation) -> list[Tenant]:
    """Create both companies and their connections, and return those that send. Raises `InstallationUnusable`."""
    number = {"phone_number_id": SECOND.account, "registered": True}
    # the fourth number starts unregistered, for tests of embedded signup; Meta refuses its sends (133010)
    if (answer := await installation.sandbox("POST", "numbers", body=number)) is None or answer.status != 200:
        raise InstallationUnusable(f"the sandbox did not register the number of {SECOND.company}: {answer}")
    token = (installation.home / "sandbox_access_token").read_text().strip()
    await _make(
        installation,
        SECOND.company,
        {"connectionType": "meta_direct", "accountId": SECOND.account, "wabaId": SECOND_WABA, "accessToken": token},
    )
    await _make(
        installation,
        ATTACKER.company,
        {
            "connectionType": "360dialog",
            "accountId": ATTACKER.account,
            "apiKey": "not-a-key-of-anybody",
            "webhookSecret": ATTACKER.secret,
        },
    )
    # a connection receives inbound events only after its token was verified for its account
    await _require(installation, "POST", f"/api/v2/connections/{SECOND.company}/0/test", None, (200,))
    return [SECOND]


async def _make(installation: ChaosInstallation, company: str, connection: dict[str, Any]) -> None:
    # 409: the company exists from an earlier run in this home
    await _require(installation, "POST", "/api/v2/companies", {"companyId": company}, (200, 201, 409))
    body = {**connection, "phoneIndex": 0}
    await _require(installation, "POST", f"/api/v2/connections/{company}", body, (200, 201, 409))


async def _require(
    installation: ChaosInstallation, method: str, path: str, body: Any, accepts: tuple[int, ...]
) -> None:
    answer = await installation.api(method, path, body=body, within_s=20.0)
    if answer is None or answer.status not in accepts:
        raise InstallationUnusable(f"{method} {path}: {answer}")
