"""Fetching from addresses: what is not reached whatever way it is written, and what is bounded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import monotonic
from shared.media.errors import FetchFailed, MediaTooLarge
from shared.media.fetch import REDIRECTS_MOST, Fetched, fetch
from shared.media.local import LocalStorage
from shared.media.reach import Reach, checked, own_ports, reach_of, require_reachable
from shared.media.wire import client
from shared.settings import load
from tests.support import samples

Serve = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A web site of the test's own.

    Attributes:
        pages: what answers, by path. seen: the headers of every request.
    """

    def __init__(self, pages: Mapping[str, Serve]) -> None:
        self.seen: list[Mapping[str, str]] = []
        self.gone = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.seen.append({name.lower(): value for name, value in self.headers.items()})
                pages[self.path.partition("?")[0]](self)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.gone.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer(status: int, body: bytes = b"", **headers: str) -> Serve:
    def serve(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return serve


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    try:
        while True:
            request.wfile.write(b"x" * 65_536)
    except OSError:
        return


def broken(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "100")
    request.end_headers()
    request.wfile.write(b"half")


@pytest.fixture
def open_site() -> Iterator[Callable[[Mapping[str, Serve]], Site]]:
    opened: list[Site] = []

    def build(pages: Mapping[str, Serve]) -> Site:
        opened.append(Site(pages))
        return opened[-1]

    yield build
    for site in opened:
        site.close()


def get(
    url: str,
    home: Path,
    *,
    reach: Reach = Reach.LOOPBACK,
    most: int = 1_000_000,
    within_s: float = 5.0,
    headers: Mapping[str, str] | None = None,
) -> Fetched:
    async def scenario() -> Fetched:
        return await fetch(
            url, LocalStorage(home), "acme", most=most, by=monotonic() + within_s, reach=reach, headers=headers
        )

    return asyncio.run(scenario())


def test_a_file_and_what_it_is(open_site: Callable[..., Site], tmp_path: Path) -> None:
    site = open_site({"/files/my%20pic.png": answer(200, samples.PNG, Content_Type="application/octet-stream")})
    fetched = get(f"{site.url}/files/my%20pic.png?x=1", tmp_path)
    assert (fetched.mimetype, fetched.filename, fetched.stored.size) == ("image/png", "my pic.png", len(samples.PNG))
    assert asyncio.run(LocalStorage(tmp_path).read("acme", fetched.stored.sha256)) == samples.PNG
    assert site.seen[0]["accept-encoding"] == "identity"


def test_redirects_are_followed_and_secrets_stay_at_home(open_site: Callable[..., Site], tmp_path: Path) -> None:
    other = open_site({"/file": answer(200, samples.PDF)})
    site = open_site({"/a": answer(302, Location="/b"), "/b": answer(307, Location=f"{other.url}/file")})
    assert get(f"{site.url}/a", tmp_path, headers={"Authorization": "Bearer secret"}).mimetype == "application/pdf"
    assert [seen.get("authorization") for seen in site.seen] == ["Bearer secret"] * 2
    assert "authorization" not in other.seen[0]


def test_a_circle_ends(open_site: Callable[..., Site], tmp_path: Path) -> None:
    site = open_site({"/a": answer(302, Location="/a")})
    with pytest.raises(FetchFailed) as failed:
        get(f"{site.url}/a", tmp_path)
    assert (failed.value.code, failed.value.passing, len(site.seen)) == ("fetch_redirected", False, REDIRECTS_MOST + 1)


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:1/",
        "file:///etc/passwd",
        "http://[::1]/",
        "ftp://example.com/",
        "http://user:word@example.com/",
        "//169.254.169.254/latest",
        "http://3232235521/",
        "http://0300.0250.0.1/",
        "http://[::ffff:10.0.0.1]/",
    ],
)
def test_a_redirect_is_looked_at_like_an_address(open_site: Callable[..., Site], tmp_path: Path, location: str) -> None:
    site = open_site({"/a": answer(302, Location=location)})
    with pytest.raises(FetchFailed):
        get(f"{site.url}/a", tmp_path)
    assert len(site.seen) == 1


PAGES: Final[Mapping[str, tuple[Serve, str, bool]]] = {
    "/404": (answer(404), "http_404", False),
    "/429": (answer(429), "http_429", True),
    "/503": (answer(503), "http_503", True),
    "/206": (answer(206, b"x"), "http_206", False),
    "/packed": (answer(200, b"x", Content_Encoding="gzip"), "fetch_encoded", False),
    "/broken": (broken, "fetch_broken", True),
}


@pytest.mark.parametrize("path", PAGES)
def test_what_is_no_file(open_site: Callable[..., Site], tmp_path: Path, path: str) -> None:
    serve, code, passing = PAGES[path]
    site = open_site({path: serve})
    with pytest.raises(FetchFailed) as failed:
        get(site.url + path, tmp_path)
    assert (failed.value.code, failed.value.passing) == (code, passing)
    assert site.url not in str(failed.value)
    assert not [found for found in tmp_path.rglob("*") if found.is_file()], "nothing is kept"


def test_size_and_time_are_bounded(open_site: Callable[..., Site], tmp_path: Path) -> None:
    site: Site

    def silent(_request: BaseHTTPRequestHandler) -> None:
        site.gone.wait(20)

    site = open_site({"/endless": endless, "/silent": silent})
    with pytest.raises(MediaTooLarge):
        get(f"{site.url}/endless", tmp_path)
    started = monotonic()
    with pytest.raises(FetchFailed) as failed:
        get(f"{site.url}/silent", tmp_path, within_s=0.3)
    assert (failed.value.code, failed.value.passing) == ("fetch_timeout", True)
    assert monotonic() - started < 5


