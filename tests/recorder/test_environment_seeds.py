"""The environment is a seed: applied once, a change of it once, and never over what an operator did."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from recorder import environment_seeds
from recorder.environment_seeds import SeedOutcome
from shared.secrets import Sealed, Vault
from shared.settings import Settings
from shared.store import connections
from shared.store.pool import Transaction
from tests.store.env import open_store
from tests.support.database import query

KEY = base64.b64encode(b"k" * 32).decode()
TOKEN, ROTATED = "EAAfromtheenvironment", "EAArotatedbyanoperator"


class Installation:
    """A database and a recorder that starts again and again over it."""

    def __init__(self, url: str) -> None:
        self.url, self.store = url, open_store(url)

    def start(self, token: str = TOKEN, number: str = "100000000000009", **settings: Any) -> SeedOutcome:
        """Start with this environment, and return the outcome of connection 0."""
        given = Settings(meta_access_token=token, meta_phone_number_id=number, secret_encryption_key=KEY, **settings)
        outcomes = self.store.run(environment_seeds.apply, given, Vault.from_settings(given))
        return outcomes[0]

    def token(self, company: str = "demo") -> str | None:
        row = self.store.run(connections.by_index, company, 0)
        if row is None:
            return None
        vault = Vault.from_settings(Settings(secret_encryption_key=KEY))
        opened = vault.open(Sealed.from_text(row.credentials), context=connections.credentials_context(company, 0))
        return str(json.loads(opened)["access_token"])

    def rotate(self, token: str = ROTATED) -> None:
        """What an operator does by the API."""
        vault = Vault.from_settings(Settings(secret_encryption_key=KEY))
        sealed = vault.seal(
            json.dumps({"access_token": token}), context=connections.credentials_context("demo", 0)
        ).to_text()

        def update(transaction: Transaction) -> None:
            row = connections.by_index(transaction, "demo", 0)
            assert row is not None
            connections.update(transaction, row.id, credentials=sealed)

        self.store.run(update)


@pytest.fixture
def installation(database_url: str) -> Iterator[Installation]:
    made = Installation(database_url)
    yield made
    made.store.close()


def test_it_is_applied_once_and_a_change_of_it_once(installation: Installation) -> None:
    assert (installation.start(), installation.token()) == (SeedOutcome.APPLIED, TOKEN)
    written = query(installation.url, "SELECT credentials, updated_at FROM phone_configs")
    assert installation.start() is SeedOutcome.UNCHANGED
    assert query(installation.url, "SELECT credentials, updated_at FROM phone_configs") == written
    assert (installation.start("EAAnext"), installation.token()) == (SeedOutcome.APPLIED, "EAAnext")
    assert installation.start("EAAnext") is SeedOutcome.UNCHANGED


def test_a_token_that_an_operator_rotated_stays(installation: Installation) -> None:
    installation.start()
    installation.rotate()
    assert (installation.start(), installation.token()) == (SeedOutcome.UNCHANGED, ROTATED)
    assert (installation.start("EAAnext"), installation.token()) == (SeedOutcome.CHANGED_BY_OPERATOR, ROTATED)
    assert installation.start("EAAnext") is SeedOutcome.UNCHANGED, "said once"


def test_a_connection_that_an_operator_removed_does_not_come_back(installation: Installation) -> None:
    installation.start()
    (row,) = query(installation.url, "SELECT id FROM phone_configs")
    installation.store.run(connections.remove, row["id"], "removed")
    assert (installation.start(), installation.token()) == (SeedOutcome.UNCHANGED, None)
    assert (installation.start("EAAnext"), installation.token()) == (SeedOutcome.REMOVED_BY_OPERATOR, None)


def test_what_is_there_from_before_seeds_were_recorded_stays(installation: Installation) -> None:
    installation.start()
    installation.rotate()
    query(installation.url, "DELETE FROM environment_seeds")
    assert (installation.start(), installation.token()) == (SeedOutcome.ADOPTED, ROTATED)
    assert installation.start() is SeedOutcome.UNCHANGED


def test_another_companys_account_is_not_taken(installation: Installation) -> None:
    installation.start()
    (row,) = query(installation.url, "SELECT id, account_id, credentials FROM phone_configs")
    installation.store.run(connections.prove, row["id"], [row["account_id"]], row["credentials"])
    assert installation.start(company_id="acme") is SeedOutcome.ACCOUNT_IN_USE
    assert installation.token("acme") is None
    assert query(installation.url, "SELECT company_id FROM phone_configs") == [{"company_id": "demo"}]
    assert installation.start() is SeedOutcome.UNCHANGED, "and back"


def test_a_rotated_key_is_no_change_by_an_operator(installation: Installation) -> None:
    installation.start()
    installation.rotate(TOKEN)
    assert (installation.start("EAAnext"), installation.token()) == (SeedOutcome.APPLIED, "EAAnext")
