"""Chat ids: one definition for clients and for what providers deliver."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.channels.chat_ids import LONGEST, ChatIdForm, ChatInvalid, admitted, canonical, read
from shared.channels.registry import channel_named, connection_types

META = ("meta_direct", "meta_embedded", "360dialog")
PHONES = {
    "15550100200": "15550100200",
    "+15550100200": "15550100200",
    "+1 555 010-0200": "15550100200",
    "+1 (555) 010.0200": "15550100200",
    " 15550100200 ": "15550100200",
    "1\u00a0555\u00a0010\u00a00200": "15550100200",
    "\u202a+1 (555) 010\u20110200\u202c": "15550100200",
    "+1\u202f555\u2009010\u20130200\u200e": "15550100200",
    "tel:+1-555-010-0200": "15550100200",
    "WhatsApp:+15550100200": "15550100200",
    "15550100200@c.us": "15550100200",
    "15550100200@C.US": "15550100200",
    "15550100200@s.whatsapp.net": "15550100200",
    "15550100200:12@s.whatsapp.net": "15550100200",
    # a trunk prefix is no part of the number
    "+49 (0)30 1234567": "49301234567",
    "+44 (0)20 7946 0018": "442079460018",
    "490301234567": "49301234567",
    # and a zero that belongs to it stays
    "+39 06 6988 1234": "390669881234",
    "+225 07 07 12 34 56": "2250707123456",
    # what a country once put before its mobile numbers is part of WhatsApp's ids
    "5215512345678": "5215512345678",
}
OWN = {
    "120363041234567890@g.us": "120363041234567890@g.us",
    "15550100200-1580000000@g.us": "15550100200-1580000000@g.us",
    "123456789012345@LID": "123456789012345@lid",
    "120363041234567890@newsletter": "120363041234567890@newsletter",
    "status@broadcast": "status@broadcast",
}
SCOPED = {"US.abC123": "US.abC123", "us.abC123": "US.abC123", "BR.ENT.x9": "BR.ENT.x9"}
PAGES = ("messenger", "instagram")
META_GROUP = "Y2FwaV9ncm91cDoxODA1NTU1MDE3MjoxMjAzNjMyMjI3NzE5NjMwNjcZD"
NOT_A_CHAT = {
    "": "is empty",
    "   ": "is empty",
    "0049301234567": "country code, not with 0",
    "030 1234567": "country code, not with 0",
    "12": "this one has 2",
    "+": "this one has 0",
    "+24312345678901234": "this one has 17",
    "++15550100200": "neither a phone number",
    "\u202amy friend\u202c": "neither a phone number",
    "1555+0100200": "neither a phone number",
    "15550100200\0": "neither a phone number",
    "my\nfriend": "neither a phone number",
    "١٥٥٥٠١٠٠٢٠٠": "neither a phone number",
    "x" * 161: "none has more than 160",
}
ANSWERABLE = {
    "123456": "this one has 6",
    "my-friend": "neither a phone number",
    "US.": "neither a phone number",
    META_GROUP: "neither a phone number",
    "1203639698831000": "this one has 16",
}
"""Ids that some provider may use, so that they can be read and answered; their spelling alone proves no such chat."""


@pytest.mark.parametrize("connection_type", [name for name in connection_types() if name not in PAGES])
def test_a_phone_number_is_its_digits_on_every_channel(connection_type: str) -> None:
    for spelling, digits in PHONES.items():
        assert channel_named(connection_type).chat(spelling).id == digits


def test_what_only_a_browser_session_reaches() -> None:
    for spelling, form in OWN.items():
        assert channel_named("wwebjs").chat(spelling).id == canonical(spelling) == form
        for connection_type in META:
            with pytest.raises(ChatInvalid, match="cannot reach"):
                channel_named(connection_type).chat(spelling)


def test_what_only_metas_channels_reach() -> None:
    for spelling, form in SCOPED.items():
        found = {channel_named(connection_type).chat(spelling).id for connection_type in META}
        assert found == {canonical(spelling)} == {form}
        with pytest.raises(ChatInvalid, match="cannot reach"):
            channel_named("wwebjs").chat(spelling)


@pytest.mark.parametrize("connection_type", PAGES)
def test_a_page_scoped_id_is_itself_on_the_channels_that_know_no_phones(connection_type: str) -> None:
    channel = channel_named(connection_type)
    for spelling in ("24312345678901234", " 24312345678901234 ", "15550100200"):
        assert channel.chat(spelling).id == canonical(spelling) == spelling.strip()
    for spelling in ("+15550100200", "15550100200@c.us", "120363041234567890@g.us", "US.abC123"):
        with pytest.raises(ChatInvalid, match="cannot reach"):
            channel.chat(spelling, known=True)


@pytest.mark.parametrize(("spelling", "reason"), ANSWERABLE.items())
def test_a_providers_own_name_is_reached_once_a_message_came_from_there(spelling: str, reason: str) -> None:
    channel = channel_named("meta_direct")
    with pytest.raises(ChatInvalid, match=reason) as refusal:
        channel.chat(spelling)
    assert refusal.value.answerable == canonical(spelling) == spelling
    assert channel.chat(spelling, known=True).id == spelling


@pytest.mark.parametrize("spelling", ["15550100200@bot", "group@g.us"])
def test_a_new_form_of_address_is_answered_in_a_browser_session_alone(spelling: str) -> None:
    channel = channel_named("wwebjs")
    with pytest.raises(ChatInvalid, match="around the @"):
        channel.chat(spelling)
    assert channel.chat(spelling, known=True).id == spelling
    with pytest.raises(ChatInvalid, match="around the @"):
        channel_named("meta_direct").chat(spelling, known=True)


def test_a_customer_from_a_checkbox_is_answered_by_reference() -> None:
    assert channel_named("messenger").chat("ref_7f3a", known=True).form is ChatIdForm.OPAQUE
    assert channel_named("messenger").chat("7654321", known=True).form is ChatIdForm.NUMERIC


@pytest.mark.parametrize(("text", "reason"), NOT_A_CHAT.items())
def test_what_is_no_chat_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ChatInvalid, match=reason) as refusal:
        canonical(text)
    assert len(text.strip()) < 6 or text not in str(refusal.value), "a reason never repeats the id"
    assert not refusal.value.answerable


@given(st.text(max_size=170) | st.from_regex(r"[+0-9 .()@a-z-]{0,30}", fullmatch=True))
def test_a_form_is_its_own_form(text: str) -> None:
    try:
        form = canonical(text)
    except ChatInvalid:
        return
    assert canonical(form) == form
    assert form.isprintable()


@given(st.text(max_size=300) | st.from_regex(r"[+0-9 .()@a-z-]{0,30}", fullmatch=True))
def test_whatever_a_provider_names_can_be_read(text: str) -> None:
    stored = admitted(text)
    if not text.strip():
        assert not stored
        return
    assert canonical(stored) == admitted(stored) == stored
    assert 0 < len(stored) <= LONGEST


def test_forms() -> None:
    forms = {
        "15550100200": ChatIdForm.PHONE,
        "12345": ChatIdForm.SHORT_CODE,
        "1" * 16: ChatIdForm.NUMERIC,
        META_GROUP: ChatIdForm.OPAQUE,
    }
    assert {text: read(text).form for text in forms} == forms
