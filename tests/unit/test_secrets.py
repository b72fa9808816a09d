"""Sealed secrets open for whom they were sealed, and for no process and nowhere else."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SettingsInvalid
from shared.secrets import NONCE_BYTES, Sealed, SecretUnreadable, Vault
from shared.settings import Settings

KEY = bytes(range(32))
VAULT = Vault("k1", KEY)
# Every text that UTF-8 can carry; lone surrogates are no text.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(plaintext=TEXTS, context=TEXTS)
def test_what_was_sealed_opens_in_its_context(plaintext: str, context: str) -> None:
    assert VAULT.open(VAULT.seal(plaintext, context=context), context=context) == plaintext


@given(plaintext=TEXTS, context=TEXTS, other=TEXTS)
def test_a_ciphertext_moved_to_another_row_does_not_open(plaintext: str, context: str, other: str) -> None:
    sealed = VAULT.seal(plaintext, context=context)
    if other == context:
        assert VAULT.open(sealed, context=other) == plaintext
    else:
        with pytest.raises(SecretUnreadable):
            VAULT.open(sealed, context=other)


@given(plaintext=TEXTS, data=st.data())
def test_one_flipped_bit_anywhere_is_noticed(plaintext: str, data: st.DataObject) -> None:
    sealed = VAULT.seal(plaintext, context="row 1")
    changed = bytearray(sealed.nonce + sealed.ciphertext)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SecretUnreadable):
        VAULT.open(Sealed("k1", bytes(changed[:NONCE_BYTES]), bytes(changed[NONCE_BYTES:])), context="row 1")


@given(length=st.integers(0, 15))
def test_a_truncated_ciphertext_is_refused(length: int) -> None:
    sealed = VAULT.seal("token", context="row 1")
    with pytest.raises(SecretUnreadable):
        VAULT.open(replace(sealed, ciphertext=sealed.ciphertext[:length]), context="row 1")


def test_an_empty_nonce_is_unreadable_and_not_a_bug() -> None:
    with pytest.raises(SecretUnreadable):
        VAULT.open(Sealed("k1", b"", b"x" * 20), context="row 1")


def test_another_key_does_not_open_it_and_is_named() -> None:
    sealed = VAULT.seal("token", context="row 1")
    with pytest.raises(SecretUnreadable, match=r"'k1'.*'k2'"):
        Vault("k2", KEY).open(sealed, context="row 1")
    with pytest.raises(SecretUnreadable):
        Vault("k1", bytes(32)).open(sealed, context="row 1")
    with pytest.raises(SecretUnreadable):
        Vault("k2", KEY).open(replace(sealed, key_id="k2"), context="row 1")


def test_the_same_secret_sealed_twice_looks_different() -> None:
    first, second = VAULT.seal("token", context="row 1"), VAULT.seal("token", context="row 1")
    assert first.nonce != second.nonce
    assert first.ciphertext != second.ciphertext


def test_bytes_from_a_database_driver_open_too() -> None:
    sealed = VAULT.seal("token", context="row 1")
    bytea: Any = memoryview  # how psycopg2 returns a column of bytes
    sealed_as_read = Sealed(sealed.key_id, bytea(sealed.nonce), bytea(sealed.ciphertext))
    assert VAULT.open(sealed_as_read, context="row 1") == "token"


def test_nothing_shows_a_key_or_a_secret() -> None:
    vault = Vault.from_settings(Settings(secret_encryption_key=base64.b64encode(KEY).decode()))
    sealed = vault.seal("EAAG-very-secret", context="row 1")
    with pytest.raises(SecretUnreadable) as refused:
        vault.open(sealed, context="row 2")
    for shown in (repr(vault), str(vault), repr(sealed), str(sealed), str(refused.value)):
        assert "EAAG" not in shown
        assert base64.b64encode(KEY).decode() not in shown
        assert repr(KEY) not in shown
        assert repr(sealed.ciphertext) not in shown


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "missing"),
        ("not base64!", "not base64"),
        ("abc", "not base64"),
        ("ä" * 44, "not base64"),
        (base64.b64encode(bytes(31)).decode(), "31 bytes"),
        (base64.b64encode(bytes(33)).decode(), "33 bytes"),
    ],
)
def test_a_wrong_key_setting_is_named_without_its_value(text: str, problem: str) -> None:
    with pytest.raises(SettingsInvalid, match=problem) as refused:
        Vault.from_settings(Settings(secret_encryption_key=text))
    assert "SECRET_ENCRYPTION_KEY" in str(refused.value)
    assert not text or text not in str(refused.value)


def test_a_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 16"):
        Vault("k1", bytes(16))


def test_an_old_key_opens_what_it_sealed_and_the_new_one_seals() -> None:
    old = Vault("k1", KEY)
    sealed = old.seal("token", context="row 1")
    ring = Vault("k2", bytes(range(1, 33)), {"k1": KEY})
    assert ring.open(sealed, context="row 1") == "token"
    again = ring.seal("token", context="row 1")
    assert (again.key_id, ring.open(again, context="row 1")) == ("k2", "token")
    with pytest.raises(SecretUnreadable):
        old.open(again, context="row 1")
    with pytest.raises(SecretUnreadable):
        # under another key's name it is another secret
        ring.open(replace(sealed, key_id="k2"), context="row 1")


@pytest.mark.parametrize(
    "text",
    ["k1", "=AAAA", "k1=short", "k1=" + base64.b64encode(b"x" * 31).decode(), "now=" + base64.b64encode(KEY).decode()],
)
def test_old_keys_that_cannot_be_used_are_named_and_never_shown(text: str) -> None:
    settings = Settings(secret_key_id="now", secret_encryption_key=base64.b64encode(KEY).decode(), secret_old_keys=text)
    with pytest.raises(SettingsInvalid) as caught:
        Vault.from_settings(settings)
    assert "SECRET_OLD_KEYS" in str(caught.value)
    assert text.partition("=")[2] not in str(caught.value) or not text.partition("=")[2]


def test_the_settings_make_a_ring() -> None:
    encoded = base64.b64encode(KEY).decode()
    settings = Settings(
        secret_key_id="k2",
        secret_encryption_key=base64.b64encode(bytes(32)).decode(),
        secret_old_keys=f"k0={encoded}, k1={encoded}",
    )
    assert Vault.from_settings(settings).open(VAULT.seal("token", context="c"), context="c") == "token"
