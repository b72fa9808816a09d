"""`proc_recorder.py --import …`: takes numbers, contacts, history and browser profiles of a single-process server over.

It may be repeated: what is here already stays as it is, so that a later run brings what the server added meanwhile. A
number comes paused, since the server still serves it: two browsers for one number, or two answers, would be the result.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from recorder.browser_profiles import ProfileInUse, find_profile, take_profile
from recorder.command_context import asked, run_command
from recorder.progress import ProgressLine
from shared.channels.chat_ids import ChatInvalid, admitted, canonical
from shared.channels.registry import UnknownConnectionType, channel_named
from shared.content import TEXT
from shared.messages import InboundMessage
from shared.process.exit_codes import ExitCode
from shared.secrets import Vault
from shared.settings import Settings
from shared.store import companies, connections, contacts, inbound, reading, sessions
from shared.store.contacts import Imported, Noted, Taken
from shared.store.old_server import TABLES, OldServerTables, OldTablesUnknown, open_tables
from shared.store.pool import Transaction
from shared.store.store import Store
from shared.store.texts import storable

PAUSED: Final = "moving_in: the single-process server still serves it"
"""Reason of the pause of an imported connection."""
_UNWELL: Final = 1
"""Exit code: done, but some rows were refused."""
_BATCH: Final = 200
"""Rows of one transaction."""
_EXAMPLES: Final = 10
"""Refusals of one table that are shown; the count names the others."""
_NAME_MOST: Final = 200
"""Characters of a contact's name, as the API takes them."""
_COMPANY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OUTGOING: Final = frozenset({"true", "t", "1", "yes", "out", "outgoing", "outbound", "sent"})
_TEXTS: Final = frozenset({"", "text", "chat", "conversation"})
"""Words for a text message."""
_MILLISECONDS: Final = 10**11
"""A number of seconds since 1970 beyond this one (the year 5138) is one of milliseconds."""
_CREDENTIALS: Final[Mapping[str, tuple[str, str]]] = {
    # first API name of a type's credentials -> our name in the sealed object, and ours of the old column
    "accessToken": ("access_token", "access_token"),
    "apiKey": ("api_key", "api_key"),
}


class RowRefused(Exception):
    """Raised when one row cannot be taken over; the text says why, without its content."""


def import_old_server(words: Sequence[str]) -> int:
    """Import, print what was done, and return an exit code (`ExitCode`, or 1 when rows were refused)."""
    return run_command("import", partial(_import, given=asked(words)))


def _import(store: Store, settings: Settings, *, given: SimpleNamespace) -> int:
    columns: dict[str, dict[str, str]] = {}
    for what, field, theirs in given.column:
        columns.setdefault(what, {})[field] = theirs
    run = OldServerImport(store, settings, companies_only=frozenset(given.companies), is_dry=given.dry_run)
    url = str(settings.own("OLD_DATABASE_URL")) or settings.database_url
    try:
        with open_tables(url, columns=columns, tables=dict(given.table)) as old:
            for what in given.what or TABLES:
                run.take(what, old)
    except OldTablesUnknown as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.USAGE
    if given.profiles:
        run.take_profiles(Path(given.profiles))
    return _UNWELL if run.refused else ExitCode.OK


