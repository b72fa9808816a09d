"""Files: forms, base64 and raw uploads into storage, limits before queuing, and downloads with ranges; never another
company's.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import http.client
import os
import struct
import zlib
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from api.messages.drafts import DATA_BODY_LIMIT
from shared.channels.registry import channel_named
from shared.compose.refusals import storage_unavailable
from shared.filenames import cleaned_filename
from shared.media import local
from shared.media.errors import StorageUnavailable
from tests.api.api_env import CHAT, KEY, ApiEnv, problem
from tests.support import samples

PDF = b"%PDF-1.4\n" + b"an invoice\n" * 4000


def picture(extra: int = 0) -> bytes:
    """Return a PNG with one pixel, and `extra` bytes of comment."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    comment = chunk(b"tEXt", b"Comment\0" + b"x" * extra) if extra else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + comment
        + chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))
        + chunk(b"IEND", b"")
    )


PNG = picture()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def send_form(
    api_env: ApiEnv,
    type_: str,
    content: bytes,
    *,
    filename: str = "a.png",
    mimetype: str = "image/png",
    chat: str = CHAT,
    **given: Any,
) -> Any:
    """Send a file as a form; `given` are its other fields, and `headers`."""
    headers = given.pop("headers", {})
    return api_env.call(
        "POST",
        f"/api/v2/messages/{type_}/alpha/{chat}",
        files={"file": (filename, content, mimetype)},
        data=given,
        headers=headers,
    )


