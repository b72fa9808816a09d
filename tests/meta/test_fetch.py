"""Files that came with messages, in the real process: fetched by id and address, again when it fails, refused when they
are not what they say.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from meta.inbound.media_fetcher import ATTEMPTS, _hex, _judged, _wait_s
from meta.inbound.media_fetcher import FileGivenUp as EndedFetch
from meta.inbound.media_fetcher import FileKept as KeptFetch
from shared.media.fetch import Fetched
from shared.media.storage import Stored
from shared.secrets import Vault
from shared.store import connections, inbound_media
from shared.store.inbound_media import TakenMedia
from tests.meta.env import ACCOUNTS, MetaEnv, new_chat
from tests.meta.seed import D360, DIRECT, sealed, webhook
from tests.sandbox.env import ACCESS_TOKEN
from tests.support.waiting import eventually

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"x" * 5000
PDF = b"%PDF-1.4\n" + b"y" * 200_000 + b"\n%%EOF\n"


def write(env: MetaEnv, kind: str, *, phone_index: int = DIRECT, data: bytes = b"", **more: Any) -> str:
    """Let a customer send a file. Returns the message's provider id."""
    asked = {"phone_number_id": ACCOUNTS[phone_index], "from": new_chat(), "kind": kind, **more}
    if data:
        asked["data"] = base64.b64encode(data).decode()
    return str(env.control("POST", "customers", asked)["id"])


def file_of(env: MetaEnv, provider_id: str) -> dict[str, Any]:
    """Return the row of a message's file; empty when there is none yet."""
    rows = env.query(
        """SELECT to_jsonb(m) || jsonb_build_object('company', i.company_id) FROM inbound_media m JOIN
           inbound_messages i ON i.id = m.message_id
           WHERE i.provider_id = %s""",
        provider_id,
    )
    return dict(rows[0][0]) if rows else {}


def ended(env: MetaEnv, provider_id: str, within_s: float = 30.0) -> dict[str, Any]:
    """Wait until a message's file is no longer pending, and return its row."""
    eventually(
        lambda: file_of(env, provider_id).get("state", "pending") != "pending",
        within_s,
        lambda: f"the file is fetched: {file_of(env, provider_id)}",
    )
    return file_of(env, provider_id)


def stored_bytes(env: MetaEnv, row: dict[str, Any]) -> bytes:
    """Return what lies in the local storage."""
    (path,) = [
        path
        for path in (env.settings.bulkhead_home / "media").rglob("*")
        if path.is_file() and row["sha256"] in str(path).replace("/", "")
    ]
    return path.read_bytes()


@pytest.mark.parametrize("phone_index", [DIRECT, D360])
@pytest.mark.parametrize(
    ("kind", "data", "mimetype"), [("image", JPEG, "image/jpeg"), ("document", PDF, "application/pdf")]
)
def test_a_file_is_fetched_from_either_provider(
    env: MetaEnv, phone_index: int, kind: str, data: bytes, mimetype: str
) -> None:
    row = ended(env, write(env, kind, phone_index=phone_index, data=data))
    assert (row["state"], row["reason"]) == ("stored", "")
    assert (row["sha256"], row["size"], row["mimetype"]) == (hashlib.sha256(data).hexdigest(), len(data), mimetype)
    assert stored_bytes(env, row) == data
    known = env.query(
        "SELECT size, mimetype FROM media_files WHERE company_id = %s AND sha256 = %s", row["company"], row["sha256"]
    )
    assert known == [(len(data), mimetype)]


@pytest.mark.parametrize("kind", ["video", "audio", "voice", "sticker"])
def test_every_kind_of_file(env: MetaEnv, kind: str) -> None:
    row = ended(env, write(env, kind))
    assert (row["state"], row["reason"]) == ("stored", "")


