"""A sandbox's configuration: numbers, secrets, and webhook addresses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

# ids have Meta's form and length; the first digit shows what they name (1 a number,
# 2 a business account, 3 the app, 4 a Page, 5 an Instagram account)
META_DIRECT_ID: Final = "100000000000001"
D360_ID: Final = "100000000000002"
META_EMBEDDED_ID: Final = "100000000000003"
SIGNUP_ID: Final = "100000000000004"
"""A number that is not signed up yet."""
MESSENGER_ID: Final = "400000000000001"
INSTAGRAM_ID: Final = "500000000000001"
APP_ID: Final = "300000000000001"

D360_GUARD: Final = "X-Bulkhead-Webhook-Secret"
"""Header that the sandbox's 360dialog puts on its webhooks until `POST /v1/configs/webhook` sets another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """One business number.

    Attributes:
        channel: `graph` or `d360`: the provider that serves it. display_phone_number: digits, country code first.
            registered: whether it may send from the start.
    """

    phone_number_id: str
    display_phone_number: str
    waba_id: str
    channel: str = "graph"
    registered: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class PageAccount:
    """One Page, or Instagram account. `channel`: `messenger` or `instagram`."""

    id: str
    name: str
    channel: str = "messenger"


DEMO_NUMBERS: Final = (
    Number(phone_number_id=META_DIRECT_ID, display_phone_number="15550783001", waba_id="200000000000001"),
    Number(phone_number_id=D360_ID, display_phone_number="15550783002", waba_id="200000000000002", channel="d360"),
    Number(phone_number_id=META_EMBEDDED_ID, display_phone_number="15550783003", waba_id="200000000000003"),
    Number(phone_number_id=SIGNUP_ID, display_phone_number="15550783004", waba_id="200000000000004", registered=False),
)
DEMO_PAGES: Final = (
    PageAccount(id=MESSENGER_ID, name="Bulkhead demo"),
    PageAccount(id=INSTAGRAM_ID, name="bulkhead_demo", channel="instagram"),
)


@dataclass(frozen=True, kw_only=True)
class SandboxConfig:
    """A sandbox's configuration; what changes while it runs is in `Knobs`.

    Attributes:
        data_directory: holds the ledger and 360dialog's webhook address.
        app_secret: signs Meta's webhooks. verify_token: part of Meta's verification. access_tokens: accepted by the
            Graph stand-in.
        d360_api_key: accepted in D360-API-KEY. d360_webhook_secret: sent in `D360_GUARD`.
        webhook_url: where Meta's webhooks go. d360_webhook_url: where 360dialog's go until another address is set;
            empty: nowhere.
        numbers: business numbers; the one of channel `d360` belongs to the API key. pages: Pages and Instagram
            accounts. app_id: the Meta app.
        latency_s: time between accepting a message and responding, in seconds.
    """

    data_directory: Path
    app_secret: str
    verify_token: str
    access_tokens: tuple[str, ...]
    d360_api_key: str
    d360_webhook_secret: str
    webhook_url: str
    d360_webhook_url: str = ""
    numbers: tuple[Number, ...] = DEMO_NUMBERS
    pages: tuple[PageAccount, ...] = DEMO_PAGES
    app_id: str = APP_ID
    latency_s: float = 0.0