def media_of(api_env: ApiEnv, answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    (row,) = api_env.sql("SELECT content FROM messages WHERE id = %s", answer.json()["id"])
    found: dict[str, Any] = row["content"]["media"]
    return found


def test_the_same_file_is_the_same_message_however_it_comes(api_env: ApiEnv) -> None:
    key = {"Idempotency-Key": "one-picture"}
    first = send_form(api_env, "image", PNG, caption="look", phoneIndex="0", headers=key)
    assert media_of(api_env, first) == {
        "sha256": digest(PNG),
        "mimetype": "image/png",
        "size": len(PNG),
        "filename": "a.png",
    }
    again = send_form(api_env, "image", PNG, caption="look", phoneIndex="0", headers=key)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    typed = api_env.call(
        "POST",
        f"/api/v2/messages/alpha/{CHAT}",
        json={
            "type": "image",
            "data": base64.b64encode(PNG).decode(),
            "mimetype": "image/png",
            "caption": "look",
            "filename": "a.png",
        },
        headers=key,
    )
    assert (typed.status_code, typed.json()["id"]) == (202, first.json()["id"]), typed.text
    other = send_form(api_env, "image", picture(1), caption="look", phoneIndex="0", headers=key)
    assert problem(other)["type"] == "idempotency_key_reused"
    shown = api_env.call("GET", first.headers["Location"]).json()
    assert shown["media"] == {
        "sha256": digest(PNG),
        "mimetype": "image/png",
        "size": len(PNG),
        "filename": "a.png",
        "status": "stored",
        "url": f"/api/v2/media/alpha/{digest(PNG)}",
    }
    assert api_env.call("GET", shown["media"]["url"]).content == PNG


@pytest.mark.parametrize("spelling", ["plain", "uri", "uri with a charset", "broken into lines"])
def test_base64_in_every_spelling(api_env: ApiEnv, spelling: str) -> None:
    encoded = base64.b64encode(PDF).decode()
    data = {
        "plain": encoded,
        "uri": f"data:application/pdf;base64,{encoded}",
        "uri with a charset": f"data:application/pdf;charset=binary;base64,{encoded}",
        "broken into lines": base64.encodebytes(PDF).decode(),
    }[spelling]
    answer = api_env.call(
        "POST", f"/api/v2/messages/document/alpha/{CHAT}", json={"data": data, "filename": "C:\\tmp\\invoice.pdf"}
    )
    assert media_of(api_env, answer) == {
        "sha256": digest(PDF),
        "mimetype": "application/pdf",
        "size": len(PDF),
        "filename": "invoice.pdf",
    }


def test_what_a_file_is_its_bytes_say(api_env: ApiEnv) -> None:
    answer = send_form(api_env, "image", PDF, filename="a.png", mimetype="image/png")
    shown = problem(answer)
    assert (answer.status_code, shown["type"], shown["field"], shown["mimetype"]) == (
        422,
        "media_type_refused",
        "file",
        "application/pdf",
    )
    assert "image/png" in shown["allowed"]
    unknown = problem(
        send_form(api_env, "document", b"\x01\x02\x03" * 50, filename="x", mimetype="application/octet-stream")
    )
    assert unknown["type"] == "media_type_refused"
    assert "application/pdf" in unknown["allowed"]
    assert "mimetype" in unknown["detail"]
    assert (
        media_of(api_env, send_form(api_env, "document", PNG, filename="x.pdf", mimetype="application/pdf"))["mimetype"]
        == "image/png"
    )


def test_a_voice_note_is_ogg_on_metas_channels(api_env: ApiEnv) -> None:
    mp3 = b"ID3\x03\x00\x00\x00\x00\x00\x00" + b"\xff\xfb\x90\x00" * 400
    shown = problem(send_form(api_env, "audio", mp3, filename="a.mp3", mimetype="audio/mpeg", voice="true"))
    assert (shown["type"], shown["allowed"]) == ("media_type_refused", ["audio/ogg"])
    assert send_form(api_env, "audio", mp3, filename="a.mp3", mimetype="audio/mpeg", voice="false").status_code == 202
    assert (
        send_form(
            api_env, "audio", mp3, filename="a.mp3", mimetype="audio/mpeg", voice="true", phoneIndex="1"
        ).status_code
        == 202
    )
    assert problem(send_form(api_env, "audio", mp3, voice="perhaps"))["errors"] == [
        {"pointer": "/voice", "reason": "must be true or false, not a string"}
    ]


@pytest.mark.parametrize("way", ["form, index first", "form, index last", "data", "sha256"])
@pytest.mark.parametrize("animated", [True, False], ids=["animated", "still"])
def test_a_file_that_is_too_large_for_the_channel_is_refused_with_the_limit(
    api_env: ApiEnv, way: str, animated: bool
) -> None:
    sticker = channel_named("meta_direct").files["sticker"]
    limit = sticker.bytes if animated else sticker.bytes_of_still["image/webp"]
    before = api_env.sql("SELECT count(*) AS rows FROM messages")
    answer = send_sticker(api_env, way, samples.webp(animated=animated, length=limit + 2))
    shown = problem(answer)
    assert (answer.status_code, shown["type"], shown["limit"]) == (422, "media_too_large", limit)
    assert shown["field"] == ("file" if way.startswith("form") else way)
    assert api_env.sql("SELECT count(*) AS rows FROM messages") == before
    assert send_sticker(api_env, way, samples.webp(animated=animated, length=limit)).status_code == 202


def send_sticker(api_env: ApiEnv, way: str, webp: bytes) -> requests.Response:
    path = f"/api/v2/messages/sticker/alpha/{CHAT}"
    if way == "data":
        return api_env.call("POST", path, json={"data": base64.b64encode(webp).decode()})
    if way == "sha256":
        kept = api_env.call("POST", "/api/v2/media/alpha", data=webp, headers={"Content-Type": "image/webp"})
        assert kept.status_code == 201
        return api_env.call("POST", path, json={"sha256": digest(webp)})
    parts: list[tuple[str, Any]] = [("phoneIndex", (None, "0")), ("file", ("s.webp", webp, "image/webp"))]
    return api_env.call("POST", path, files=parts if way == "form, index first" else parts[::-1])


def test_a_body_with_a_file_has_a_limit_of_its_own(api_env: ApiEnv) -> None:
    answer = api_env.call(
        "POST",
        f"/api/v2/messages/image/alpha/{CHAT}",
        data=b" " * (DATA_BODY_LIMIT + 1),
        headers={"Content-Type": "application/json"},
    )
    assert (problem(answer)["type"], problem(answer)["limit"]) == ("body_too_large", DATA_BODY_LIMIT)


FORMS: dict[str, tuple[str, bytes, str]] = {
    "no boundary": ("multipart/form-data", b"x", "form_invalid"),
    "a boundary that never comes": ("multipart/form-data; boundary=b", b"no form at all", "form_invalid"),
    "a form that breaks off": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nhalf',
        "form_invalid",
    ),
    "a part without a name": (
        "multipart/form-data; boundary=b",
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
        "form_invalid",
    ),
    "a field in latin-1": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="caption"\r\n\r\n\xe4\r\n--b--\r\n',
        "form_invalid",
    ),
    "no file": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="caption"\r\n\r\nx\r\n--b--\r\n',
        "body_invalid",
    ),
    "a file of another name": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="picture"; filename="x"\r\n\r\nx\r\n--b--\r\n',
        "body_invalid",
    ),
    "an empty file": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n\r\n--b--\r\n',
        "body_invalid",
    ),
    "a field twice": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="caption"\r\n\r\nx\r\n' * 2 + b"--b--\r\n",
        "body_invalid",
    ),
    "a field that there is not": (
        "multipart/form-data; boundary=b",
        b"--b\r\nContent-Disposition: form-data; "
        b'name="sha256"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; '
        b'name="more"\r\n\r\nx\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + PNG + b"\r\n--b--\r\n",
        "body_invalid",
    ),
    "a hundred fields": (
        "multipart/form-data; boundary=b",
        b"".join(b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % number for number in range(100))
        + b"--b--\r\n",
        "form_invalid",
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_that_is_none_is_refused(api_env: ApiEnv, name: str) -> None:
    content_type, body, type_ = FORMS[name]
    for path in (f"/api/v2/messages/image/alpha/{CHAT}", "/api/v2/media/alpha"):
        answer = api_env.call("POST", path, data=body, headers={"Content-Type": content_type})
        assert problem(answer)["type"] == type_, answer.text


def test_a_type_without_files_takes_no_form(api_env: ApiEnv) -> None:
    answer = send_form(api_env, "location", PNG)
    assert problem(answer)["type"] == "media_type_unsupported"
    answer = api_env.call("POST", f"/api/v2/messages/alpha/{CHAT}", files={"type": (None, "text"), "file": ("x", PNG)})
    assert problem(answer)["type"] == "body_invalid"


def test_a_file_is_uploaded_once_and_sent_often(api_env: ApiEnv) -> None:
    raw = api_env.call(
        "POST",
        "/api/v2/media/alpha?filename=my%20invoice.pdf",
        data=PDF,
        headers={"Content-Type": "application/octet-stream"},
    )
    assert raw.status_code == 201, raw.text
    assert raw.json() == {
        "sha256": digest(PDF),
        "size": len(PDF),
        "mimetype": "application/pdf",
        "filename": "my invoice.pdf",
        "url": f"/api/v2/media/alpha/{digest(PDF)}",
    }
    assert raw.headers["Location"] == raw.json()["url"]
    form = api_env.call("POST", "/api/v2/media/alpha", files={"file": ("other.pdf", PDF, "application/pdf")})
    assert (form.status_code, form.json()["filename"]) == (201, "other.pdf")
    for index in (0, 1):
        answer = api_env.call(
            "POST",
            f"/api/v2/messages/document/alpha/{CHAT}",
            json={"sha256": digest(PDF), "filename": "third.pdf", "phoneIndex": index},
        )
        assert media_of(api_env, answer)["filename"] == "third.pdf"
    header = {"type": "document", "document": {"sha256": digest(PDF)}}
    message = {
        "type": "button",
        "header": header,
        "body": {"text": "x"},
        "action": {"buttons": [{"type": "reply", "reply": {"id": "1", "title": "y"}}]},
    }
    answer = api_env.call("POST", f"/api/v2/messages/interactive/alpha/{CHAT}", json={"interactive": message})
    (row,) = api_env.sql("SELECT content FROM messages WHERE id = %s", answer.json()["id"])
    assert row["content"]["header"]["document"] == {
        "sha256": digest(PDF),
        "mimetype": "application/pdf",
        "filename": "other.pdf",
    }


def test_no_company_has_anothers_files(api_env: ApiEnv) -> None:
    content = b"%PDF-1.4 " + os.urandom(100)
    place = api_env.call("POST", "/api/v2/media/alpha", data=content).json()["url"]
    assert api_env.call("GET", place).content == content
    theirs = place.replace("/alpha/", "/beta/")
    assert problem(api_env.call("GET", theirs))["type"] == "media_unknown"
    assert problem(api_env.call("GET", place.replace("/alpha/", "/nobody/")))["type"] == "company_unknown"
    assert problem(api_env.call("POST", "/api/v2/media/nobody", data=content))["type"] == "company_unknown"
    refused = api_env.call("POST", f"/api/v2/messages/document/beta/{CHAT}", json={"sha256": digest(content)})
    assert problem(refused)["errors"] == [{"pointer": "/sha256", "reason": "is no file of this company"}]
    for name in ("../../alpha", "%2e%2e", "A" * 64, digest(content).upper()):
        assert api_env.call("GET", f"/api/v2/media/alpha/{name}").status_code == 404


@pytest.fixture(scope="module")
def place(api_env: ApiEnv) -> str:
    """Where a file with a difficult name is to be had."""
    name = 'naïve "résumé".pdf'
    return str(api_env.call("POST", f"/api/v2/media/alpha?filename={quote(name)}", data=PDF).json()["url"])


class TestDownloads:
    def test_a_file_cannot_be_taken_for_a_page_of_ours(self, api_env: ApiEnv, place: str) -> None:
        answer = api_env.call("GET", place)
        assert (answer.status_code, answer.content) == (200, PDF)
        assert answer.headers["Content-Type"] == "application/pdf"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["ETag"] == f'"{digest(PDF)}"'
        assert answer.headers["Content-Disposition"] == (
            "attachment; filename=\"na_ve _r_sum__.pdf\"; filename*=UTF-8''na%C3%AFve%20%22r%C3%A9sum%C3%A9%22.pdf"
        )
        assert "sandbox" in answer.headers["Content-Security-Policy"]

    def test_a_head_request_returns_all_but_the_file(self, api_env: ApiEnv, place: str) -> None:
        answer = api_env.call("HEAD", place)
        assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", str(len(PDF)))
        assert api_env.call("HEAD", place[:-1] + "x").status_code == 404

    def test_one_that_is_known_is_not_sent_again(self, api_env: ApiEnv, place: str) -> None:
        for known in (f'"{digest(PDF)}"', f'W/"{digest(PDF)}"', f'"other", "{digest(PDF)}"'):
            answer = api_env.call("GET", place, headers={"If-None-Match": known})
            assert (answer.status_code, answer.content) == (304, b"")
        assert api_env.call("GET", place, headers={"If-None-Match": '"other"'}).status_code == 200

    @pytest.mark.parametrize(
        ("asked", "start", "end"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=10-19", 10, 20),
            ("bytes=-7", -7, None),
            ("bytes=43000-", 43000, None),
            ("bytes=43000-99999999", 43000, None),
        ],
    )
    def test_a_part(self, api_env: ApiEnv, place: str, asked: str, start: int, end: int | None) -> None:
        answer = api_env.call("GET", place, headers={"Range": asked})
        expected = PDF[start:end]
        assert (answer.status_code, answer.content) == (206, expected)
        first = start % len(PDF)
        assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(expected) - 1}/{len(PDF)}"

    @pytest.mark.parametrize("asked", ["bytes=5-3", "lines=1-2", "bytes=-", "bytes=a-b", "bytes=0-1,5-6"])
    def test_what_is_not_understood_is_the_whole(self, api_env: ApiEnv, place: str, asked: str) -> None:
        answer = api_env.call("GET", place, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (200, PDF)

    @pytest.mark.parametrize("asked", ["bytes=999999999-", "bytes=-0"])
    def test_a_part_beyond_the_end_is_refused(self, api_env: ApiEnv, place: str, asked: str) -> None:
        answer = api_env.call("GET", place, headers={"Range": asked})
        assert (answer.status_code, problem(answer)["type"], problem(answer)["size"]) == (
            416,
            "range_invalid",
            len(PDF),
        )
        assert answer.headers["Content-Range"] == f"bytes */{len(PDF)}"

    def test_a_part_of_what_has_changed_is_the_whole(self, api_env: ApiEnv, place: str) -> None:
        answer = api_env.call("GET", place, headers={"Range": "bytes=0-1", "If-Range": '"older"'})
        assert (answer.status_code, answer.content) == (200, PDF)


def test_an_upload_that_is_broken_off_leaves_nothing(api_env: ApiEnv) -> None:
    content = os.urandom(200_000)
    line = http.client.HTTPConnection(urlsplit(api_env.url).netloc, timeout=10)
    line.putrequest("POST", "/api/v2/media/alpha")
    for name, value in {
        "Authorization": f"Bearer {KEY}",
        "Content-Length": str(len(content)),
        "Content-Type": "application/pdf",
    }.items():
        line.putheader(name, value)
    line.endheaders()
    line.send(content[:100_000])
    line.close()
    assert api_env.call("GET", f"/api/v2/media/alpha/{digest(content)}").status_code == 404
    assert api_env.call("GET", f"/api/v2/media/alpha/{digest(content[:100_000])}").status_code == 404


def test_a_storage_that_cannot_be_written_is_said_to_be_away(api_env: ApiEnv) -> None:
    api_env.sql("INSERT INTO companies (id) VALUES ('cellar')")
    media = api_env.entry.home / "media"
    media.mkdir(exist_ok=True)
    media.joinpath("cellar").write_text("no directory")
    answer = api_env.call("POST", "/api/v2/media/cellar", data=PDF)
    assert (answer.status_code, problem(answer)["type"], answer.headers["Retry-After"]) == (
        503,
        "storage_unavailable",
        "2",
    )


@pytest.mark.parametrize(
    ("number", "outage"),
    [(errno.ENOSPC, "full"), (errno.EROFS, "read_only"), (errno.EACCES, "privilege"), (errno.EIO, "away")],
)
def test_a_storage_that_cannot_be_used_says_why(number: int, outage: str) -> None:
    refused = storage_unavailable(StorageUnavailable("the directory", outage=local.outage(OSError(number, ""))))
    assert refused.details == {"reason": outage}
    assert refused.sentence.startswith("The storage for files ")
    assert refused.sentence.endswith("; nothing was accepted.")


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("invoice.pdf", "invoice.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a b.txt", "a b.txt"),
        ("..", ""),
        (".htaccess", "htaccess"),
        ("a\x00b\r\nc\u202egnp.exe", "abcgnp.exe"),
        ("x" * 300 + ".pdf", "x" * 236 + ".pdf"),
        ("ä" * 200 + ".pdf", "ä" * 118 + ".pdf"),
        ("", ""),
        ("a/", ""),
    ],
)
def test_a_name_is_cleaned(given: str, cleaned: str) -> None:
    assert cleaned_filename(given) == cleaned
