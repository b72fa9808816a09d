"""A webhook is moved back to the first event since an instant, and no further than a day beyond it is read."""

from __future__ import annotations

from tests.store.env import StoreEnv
from tests.support.database import query


def moved(env: StoreEnv, since: str) -> int | None:
    query(env.url, "UPDATE hooks SET xid = 1000000")
    row = env.store.run(
        lambda transaction: transaction.row("replay_hook_since", company_id="acme", id=hook(env), since=since)
    )
    return None if row is None else int(row["xid"])


def hook(env: StoreEnv) -> int:
    (row,) = query(env.url, "SELECT id FROM hooks")
    return int(row["id"])


def test_the_first_event_since_an_instant_is_found_whatever_its_number(own_env: StoreEnv) -> None:
    query(
        own_env.url,
        """DELETE FROM events WHERE company_id = 'acme';
           INSERT INTO hooks (company_id, url, types, phone_indexes, header_names, sealed, xid, event_id)
           VALUES ('acme', 'http://127.0.0.1/', '{}', '{}', '{}', '', 0, 0);
           INSERT INTO events (subject, type, company_id, written_at, xid)
           SELECT 'contact', 'contact.created', company, at::timestamptz, xid
           FROM (VALUES ('acme', '2026-11-01T12:00:00Z', 10), ('acme', '2026-11-05T11:58:00Z', 50),
                        ('acme', '2026-11-05T12:05:00Z', 40), ('acme', '2026-11-20T12:00:00Z', 60),
                        ('other', '2026-11-04T12:00:00Z', 5)) AS given(company, at, xid)""",
    )
    assert moved(own_env, "2026-11-01T12:00:00Z") == 10
    assert moved(own_env, "0001-01-01T00:00:00Z") == 10
    # written by a transaction that began later and wrote earlier than the first one
    assert moved(own_env, "2026-11-01T12:00:01Z") == 40
    assert moved(own_env, "2026-11-05T12:06:00Z") == 60
    assert moved(own_env, "2026-11-20T12:00:01Z") is None
    assert moved(own_env, "9000-01-01T00:00:00Z") is None
