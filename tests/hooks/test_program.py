"""The kind in the whole program: it runs while there is a webhook, and only then."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from tests.hooks.env import Receiver
from tests.support.bulkhead import Bulkhead
from tests.support.waiting import eventually


def hooks_status(program: Bulkhead) -> list[str]:
    listed: list[dict[str, Any]] = program.api("GET", "/health/all").json()["processes"]
    return [one["status"] for one in listed if one["process"] == "hooks"]


def test_the_first_webhook_starts_the_kind_and_the_last_one_ends_it(
    bulkhead: Callable[..., Bulkhead], database_url: str, redis_url: str
) -> None:
    program = bulkhead(database_url=database_url, redis_url=redis_url, sandbox="off", hooks_private="on")
    program.start().wait_ready("recorder", "api")
    assert program.api("POST", "/api/v2/companies", json={"companyId": "acme"}).status_code == 201
    assert "healthy" not in hooks_status(program)
    with closing(Receiver()) as receiver:
        made = program.api("POST", "/api/v2/hooks/acme", json={"url": receiver.url})
        assert made.status_code == 201, made.text
        path = f"/api/v2/hooks/acme/{made.json()['id']}"
        event = program.api("POST", f"{path}/test").json()["eventId"]
        eventually(lambda: bool(receiver.got), 90.0, lambda: f"the test is delivered\n{program.tail()}")
        assert (receiver.got[0].id, receiver.got[0].event["type"]) == (event, "hook.test")
        log = f"{path}/deliveries"
        eventually(
            lambda: [one["outcome"] for one in program.api("GET", log).json()["deliveries"]] == ["taken"],
            20.0,
            "the log has it",
        )
        assert program.api("DELETE", path).status_code == 200
        eventually(lambda: "healthy" not in hooks_status(program), 60.0, "the kind ends")
    assert program.stop() == 0
