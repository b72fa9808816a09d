"""Files that customers send: their names are cleaned, and change nothing about the company's own file of the same
bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.filenames import cleaned_filename, with_clean_names
from shared.settings import Settings
from shared.store import media
from tests.meta.channel_env import ChannelEnv
from tests.meta.seed import COMPANY, webhook
from tests.meta.test_processor import ask, journal, read_all, scenario

MakeSettings = Callable[..., Settings]
NAMES = {
    "../../etc/cron.d/evil": "evil",
    "a\r\nSet-Cookie: x=1.pdf": "aSet-Cookie: x=1.pdf",
    "invoice\u202egpj.exe": "invoicegpj.exe",
    "C:\\Users\\x\\y.pdf": "y.pdf",
    "": None,
    "..": None,
    "\u0645\u0644\u0641.pdf": "\u0645\u0644\u0641.pdf",
    "tab\there.pdf": "tabhere.pdf",
}


def document(name: str, number: int) -> dict[str, Any]:
    return {
        "from": "15550100200",
        "id": f"wamid.{number}",
        "timestamp": "1760000000",
        "type": "document",
        "document": {"id": "900", "mime_type": "application/pdf", "filename": name},
    }


def test_names_are_cleaned_when_they_come_in(portless: MakeSettings) -> None:
    async def play(own: ChannelEnv) -> None:
        journal(own, webhook({"messages": [document(name, number) for number, name in enumerate(NAMES)]}))
        await read_all(own.processor)
        shown = ask(
            own,
            "SELECT content ->> 'filename', content #>> '{media,filename}' FROM inbound_messages ORDER BY provider_id",
        )
        assert shown == [(clean, clean) for clean in NAMES.values()]
        waiting = ask(own, "SELECT source ->> 'filename' FROM inbound_media m ORDER BY message_id")
        assert waiting == [(clean,) for clean in NAMES.values()]

    scenario(portless, play)


def test_a_long_name_keeps_its_ending() -> None:
    name = cleaned_filename("x" * 500 + ".pdf")
    assert name.endswith("x.pdf")
    assert len(name.encode()) == 240


def test_the_name_within_an_edit_is_cleaned_too() -> None:
    edit = {
        "target": "wamid.1",
        "content": {"caption": "new", "filename": "../a.pdf", "media": {"filename": "b\n.pdf"}},
    }
    assert with_clean_names(edit) == {
        "target": "wamid.1",
        "content": {"caption": "new", "filename": "a.pdf", "media": {"filename": "b.pdf"}},
    }


@pytest.mark.parametrize("received_first", [False, True])
def test_a_received_file_renames_nothing(portless: MakeSettings, received_first: bool) -> None:
    async def play(own: ChannelEnv) -> None:
        sha256 = "ab" * 32
        if received_first:
            own.store.run(media.remember_received, COMPANY, sha256, size=3, mimetype="text/html")
        own.store.run(media.remember, COMPANY, sha256, size=3, mimetype="application/pdf", filename="prices.pdf")
        own.store.run(media.remember_received, COMPANY, sha256, size=3, mimetype="text/html")
        kept = own.store.run(media.find, COMPANY, sha256)
        assert kept is not None
        assert (kept.filename, kept.mimetype) == ("prices.pdf", "application/pdf")

    scenario(portless, play)
