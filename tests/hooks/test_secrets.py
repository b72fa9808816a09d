"""Secrets of webhooks are sealed for their row alone, and sealed anew with the others."""

from __future__ import annotations

import pytest

from recorder import reseal
from shared.events.hook_secrets import HookSecrets
from shared.secrets import Sealed, SecretUnreadable, Vault
from tests.hooks.env import SECRET
from tests.store.env import StoreEnv
from tests.support.database import query

OLD, NEW = bytes(32), bytes(range(32))
ADD = """INSERT INTO hooks (company_id, url, sealed, xid, event_id)
         VALUES ('acme', 'https://example.com', '', 0, 0) RETURNING id"""


def test_secrets_are_sealed_anew_with_the_newest_key(env: StoreEnv) -> None:
    env.connect()
    before, after = Vault("old", OLD), Vault("new", NEW, {"old": OLD})
    (row,) = query(env.url, ADD)
    sealed = HookSecrets(secrets=(SECRET,), headers={"X-Own": "1"}).sealed(before, row["id"])
    query(env.url, "UPDATE hooks SET sealed = %(sealed)s WHERE id = %(id)s", sealed=sealed, id=row["id"])
    assert reseal.seal_all(env.store, after) == (1, [])
    assert reseal.seal_all(env.store, after) == (0, []), "once"
    (kept,) = query(env.url, "SELECT sealed FROM hooks")
    assert Sealed.from_text(kept["sealed"]).key_id == "new"
    opened = HookSecrets.opened(Vault("new", NEW), row["id"], kept["sealed"])
    assert (opened.secrets, opened.headers) == ((SECRET,), {"X-Own": "1"})


def test_a_key_that_is_missing_is_reported(env: StoreEnv) -> None:
    env.connect()
    (row,) = query(env.url, ADD)
    sealed = HookSecrets(secrets=(SECRET,)).sealed(Vault("old", OLD), row["id"])
    query(env.url, "UPDATE hooks SET sealed = %(sealed)s WHERE id = %(id)s", sealed=sealed, id=row["id"])
    resealed, problems = reseal.seal_all(env.store, Vault("new", NEW))
    assert resealed == 0
    assert problems[0].startswith(f"webhook {row['id']} of company acme: ")


def test_they_open_in_their_own_row_alone() -> None:
    vault = Vault("new", NEW)
    with pytest.raises(SecretUnreadable):
        HookSecrets.opened(vault, 2, HookSecrets(secrets=(SECRET,)).sealed(vault, 1))
