"""Where subscribers of webhooks may be."""

from __future__ import annotations

import pytest

from hooks.sending import Poster
from hooks.service import subscribers_reach
from shared.media.errors import FetchFailed
from shared.settings import load


def test_with_the_sandbox_a_subscriber_may_be_on_this_machine_but_on_no_port_of_ours() -> None:
    settings = load({"SANDBOX": "on", "API_PORT": "4000"})
    poster = Poster(subscribers_reach(settings))
    assert poster.target("http://127.0.0.1:5000/hook", {})
    for own in (4000, settings.port("sandbox"), settings.admin_port, 5432):
        with pytest.raises(FetchFailed, match="own"):
            poster.target(f"http://127.0.0.1:{own}/api/v2/hooks/demo", {})


def test_an_operator_may_allow_any_address() -> None:
    poster = Poster(subscribers_reach(load({"SANDBOX": "on", "HOOKS_PRIVATE": "on"})))
    assert poster.target("http://10.0.0.1:3000/", {})


def test_without_a_sandbox_only_public_addresses_are_called() -> None:
    poster = Poster(subscribers_reach(load({"SANDBOX": "off", "GRAPH_BASE_URL": "https://graph.facebook.com"})))
    with pytest.raises(FetchFailed, match="private"):
        poster.target("http://127.0.0.1:5000/hook", {})