class OldServerImport:
    """One run of the import.

    Args:
        companies_only: empty: all. is_dry: say what would be done, and change nothing.
    """

    def __init__(self, store: Store, settings: Settings, *, companies_only: frozenset[str], is_dry: bool) -> None:
        self._store, self._home, self._only, self._is_dry = store, settings.bulkhead_home, companies_only, is_dry
        self._vault = Vault.from_settings(settings)
        self._connections: dict[tuple[str, int], int] = {}
        self.refused = 0

    def take(self, what: str, old: OldServerTables) -> None:
        """Import one table and print the counts."""
        found = old.columns(what)
        if found is None:
            _say(f"{what}: there is no table {' or '.join(TABLES[what].names)}")
            return
        (place, table), chosen = found
        _say(f"{what}: {place}.{table} ({', '.join(f'{ours}={theirs}' for ours, theirs in chosen.items())})")
        write = {"numbers": self._numbers, "contacts": self._contacts, "history": self._history}[what]
        counts: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        rows = (row for row in old.rows(what) if not self._only or str(row["company_id"]) in self._only)
        progress, read = ProgressLine("rows"), 0
        while batch := list(islice(rows, _BATCH)):
            write(batch, counts, reasons)
            read += len(batch)
            progress.show(read)
        progress.clear()
        _say(f"  {', '.join(f'{name} {count}' for name, count in counts.items()) or 'nothing'}")
        for reason, count in reasons.most_common(_EXAMPLES):
            _say(f"  refused {count}: {reason}")
        self.refused += reasons.total()

    def take_profiles(self, folder: Path) -> None:
        """Copy the browser profile of each session that was imported and has none here."""
        known = [one for one in self._store.run(connections.of_kind, "webdriver") if self._is_chosen(one.company_id)]
        for one in known:
            where = f"profile of {one.company_id}/{one.phone_index}"
            profile = find_profile(folder, one.company_id, one.phone_index)
            try:
                if profile is None:
                    _say(f"{where}: there is none in {folder}; the phone links it anew")
                elif self._is_dry:
                    _say(f"{where}: {profile}")
                else:
                    _say(f"{where}: {'copied' if take_profile(profile, self._home, one.id) else 'is there already'}")
            except (ProfileInUse, OSError, shutil.Error) as error:
                self.refused += 1
                _say(f"{where}: refused: {error}")

    def _is_chosen(self, company_id: str) -> bool:
        return not self._only or company_id in self._only

    def _numbers(self, rows: Sequence[Mapping[str, Any]], counts: Counter[str], reasons: Counter[str]) -> None:
        # each in a transaction of its own: one that is refused takes no other with it
        for row in rows:
            try:
                counts["found" if self._is_dry else self._store.run(self._number, _checked(row))] += 1
            except RowRefused as error:
                reasons[str(error)] += 1

    def _number(self, transaction: Transaction, row: Mapping[str, Any]) -> str:
        company, index, channel = row["company_id"], row["phone_index"], channel_named(row["connection_type"])
        account = _text(row, "account_id")
        if companies.was_deleted(transaction, company):
            raise RowRefused("its company was deleted here")
        companies.ensure(transaction, company)
        if connections.by_index(transaction, company, index) is not None:
            return "known"
        if account and connections.account_in_use(transaction, connection_type=channel.name, account_id=account):
            raise RowRefused("another connection serves its account here")
        sealed = ""
        if channel.credentials and (secret := _secret(channel.credentials[0], row)):
            context = connections.credentials_context(company, index)
            sealed = self._vault.seal(json.dumps(secret), context=context).to_text()
        connection_id = connections.ensure(
            transaction,
            company_id=company,
            phone_index=index,
            connection_type=channel.name,
            account_id=account,
            credentials=sealed,
        )
        if waba := _text(row, "waba_id"):
            connections.update(transaction, connection_id, waba_id=waba)
        if channel.session:
            # no browser before the server's own is closed
            sessions.want(transaction, company_id=company, phone_index=index, desired_state="paused")
        connections.pause(transaction, connection_id, PAUSED)
        return "made"

    def _contacts(self, rows: Sequence[Mapping[str, Any]], counts: Counter[str], reasons: Counter[str]) -> None:
        people: dict[str, list[Imported]] = {}
        for row in rows:
            try:
                alias = canonical(str(row["phone"]))
            except ChatInvalid as error:
                reasons[str(error)] += 1
                continue
            name = storable(_text(row, "name"))[:_NAME_MOST] or None
            people.setdefault(str(row["company_id"]), []).append(Imported(alias=alias, noted=Noted(name=name)))
        for company, some in people.items():
            if self._is_dry:
                counts["found"] += len(some)
                continue
            for outcome in self._store.run(self._take_people, company, some):
                (counts if isinstance(outcome, Taken) else reasons)[str(outcome)] += 1

    @staticmethod
    def _take_people(transaction: Transaction, company: str, some: Sequence[Imported]) -> Iterable[object]:
        if not companies.exists(transaction, company):
            return [f"company {company!r} is not here; numbers are imported first"] * len(some)
        return contacts.take_in(transaction, company, some)

    def _history(self, rows: Sequence[Mapping[str, Any]], counts: Counter[str], reasons: Counter[str]) -> None:
        found = []
        for row in rows:
            try:
                found.append(_message(row, self._connection(row)))
            except RowRefused as error:
                reasons[str(error)] += 1
        if self._is_dry:
            counts["found"] += len(found)
            return
        new = self._store.run(_keep, found)
        counts["new"] += new
        counts["known"] += len(found) - new

    def _connection(self, row: Mapping[str, Any]) -> int:
        company, index = str(row["company_id"]), _whole(row["phone_index"])
        if (company, index) not in self._connections:
            connection = self._store.run(connections.by_index, company, index)
            if connection is None:
                raise RowRefused("its number is not here")
            self._connections[company, index] = connection.id
        return self._connections[company, index]


