"""The registry of connection types."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields

import pytest

from shared import content
from shared.channels.capabilities import OPERATIONS, of
from shared.channels.channel import ConnectionType
from shared.channels.pacing import limits_of
from shared.channels.registry import (
    CHANNELS,
    UnknownConnectionType,
    channel_named,
    channels_of,
    connection_types,
    kind_for,
)
from shared.kinds import KINDS
from shared.settings import Settings
from tests.architecture.source import Source
from tests.support.environment import REPOSITORY

NAMES = set(connection_types())
OTHER_WORDS = {"messenger", "instagram"}
"""Connection types whose names are words of their own too: of webhooks, and of ways to log in."""
SETTINGS = {row.name for row in fields(Settings)}


def test_clients_see_every_limit_of_files() -> None:
    limits = of("meta_direct")["sticker"].as_json()["limits"]
    assert (limits["bytes"], limits["bytesOfStill"]) == (500 << 10, {"image/webp": 100 << 10})
    assert of("meta_direct")["document"].as_json()["limits"]["bytesOf"]["image/jpeg"] == 5 << 20


def test_names_and_demo_indexes_are_unique() -> None:
    assert len(set(connection_types())) == len(CHANNELS)
    indexes = [channel.demo.phone_index for channel in CHANNELS if channel.demo]
    assert len(set(indexes)) == len(indexes)


def test_a_kind_has_a_job_where_it_serves_connections_and_nowhere_else() -> None:
    assert {channel.kind for channel in CHANNELS} == {kind.name for kind in KINDS if kind.job}
    assert [channel.name for channel in channels_of("webdriver")] == ["wwebjs"]
    assert kind_for("360dialog").name == "meta"


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
def test_every_row_names_what_exists(channel: ConnectionType) -> None:
    assert channel.operations.keys() <= set(OPERATIONS)
    assert channel.files.keys() == channel.operations.keys() & content.MEDIA
    assert content.TEMPLATE not in channel.operations or channel.templates
    assert channel.reaches
    assert not channel.reaches & channel.answers
    assert channel.groups <= channel.answers
    assert channel.in_groups <= channel.operations.keys()
    assert set(channel.window.tagged_s if channel.window else ()) == set(channel.tags)
    assert channel.demo is None or set(channel.demo.credentials.values()) <= SETTINGS
    assert limits_of(Settings(), channel.name, {}) is not None
    assert of(channel.name).keys() == set(OPERATIONS)


def test_an_unlisted_connection_type_is_an_error() -> None:
    for look_up in (channel_named, kind_for, of):
        with pytest.raises(UnknownConnectionType, match="Unknown connection type 'sms'; known: wwebjs, meta_direct"):
            look_up("sms")


NAMES_A_TYPE: Mapping[str, str] = {
    "shared/kinds.py": "an alias of a kind in environment variables, from before it had its name",
    "recorder/environment_seeds.py": "the settings META_ACCESS_TOKEN and META_PHONE_NUMBER_ID are of this type",
    "chaos/tenants.py": "the second company of a run has connections of these types",
    "api/connections/signup.py": "Embedded Signup makes connections of this type",
    "api/connections/connections.py": "examples of requests",
    "api/http/examples.py": "examples for readers",
    "shared/events/schemas.py": "examples for readers",
}
"""Files that name a connection type, with the reason. Channels' own rooms and the sandbox may."""


def test_what_differs_by_connection_type_stands_on_its_row() -> None:
    source = Source(REPOSITORY)
    found = {
        str(module.path)
        for module in source.modules.values()
        if module.path.parts[0] not in ("meta", "webdriver", "sandbox")
        and not module.name.startswith("shared.channels")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and node.value in NAMES and node.value not in OTHER_WORDS
    }
    assert found == NAMES_A_TYPE.keys(), "look the difference up in `shared.channels`"
