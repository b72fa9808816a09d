"""The registry of connection types."""

from __future__ import annotations

from dataclasses import fields

import pytest

from shared import content
from shared.channels.capabilities import OPERATIONS, of
from shared.channels.channel import Channel
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

SETTINGS = {row.name for row in fields(Settings)}


def test_names_and_demo_indexes_are_unique() -> None:
    assert len(set(connection_types())) == len(CHANNELS)
    indexes = [channel.demo.phone_index for channel in CHANNELS if channel.demo]
    assert len(set(indexes)) == len(indexes)


def test_a_kind_has_a_job_where_it_serves_connections_and_nowhere_else() -> None:
    assert {channel.kind for channel in CHANNELS} == {kind.name for kind in KINDS if kind.job}
    assert [channel.name for channel in channels_of("webdriver")] == ["wwebjs"]
    assert kind_for("360dialog").name == "meta"


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
def test_every_row_names_what_exists(channel: Channel) -> None:
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
