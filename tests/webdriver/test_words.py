"""Pure parts: contacts as vCards and back, and events of the page, also those that make no sense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.messages import Dead, InboundMessage, InDoubt, Retry
from tests.support.examples import examples
from webdriver.page import outcomes, parsing, vcards
from webdriver.page.operations import operation_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=40).map(str.strip)
ROW: Mapping[str, Any] = {
    "id": "false_60123456789@c.us_3EB0AA", "chat": "60123456789@c.us", "fromMe": False, "type": "chat", "body": "hi", "t": 1767300000,  # noqa: E501
    "from": "60123456789@c.us", "to": "60111222333@c.us", "author": "", "notifyName": "Ali", "ack": 2,
}  # fmt: skip


@given(WORDS, WORDS, st.lists(st.from_regex(r"\+?[0-9]{7,15}", fullmatch=True), max_size=4), WORDS)
def test_a_contact_survives_the_way_there_and_back(name: str, first: str, phones: list[str], company: str) -> None:
    contact = {
        "name": {"formatted_name": name, "first_name": first},
        "phones": [{"phone": phone} for phone in phones],
        "org": {"company": company},
    }
    (back,) = vcards.contacts([vcards.vcard(contact)])
    assert back["name"]["formatted_name"] == name
    assert back["name"].get("first_name", "") == first
    assert [row["phone"] for row in back["phones"]] == phones
    assert [row["wa_id"] for row in back["phones"]] == [phone.lstrip("+") for phone in phones]
    assert back.get("org", {}).get("company", "") == company


@given(st.text(max_size=300))
def test_a_card_that_is_none_is_a_contact_without_a_name(text: str) -> None:
    (found,) = vcards.contacts([text])
    assert set(found) >= {"name", "phones"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@settings(max_examples=examples(100))
@given(
    st.dictionaries(
        st.sampled_from(
            [*ROW, "media", "lat", "lng", "loc", "vcards", "edit", "editedAt", "target", "emoji", "sender", "quoted"]
        ),
        VALUES,
    ),
    st.sampled_from(sorted(parsing.PAGE_TYPES)),
)
def test_an_event_is_read_or_named_unreadable(changes: Mapping[str, Any], kind: str) -> None:
    raw = {**ROW, "type": kind, **changes}
    readers: list[Callable[[], InboundMessage | None]] = [
        partial(parsing.inbound, 1, raw),
        partial(parsing.edited, 1, raw),
        partial(parsing.reacted, 1, raw),
        partial(parsing.revoked, 1, raw, NOW),
    ]
    for read in readers:
        try:
            found = read()
        except parsing.EventUnreadable:
            continue
        assert found is None or (found.provider_id and found.connection_id == 1)


@pytest.mark.parametrize(
    ("made", "chat", "from_me"),
    [
        ("false_15550100200@c.us_B", "15550100200", False),
        ("false_15550100666@c.us_B", "15550100666", False),
        ("true_15550100200@c.us_B", "15550100200", True),
        # found revoked after a gap: no event, and so no id of its own
        ("", "15550100200", False),
    ],
)
def test_a_revoke_is_in_the_chat_and_by_the_side_that_revoked(made: str, chat: str, from_me: bool) -> None:
    target = "false_15550100200@c.us_A"
    found = parsing.revoked(1, {"id": made, "target": target, "author": ""}, NOW)
    assert (found.chat_id, found.from_me, found.content) == (chat, from_me, {"target": target})
    # the author's own has one id, which no other takes
    assert (found.provider_id == f"revoke:{target}") is (chat == "15550100200" and not from_me)


def test_a_reaction_is_in_the_chat_where_it_was_made() -> None:
    raw = {"id": "false_15550100666@c.us_B", "target": "true_15550100200@c.us_A", "emoji": "👍", "sender": "", "t": 1}
    found = parsing.reacted(1, raw)
    assert (found.chat_id, found.sender, found.from_me) == ("15550100666", "15550100666@c.us", False)


def test_an_edit_without_an_id_is_named_by_what_it_says() -> None:
    first = parsing.edited(1, {**ROW, "body": "one"})
    assert first.provider_id == parsing.edited(1, {**ROW, "body": "one"}).provider_id
    assert first.provider_id != parsing.edited(1, {**ROW, "body": "two"}).provider_id
    assert (first.type, first.content) == ("edit", {"target": ROW["id"], "body": "one"})


@pytest.mark.parametrize("kind", ["protocol", "revoked", "reaction", "ciphertext", ""])
def test_rows_of_the_page_that_are_no_message(kind: str) -> None:
    assert parsing.inbound(1, {**ROW, "type": kind}) is None


def test_a_number_that_is_hidden_is_a_person_all_the_same() -> None:
    shown = parsing.inbound(1, ROW)
    hidden = parsing.inbound(
        1, {**ROW, "id": "false_1200@g.us_AA_999999999@lid", "chat": "120036301234@g.us", "author": "999999999@lid"}
    )
    own = parsing.inbound(1, {**ROW, "fromMe": True})
    assert shown and hidden and own
    one, other = parsing.person(shown), parsing.person(hidden)
    assert one and (one.user_id, one.phone, one.name) == ("60123456789", "60123456789", "Ali")
    assert other and (other.user_id, other.phone) == ("999999999@lid", "")
    assert parsing.person(own) is None
    status = parsing.inbound(1, {**ROW, "chat": "status@broadcast", "author": "60123456789@c.us"})
    assert status and not status.may_trigger and shown.may_trigger


@pytest.mark.parametrize(
    ("code", "about_target", "outcome"),
    [
        ("msg_not_found", True, "message_unknown"),
        ("msg_not_found", False, "quoted_message_unknown"),
        ("edit_message_error", True, "message_not_editable"),
        ("not_own_message", True, "message_not_ours"),
        ("file_too_large", False, "file_too_large"),
    ],
)
def test_refusals_mean_what_the_operation_makes_of_them(code: str, about_target: bool, outcome: str) -> None:
    found = outcomes.of_refusal(code, about_target=about_target)
    assert isinstance(found, Dead) and found.code == outcome


def test_what_is_not_known_is_in_doubt() -> None:
    assert isinstance(outcomes.of_refusal("brand_new", about_target=True), InDoubt)
    assert isinstance(outcomes.of_answer({"id": "x", "ack": 0, "result": ""}), InDoubt)
    assert isinstance(outcomes.of_answer({"id": "x", "ack": 0, "result": "ERROR_UPLOAD"}), Retry)


def test_delete_is_one_of_two_and_templates_are_none() -> None:
    everyone, me = operation_of("delete", {"everyone": True}), operation_of("delete", {"everyone": False})
    assert everyone and me and (everyone.page, me.page) == ("revoke", "remove")
    assert operation_of("template", {}) is None and operation_of("interactive", {}) is None
