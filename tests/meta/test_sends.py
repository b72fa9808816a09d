"""Every type over real HTTP: what arrives at the provider, files and their names there, and what is done when a
provider forgets, fails or waits.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from shared.clock import monotonic, utc_now
from shared.messages import Dead, Outcome, Retry, Sent
from shared.settings import Settings
from shared.store import connections, pauses
from tests.meta.channel_env import KIND, ChannelEnv, channel_env, run
from tests.meta.seed import COMPANY, D360, DIRECT
from tests.sandbox.env import SandboxEnv
from tests.support import samples
from tests.support.database import query
from tests.support.waiting import patient_by

AtSandbox = Callable[..., Settings]

LINK = "https://example.com/file"
BUTTONS = {
    "type": "button",
    "body": {"text": "When?"},
    "action": {
        "buttons": [
            {"type": "reply", "reply": {"id": "m", "title": "Morning"}},
            {"type": "reply", "reply": {"id": "e", "title": "Evening"}},
        ]
    },
}
SENDS: dict[str, tuple[str, dict[str, Any], Any]] = {
    # name: type, our content, Meta's object
    "text": ("text", {"body": "Hello"}, {"body": "Hello", "preview_url": False}),
    "preview": (
        "text",
        {"body": "See https://example.com", "preview": True},
        {"body": "See https://example.com", "preview_url": True},
    ),
    "image": ("image", {"media": {"link": LINK}, "caption": "This"}, {"link": LINK, "caption": "This"}),
    "video": ("video", {"media": {"link": LINK}, "caption": None}, {"link": LINK}),
    "audio": ("audio", {"media": {"link": LINK}, "voice": False}, {"link": LINK}),
    "voice": (
        "audio",
        {"media": {"link": LINK, "mimetype": "audio/ogg"}, "voice": True},
        {"link": LINK, "voice": True},
    ),
    "document": (
        "document",
        {"media": {"link": LINK, "filename": "a.pdf"}, "caption": "Bill"},
        {"link": LINK, "caption": "Bill", "filename": "a.pdf"},
    ),
    "sticker": ("sticker", {"media": {"link": LINK}}, {"link": LINK}),
    "location": (
        "location",
        {"latitude": 52.5, "longitude": 13, "name": "Gate", "address": ""},
        {"latitude": 52.5, "longitude": 13, "name": "Gate"},
    ),
    "contacts": (
        "contacts",
        {"contacts": [{"name": {"formatted_name": "Ada"}, "phones": [{"phone": "+15550100300", "type": "CELL"}]}]},
        [
            {
                "name": {"formatted_name": "Ada", "first_name": "Ada"},
                "phones": [{"phone": "+15550100300", "type": "CELL"}],
            }
        ],
    ),
    "reaction": ("reaction", {"emoji": "👍", "target": "wamid.X"}, {"message_id": "wamid.X", "emoji": "👍"}),
    "reaction taken back": ("reaction", {"emoji": "", "target": "wamid.X"}, {"message_id": "wamid.X", "emoji": ""}),
    "interactive": ("interactive", BUTTONS, BUTTONS),
    "template": (
        "template",
        {
            "name": "parcel",
            "language": "de",
            "components": [
                {"type": "button", "sub_type": "url", "index": 0, "parameters": [{"type": "text", "text": "7"}]}
            ],
        },
        {
            "name": "parcel",
            "components": [
                {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "7"}]}
            ],
            "language": {"code": "de"},
        },
    ),
}


@pytest.mark.parametrize("phone_index", [DIRECT, D360])
def test_every_type_arrives_as_meta_spells_it(at_sandbox: AtSandbox, sandbox: SandboxEnv, phone_index: int) -> None:
    async def scenario() -> None:
        async with channel_env(at_sandbox()) as own:
            for name, (type_name, content, expected) in SENDS.items():
                since = sandbox.control("GET", "ledger", limit=0)["seq"]
                quoted = {} if type_name == "reaction" else {"quoted": "wamid.Q"}
                outcome = await own.send(own.message(phone_index=phone_index, type=type_name, content=content | quoted))
                assert isinstance(outcome, Sent), (name, outcome)
                (arrived,) = sandbox.ledger("accepted", since=since)
                assert arrived["message"][type_name] == expected, name
                assert arrived["message"].get("context") == ({"message_id": "wamid.Q"} if quoted else None), name
                assert (arrived["callback"], arrived["id"]) == ("bulkhead:1:1", outcome.provider_id)

    run(scenario())


FILES = {
    "image": (samples.PNG, "image/png"),
    "video": (samples.MP4, "video/mp4"),
    "audio": (samples.OGG, "audio/ogg"),
    "document": (samples.PDF, "application/pdf"),
    "sticker": (samples.WEBP, "image/webp"),
}


@pytest.mark.parametrize("phone_index", [DIRECT, D360])
def test_files_are_uploaded_once_and_the_right_bytes_arrive(
    at_sandbox: AtSandbox, sandbox: SandboxEnv, phone_index: int
) -> None:
    async def scenario() -> None:
        async with channel_env(at_sandbox()) as own:
            for type_name, (content, mimetype) in FILES.items():
                since = sandbox.control("GET", "ledger", limit=0)["seq"]
                media = await own.keep(content, mimetype, "bill.pdf" if type_name == "document" else "")
                for _ in range(2):
                    assert isinstance(
                        await own.send(own.message(phone_index=phone_index, type=type_name, content={"media": media})),
                        Sent,
                    )
                (uploaded,) = sandbox.ledger("media_uploaded", since=since)
                assert (uploaded["sha256"], uploaded["mime_type"]) == (hashlib.sha256(content).hexdigest(), mimetype)
                name = {"filename": "bill.pdf"} if type_name == "document" else {}
                assert [entry["message"][type_name] for entry in sandbox.ledger("accepted", since=since)] == [
                    {"id": uploaded["id"]} | name
                ] * 2

    run(scenario())


def test_many_messages_wait_for_one_upload(at_sandbox: AtSandbox, sandbox: SandboxEnv) -> None:
    async def scenario() -> list[Outcome]:
        async with channel_env(at_sandbox()) as own:
            media = await own.keep(samples.png(b"many"), "image/png")
            sandbox.arm("slow", call="media", latency_ms=200)
            rows = [
                own.message(row, chat=f"1555010{row:04}", type="image", content={"media": media})
                for row in range(1, 21)
            ]
            return list(await asyncio.gather(*(own.send(row, within_s=5) for row in rows)))

    since = sandbox.control("GET", "ledger", limit=0)["seq"]
    assert all(isinstance(outcome, Sent) for outcome in run(scenario()))
    assert len(sandbox.ledger("media_uploaded", since=since)) == 1


def test_files_in_headers_and_parameters_are_uploaded_too(at_sandbox: AtSandbox, sandbox: SandboxEnv) -> None:
    async def scenario() -> None:
        async with channel_env(at_sandbox()) as own:
            picture, bill = (
                await own.keep(samples.png(b"header"), "image/png"),
                await own.keep(samples.PDF, "application/pdf"),
            )
            header = BUTTONS | {"header": {"type": "image", "image": {"sha256": picture["sha256"]}}}
            assert isinstance(await own.send(own.message(type="interactive", content=header)), Sent)
            parameter = {"type": "document", "document": {"sha256": bill["sha256"], "filename": "bill.pdf"}}
            content = {"name": "bill", "language": "de", "components": [{"type": "header", "parameters": [parameter]}]}
            assert isinstance(await own.send(own.message(type="template", content=content)), Sent)

    since = sandbox.control("GET", "ledger", limit=0)["seq"]
    run(scenario())
    first, second = (entry["id"] for entry in sandbox.ledger("media_uploaded", since=since))
    buttons, template = (entry["message"] for entry in sandbox.ledger("accepted", since=since))
    assert buttons["interactive"]["header"] == {"type": "image", "image": {"id": first}}
    assert template["template"]["components"][0]["parameters"][0]["document"] == {"id": second, "filename": "bill.pdf"}


def age_uploads(own: ChannelEnv) -> None:
    query(own.settings.database_url, "UPDATE media_uploads SET uploaded_at = uploaded_at - interval '1 hour'")


def test_a_file_that_the_provider_forgot_is_uploaded_again_once(at_sandbox: AtSandbox, sandbox: SandboxEnv) -> None:
    async def scenario() -> list[Outcome]:
        async with channel_env(at_sandbox()) as own:
            media = await own.keep(samples.png(b"forgotten"), "image/png")
            row = own.message(type="image", content={"media": media})
            outcomes = [await own.send(row)]
            (uploaded,) = sandbox.ledger("media_uploaded", since=since)
            age_uploads(own)
            assert sandbox.get(uploaded["id"], method="DELETE").status_code == 200
            outcomes += [await own.send(row), await own.send(row)]
            # one that is refused although it was uploaded just now is not the provider's forgetfulness
            sandbox.arm("error", code=131053)
            outcomes.append(await own.send(row))
            return outcomes

    since = sandbox.control("GET", "ledger", limit=0)["seq"]
    first, forgotten, again, refused = run(scenario())
    assert isinstance(first, Sent)
    assert isinstance(forgotten, Retry)
    assert (forgotten.code, forgotten.counts, forgotten.after_s) == ("131053", False, 0.0)
    assert isinstance(again, Sent)
    assert isinstance(refused, Dead)
    assert len(sandbox.ledger("media_uploaded", since=since)) == 2


def test_a_redriven_message_uploads_its_file_anew(at_sandbox: AtSandbox, sandbox: SandboxEnv) -> None:
    async def scenario() -> None:
        async with channel_env(at_sandbox()) as own:
            content = {"media": await own.keep(samples.png(b"redriven"), "image/png")}
            assert isinstance(await own.send(own.message(type="image", content=content)), Sent)
            age_uploads(own)
            for _ in range(2):
                assert isinstance(
                    await own.send(own.message(type="image", content=content, attempt=4, attempts_before_redrive=3)),
                    Sent,
                )

    since = sandbox.control("GET", "ledger", limit=0)["seq"]
    run(scenario())
    assert len(sandbox.ledger("media_uploaded", since=since)) == 2, "one that was uploaded just now is used"


def test_an_upload_is_used_for_29_days(at_sandbox: AtSandbox, sandbox: SandboxEnv) -> None:
    async def scenario() -> None:
        async with channel_env(at_sandbox()) as own:
            media = await own.keep(samples.png(b"old"), "image/png")
            for days in (0, 28, 29):
                query(
                    own.settings.database_url,
                    f"UPDATE media_uploads SET uploaded_at = now() - interval '{days} days 1 hour'",
                )
                assert isinstance(await own.send(own.message(type="image", content={"media": media})), Sent)

    since = sandbox.control("GET", "ledger", limit=0)["seq"]
    run(scenario())
    assert len(sandbox.ledger("media_uploaded", since=since)) == 2


UPLOAD_FAULTS: dict[str, tuple[dict[str, Any], type[Outcome], str, bool]] = {
    # fault: details, outcome, code, whether the attempt is charged
    "cut_before": ({}, Retry, "upload_unanswered", True),
    "cut_after": ({}, Retry, "upload_unanswered", True),
    "error": ({"code": 131000}, Retry, "131000", True),
    "5xx_after_accept": ({}, Retry, "upload_http_502", True),
}


@pytest.mark.parametrize("fault", UPLOAD_FAULTS)
def test_a_failed_upload_is_no_doubt_about_a_message(at_sandbox: AtSandbox, sandbox: SandboxEnv, fault: str) -> None:
    details, kind, code, counts = UPLOAD_FAULTS[fault]

    async def scenario() -> tuple[Outcome, Outcome]:
        async with channel_env(at_sandbox()) as own:
            row = own.message(type="image", content={"media": await own.keep(samples.png(fault.encode()), "image/png")})
            sandbox.arm(fault, call="media", **details)
            first = await own.send(row)
            assert own.tokens == [], "nothing of the message was ever said to be written"
            return first, await own.send(row)

    first, second = run(scenario())
    assert isinstance(first, kind)
    assert isinstance(first, Retry)
    assert (first.code, first.counts) == (code, counts)
    assert isinstance(second, Sent)


def test_a_long_upload_goes_on_while_its_message_waits_for_its_next_turn(
    at_sandbox: AtSandbox, sandbox: SandboxEnv
) -> None:
    async def scenario() -> list[Outcome]:
        async with channel_env(at_sandbox()) as own:
            row = own.message(type="image", content={"media": await own.keep(samples.png(b"long"), "image/png")})
            sandbox.arm("slow", call="media", latency_ms=500)
            first = await own.send(row, within_s=0.2)
            by = patient_by(10)
            while isinstance(outcome := await own.send(row, within_s=1), Retry):
                assert monotonic() < by
            return [first, outcome]

    since = sandbox.control("GET", "ledger", limit=0)["seq"]
    first, second = run(scenario())
    assert isinstance(first, Retry)
    assert (first.code, first.counts) == ("upload_under_way", False)
    assert isinstance(second, Sent)
    assert len(sandbox.ledger("media_uploaded", since=since)) == 1


def test_a_token_that_is_refused_at_an_upload_pauses(at_sandbox: AtSandbox, sandbox: SandboxEnv) -> None:
    async def scenario() -> tuple[Outcome, str, str]:
        async with channel_env(at_sandbox()) as own:
            row = own.message(type="image", content={"media": await own.keep(samples.png(b"token"), "image/png")})
            sandbox.arm("error", call="media", code=190)
            outcome = await own.send(row)
            connection = own.store.run(connections.by_index, COMPANY, DIRECT)
            assert connection is not None
            return outcome, connection.status, connection.status_reason

    outcome, status, reason = run(scenario())
    assert isinstance(outcome, Retry)
    assert (outcome.counts, status) == (False, "paused")
    assert reason.startswith("190: ")


@pytest.mark.parametrize(
    ("content", "mimetype", "type_name"),
    [
        pytest.param(samples.PNG.ljust(5 * 1024 * 1024 + 1, b"0"), "image/png", "image", id="too large"),
        pytest.param(samples.PDF, "application/pdf", "image", id="of another kind"),
        pytest.param(b"\0\1\2", "application/octet-stream", "document", id="of no kind"),
    ],
)
def test_what_meta_would_not_take_is_not_uploaded(
    at_sandbox: AtSandbox, sandbox: SandboxEnv, content: bytes, mimetype: str, type_name: str
) -> None:
    async def scenario() -> Outcome:
        async with channel_env(at_sandbox()) as own:
            return await own.send(own.message(type=type_name, content={"media": await own.keep(content, mimetype)}))

    since = sandbox.control("GET", "ledger", limit=0)["seq"]
    outcome = run(scenario())
    assert isinstance(outcome, Dead)
    assert outcome.code == "media_refused"
    assert not sandbox.ledger("media_uploaded", since=since)
    assert not sandbox.ledger("accepted", since=since)


def test_a_file_that_is_not_there(at_sandbox: AtSandbox) -> None:
    async def scenario() -> tuple[Outcome, Outcome, Outcome]:
        async with channel_env(at_sandbox()) as own:
            unknown = own.message(type="image", content={"media": {"sha256": "0" * 64}})
            nonsense = own.message(type="image", content={"media": {"sha256": "../../x"}})
            media = await own.keep(samples.png(b"lost"), "image/png")
            await own.storage.delete("demo", media["sha256"])
            return (
                await own.send(unknown),
                await own.send(nonsense),
                await own.send(own.message(type="image", content={"media": media})),
            )

    for outcome in run(scenario()):
        assert isinstance(outcome, Dead)
        assert outcome.code == "media_unknown"


@pytest.mark.parametrize("type_name", ["read", "typing"])
@pytest.mark.parametrize("phone_index", [DIRECT, D360])
def test_reading_and_typing(at_sandbox: AtSandbox, sandbox: SandboxEnv, type_name: str, phone_index: int) -> None:
    async def scenario() -> tuple[Outcome, Outcome, Outcome | None]:
        async with channel_env(at_sandbox()) as own:
            row = own.message(phone_index=phone_index, type=type_name, content={"target": "wamid.IN"})
            done = await own.send(row)
            sandbox.arm("cut_after", call="read")
            return done, await own.send(row), await own.channel.look_up(own.doubt(row, 0.0, 1.0))

    since = sandbox.control("GET", "ledger", limit=0)["seq"]
    done, unknown, after_a_death = run(scenario())
    assert done == Sent(provider_id="")
    assert isinstance(unknown, Retry), "doing it again is harmless"
    assert isinstance(after_a_death, Retry)
    seen = sandbox.ledger("read_by_business", since=since)
    assert [(entry["message_id"], entry["typing"]) for entry in seen] == [("wamid.IN", type_name == "typing")] * 2


def test_typing_that_comes_too_late_is_given_up(at_sandbox: AtSandbox, sandbox: SandboxEnv) -> None:
    async def scenario() -> tuple[Outcome, Outcome]:
        async with channel_env(at_sandbox()) as own:
            late = own.message(
                type="typing", content={"target": "wamid.IN"}, created_at=utc_now() - timedelta(seconds=26)
            )
            return await own.send(late), await own.send(own.message(type="typing", content={}))

    since = sandbox.control("GET", "ledger", limit=0)["seq"]
    late, aimless = run(scenario())
    assert isinstance(late, Dead)
    assert isinstance(aimless, Dead)
    assert (late.code, aimless.code) == ("expired", "target_missing")
    assert not sandbox.ledger("read_by_business", since=since)


def test_a_pause_for_hours_ends_by_itself_unless_it_is_another_by_then(
    at_sandbox: AtSandbox, sandbox: SandboxEnv
) -> None:
    async def scenario() -> None:
        async with channel_env(at_sandbox()) as own:

            def state() -> tuple[str, str]:
                connection = own.store.run(connections.by_index, COMPANY, DIRECT)
                assert connection is not None
                return connection.status, connection.status_reason

            def ends_now() -> list[int]:
                query(own.settings.database_url, "UPDATE timed_pauses SET resume_at = now()")
                return [row["id"] for row in own.store.run(pauses.resume_due, KIND.name)]

            sandbox.arm("error", code=131048)
            assert isinstance(await own.send(), Retry)
            assert state()[0] == "paused"
            assert state()[1].startswith("131048: ")
            (row,) = query(
                own.settings.database_url,
                "SELECT extract(epoch FROM resume_at - now())::float AS left_s, resume_at FROM timed_pauses",
            )
            assert 4 * 3600 - 60 < row["left_s"] <= 4 * 3600
            assert row["resume_at"].strftime("%Y-%m-%dT%H:%M") in state()[1], "whoever looks sees until when"
            assert own.store.run(pauses.resume_due, KIND.name) == []
            assert ends_now() == [own.ids[DIRECT]]
            assert state() == ("active", "")

            sandbox.arm("error", code=131048)
            assert isinstance(await own.send(), Retry)
            own.store.run(connections.resume, own.ids[DIRECT])
            own.store.run(connections.pause, own.ids[DIRECT], "an operator said so")
            assert ends_now() == []
            assert state() == ("paused", "an operator said so")

    run(scenario())
