"""Makes keys through the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from shared.tenancy.principals import SCOPES
from tests.api.api_env import KEY, ApiEnv


def new_key(
    api_env: ApiEnv, company: str | None = "alpha", *scopes: str, key: str = KEY, **fields: Any
) -> dict[str, Any]:
    """Create a key, with every scope unless some are named."""
    body = {"name": "of a test", "companyId": company, "scopes": list(scopes or SCOPES), **fields}
    answer = api_env.call("POST", "/api/v2/keys", key=key, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def in_seconds(seconds: float) -> str:
    """Return an instant as a body names it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def expired_key(api_env: ApiEnv) -> str:
    """Create a key of alpha that expired a minute ago."""
    made = new_key(api_env)
    # in the row: the API makes no key that has expired
    api_env.sql("UPDATE api_keys SET expires_at = now() - interval '1 minute' WHERE id = %s", int(made["id"]))
    return str(made["key"])


def revoked_key(api_env: ApiEnv) -> str:
    """Create a key of alpha and revoke it."""
    made = new_key(api_env)
    assert api_env.call("DELETE", f"/api/v2/keys/{made['id']}").status_code == 200
    return str(made["key"])


def rotated_out_key(api_env: ApiEnv) -> str:
    """Create a key of alpha, give it another text at once, and return the one from before."""
    made = new_key(api_env)
    answer = api_env.call("POST", f"/api/v2/keys/{made['id']}/rotate", json={"overlapSeconds": 0})
    assert answer.status_code == 200, answer.text
    return str(made["key"])
