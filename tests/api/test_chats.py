"""One canonical form for each chat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chats import ChatInvalid, canonical, normalise
from shared.kinds import connection_types

META = ("meta_direct", "meta_embedded", "360dialog")
PHONES = {
    "15550100200": "15550100200",
    "+15550100200": "15550100200",
    "+1 555 010-0200": "15550100200",
    "+1 (555) 010.0200": "15550100200",
    " 15550100200 ": "15550100200",
    "1\u00a0555\u00a0010\u00a00200": "15550100200",
    "15550100200@c.us": "15550100200",
    "15550100200@C.US": "15550100200",
    "15550100200@s.whatsapp.net": "15550100200",
    "15550100200:12@s.whatsapp.net": "15550100200",
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
NOT_A_CHAT = {
    "": "is empty",
    "   ": "is empty",
    "0049301234567": "country code, not with 0",
    "030 1234567": "country code, not with 0",
    "123456": "this one has 6",
    "+": "this one has 0",
    "++15550100200": "neither a phone number",
    "1555+0100200": "neither a phone number",
    "my-friend": "neither a phone number",
    "15550100200\0": "neither a phone number",
    "١٥٥٥٠١٠٠٢٠٠": "neither a phone number",
    "15550100200@example.org": "around the @",
    "@c.us": "around the @",
    "+15550100200@c.us": "around the @",
    "group@g.us": "around the @",
    "US.": "neither a phone number",
    "US.a b": "neither a phone number",
    "x" * 161: "none has more than 160",
}


@pytest.mark.parametrize("connection_type", [name for name in connection_types() if name not in PAGES])
def test_a_phone_number_is_its_digits_on_every_channel(connection_type: str) -> None:
    for spelling, digits in PHONES.items():
        assert normalise(connection_type, spelling) == digits


def test_what_only_a_browser_session_reaches() -> None:
    for spelling, form in OWN.items():
        assert normalise("wwebjs", spelling) == canonical(spelling) == form
        for connection_type in META:
            with pytest.raises(ChatInvalid, match="cannot reach"):
                normalise(connection_type, spelling)


def test_what_only_metas_channels_reach() -> None:
    for spelling, form in SCOPED.items():
        assert {normalise(connection_type, spelling) for connection_type in META} == {canonical(spelling)} == {form}
        with pytest.raises(ChatInvalid, match="cannot reach"):
            normalise("wwebjs", spelling)


@pytest.mark.parametrize("connection_type", PAGES)
def test_a_page_scoped_id_is_itself_on_the_channels_that_know_no_phones(connection_type: str) -> None:
    for spelling in ("24312345678901234", " 24312345678901234 ", "15550100200"):
        assert normalise(connection_type, spelling) == canonical(spelling) == spelling.strip()
    for spelling in ("+15550100200", "15550100200@c.us", "120363041234567890@g.us", "US.abC123"):
        with pytest.raises(ChatInvalid, match="cannot reach"):
            normalise(connection_type, spelling)
    with pytest.raises(ChatInvalid, match="this one has 17"):
        normalise("meta_direct", "24312345678901234")


def test_a_channel_that_came_later_reaches_phones() -> None:
    assert normalise("carrier_pigeon", "+15550100200") == "15550100200"
    with pytest.raises(ChatInvalid):
        normalise("carrier_pigeon", "123456789@lid")


@pytest.mark.parametrize(("text", "reason"), NOT_A_CHAT.items())
def test_what_is_no_chat_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ChatInvalid, match=reason) as refusal:
        canonical(text)
    assert len(text.strip()) < 6 or text not in str(refusal.value), "a reason never repeats the id"


@given(st.text(max_size=170) | st.from_regex(r"[+0-9 .()@a-z-]{0,30}", fullmatch=True))
def test_a_form_is_its_own_form(text: str) -> None:
    try:
        form = canonical(text)
    except ChatInvalid:
        return
    assert canonical(form) == form
    assert form.isascii()
    assert form.isprintable()