def _keep(transaction: Transaction, messages: Sequence[InboundMessage]) -> int:
    # one id may stand twice in a batch, and ON CONFLICT accepts a key once in a statement
    once = {(message.connection_id, message.provider_id): message for message in messages}
    ids = inbound.import_history(transaction, list(once.values()))
    reading.index_older(transaction, ids)
    return len(ids)


def _checked(row: Mapping[str, Any]) -> Mapping[str, Any]:
    company = str(row["company_id"])
    if not _COMPANY.fullmatch(company):
        raise RowRefused("its company's id is not 1 to 64 letters, digits, - and _")
    kind = _text(row, "connection_type").lower()
    try:
        channel_named(kind)
    except UnknownConnectionType as error:
        raise RowRefused(str(error)) from None
    return {**row, "company_id": company, "connection_type": kind, "phone_index": _whole(row["phone_index"])}


def _whole(value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if not 0 <= number <= 9999:
        raise RowRefused("its phone index is no number from 0 to 9999")
    return number


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value).strip()


def _secret(api_name: str, row: Mapping[str, Any]) -> dict[str, str] | None:
    if api_name not in _CREDENTIALS:
        return None
    stored, column = _CREDENTIALS[api_name]
    return {stored: value} if (value := _text(row, column)) else None


def _message(row: Mapping[str, Any], connection_id: int) -> InboundMessage:
    provider_id, chat = _text(row, "provider_id"), admitted(_text(row, "chat_id"))
    if not provider_id or not chat:
        raise RowRefused("it has no id or no chat")
    from_me = _text(row, "from_me").lower() in _OUTGOING
    body, kind = storable(str(row.get("body") or "")), _text(row, "type").lower()
    is_text = bool(body) or kind in _TEXTS
    return InboundMessage(
        connection_id=connection_id,
        provider_id=provider_id,
        chat_id=chat,
        sender="" if from_me else admitted(_text(row, "sender")) or chat,
        sender_name=storable(_text(row, "sender_name")),
        type=TEXT if is_text else "unknown",
        # files stay with the server: a line says that there was one
        content={"body": body} if is_text else {"type": kind, "keys": []},
        at=_instant(row["at"]),
        from_me=from_me,
        may_trigger=False,
    )


def _instant(value: object) -> datetime:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        number = float(str(value))
        return datetime.fromtimestamp(number / 1000 if abs(number) > _MILLISECONDS else number, UTC)
    except (ValueError, OverflowError, OSError):
        raise RowRefused("its time is none") from None


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
