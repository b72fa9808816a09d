"""The demonstration of docs/assistant-demo.md: it runs as it stands, and its page says what it shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from examples.assistant_demo import HUMAN, STEPS, Demo
from tests.support import environment
from tests.support.bulkhead import Bulkhead
from tests.support.waiting import deadline_s

KINDS = "recorder,api,meta,sandbox,webdriver,index,ai"
PAGE = environment.REPOSITORY / "docs" / "assistant-demo.md"


@pytest.mark.timeout(300)
def test_a_document_a_booking_a_human_and_back_by_three_channels(
    bulkhead: Callable[..., Bulkhead], database_url: str, redis_url: str
) -> None:
    installation = (
        bulkhead(only=KINDS, database_url=database_url, redis_url=redis_url, api_instances=1, meta_instances=1)
        .start()
        .wait_ready("recorder", "api", "meta", "sandbox", "webdriver")
    )
    reported: list[str] = []
    seen: list[str] = []
    demo = Demo(
        installation.client,
        f"http://127.0.0.1:{installation.settings.port('sandbox')}",
        (installation.home / "sandbox_access_token").read_text().strip(),
        within_s=deadline_s(60.0),
        report=reported.append,
        seen=lambda name, _: seen.append(name),
    )
    try:
        demo.run()
    except Exception as error:
        error.add_note("\n".join([*reported, installation.tail()]))
        raise
    assert seen == list(STEPS)
    assert {one.channel for one in demo.customers} == {"WhatsApp", "WhatsApp Web", "Messenger"}
    for customer in demo.customers:
        assert [line.text for line in customer.lines].count(HUMAN) == 1


def test_the_page_says_what_each_step_shows_and_has_its_picture() -> None:
    page = PAGE.read_text()
    assert [name for name, sentence in STEPS.items() if sentence not in page] == []
    pictures = [f"pictures/assistant-{name}.png" for name in STEPS]
    assert [one for one in pictures if one not in page or not (PAGE.parent / one).exists()] == []
