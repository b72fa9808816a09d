"""Secrets of companies: set by name, never shown, opened by the service for one callback."""

from __future__ import annotations

import asyncio
import base64

import pytest

from api.tenants.secrets import SECRETS_MOST
from shared.errors import Refused
from shared.secrets import Vault
from shared.tenancy.tenant_secrets import SecretService
from tests.api.api_env import ApiEnv, problem
from tests.store.env import open_store
from tests.support.environment import SEALING_KEY
from tests.tenants.making import new_key

PATH = "/api/v2/companies/alpha/secrets"


def test_a_secret_is_set_listed_without_its_value_and_removed(api_env: ApiEnv) -> None:
    key = new_key(api_env, "alpha", "manage")["key"]
    for value in ("sk-first", "sk-second"):
        answer = api_env.call("PUT", f"{PATH}/openai", key=key, json={"value": value})
        assert answer.status_code == 200, answer.text
        assert "sk-" not in answer.text
    listed = api_env.call("GET", PATH, key=key)
    assert [one["name"] for one in listed.json()["secrets"]] == ["openai"]
    assert "sk-" not in listed.text
    assert api_env.sql("SELECT 1 FROM tenant_secrets WHERE sealed LIKE '%%sk-%%'") == []
    events = api_env.sql("SELECT data FROM events WHERE type LIKE 'audit.secrets.%%'")
    assert len(events) == 2
    assert "sk-" not in str(events)
    store, vault = open_store(api_env.database_url), Vault("k1", base64.b64decode(SEALING_KEY))
    service = SecretService(store, vault)
    kept: list[bytearray] = []

    async def use(value: bytearray) -> str:
        kept.append(value)
        return value.decode()

    try:
        assert asyncio.run(service.with_tenant_secret("alpha", "openai", use)) == "sk-second"
        assert bytes(kept[0]) == bytes(9), "wiped after the callback"
        with pytest.raises(Refused, match="secret_unknown"):
            asyncio.run(service.with_tenant_secret("beta", "openai", use))
    finally:
        store.close()
    assert api_env.call("DELETE", f"{PATH}/openai", key=key).status_code == 200
    assert problem(api_env.call("DELETE", f"{PATH}/openai", key=key))["type"] == "secret_unknown"
    assert problem(api_env.call("PUT", f"{PATH}/a%20b", key=key, json={"value": "x"}))["type"] == "secret_unknown"
    assert problem(api_env.call("PUT", f"{PATH}/a", key=key, json={"value": ""}))["type"] == "body_invalid"


def test_a_company_has_so_many_secrets_and_can_still_change_them(api_env: ApiEnv) -> None:
    path = "/api/v2/companies/beta/secrets"
    key = new_key(api_env, "beta", "manage")["key"]
    api_env.sql(
        "INSERT INTO tenant_secrets (company_id, name, sealed) "
        "SELECT 'beta', 'filler-' || n, 'sealed' FROM generate_series(2, %s) AS n",
        SECRETS_MOST,
    )
    assert api_env.call("PUT", f"{path}/last", key=key, json={"value": "x"}).status_code == 200
    refused = api_env.call("PUT", f"{path}/one-more", key=key, json={"value": "x"})
    assert refused.status_code == 409
    assert (problem(refused)["type"], problem(refused)["limit"]) == ("too_many_secrets", SECRETS_MOST)
    assert api_env.call("PUT", f"{path}/last", key=key, json={"value": "y"}).status_code == 200
    assert api_env.call("DELETE", f"{path}/filler-2", key=key).status_code == 200
    assert api_env.call("PUT", f"{path}/one-more", key=key, json={"value": "x"}).status_code == 200
    # the fillers are no sealed values
    api_env.sql("DELETE FROM tenant_secrets WHERE company_id = 'beta'")
