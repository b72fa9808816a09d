"""To which world a connection type sends follows from the provider's address."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.channels.registry import CHANNELS
from shared.channels.worlds import worlds
from shared.settings import Settings

PORT = 3777


@pytest.mark.parametrize(
    ("address", "world"),
    [
        (f"http://127.0.0.1:{PORT}/x", "sandbox"),
        (f"http://127.0.0.1:{PORT}", "sandbox"),
        (f"http://127.0.0.1:{PORT + 1}/x", "live"),
        (f"http://192.0.2.1:{PORT}/x", "live"),
        ("https://graph.facebook.com", "live"),
        ("https://web.whatsapp.com/", "live"),
    ],
)
def test_only_our_own_sandbox_is_one(settings: Callable[..., Settings], address: str, world: str) -> None:
    for channel in CHANNELS:
        given = settings(sandbox_url=f"http://127.0.0.1:{PORT}", **{channel.address: address})
        assert worlds(given)[channel.name] == world


def test_without_a_sandbox_all_is_live(settings: Callable[..., Settings]) -> None:
    assert set(worlds(settings(graph_base_url=f"http://127.0.0.1:{PORT}/graph")).values()) == {"live"}


def test_every_type_has_one(settings: Callable[..., Settings]) -> None:
    assert set(worlds(settings())) == {channel.name for channel in CHANNELS}
