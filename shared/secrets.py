"""Secrets at rest (access tokens, app secrets): sealed with AES-256-GCM before they reach a table, opened only where
they are used.

The only door to `cryptography`. Every ciphertext is bound to its context (which column of which row), so that one
copied to another row does not open there.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import BulkheadError, SettingsInvalid
from shared.settings import Settings

KEY_BYTES: Final = 32
"""Bytes of a key: AES-256."""
NONCE_BYTES: Final = 12
"""Bytes of a nonce: the size that GCM is defined for without hashing (NIST SP 800-38D)."""

_TAG_BYTES: Final = 16
"""Bytes of GCM's tag, which stands behind the ciphertext."""


class SecretUnreadable(BulkheadError):
    """Raised when a sealed secret does not open: another key, another context, or it was changed."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as it is stored.

    Attributes:
        key_id: name of the key that sealed it. nonce: 12 bytes, never used twice. ciphertext: with the 16-byte tag at
            its end.
    """

    key_id: str
    nonce: bytes
    ciphertext: bytes = field(repr=False)

    def to_text(self) -> str:
        """Return one line that a text column holds: key id, nonce and ciphertext, the latter two as base64."""
        return ".".join(
            (self.key_id, base64.b64encode(self.nonce).decode(), base64.b64encode(self.ciphertext).decode())
        )

    @classmethod
    def from_text(cls, text: str) -> Sealed:
        """Read what `to_text` wrote. Raises `SecretUnreadable` for anything else."""
        try:
            # from the right: a key's name may hold dots, base64 does not
            key_id, nonce, ciphertext = text.rsplit(".", 2)
            return cls(key_id, base64.b64decode(nonce, validate=True), base64.b64decode(ciphertext, validate=True))
        except ValueError:
            raise SecretUnreadable("this is not a sealed secret") from None


class Vault:
    """Seals secrets with one key, and opens what that one or an earlier one sealed. Neither its `repr` nor its errors
    show a key or a secret.

    Attributes:
        key_id: of the key that seals.
    """

    def __init__(self, key_id: str, key: bytes, old: Mapping[str, bytes] | None = None) -> None:
        """Take the key `key_id`, and by their names the `old` ones that only open. Raises `ValueError` unless each has
        `KEY_BYTES` bytes."""
        keys = {**(old or {}), key_id: key}
        for one in keys.values():
            if len(one) != KEY_BYTES:
                raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(one)}")
        self.key_id = key_id
        self._ciphers = {name: AESGCM(one) for name, one in keys.items()}

    @classmethod
    def from_settings(cls, settings: Settings) -> Vault:
        """Return the vault for SECRET_KEY_ID, SECRET_ENCRYPTION_KEY and SECRET_OLD_KEYS.

        Raises:
            SettingsInvalid: naming what is wrong, never the value.
        """
        text = settings.secret_encryption_key
        if not text:
            raise SettingsInvalid(["SECRET_ENCRYPTION_KEY is missing: it is base64 of 32 random bytes"])
        key = _key("SECRET_ENCRYPTION_KEY", text)
        old: dict[str, bytes] = {}
        for number, pair in enumerate(
            filter(None, (part.strip() for part in settings.secret_old_keys.split(","))), start=1
        ):
            name, is_pair, value = pair.partition("=")
            if not is_pair or not name.strip() or name.strip() in (*old, settings.secret_key_id):
                raise SettingsInvalid(
                    [
                        f"SECRET_OLD_KEYS: part {number} is not NAME=BASE64 with a name of its own, other than "
                        f"SECRET_KEY_ID"
                    ]
                )
            old[name.strip()] = _key(f"SECRET_OLD_KEYS: part {number}", value.strip())
        return cls(settings.secret_key_id, key, old)

    def __repr__(self) -> str:
        return f"Vault(key_id={self.key_id!r})"

    def seal(self, plaintext: str, *, context: str) -> Sealed:
        """Return `plaintext` sealed for `context`, for example `phone_configs.access_token:17`; the same context opens
        it."""
        # random: with 96 bits a repetition under one key is out of reach for the few secrets that there are, and no
        # counter has to be kept
        nonce = os.urandom(NONCE_BYTES)
        return Sealed(
            self.key_id,
            nonce,
            self._ciphers[self.key_id].encrypt(nonce, plaintext.encode(), _bound_to(self.key_id, context)),
        )

    @property
    def key_ids(self) -> frozenset[str]:
        """Names of the keys that it holds."""
        return frozenset(self._ciphers)

    def open(self, sealed: Sealed, *, context: str) -> str:
        """Return the plaintext. Raises `SecretUnreadable` when the key or the context is another one, or the stored
        bytes were changed."""
        with self.opened(sealed, context=context) as plaintext:
            return plaintext.decode()

    @contextmanager
    def opened(self, sealed: Sealed, *, context: str) -> Iterator[bytearray]:
        """Give the plaintext for the time of the block, and overwrite it afterwards.

        Only this buffer is wiped: what the block makes of it (a `str`, a header) lives until Python frees it, and the
        memory is not cleared then. Raises as `open`.
        """
        plaintext = self._decrypted(sealed, context)
        try:
            yield plaintext
        finally:
            plaintext[:] = bytes(len(plaintext))

    def _decrypted(self, sealed: Sealed, context: str) -> bytearray:
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise SecretUnreadable(
                f"the secret {context} was sealed with key {sealed.key_id!r}, and this process holds "
                f"{', '.join(map(repr, self._ciphers))}"
            )
        # a buffer of ours: `decrypt` returns bytes, which cannot be overwritten
        plaintext = bytearray(max(0, len(sealed.ciphertext) - _TAG_BYTES))
        try:
            cipher.decrypt_into(
                bytes(sealed.nonce), bytes(sealed.ciphertext), _bound_to(sealed.key_id, context), plaintext
            )
        # GCM cannot distinguish a wrong key from a wrong context or changed bytes; `from None`, so that no part of the
        # input stands in a traceback
        except (InvalidTag, ValueError):
            raise SecretUnreadable(
                f"the secret {context} does not open with key {sealed.key_id!r}: another key, another row, or changed "
                f"bytes"
            ) from None
        return plaintext


def _bound_to(key_id: str, context: str) -> bytes:
    # a NUL between them: no two pairs give the same bytes
    return f"{key_id}\0{context}".encode()


def _key(name: str, text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SettingsInvalid([f"{name} is not base64; it must be base64 of 32 random bytes"]) from None
    if len(key) != KEY_BYTES:
        raise SettingsInvalid([f"{name} holds {len(key)} bytes; it must be base64 of 32 random bytes"])
    return key
