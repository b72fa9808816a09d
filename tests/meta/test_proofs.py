"""Events are taken only for accounts that a connection's token was proved to reach."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import pytest

from meta.accounts.calls import ProviderCalls
from meta.accounts.health import ConnectionHealth
from meta.accounts.proofs import AccountProofs, unproved
from sandbox.config import META_DIRECT_ID, META_EMBEDDED_ID
from shared.clock import utc_now
from shared.settings import Settings
from shared.store import companies, connections, media, templates
from shared.store.connections import Connection
from tests.meta.channel_env import KIND, ChannelEnv, channel_env, run
from tests.meta.seed import DIRECT, text, webhook
from tests.meta.test_processor import ask, journal, read_all
from tests.sandbox.env import ACCESS_TOKEN

AtSandbox = Callable[..., Settings]
EVIL: Final = "evil"
WABA: Final = "200000000000001"
HELLO: Final[Mapping[str, Any]] = {
    "provider_id": "7",
    "name": "hello",
    "language": "en",
    "category": "UTILITY",
    "status": "APPROVED",
    "reason": "",
    "quality": "",
    "components": [],
}


def claim(
    own: ChannelEnv, *, token: str, account_id: str = META_DIRECT_ID, connection_type: str = "meta_direct", **more: Any
) -> int:
    """Make a connection as a client of the API does, for whatever account. Returns its id."""

    def make(transaction: Any) -> int:
        companies.ensure(transaction, EVIL)
        made = connections.add(
            transaction, company_id=EVIL, connection_type=connection_type, account_id=account_id, **more
        )
        assert made is not None
        connection_id, index = made
        sealed = own.vault.seal(
            json.dumps({"access_token": token}), context=connections.credentials_context(EVIL, index)
        ).to_text()
        connections.update(transaction, connection_id, credentials=sealed)
        return connection_id

    return own.store.run(make)


def proofs_of(own: ChannelEnv) -> AccountProofs:
    health = ConnectionHealth(own.store, own.accounts, ProviderCalls(own.graph), own.settings, kind=KIND.name)
    return AccountProofs(own.store, own.accounts, health, replayed=own.processor.wake)


def received(own: ChannelEnv) -> list[tuple[int, str]]:
    return ask(own, "SELECT connection_id, provider_id FROM inbound_messages ORDER BY provider_id, connection_id")


def with_env(make: Settings, play: Callable[[ChannelEnv], Any]) -> None:
    async def scenario() -> None:
        async with channel_env(make) as own:
            await play(own)

    run(scenario())


def test_a_token_that_does_not_reach_the_account_receives_nothing(at_sandbox: AtSandbox) -> None:
    async def play(own: ChannelEnv) -> None:
        evil = claim(own, token="bogus", waba_id=WABA)
        await own.accounts.refresh()
        await proofs_of(own).prove_all()
        journal(own, webhook({"messages": [text("private", "wamid.1")]}))
        await read_all(own.processor)
        assert received(own) == [(own.ids[DIRECT], "wamid.1")]
        assert ask(own, "SELECT proved_ids FROM phone_configs WHERE id = %s", evil) == [([],)]
        change = {"field": "account_update", "value": {"event": "DISABLED_UPDATE"}}
        journal(own, {"object": "whatsapp_business_account", "entry": [{"id": WABA, "changes": [change]}]})
        await read_all(own.processor)
        assert ask(own, "SELECT facts FROM phone_status WHERE connection_id = %s AND facts ? 'account'", evil) == []

    with_env(at_sandbox(), play)


def test_what_came_before_the_proof_is_processed_after_it(at_sandbox: AtSandbox) -> None:
    async def play(own: ChannelEnv) -> None:
        proofs = proofs_of(own)
        mine = claim(own, token=ACCESS_TOKEN, account_id=META_EMBEDDED_ID)
        own.store.run(removed, own.ids[3])
        await own.accounts.refresh()
        journal(own, webhook({"messages": [text("early", "wamid.1")]}, number=META_EMBEDDED_ID))
        await read_all(own.processor)
        assert received(own) == []
        await proofs.prove_all()
        await proofs._replay()
        await read_all(own.processor)
        assert received(own) == [(mine, "wamid.1")]
        assert ask(own, "SELECT outcome FROM inbound_journal") == [("",)]
        assert ask(own, "SELECT may_trigger FROM inbound_messages") == [(True,)]

    with_env(at_sandbox(), play)


def test_a_sent_message_proves_its_account(at_sandbox: AtSandbox) -> None:
    async def play(own: ChannelEnv) -> None:
        mine = claim(own, token=ACCESS_TOKEN)
        await own.accounts.refresh()
        await own.send(own.message(connection_id=mine, company_id=EVIL))
        assert ask(own, "SELECT proved_ids FROM phone_configs WHERE id = %s", mine) == [([META_DIRECT_ID],)]

    with_env(at_sandbox(), play)


def test_an_account_is_in_use_when_it_is_proved_and_not_when_it_is_claimed(at_sandbox: AtSandbox) -> None:
    async def play(own: ChannelEnv) -> None:
        mine = claim(own, token="bogus", account_id="109990000000000")
        taken: dict[str, Any] = {"connection_type": "meta_direct", "account_id": "109990000000000"}
        assert not own.store.run(connections.account_in_use, **taken)
        row = own.store.run(connections.by_index, EVIL, 0)
        assert row is not None
        assert not own.store.run(connections.prove, mine, ["109990000000000"], "other credentials")
        assert own.store.run(connections.prove, mine, ["109990000000000"], row.credentials)
        assert own.store.run(connections.account_in_use, **taken)
        assert not own.store.run(connections.account_in_use, **taken, but=mine)

    with_env(at_sandbox(), play)


def test_what_is_known_about_an_account_goes_with_it(portless: AtSandbox) -> None:
    def known(own: ChannelEnv) -> tuple[Any, ...]:
        (row,) = ask(
            own,
            "SELECT c.waba_id, c.templates_synced_at IS NULL, s.facts, s.warning, s.checked_at IS NULL,"
            " (SELECT count(*) FROM templates t WHERE t.connection_id = c.id),"
            " (SELECT count(*) FROM media_uploads u WHERE u.connection_id = c.id)"
            " FROM phone_configs c JOIN phone_status s ON s.connection_id = c.id WHERE c.id = %s",
            own.ids[DIRECT],
        )
        return row

    async def play(own: ChannelEnv) -> None:
        connection_id, facts = own.ids[DIRECT], {"number": {"displayPhoneNumber": "+1 555"}}
        own.store.run(connections.update, connection_id, waba_id=WABA)
        own.store.run(connections.note_facts, connection_id, facts, warning="red", checked=True)
        own.store.run(templates.write, connection_id, "live", [HELLO], at=utc_now(), whole=True)
        own.store.run(media.remember_upload, connection_id, "live", "ab" * 32, mimetype="image/png", provider_id="900")
        before = (WABA, False, facts, "red", False, 1, 1)
        assert known(own) == before
        own.store.run(connections.update, connection_id, account_id=META_DIRECT_ID, credentials="new")
        assert known(own) == before, "new credentials of the same account"
        own.store.run(connections.update, connection_id, account_id="109990000000000")
        assert known(own) == ("", True, {}, "", True, 0, 0)
        own.store.run(connections.update, connection_id, account_id=META_DIRECT_ID, waba_id=WABA)
        assert known(own)[0] == WABA, "a business account that is given with it stays"

    with_env(portless(), play)


@pytest.mark.parametrize("before", [None, "sandbox", "live"])
def test_what_is_known_from_another_world_is_not_used(portless: AtSandbox, before: str | None) -> None:
    async def play(own: ChannelEnv) -> None:
        connection_id, facts = own.ids[DIRECT], {"number": {"displayPhoneNumber": "+1 555"}}
        made_in = before or "live"
        own.store.run(connections.note_facts, connection_id, facts, checked=True)
        own.store.run(templates.write, connection_id, made_in, [HELLO], at=utc_now(), whole=True)
        own.store.run(media.remember_upload, connection_id, made_in, "ab" * 32, mimetype="image/png", provider_id="900")
        own.store.run(in_world, before)
        # these settings name no sandbox: everything is sent to the real provider
        await own.accounts.refresh()
        account = await own.accounts.find(connection_id)
        assert account is not None
        assert account.connection.world == "live"
        (known,) = ask(
            own,
            "SELECT c.world, cardinality(c.proved_ids), c.templates_synced_at IS NOT NULL, s.facts <> '{}'"
            " FROM phone_configs c JOIN phone_status s ON s.connection_id = c.id WHERE c.id = %s",
            connection_id,
        )
        same = before != "sandbox"
        assert known == (("live", 1, True, True) if same else ("live", 0, False, False))
        # Kept, and used in its own world alone.
        for world in ("live", "sandbox"):
            found = own.store.run(
                templates.find_template,
                connection_id=connection_id,
                world=world,
                name="hello",
                language=str(HELLO["language"]),
            )
            upload = own.store.run(media.uploaded, connection_id, world, "ab" * 32, "image/png")
            assert (found.template is not None, upload is not None) == (world == made_in,) * 2

    with_env(portless(), play)


@pytest.mark.parametrize("at", ["sandbox", "live"])
def test_a_template_event_is_about_the_world_that_its_connection_is_in(portless: AtSandbox, at: str) -> None:
    async def play(own: ChannelEnv) -> None:
        connection_id = own.ids[DIRECT]
        own.store.run(in_world, at)
        for world in ("live", "sandbox"):
            own.store.run(templates.write, connection_id, world, [HELLO], at=utc_now(), whole=False)
        own.store.run(
            templates.apply_status,
            at=utc_now() + timedelta(minutes=1),
            connection_ids=[connection_id],
            name="hello",
            language=str(HELLO["language"]),
            status="REJECTED",
        )
        assert ask(own, "SELECT world FROM templates WHERE status = 'REJECTED'") == [(at,)]
        own.store.run(templates.delete, connection_id, at, name="hello")
        assert [row[0] for row in ask(own, "SELECT world FROM templates")] == [
            {"live": "sandbox", "sandbox": "live"}[at]
        ]

    with_env(portless(), play)


def in_world(transaction: Any, world: str | None) -> None:
    transaction._cursor.execute("UPDATE phone_configs SET world = %s", (world,))


def test_what_a_connection_has_to_prove() -> None:
    def row(connection_type: str, **more: Any) -> Connection:
        values: dict[str, Any] = {
            "id": 1,
            "company_id": EVIL,
            "phone_index": 0,
            "connection_type": connection_type,
            "process_name": "meta",
            "status": "active",
            "status_reason": "",
            "desired_state": "linked",
            "account_id": "1",
            "credentials": "",
            "options": {},
        }
        return Connection(**values | more)

    assert unproved(row("meta_direct", waba_id="2")) == ("1", "2")
    assert unproved(row("meta_direct", waba_id="2", proved_ids=["1"])) == ("2",)
    assert unproved(row("360dialog", waba_id="2")) == ()
    assert unproved(row("instagram", options={"instagram_id": "9"}, proved_ids=["1"])) == ("9",)


def removed(transaction: Any, connection_id: int) -> None:
    transaction._cursor.execute("UPDATE phone_configs SET status = 'removed' WHERE id = %s", (connection_id,))
