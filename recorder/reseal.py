"""`proc_recorder.py --reseal [--retire KEY_ID]`: seals everything with the newest key, so that earlier ones can be
taken away, says which keys are in use, and leaves. It may be ended at any time: what is left is sealed by the next run.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from recorder.command_context import run_command
from shared.kinds import Sealing
from shared.process.exit_codes import ExitCode
from shared.secrets import Sealed, SecretUnreadable, Vault
from shared.settings import Settings
from shared.store import sealed
from shared.store.pool import Row
from shared.store.store import Store

_BATCH: Final = 200
"""Rows of one page; each is written in a transaction of its own, so that no lock is held for long."""


def reseal(words: Sequence[str]) -> int:
    """Seal all anew, print the outcome, and return an exit code (`ExitCode`): 0 when nothing is sealed with another key
    any more, and the key to retire is not needed.
    """
    parser = ArgumentParser(prog="bulkhead reseal")
    parser.add_argument("--retire", default="", metavar="KEY_ID")
    return run_command("reseal", partial(_reseal, given=parser.parse_args(words)))


def _reseal(store: Store, settings: Settings, *, given: Namespace) -> int:
    vault = Vault.from_settings(settings)
    if given.retire == vault.key_id:
        sys.stderr.write(f"{given.retire} is the key that seals: set another SECRET_KEY_ID first\n")
        return ExitCode.USAGE
    resealed, problems = seal_all(store, vault, lambda line: sys.stderr.write(f"{line}\n"))
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    sys.stdout.write(
        f"sealed with {vault.key_id}: {resealed}; left as they were because they do not open: {len(problems)}\n"
    )
    used = store.run(sealed.keys_in_use)
    for key_id, tables in sorted(used.items()):
        sys.stdout.write(f"{key_id}: {sum(tables.values())} in use ({sealed.in_words(tables)})\n")
    if not used.keys() - {vault.key_id}:
        sys.stdout.write("SECRET_OLD_KEYS is not needed any more\n")
    if given.retire and (needed := store.run(sealed.retire, given.retire)):
        sys.stderr.write(
            f"{given.retire} is still needed ({sealed.in_words(needed)}): no process would start without it\n"
        )
        return ExitCode.CRASH
    if given.retire:
        sys.stdout.write(f"{given.retire} is retired: remove it from SECRET_OLD_KEYS\n")
    return ExitCode.CRASH if problems else ExitCode.OK


def seal_all(store: Store, vault: Vault, say: Callable[[str], object] = lambda _: None) -> tuple[int, list[str]]:
    """Seal every text of every column in `SEALINGS` with the newest key.

    Args:
        say: gets a line about progress from time to time.
    Returns:
        How many were sealed anew, and what did not open, a sentence each.
    """
    resealed = 0
    problems: list[str] = []
    for sealing in sealed.SEALINGS:
        after, looked = 0, 0
        while rows := store.run(sealed.listed, sealing, after=after, most=_BATCH):
            resealed += sum(_one(store, vault, sealing, row, problems) for row in rows)
            after, looked = rows[-1]["id"], looked + len(rows)
            say(f"{sealing.table}: {looked} looked at, {resealed} sealed anew so far")
    return resealed, problems


def _one(store: Store, vault: Vault, sealing: Sealing, row: Row, problems: list[str]) -> bool:
    try:
        kept = Sealed.from_text(row["sealed"])
        opened = vault.open(kept, context=row["context"])
    # Its key is missing from the settings. The others are sealed all the same, and the exit code reports that some
    # stay.
    except SecretUnreadable as problem:
        problems.append(f"{row['name']}: {problem}")
        return False
    if kept.key_id == vault.key_id:
        return False
    new = vault.seal(opened, context=row["context"]).to_text()
    # What was changed meanwhile is sealed with the newest key already.
    return store.run(sealed.replace, sealing, row["id"], old=row["sealed"], new=new)
