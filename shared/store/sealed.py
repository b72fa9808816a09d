"""Everything that is sealed: THE registry of columns with secrets, which keys are in use, and what shows that a process
has the right ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from shared.errors import SettingsInvalid
from shared.kinds import KINDS, Sealing
from shared.secrets import Sealed, SecretUnreadable, Vault
from shared.store.pool import Row, Transaction

SEALINGS: Final[tuple[Sealing, ...]] = (
    Sealing(
        table="phone_configs", column="credentials", listing="sealed_credentials", replacement="reseal_credentials"
    ),
    Sealing(table="tasks", column="sealed", listing="sealed_task_secrets", replacement="reseal_task_secrets"),
    Sealing(
        table="tenant_secrets",
        column="sealed",
        listing="sealed_tenant_secrets",
        replacement="reseal_tenant_secret",
    ),
    *(sealing for kind in KINDS for sealing in kind.sealings),
)
"""Columns that hold sealed texts; a test compares them with the schema."""

_CANARY: Final = "bulkhead"
"""What a canary holds: nothing secret, only something known."""
_SAMPLE: Final = 200
"""Rows of a table among which one that a key sealed is looked for, before the key gets a canary."""


def secret_context(company_id: str, name: str) -> str:
    """Return the associated data that ties a company's secret to its row; `sealed_tenant_secrets` names it alike."""
    return f"tenant_secrets/{company_id}/{name}"


def find_secret(transaction: Transaction, company_id: str, name: str) -> str | None:
    """Return a company's secret as it is sealed, None when it has none of this name."""
    row = transaction.row("tenant_secret", company_id=company_id, name=name)
    return row["sealed"] if row else None


def secrets_of(transaction: Transaction, company_id: str) -> list[Row]:
    """Return (name, created_at, updated_at) of a company's secrets."""
    return transaction.rows("tenant_secrets", company_id=company_id)


def put_secret(transaction: Transaction, company_id: str, name: str, *, sealed: str, most: int) -> Row | None:
    """Set a company's secret; None when it would have more than `most`."""
    return transaction.row("put_tenant_secret", company_id=company_id, name=name, sealed=sealed, most=most)


def remove_secret(transaction: Transaction, company_id: str, name: str) -> Row | None:
    """Remove a company's secret; None when there is none of this name."""
    return transaction.row("remove_tenant_secret", company_id=company_id, name=name)


def listed(transaction: Transaction, sealing: Sealing, *, after: int, most: int) -> list[Row]:
    """Return (id, sealed, context, name) of what is sealed in a column, by id."""
    return transaction.rows(sealing.listing, after=after, most=most)


def replace(transaction: Transaction, sealing: Sealing, row_id: int, *, old: str, new: str) -> bool:
    """Put `new` in the place of `old`. Returns False when it was changed meanwhile."""
    return bool(transaction.rows(sealing.replacement, id=row_id, old=old, new=new))


def keys_in_use(transaction: Transaction) -> Mapping[str, Mapping[str, int]]:
    """Return how many texts are sealed with which key, by key id and table."""
    found: dict[str, Counter[str]] = {}
    for sealing in SEALINGS:
        for row in transaction.rows("sealed_keys", relation=sealing.table, attribute=sealing.column):
            found.setdefault(row["key_id"], Counter())[sealing.table] += row["number"]
    return found


def in_words(tables: Mapping[str, int]) -> str:
    """Return where a key is in use, for people."""
    return ", ".join(f"{number} of {table}" for table, number in sorted(tables.items()))


def require_keys(transaction: Transaction, vault: Vault) -> None:
    """Raise `SettingsInvalid` when a key that something is sealed with is missing, or is another one of that name."""
    problems = [
        f"SECRET_ENCRYPTION_KEY or SECRET_OLD_KEYS: the key {key_id} is not the one that sealed secrets in this "
        f"database; set the right one, or give the new key another SECRET_KEY_ID"
        for key_id, canary in _canaries(transaction).items()
        if key_id in vault.key_ids and not _opens(vault, canary, _canary_context(key_id))
    ]
    problems += [
        f"SECRET_OLD_KEYS: the key {key_id} is missing, and still needed ({in_words(tables)}); add {key_id}=BASE64 of "
        f"it and run `bulkhead reseal`, or remove those rows"
        for key_id, tables in sorted(keys_in_use(transaction).items())
        if key_id not in vault.key_ids
    ]
    if problems:
        raise SettingsInvalid(problems)


def admit_keys(transaction: Transaction, vault: Vault) -> None:
    """Check the keys, and keep a canary of the one that seals. Raises `SettingsInvalid` as `require_keys`, also when it
    does not open what a key of its name sealed before there were canaries.
    """
    require_keys(transaction, vault)
    if vault.key_id in _canaries(transaction):
        return
    for sealing in SEALINGS:
        for row in listed(transaction, sealing, after=0, most=_SAMPLE):
            if _key_of(row["sealed"]) == vault.key_id and not _opens(vault, row["sealed"], row["context"]):
                raise SettingsInvalid(
                    [
                        f"SECRET_ENCRYPTION_KEY is not the key {vault.key_id} that sealed the {row['name']}; set the "
                        f"right one, or give the new key another SECRET_KEY_ID"
                    ]
                )
    transaction.execute(
        "add_canary",
        key_id=vault.key_id,
        canary=vault.seal(_CANARY, context=_canary_context(vault.key_id)).to_text(),
    )


def retire(transaction: Transaction, key_id: str) -> Mapping[str, int]:
    """Forget a key unless something is sealed with it. Returns where it is in use; empty: it is forgotten."""
    used = keys_in_use(transaction).get(key_id, {})
    if not used:
        transaction.execute("remove_canary", key_id=key_id)
    return used


def _canaries(transaction: Transaction) -> Mapping[str, str]:
    return {row["key_id"]: row["canary"] for row in transaction.rows("canaries")}


def _canary_context(key_id: str) -> str:
    return f"secret_keys/{key_id}"


def _key_of(sealed: str) -> str:
    return sealed.rsplit(".", 2)[0]


def _opens(vault: Vault, sealed: str, context: str) -> bool:
    try:
        with vault.opened(Sealed.from_text(sealed), context=context):
            return True
    # that it does not open is the answer
    except SecretUnreadable:
        return False
