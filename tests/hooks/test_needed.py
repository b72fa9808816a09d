"""When the kind runs: with a webhook, or with a message broker."""

from __future__ import annotations

from shared.settings import load


def test_a_broker_is_a_reason_to_run() -> None:
    assert load({}).kind("hooks").needed == "rows"
    settings = load({"AMQP_URL": "amqp://user:of-nobody@127.0.0.1/"})
    assert settings.kind("hooks").needed == "always"
    assert "of-nobody" not in repr(settings)