def test_a_file_of_the_other_world_is_not_asked_for(env: MetaEnv) -> None:
    provider_id = write(env, "image")
    other = {"live": "sandbox", "sandbox": "live"}[ended(env, provider_id)["world"]]
    env.query(
        "UPDATE inbound_media SET state = 'pending', attempts = 0, not_before = now(), world = %s"
        " WHERE message_id = (SELECT id FROM inbound_messages WHERE provider_id = %s) RETURNING message_id",
        other,
        provider_id,
    )
    row = ended(env, provider_id)
    assert (row["state"], row["reason"]) == ("failed", "other_world")


def test_what_is_not_what_it_says_is_refused_and_can_be_asked_for_again(env: MetaEnv) -> None:
    provider_id = write(env, "image", data=b"<html><body>Sign in</body></html>" * 50)
    row = ended(env, provider_id)
    assert row["state"] == "refused"
    assert row["reason"].startswith("not image but text/")
    assert env.store.run(inbound_media.fetch_again, "meta", ids=[row["message_id"]], most=10) == [row["message_id"]]
    assert ended(env, provider_id)["state"] == "refused"


def test_a_file_that_the_provider_does_not_know_is_given_up_with_the_reason(env: MetaEnv) -> None:
    message = {
        "from": new_chat(),
        "id": "wamid.GONE",
        "timestamp": "1760000000",
        "type": "image",
        "image": {"id": "999999999999999"},
    }
    assert env.post(webhook({"messages": [message]})) == 200
    row = ended(env, "wamid.GONE")
    assert (row["state"], row["reason"]) == ("failed", "gone: 100")


def test_an_address_that_came_with_the_message_is_tried_first_and_the_id_when_it_is_old(env: MetaEnv) -> None:
    provider_id = write(env, "image", data=JPEG)
    ended(env, provider_id)
    (source,) = env.query(
        "SELECT source ->> 'id' FROM inbound_media m JOIN inbound_messages i ON i.id = "
        "m.message_id WHERE i.provider_id = %s",
        provider_id,
    )[0]
    old = f"http://127.0.0.1:{env.settings.port('sandbox')}/whatsapp_business/attachments/?mid={source}&ext=1&hash=00"
    message = {
        "from": new_chat(),
        "id": "wamid.OLD",
        "timestamp": "1",
        "type": "image",
        "image": {"id": source, "url": old},
    }
    assert env.post(webhook({"messages": [message]})) == 200
    row = ended(env, "wamid.OLD")
    assert (row["state"], row["sha256"]) == ("stored", hashlib.sha256(JPEG).hexdigest())


def test_a_file_that_is_too_large_is_refused(own_env: Callable[..., MetaEnv]) -> None:
    env = own_env(media_inbound_most_mb=1).start()
    row = ended(env, write(env, "document", data=PDF * 6))
    assert (row["state"], row["reason"]) == ("refused", "larger than 1048576 bytes")
    assert env.meta.stop() == 0


def test_credentials_that_do_not_open_delay_a_file_and_lose_nothing(env: MetaEnv) -> None:
    number = "888000000000001"
    connection_id = env.store.run(
        connections.ensure, company_id="demo", phone_index=88, connection_type="meta_direct", account_id=number
    )
    message = {"from": new_chat(), "id": "wamid.NOKEY", "timestamp": "1", "type": "image", "image": {"id": "1"}}
    assert env.post(webhook({"messages": [message]}, number=number)) == 200
    eventually(lambda: file_of(env, "wamid.NOKEY").get("attempts"), 30, "it was tried")
    eventually(lambda: file_of(env, "wamid.NOKEY")["reason"], 30, "the reason is told")
    assert file_of(env, "wamid.NOKEY")["state"] == "pending"
    assert connection_id == file_of(env, "wamid.NOKEY")["connection_id"]


def test_an_invalid_address_fails_its_file_and_no_other(env: MetaEnv) -> None:
    pid = env.meta.process.pid
    image = {
        "from": new_chat(),
        "id": "wamid.BAD",
        "timestamp": "1",
        "type": "image",
        "image": {"url": "https://[half/x"},
    }
    assert env.post(webhook({"messages": [image]})) == 200
    row = ended(env, "wamid.BAD")
    assert row["state"] == "failed"
    assert row["reason"] in ("failed: ValueError", "address_refused")
    assert ended(env, write(env, "image", data=JPEG))["state"] == "stored"
    assert env.meta.process.poll() is None
    assert env.meta.process.pid == pid


