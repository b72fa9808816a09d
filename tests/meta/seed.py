"""A company with one connection of each of Meta's types, over the sandbox's numbers."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any, Final

from sandbox.config import D360_ID, META_DIRECT_ID, META_EMBEDDED_ID
from shared.secrets import Vault
from shared.store import companies, connections
from shared.store.pool import Transaction
from tests.sandbox.env import ACCESS_TOKEN, APP_SECRET, D360_KEY, D360_SECRET, VERIFY_TOKEN

COMPANY: Final = "demo"
DIRECT: Final = 0
D360: Final = 2
EMBEDDED: Final = 3

SECRETS: Final = {
    "meta_app_secret": APP_SECRET,
    "meta_verify_token": VERIFY_TOKEN,
    "sandbox_access_token": ACCESS_TOKEN,
    "sandbox_d360_api_key": D360_KEY,
    "sandbox_d360_webhook_secret": D360_SECRET,
}

ROWS: Final[tuple[tuple[int, str, str, Mapping[str, str]], ...]] = (
    (DIRECT, "meta_direct", META_DIRECT_ID, {"access_token": ACCESS_TOKEN}),
    (D360, "360dialog", D360_ID, {"api_key": D360_KEY, "webhook_secret": D360_SECRET}),
    (EMBEDDED, "meta_embedded", META_EMBEDDED_ID, {"access_token": ACCESS_TOKEN}),
)


def sealed(vault: Vault, phone_index: int, credentials: Any) -> str:
    """Return credentials as they are stored."""
    text = credentials if isinstance(credentials, str) else json.dumps(credentials)
    return vault.seal(text, context=connections.credentials_context(COMPANY, phone_index)).to_text()


def seed(transaction: Transaction, vault: Vault) -> dict[int, int]:
    """Make the company and its connections. Returns connection ids by phone index."""
    companies.ensure(transaction, COMPANY)
    return {
        index: connections.ensure(
            transaction,
            company_id=COMPANY,
            phone_index=index,
            connection_type=connection_type,
            account_id=account_id,
            credentials=sealed(vault, index, credentials),
        )
        for index, connection_type, account_id, credentials in ROWS
    }


def signature(body: bytes, secret: str = APP_SECRET) -> str:
    """Return the header that Meta sends with `body`."""
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


def webhook(*values: Mapping[str, Any], number: str = META_DIRECT_ID) -> dict[str, Any]:
    """Return a webhook with one change for each value, about one number."""
    head = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783001", "phone_number_id": number},
    }
    changes = [{"field": "messages", "value": {**head, **value}} for value in values]
    return {"object": "whatsapp_business_account", "entry": [{"id": "200000000000001", "changes": changes}]}


def status(
    word: str, *, token: str = "", provider_id: str = "wamid.X", at: int = 1760000000, **more: Any
) -> dict[str, Any]:
    """Return one status."""
    callback = {"biz_opaque_callback_data": token} if token else {}
    return {"id": provider_id, "status": word, "timestamp": str(at), "recipient_id": "15550100200", **callback, **more}


def text(body: str, provider_id: str, *, sender: str = "15550100200", **more: Any) -> dict[str, Any]:
    """Return one text message of a customer."""
    return {
        "from": sender,
        "id": provider_id,
        "timestamp": "1760000000",
        "type": "text",
        "text": {"body": body},
        **more,
    }
