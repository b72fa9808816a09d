"""Where a request comes from: forwarded addresses are believed of trusted proxies alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.http.addresses import ClientAddresses, client_network, read_networks
from api.http.cors import read_origins
from api.http.keys import WrongKeys
from shared.errors import SettingsInvalid
from shared.process.exit_codes import ExitCode
from tests.api.api_env import KEY, ApiEnv
from tests.tenants.making import new_key

PEER = "10.0.0.1"


@pytest.mark.parametrize(
    ("trusted", "peer", "headers", "client"),
    [
        ("", PEER, ["192.0.2.7"], PEER),
        ("127.0.0.0/8", PEER, ["192.0.2.7"], PEER),
        ("10.0.0.0/8", PEER, [], PEER),
        ("10.0.0.0/8", PEER, ["192.0.2.7"], "192.0.2.7"),
        # what the client wrote stands left of what the proxy added
        ("10.0.0.0/8", PEER, ["203.0.113.9, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.0/8", PEER, ["203.0.113.9", "192.0.2.7"], "192.0.2.7"),
        ("10.0.0.0/8", PEER, ["10.0.0.9, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        # all are trusted: the farthest of them
        ("10.0.0.0/8", PEER, ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.0/8", PEER, ["192.0.2.7, unknown"], PEER),
        ("10.0.0.0/8", PEER, ["192.0.2.7, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.0/8", PEER, ["192.0.2.7:4711"], "192.0.2.7"),
        ("10.0.0.0/8", PEER, ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.0/8", PEER, ["2001:db8:0::1"], "2001:db8::1"),
        ("10.0.0.0/8", PEER, ["::ffff:192.0.2.7"], "192.0.2.7"),
        ("::1", "::1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.0/8", "::ffff:10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("", "::ffff:10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.0/8", PEER, [""], PEER),
        ("10.0.0.0/8", PEER, ["1.2.3.4," * 1000 + "192.0.2.7"], "192.0.2.7"),
        ("10.0.0.0/8", PEER, [", ".join(["192.0.2.7", *["10.0.0.2"] * 1000])], "10.0.0.2"),
    ],
)
def test_the_rightmost_untrusted_address_is_the_clients(
    trusted: str, peer: str, headers: list[str], client: str
) -> None:
    scope = {"client": (peer, 1), "headers": [(b"x-forwarded-for", value.encode()) for value in headers]}
    assert ClientAddresses(read_networks(trusted)).of(scope) == client


def test_forwarded_is_not_read_and_a_peer_may_have_no_address() -> None:
    trusting = ClientAddresses(read_networks("10.0.0.0/8"))
    assert trusting.of({"client": (PEER, 1), "headers": [(b"forwarded", b"for=192.0.2.7")]}) == PEER
    assert trusting.of({"client": None, "headers": []}) == ""


@pytest.mark.parametrize("text", ["10.0.0.1/8", "everyone", "10.0.0.0/33", "10.0.0.0/8;::1"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(SettingsInvalid, match="TRUSTED_PROXIES"):
        read_networks(text)
    assert len(read_networks(" 10.0.0.0/8, ::1 ,,")) == 2


@pytest.mark.parametrize("text", ["app.example.com", "https://app.example.com/", "https://x:y", "ftp://x", "https://"])
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(SettingsInvalid, match="CORS_ORIGINS"):
        read_origins(text)
    assert read_origins("https://a.example, http://localhost:8080") == ("https://a.example", "http://localhost:8080")


def test_a_forwarded_address_is_not_believed_by_default(api_env: ApiEnv) -> None:
    """Also from this machine, whose clients uvicorn believes by default."""
    after = api_env.sql("SELECT coalesce(max(id), 0) AS id FROM events")[0]["id"]
    answer = api_env.call("POST", "/api/v2/connections/alpha/0/pause", headers={"X-Forwarded-For": "192.0.2.7"})
    assert answer.status_code == 200
    api_env.call("POST", "/api/v2/connections/alpha/0/resume")
    rows = api_env.sql("SELECT data ->> 'address' AS a FROM events WHERE subject = 'audit' AND id > %s", after)
    assert [row["a"] for row in rows] == ["127.0.0.1", "127.0.0.1"]


def test_behind_a_trusted_proxy_audit_and_guesses_see_the_client(home: Path, database_url: str, redis_url: str) -> None:
    with ApiEnv(home, database_url, redis_url, trusted_proxies="127.0.0.0/8", cors_origins="https://a.example") as env:
        env.seed().start()
        made = new_key(env, "alpha", key=KEY)
        answer = env.call("DELETE", f"/api/v2/keys/{made['id']}", headers={"X-Forwarded-For": "6.6.6.6, 192.0.2.7"})
        assert answer.status_code == 200
        rows = env.sql("SELECT data ->> 'address' AS a FROM events WHERE subject = 'audit' ORDER BY id DESC LIMIT 1")
        assert rows[0]["a"] == "192.0.2.7"
        for _ in range(15):
            guess = env.call("GET", "/health/all", key="wrong", headers={"X-Forwarded-For": "192.0.2.8"})
        slowed_s = 1.6  # the fifth guess after ten free ones
        assert guess.elapsed.total_seconds() >= slowed_s
        other = env.call("GET", "/health/all", key="wrong", headers={"X-Forwarded-For": "192.0.2.9"})
        assert other.elapsed.total_seconds() < slowed_s, "another client of the same proxy is not slowed"
        # CORS: the preflight needs no key, and refusals are readable too
        asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
        headers = {"Access-Control-Request-Headers": "authorization,content-type,idempotency-key"}
        preflight = env.call("OPTIONS", "/api/v2/keys", key=None, headers=asked | headers)
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] == "https://a.example"
        refused = env.call("GET", "/api/v2/keys", key=None, headers={"Origin": "https://a.example"})
        assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, "https://a.example")
        assert "Location" in refused.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in refused.headers
        foreign = env.call("GET", "/api/v2/keys", headers={"Origin": "https://b.example"})
        assert "Access-Control-Allow-Origin" not in foreign.headers


def test_without_the_setting_no_page_of_another_origin_may_use_the_api(api_env: ApiEnv) -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    preflight = api_env.call("OPTIONS", "/api/v2/keys", key=None, headers=asked)
    assert preflight.status_code == 405
    assert "Access-Control-Allow-Origin" not in preflight.headers


def test_a_wrong_setting_ends_the_start(home: Path) -> None:
    with ApiEnv(home, "postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0", trusted_proxies="all") as env:
        env.entry.start()
        assert env.entry.wait_exit() == ExitCode.CONFIGURATION
        assert "TRUSTED_PROXIES" in env.entry.log.read_text()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::2", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::1", "2001:db8:0:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_one_client_is_an_ipv4_address_or_an_ipv6_network(address: str, network: str) -> None:
    assert client_network(address) == network


def test_guesses_from_one_ipv6_network_are_slowed_together() -> None:
    wrong = WrongKeys(lambda: 0.0)
    delays = [wrong.delay_s(f"2001:db8:0:1::{number:x}") for number in range(12)]
    assert (delays[9], delays[11] > delays[10] > 0) == (0.0, True)
    assert wrong.delay_s("2001:db8:0:2::1") == 0.0