def test_an_address_without_a_server(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed) as failed:
        get("http://127.0.0.1:1/x", tmp_path)
    assert (failed.value.code, failed.value.passing) == ("fetch_unreachable", True)
    with pytest.raises(FetchFailed):
        get("http://no-such-host.invalid/x", tmp_path)


SPELLINGS: Final = (
    "127.0.0.1",
    "\uff11\uff12\uff17.0.0.1",  # full-width digits
    "127\u30020\u30020\u30021",  # ideographic full stops
    "127\uff0e0\uff0e0\uff0e1",  # full-width full stops
    "127\uff610\uff610\uff611",  # half-width ideographic full stops
    "\u2460\u2461\u2466.0.0.1",  # circled digits
    "\U0001d7cf\U0001d7d0\U0001d7d5.0.0.1",  # mathematical bold digits
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "localhost",
    "LOCALHOST.",
)
"""Ways to write this machine's address. A parser, a resolver and a socket each understand some of them."""


@pytest.mark.parametrize("host", SPELLINGS)
@pytest.mark.parametrize("first", ["checked", "guard only"])
def test_the_address_that_the_socket_connects_to_decides(
    open_site: Callable[..., Site], tmp_path: Path, host: str, first: str
) -> None:
    site = open_site({"/x": answer(200, samples.PNG)})
    url = f"http://{host}:{site.url.rpartition(':')[2]}/x"

    async def unchecked() -> None:
        async with client(Reach.PUBLIC) as http, http.get(urlsplit(url), {}):
            pass

    with pytest.raises(FetchFailed) as failed:
        if first == "checked":
            get(url, tmp_path, reach=Reach.PUBLIC)
        else:
            asyncio.run(unchecked())
    assert site.seen == []
    if failed.value.code != "fetch_unreachable":  # a spelling that no resolver reads
        assert (failed.value.code, failed.value.passing) == ("address_refused", False)


def test_one_host_for_the_check_and_the_connection() -> None:
    assert (
        checked("https://\uff45xample\u3002com:8443/a?b#c", Reach.PUBLIC).geturl() == "https://example.com:8443/a?b#c"
    )
    assert checked("https://b\u00fccher.example/", Reach.PUBLIC).hostname == "xn--bcher-kva.example"
    assert checked("https://[2606:4700:4700::1111]:80/", Reach.PUBLIC).netloc == "[2606:4700:4700::1111]:80"
    for url in ("https://a\\b.example/", "https://a%2eb/", "https://a b/"):
        with pytest.raises(FetchFailed):
            checked(url, Reach.PUBLIC)


HERE = [
    "http://127.0.0.1/",
    "http://localhost/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://0.0.0.0/",
    "http://0/",
]
NEAR = [
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://172.16.0.1/",
    "http://169.254.169.254/",
    "http://100.64.0.1/",
    "http://[fd00::1]/",
    "http://[fe80::1%25eth0]/",
]
NOWHERE = [
    "",
    "x",
    "file:///etc/passwd",
    "http://",
    "http:///x",
    "http://a:b@c/",
    "http://c:99999/",
    "http://[::1/",
    "http://x/\n",
    "gopher://x/",
    "http://x" + "y" * 5000,
]


@pytest.mark.parametrize("url", [*HERE, *NEAR, *NOWHERE])
def test_what_the_internet_cannot_reach_is_not_reached(tmp_path: Path, url: str) -> None:
    with pytest.raises(FetchFailed) as failed:
        get(url, tmp_path, reach=Reach.PUBLIC, within_s=3)
    assert (failed.value.code, failed.value.passing) == ("address_refused", False)


@pytest.mark.parametrize("url", NEAR)
def test_a_stand_in_on_this_machine_opens_no_other(tmp_path: Path, url: str) -> None:
    with pytest.raises(FetchFailed) as failed:
        get(url, tmp_path, reach=Reach.LOOPBACK)
    assert failed.value.code == "address_refused"


def test_reaches() -> None:
    assert reach_of(load({})) is Reach.PUBLIC
    assert reach_of(load({"SANDBOX": "on"})).scope == "loopback"
    assert reach_of(load({"GRAPH_BASE_URL": "http://127.0.0.1:3100/graph"})).scope == "loopback"
    assert reach_of(load({"GRAPH_BASE_URL": "https://graph.facebook.com"})) is Reach.PUBLIC
    assert reach_of(load({"MEDIA_FETCH_PRIVATE": "on"})) is Reach.PRIVATE
    require_reachable("10.0.0.1", 80, Reach.PRIVATE)
    require_reachable("8.8.8.8", 80, Reach.PUBLIC)
    require_reachable("2606:4700:4700::1111", 443, Reach.PUBLIC)


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/x", "http://[::1]:{}/", "http://[::ffff:127.0.0.1]:{}/"])
def test_our_own_ports_are_not_reached_from_this_machine(tmp_path: Path, url: str) -> None:
    settings = load({"SANDBOX": "on", "DATABASE_URL": "postgresql://a:b@127.0.0.1:6000/c", "API_PORT": "4000"})
    reach = reach_of(settings)
    own = own_ports(settings)
    assert {4000, 3001, 3002, 3100, 3200, 3270, 5432, 6000, 6379} <= own
    assert own - reach.but_ports == {3100}, "files of the sandbox"
    for port in (4000, 3200, 6379):
        with pytest.raises(FetchFailed, match="own"):
            checked(url.format(port), reach)
    for port in (3100, 5000):
        checked(url.format(port), reach)
    # by a name, which only the socket's address gives away
    with pytest.raises(FetchFailed, match="own"):
        get("http://localhost:4000/x", tmp_path, reach=reach)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"https://{text}/"):
        try:
            assert checked(url, Reach.PUBLIC).hostname
        except FetchFailed as failed:
            assert failed.code == "address_refused"
