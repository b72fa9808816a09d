"""Bodies that are large, or never come: what they cost everyone else."""

from __future__ import annotations

import base64
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from select import select
from typing import Any
from urllib.parse import urlsplit

from shared.clock import monotonic
from tests.api.api_env import CHAT, KEY, ApiEnv, problem
from tests.support.waiting import deadline_s, eventually

STOPPED = 24


def post_head(api_env: ApiEnv, path: str, fields: str) -> socket.socket:
    """Return a connection on which a request's head was sent."""
    place = urlsplit(api_env.url)
    line = socket.create_connection((place.hostname, place.port), timeout=15)
    line.sendall(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: "
        f"application/json\r\n{fields}\r\n".encode()
    )
    return line


def test_two_million_names_are_refused_and_hold_up_no_one(api_env: ApiEnv) -> None:
    body = b"{" + b",".join(b'"%x":1' % number for number in range(2_000_000)) + b"}"
    assert 17 << 20 < len(body) < 23 << 20
    slowest = 0.0
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(
            api_env.call,
            "POST",
            f"/api/v2/messages/image/alpha/{CHAT}",
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=60,
        )
        while not answer.done():
            began = monotonic()
            assert api_env.call("GET", "/livez", key=None).status_code == 200
            slowest = max(slowest, monotonic() - began)
    refused = problem(answer.result())
    assert (refused["type"], refused["status"]) == ("body_invalid", 422)
    assert "values" in refused["detail"]
    assert slowest < deadline_s(3), "decoding so many names takes longer"


def test_clients_that_stop_in_the_middle_hold_no_place(api_env: ApiEnv) -> None:
    path = f"/api/v2/messages/image/alpha/{CHAT}"
    with ExitStack() as stopped:
        for _ in range(STOPPED):
            line = stopped.enter_context(post_head(api_env, path, "Transfer-Encoding: chunked\r\n"))
            line.sendall(b"1\r\n{\r\n")
        # large enough to need a place
        body = {"data": base64.b64encode(b"\0" * (2 << 20)).decode(), "mimetype": "image/png"}
        began = monotonic()
        answer = api_env.call("POST", path, json=body)
        assert answer.status_code == 422, "it was read and checked"
        assert monotonic() - began < deadline_s(5)


def test_a_file_in_base64_is_decoded_beside_the_others(api_env: ApiEnv) -> None:
    large = base64.b64encode(b"%PDF-1.4\n" + b"\0" * (3 << 20)).decode()
    answer = api_env.call("POST", f"/api/v2/messages/document/alpha/{CHAT}", json={"data": large, "filename": "a.pdf"})
    assert answer.status_code == 202, answer.text


def test_more_than_fifty_wrong_places_are_not_listed(api_env: ApiEnv) -> None:
    fields: dict[str, Any] = {f"n{number}": 1 for number in range(5000)}
    answer = api_env.send("x", **fields)
    assert len(problem(answer)["errors"]) == 50


def test_a_body_too_large_is_refused_while_it_arrives(api_env: ApiEnv) -> None:
    path = f"/api/v2/messages/text/alpha/{CHAT}"
    for _ in range(5):
        with post_head(api_env, path, "Transfer-Encoding: chunked\r\n") as line:
            for _ in range(40):
                line.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
            assert line.recv(100).startswith(b"HTTP/1.1 413 ")


def test_bodies_in_memory_have_a_budget_and_leave_it_when_they_end(api_env: ApiEnv) -> None:
    """Six bodies of 22 MiB that do not end are more than a company's 128 MiB; the next one is refused, others go on."""
    path = f"/api/v2/messages/image/alpha/{CHAT}"
    with ExitStack() as open_ones:
        lines = []
        for _ in range(6):
            line = open_ones.enter_context(post_head(api_env, path, f"Content-Length: {23 << 20}\r\n"))
            with suppress(ConnectionError):  # the one that is refused
                line.sendall(b'{"data": "' + b"A" * (22 << 20))
            lines.append(line)
        refused, _, _ = select(lines, [], [], 20)
        answer = refused[0].recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"urn:bulkhead:problem:too_many_bodies" in answer
        assert api_env.send("small ones are not counted").status_code == 202
    large = base64.b64encode(b"%PDF-1.4\n" + b"\0" * (3 << 20)).decode()
    eventually(
        lambda: api_env.call("POST", path.replace("image", "document"), json={"data": large}).status_code == 202,
        10,
        "the closed ones gave their bytes back",
    )


def test_a_byte_order_mark_is_no_part_of_the_body(api_env: ApiEnv) -> None:
    answer = api_env.call(
        "POST",
        "/api/v2/messages/text/alpha/15550100209",
        data=b"\xef\xbb\xbf" + json.dumps({"message": "Hello"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 202, answer.text
