"""Session settings in an address hold beside our own."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, urlencode

from psycopg2.extensions import parse_dsn

from shared.settings import ChildEnvironment, Settings
from shared.store import migrate
from shared.store.pool import Transaction
from shared.store.store import Store


def address(url: str, **more: str) -> str:
    """Return an address with further parameters."""
    parts = parse_dsn(url) | more
    login = ":".join(quote(parts.pop(name), safe="") for name in ("user", "password") if name in parts)
    return f"postgresql://{login}@/{parts.pop('dbname')}?{urlencode(parts, quote_via=quote)}"


def session_settings(url: str, settings: Callable[..., Settings]) -> tuple[str, ...]:
    """Return what holds in a connection of the pool."""
    store = Store.open(settings(database_url=url), ChildEnvironment(process_name="meta"), limit=1)

    def read(transaction: Transaction) -> tuple[str, ...]:
        transaction._cursor.execute("SELECT current_setting('work_mem'), current_setting('timezone')")
        return tuple(map(str, transaction._cursor.fetchone()))

    try:
        return store.run(read)
    finally:
        store.close()


def test_options_of_the_address_hold_beside_our_own(empty_database_url: str, settings: Callable[..., Settings]) -> None:
    url = address(empty_database_url, options="-c work_mem=5MB -c timezone=Asia/Tokyo")
    assert migrate.apply(url)
    assert session_settings(url, settings) == ("5MB", "UTC")