def taken(kind: str = "image", **source: str) -> TakenMedia:
    return TakenMedia(
        message_id=1, company_id="demo", connection_id=1, world=None, type=kind, source=source, attempts=1
    )


def fetched(mimetype: str, sha256: str = "ab" * 32) -> Fetched:
    return Fetched(Stored(sha256, 5), mimetype, "")


class TestJudgement:
    @pytest.mark.parametrize(
        ("kind", "mimetype", "is_kept"),
        [
            ("image", "image/png", True),
            ("image", "text/html", False),
            ("video", "video/mp4", True),
            ("video", "audio/ogg", False),
            ("audio", "video/mp4", True),
            ("audio", "application/pdf", False),
            ("sticker", "image/webp", True),
            ("document", "text/html", True),
            ("image", "application/octet-stream", True),
        ],
    )
    def test_by_what_the_bytes_show(self, kind: str, mimetype: str, is_kept: bool) -> None:
        assert isinstance(_judged(taken(kind), fetched(mimetype)), KeptFetch if is_kept else EndedFetch)

    def test_a_digest_in_either_spelling(self) -> None:
        raw = bytes(range(32))
        spelled = (raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode())
        assert {_hex(one) for one in spelled} == {raw.hex()}
        assert _hex("nonsense") == _hex("") == ""
        for one in spelled:
            assert _judged(taken(sha256=one), fetched("image/png", raw.hex())) == KeptFetch(
                raw.hex(), "image/png", 5, None, ""
            )
            assert _judged(taken(sha256=one), fetched("image/png")) == KeptFetch(
                "ab" * 32, "image/png", 5, None, "digest_differs"
            )

    def test_waits_grow_and_end(self) -> None:
        waits = [
            _wait_s(
                TakenMedia(
                    message_id=1, company_id="x", connection_id=1, world=None, type="image", source={}, attempts=n
                ),
                None,
            )
            for n in range(1, ATTEMPTS + 1)
        ]
        assert waits[:3] == [2.0, 4.0, 8.0]
        assert waits[-1] == 900.0
        assert waits == sorted(waits)


def test_360dialogs_addresses_go_through_its_own_host(env: MetaEnv) -> None:
    row = ended(env, write(env, "image", phone_index=D360, data=JPEG + b"d"))
    downloads = env.control("GET", "ledger", since=env.since, event="media_downloaded", limit=1000)["entries"]
    assert [entry["channel"] for entry in downloads if entry["sha256"] == row["sha256"]] == ["d360"]


def test_messengers_files_are_fetched_from_their_plain_addresses(env: MetaEnv) -> None:
    page = "300000000000077"
    own = {"access_token": ACCESS_TOKEN}
    sealed_own = sealed(Vault.from_settings(env.settings), 77, own)
    env.store.run(
        connections.ensure,
        company_id="demo",
        phone_index=77,
        connection_type="messenger",
        account_id=page,
        credentials=sealed_own,
    )
    seen: list[str | None] = []

    class Plain(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.send_header("Content-Length", str(len(JPEG)))
            self.end_headers()
            self.wfile.write(JPEG)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Plain) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v/picture.jpg?oh=1"
        said = env.control(
            "POST", "people", {"account_id": page, "from": "24500000000000001", "kind": "attachment", "url": url}
        )
        row = ended(env, said["id"])
        server.shutdown()
    assert (row["state"], row["sha256"]) == ("stored", hashlib.sha256(JPEG).hexdigest())
    assert seen == [None], "nobody but Meta gets the access token"
    assert env.query("SELECT chat_id, sender, type FROM inbound_messages WHERE provider_id = %s", said["id"]) == [
        ("24500000000000001",) * 2 + ("image",)
    ]
