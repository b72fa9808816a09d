"""Files at the sandbox: taken, refused, looked up, downloaded and deleted as at Meta and 360dialog."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.config import D360_ID, META_EMBEDDED_ID
from sandbox.ledger import Ledger
from sandbox.media import ADDRESS_S, INBOUND_DAYS, UPLOAD_DAYS, Shelf, problem_of_linked
from tests.sandbox.env import ACCESS_TOKEN, D360_KEY, SandboxEnv
from tests.support import samples

MB = 1024 * 1024


def code(answer: requests.Response) -> int:
    return int(answer.json()["error"]["code"])


def message(type_name: str, content: Any) -> dict[str, Any]:
    return {"messaging_product": "whatsapp", "to": "+15550100200", "type": type_name, type_name: content}


def test_a_file_comes_back_as_it_was(env: SandboxEnv) -> None:
    answer = env.upload(samples.PNG, "image/png")
    assert answer.status_code == 200
    media_id = answer.json()["id"]
    (entry,) = env.ledger("media_uploaded")
    digest = hashlib.sha256(samples.PNG).hexdigest()
    assert (entry["id"], entry["sha256"], entry["size"], entry["mime_type"]) == (
        media_id,
        digest,
        len(samples.PNG),
        "image/png",
    )

    facts = env.get(media_id).json()
    assert {name: facts[name] for name in ("messaging_product", "mime_type", "sha256", "file_size", "id")} == {
        "messaging_product": "whatsapp",
        "mime_type": "image/png",
        "sha256": digest,
        "file_size": str(len(samples.PNG)),
        "id": media_id,
    }
    assert env.get(facts["url"], token="").status_code == 401
    downloaded = env.get(facts["url"])
    assert (downloaded.content, downloaded.headers["content-type"]) == (samples.PNG, "image/png")
    assert env.get(facts["url"].replace("hash=", "hash=0")).status_code == 404

    assert env.get(media_id, method="DELETE").json() == {"success": True}
    assert code(env.get(media_id)) == 100
    assert env.get(facts["url"]).status_code == 404
    assert [entry["event"] for entry in env.ledger() if entry["event"].startswith("media_")] == [
        "media_uploaded",
        "media_downloaded",
        "media_deleted",
    ]


def test_a_file_belongs_to_its_number(env: SandboxEnv) -> None:
    media_id = env.upload(samples.JPEG, "image/jpeg").json()["id"]
    assert code(env.get(f"{media_id}?phone_number_id={META_EMBEDDED_ID}")) == 100
    assert code(env.send(message("image", {"id": media_id}), META_EMBEDDED_ID)) == 131053
    assert env.send(message("image", {"id": media_id})).status_code == 200


@pytest.mark.parametrize(
    ("content", "mimetype", "expected"),
    [
        pytest.param(samples.JPEG.ljust(5 * MB, b"0"), "image/jpeg", 0, id="image at its limit"),
        pytest.param(samples.JPEG.ljust(5 * MB + 1, b"0"), "image/jpeg", 131053, id="image beyond"),
        pytest.param(samples.mp4(length=16 * MB + 1), "video/mp4", 131053, id="video beyond"),
        pytest.param(samples.webp(length=100 * 1024), "image/webp", 0, id="sticker at its limit"),
        pytest.param(samples.webp(length=100 * 1024 + 2), "image/webp", 131053, id="still sticker beyond"),
        pytest.param(
            samples.webp(animated=True, length=500 * 1024), "image/webp", 0, id="animated sticker at its limit"
        ),
        pytest.param(samples.PNG, "image/jpeg", 131053, id="not what its type says"),
        pytest.param(b"", "image/png", 131053, id="empty"),
        pytest.param(b"abc", "application/octet-stream", 100, id="no type"),
        pytest.param(b"abc", "text/csv", 100, id="a type that is not supported"),
        pytest.param(b"abc", "text/plain", 0, id="a document"),
    ],
)
def test_limits_are_metas(quiet_env: SandboxEnv, content: bytes, mimetype: str, expected: int) -> None:
    answer = quiet_env.upload(content, mimetype)
    assert (answer.status_code, expected) == (200, 0) if not expected else code(answer) == expected
    assert quiet_env.ledger("media_uploaded" if not expected else "media_refused")


def test_what_is_no_upload(quiet_env: SandboxEnv) -> None:
    assert code(quiet_env.upload(samples.PNG, "image/png", fields={})) == 100
    assert code(quiet_env.upload(samples.PNG, "image/png", token="wrong")) == 190
    url = f"{quiet_env.base}/graph/v23.0/100000000000001/media"
    headers = {"Authorization": f"Bearer {ACCESS_TOKEN}"}
    # the document's own example: a path on a person's disk
    example = {"file": "@/local/path/file.jpg;type=image/jpeg", "messaging_product": "whatsapp"}
    assert code(quiet_env.http.post(url, headers=headers, json=example, timeout=10)) == 100
    for raw in (b"", b"--x\r\n", b"\0" * 100):
        answer = quiet_env.http.post(
            url, headers=headers | {"Content-Type": "multipart/form-data; boundary=x"}, data=raw, timeout=10
        )
        assert code(answer) == 100


def test_a_message_names_a_file_that_is_there_and_of_its_kind(quiet_env: SandboxEnv) -> None:
    media_id = quiet_env.upload(samples.OGG, "audio/ogg").json()["id"]
    assert quiet_env.send(message("audio", {"id": media_id, "voice": True})).status_code == 200
    assert quiet_env.send(message("document", {"id": media_id})).status_code == 200
    assert code(quiet_env.send(message("image", {"id": media_id}))) == 131053
    assert code(quiet_env.send(message("audio", {"id": "123"}))) == 131053
    header = {"type": "video", "video": {"id": media_id}}
    buttons = {"buttons": [{"type": "reply", "reply": {"id": "1", "title": "x"}}]}
    assert (
        code(
            quiet_env.send(
                message("interactive", {"type": "button", "header": header, "body": {"text": "x"}, "action": buttons})
            )
        )
        == 131053
    )


def test_360dialog(env: SandboxEnv) -> None:
    url, headers = f"{env.base}/d360", {"D360-API-KEY": D360_KEY}
    form = {"messaging_product": "whatsapp", "type": "application/pdf"}
    answer = env.http.post(
        f"{url}/media",
        headers=headers,
        data=form,
        files={"file": ("a.pdf", samples.PDF, "application/pdf")},
        timeout=10,
    )
    media_id = answer.json()["id"]
    assert env.ledger("media_uploaded")[0]["phone_number_id"] == D360_ID
    facts = env.http.get(f"{url}/{media_id}", headers=headers, timeout=10).json()
    through = facts["url"].replace(f"{env.base}/lookaside", url)
    assert env.http.get(through, headers=headers, timeout=10).content == samples.PDF
    for wrong in (
        env.http.get(through, timeout=10),
        env.http.post(f"{url}/media", timeout=10),
        env.http.get(f"{url}/{media_id}", timeout=10),
    ):
        assert (wrong.status_code, wrong.json()["meta"]["http_code"]) == (401, 401)
    assert env.http.delete(f"{url}/{media_id}", headers=headers, timeout=10).json() == {"success": True}
    assert env.http.get(f"{url}/{media_id}", headers=headers, timeout=10).status_code == 404


def test_a_fault_of_uploads_leaves_messages_alone(env: SandboxEnv) -> None:
    env.arm("error", call="media", code=131000)
    assert env.send(message("text", {"body": "x"})).status_code == 200
    assert code(env.upload(samples.PNG, "image/png")) == 131000
    assert env.upload(samples.PNG, "image/png").status_code == 200


def test_links_are_fetched_when_the_knob_says_so_and_only_from_here(env: SandboxEnv) -> None:
    env.send(message("image", {"link": "https://example.com/a.png"}))
    assert "links" not in env.ledger("accepted")[0]
    env.control("POST", "settings", {"fetch_links": 1})
    media_id = env.upload(samples.PNG, "image/png").json()["id"]
    address = env.get(media_id).json()["url"]
    env.send(message("image", {"link": f"{address}&access_token={ACCESS_TOKEN}"}))
    env.send(message("image", {"link": "https://example.com/a.png"}))
    env.send(message("image", {"link": f"{env.base}/nothing"}))
    _, fetched, far, absent = env.ledger("accepted")
    assert fetched["links"] == [
        {
            "sha256": hashlib.sha256(samples.PNG).hexdigest(),
            "size": len(samples.PNG),
            "mime_type": "image/png",
            "is_animated": False,
            "problem": "",
        }
    ]
    assert fetched["plan"] == ["sent", "delivered"]
    assert (far["plan"], far["code"], far["links"][0]["problem"]) == (
        ["failed"],
        131053,
        "the sandbox fetches from this machine only",
    )
    assert (absent["plan"], absent["links"][0]["problem"]) == (["failed"], "HTTP 404")


def test_files_age_and_outlive_the_process(tmp_path: Any) -> None:
    now = [1_800_000_000.0]
    shelf = Shelf(tmp_path, lambda: now[0])
    uploaded, received = (
        shelf.put("1", samples.PNG, "image/png", days=UPLOAD_DAYS),
        shelf.put("1", samples.PDF, "application/pdf", days=INBOUND_DAYS),
    )
    query = dict(pair.split("=") for pair in shelf.query(uploaded).split("&"))
    assert shelf.opened(query) == uploaded
    assert shelf.opened(query | {"mid": received.id}) is None
    now[0] += ADDRESS_S
    assert shelf.opened(query) is None
    assert shelf.opened({}) is None
    again = Shelf(tmp_path, lambda: now[0])
    assert (again.find(uploaded.id), again.content(received).read_bytes()) == (uploaded, samples.PDF)
    assert again.find("../" + uploaded.id) is None
    now[0] += INBOUND_DAYS * 86_400
    assert (again.find(received.id), again.find(uploaded.id)) == (None, uploaded)
    now[0] += UPLOAD_DAYS * 86_400
    assert again.find(uploaded.id) is None


def test_folders_that_are_removed_while_it_runs_are_made_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "sandbox")
    ledger.append("graph", "accepted", id="1")
    shelf = Shelf(tmp_path / "sandbox" / "media")
    before = shelf.put("1", b"x", "text/plain")
    shutil.rmtree(tmp_path / "sandbox")
    assert shelf.find(before.id) is None, "its bytes are gone"
    kept = shelf.put("1", b"y", "text/plain")
    assert shelf.content(kept).read_bytes() == b"y"
    ledger.append("graph", "accepted", id="2")
    assert [entry.fields["id"] for entry in ledger.scan()] == ["1", "2"]
    ledger.close()
    assert Ledger(tmp_path / "sandbox").seq == 2


def test_what_is_fetched_from_an_address_has_the_limits_of_an_upload() -> None:
    for size, animated, fits in ((100 << 10, False, True), (101 << 10, False, False), (101 << 10, True, True)):
        assert bool(problem_of_linked("sticker", "image/webp", size, animated=animated)) is not fits
    assert "cannot be sent as image" in problem_of_linked("image", "image/webp", 10, animated=False)
