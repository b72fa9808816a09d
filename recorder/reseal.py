"""`proc_recorder.py --reseal`: seals every connection's credentials with the newest key, so that earlier ones can be
taken away, and leaves.
"""

from __future__ import annotations

import sys
from typing import Final

from recorder.command_context import run_command
from shared.kinds import KINDS, Sealing
from shared.process.exit_codes import ExitCode
from shared.secrets import Sealed, SecretUnreadable, Vault
from shared.settings import Settings
from shared.store import connections
from shared.store.pool import Row, Transaction
from shared.store.store import Store

_BATCH: Final = 200
"""Rows of one page; each is written in a transaction of its own, so that no lock is held for long."""


def reseal() -> int:
    """Seal all anew, print the outcome, and return an exit code (`ExitCode`): 0 when nothing is sealed with another key
    any more.
    """
    return run_command("connections reseal", _reseal)


def _reseal(store: Store, settings: Settings) -> int:
    vault = Vault.from_settings(settings)
    resealed, problems = _all(store, vault)
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    sys.stdout.write(
        f"sealed with {vault.key_id}: {resealed}; left as they were because they do not open: {len(problems)}\n"
    )
    if not problems:
        sys.stdout.write("SECRET_OLD_KEYS is not needed any more\n")
    return ExitCode.CRASH if problems else ExitCode.OK


def _all(store: Store, vault: Vault) -> tuple[int, list[str]]:
    resealed, after = 0, 0
    problems: list[str] = []
    while rows := store.run(connections.sealed_credentials, after=after, most=_BATCH):
        for row in rows:
            try:
                resealed += _one(store, vault, row)
            # Its key is missing from the settings. The others are sealed all the same, and the exit code reports that
            # some stay.
            except SecretUnreadable as problem:
                problems.append(f"connection {row['phone_index']} of company {row['company_id']}: {problem}")
        after = rows[-1]["id"]
    for sealing in (sealing for kind in KINDS for sealing in kind.sealings):
        resealed += _of_kind(store, vault, sealing, problems)
    return resealed, problems


def _of_kind(store: Store, vault: Vault, sealing: Sealing, problems: list[str]) -> int:
    """Seal anew what a kind's row names. Returns how many were."""
    resealed, after = 0, 0
    while rows := store.run(_listed, sealing.listing, after=after):
        for row in rows:
            try:
                sealed = Sealed.from_text(row["sealed"])
                opened = vault.open(sealed, context=row["context"])
            except SecretUnreadable as problem:
                problems.append(f"{row['name']}: {problem}")
                continue
            if sealed.key_id != vault.key_id:
                new = vault.seal(opened, context=row["context"]).to_text()
                resealed += store.run(_replace, sealing.replacement, row["id"], old=row["sealed"], new=new)
        after = rows[-1]["id"]
    return resealed


def _listed(transaction: Transaction, statement: str, *, after: int) -> list[Row]:
    return transaction.rows(statement, after=after, most=_BATCH)


def _replace(transaction: Transaction, statement: str, row_id: int, *, old: str, new: str) -> int:
    return len(transaction.rows(statement, id=row_id, old=old, new=new))


def _one(store: Store, vault: Vault, row: Row) -> bool:
    """Seal one connection's credentials anew. Raises `SecretUnreadable`."""
    sealed, context = (
        Sealed.from_text(row["credentials"]),
        connections.credentials_context(row["company_id"], row["phone_index"]),
    )
    opened = vault.open(sealed, context=context)
    if sealed.key_id == vault.key_id:
        return False
    # Credentials that were changed meanwhile are sealed with the newest key already.
    return store.run(
        connections.replace_credentials,
        row["id"],
        old=row["credentials"],
        new=vault.seal(opened, context=context).to_text(),
    )
