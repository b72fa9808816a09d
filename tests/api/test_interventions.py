"""What clients and operators do about messages that wait or failed: schedule, cancel, redrive, resolve."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import requests
from jsonschema import Draft202012Validator

from shared.states import MessageState
from shared.store import messages
from shared.store.messages import Settlement
from tests.api.api_env import ApiEnv, problem
from tests.support.waiting import eventually

ONE = "/api/v2/messages/{companyId}/{chatId}/{messageId}"
MANY = "/api/v2/dead-letters/{companyId}"


def ahead(**span: float) -> str:
    """Return an instant so far ahead, with a zone that is not ours."""
    return (datetime.now(UTC) + timedelta(**span)).astimezone(tz=datetime.strptime("+0530", "%z").tzinfo).isoformat()


def settle(api_env: ApiEnv, message_id: str, state: MessageState, **fields: Any) -> None:
    """Claim a message and write its outcome."""
    named: dict[str, Any] = {
        "kind": "meta",
        "incarnation": "meta-0.a",
        "ids": [int(message_id)],
        "most": 1,
        "token_at_claim": True,
    }
    assert api_env.run(messages.claim, **named)
    assert api_env.run(
        messages.settle, incarnation="meta-0.a", settlements=[Settlement(id=int(message_id), state=state, **fields)]
    )


def failed(api_env: ApiEnv, chat: str, code: str = "131026", company: str = "alpha") -> str:
    """Return the path of a message that failed."""
    answer = api_env.send("lost", chat=chat, company=company)
    settle(api_env, answer.json()["id"], MessageState.FAILED, code=code, detail="undeliverable")
    return str(answer.headers["Location"])


def held(api_env: ApiEnv, chat: str, company: str = "alpha") -> str:
    """Return the path of a message in doubt that was left to a human."""
    answer = api_env.send("perhaps", chat=chat, company=company)
    message_id = answer.json()["id"]
    settle(api_env, message_id, MessageState.IN_DOUBT, code="no_answer")
    assert api_env.run(messages.hold, message_id=int(message_id), attempt=1, code="no_evidence", incarnation="x")
    return str(answer.headers["Location"])


@pytest.fixture(scope="module")
def described(api_env: ApiEnv) -> dict[str, Any]:
    """The OpenAPI document."""
    document: dict[str, Any] = api_env.call("GET", "/openapi.json", key=None).json()
    return document


def require_shape(described: dict[str, Any], method: str, path: str, answer: requests.Response) -> None:
    """Compare an answer with what the document promises for its status."""
    promised = described["paths"][path][method.lower()]["responses"][str(answer.status_code)]["content"]
    schema = promised[answer.headers["Content-Type"].split(";")[0]]["schema"] | {"components": described["components"]}
    Draft202012Validator(schema).validate(answer.json())


class TestSendAt:
    def test_a_scheduled_text_is_a_row_without_a_hint(self, api_env: ApiEnv, described: dict[str, Any]) -> None:
        when = ahead(hours=2)
        answer = api_env.send("later", chat="15550100400", sendAt=when)
        assert answer.status_code == 202, answer.text
        require_shape(described, "POST", "/api/v2/messages/text/{companyId}/{chatId}", answer)
        assert datetime.fromisoformat(answer.json()["sendAt"]) - datetime.fromisoformat(when) < timedelta(
            milliseconds=1
        )
        shown = api_env.call("GET", answer.headers["Location"])
        require_shape(described, "GET", ONE, shown)
        assert shown.json()["sendAt"] == shown.json()["notBefore"] == answer.json()["sendAt"]
        # hints are given in order: when a later message's is there, this one's would be
        after = api_env.send("now", chat="15550100401").json()
        with redis.Redis.from_url(api_env.redis_url) as client:
            eventually(lambda: client.keys(f"rq:job:m-*-{after['id']}"), 5, "the row that came later is hinted")
            assert not client.keys(f"rq:job:m-*-{answer.json()['id']}")

    @pytest.mark.parametrize("when", ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00+14:00"])
    def test_the_past_is_now(self, api_env: ApiEnv, when: str) -> None:
        answer = api_env.send("late", sendAt=when)
        assert answer.status_code == 202
        assert "sendAt" not in answer.json()
        assert api_env.call("GET", answer.headers["Location"]).json()["sendAt"] is None

    @pytest.mark.parametrize(
        "when",
        [
            "",
            "soon",
            "2030-01-01",
            "2030-01-01T10:00:00",
            "2030-13-01T10:00:00Z",
            "9999-12-31T23:59:59-14:00",
            "0001-01-01T00:00:00+14:00",
        ],
    )
    def test_what_is_no_instant_with_a_zone_or_too_far_ahead_is_refused(self, api_env: ApiEnv, when: str) -> None:
        answer = api_env.send("never", sendAt=when)
        assert answer.status_code == 422
        assert (problem(answer)["type"], problem(answer)["field"]) == ("send_at_invalid", "sendAt")

    def test_thirty_days_and_no_more(self, api_env: ApiEnv) -> None:
        assert api_env.send("in time", sendAt=ahead(days=29.99)).status_code == 202
        assert problem(api_env.send("too late", sendAt=ahead(days=30.01)))["type"] == "send_at_invalid"

    def test_another_time_is_another_request(self, api_env: ApiEnv) -> None:
        when, key = ahead(hours=1), {"Idempotency-Key": "scheduled"}
        first = api_env.send("at", sendAt=when, headers=key)
        assert api_env.send("at", sendAt=when, headers=key).json()["id"] == first.json()["id"]
        assert api_env.send("at", headers=key).status_code == 409
        assert api_env.send("at", sendAt=when, inDoubtPolicy="hold", headers=key).status_code == 409


class TestPolicy:
    def test_it_is_kept_with_the_message(self, api_env: ApiEnv) -> None:
        place = api_env.send("precious", inDoubtPolicy="hold").headers["Location"]
        assert api_env.call("GET", place).json()["inDoubtPolicy"] == "hold"
        assert api_env.call("GET", api_env.send("plain").headers["Location"]).json()["inDoubtPolicy"] is None

    def test_only_words_that_are_known(self, api_env: ApiEnv) -> None:
        answer = api_env.send("odd", inDoubtPolicy="maybe")
        assert problem(answer)["errors"] == [
            {"pointer": "/inDoubtPolicy", "reason": "must be one of auto, resend, hold"}
        ]


class TestCancel:
    def test_a_queued_message_is_cancelled_once_and_for_all(self, api_env: ApiEnv, described: dict[str, Any]) -> None:
        place = api_env.send("oops", chat="15550100410").headers["Location"]
        for _ in range(2):
            answer = api_env.call("DELETE", place)
            assert answer.status_code == 200, answer.text
            require_shape(described, "DELETE", ONE, answer)
            assert (answer.json()["status"], answer.json()["error"]["code"]) == ("deleted", "cancelled")
            assert [step["state"] for step in answer.json()["history"]] == ["queued", "deleted"]

    def test_a_scheduled_one_too(self, api_env: ApiEnv) -> None:
        place = api_env.send("oops", sendAt=ahead(days=1)).headers["Location"]
        assert api_env.call("DELETE", place).json()["status"] == "deleted"

    def test_what_is_on_its_way_is_not(self, api_env: ApiEnv, described: dict[str, Any]) -> None:
        for chat, state in (("15550100411", MessageState.IN_DOUBT), ("15550100412", MessageState.FAILED)):
            sent = api_env.send("too late", chat=chat)
            settle(api_env, sent.json()["id"], state)
            answer = api_env.call("DELETE", sent.headers["Location"])
            assert answer.status_code == 409
            require_shape(described, "DELETE", ONE, answer)
            assert (problem(answer)["type"], problem(answer)["state"]) == ("message_not_queued", state)

    def test_what_was_sent_cannot_be_deleted(self, api_env: ApiEnv) -> None:
        sent = api_env.send("gone", chat="15550100413")
        settle(api_env, sent.json()["id"], MessageState.SENT, provider_id="wamid.gone")
        assert problem(api_env.call("DELETE", sent.headers["Location"]))["type"] == "unsupported_operation"

    def test_anothers_message_is_unknown(self, api_env: ApiEnv) -> None:
        place = api_env.send("theirs", company="beta").headers["Location"]
        assert problem(api_env.call("DELETE", place.replace("/beta/", "/alpha/")))["type"] == "message_unknown"
        assert api_env.call("GET", place).json()["status"] == "queued"


class TestRedrive:
    def test_one_is_queued_again_and_asking_twice_is_asking_once(
        self, api_env: ApiEnv, described: dict[str, Any]
    ) -> None:
        place = failed(api_env, "15550100420")
        for _ in range(2):
            answer = api_env.call("POST", f"{place}/redrive")
            assert answer.status_code == 202, answer.text
            require_shape(described, "POST", f"{ONE}/redrive", answer)
            assert (answer.json()["status"], answer.json()["error"]) == ("queued", None)
            assert [(step["state"], step["code"]) for step in answer.json()["history"]][-2:] == [
                ("failed", "131026"),
                ("queued", "redriven"),
            ]

    def test_what_never_failed_is_no_dead_letter(self, api_env: ApiEnv) -> None:
        for place in (api_env.send("fine", chat="15550100421").headers["Location"], held(api_env, "15550100422")):
            answer = api_env.call("POST", f"{place}/redrive")
            assert answer.status_code == 409
            assert problem(answer)["type"] == "not_a_dead_letter"

    def test_many_at_once_by_a_filter_and_bounded(self, api_env: ApiEnv, described: dict[str, Any]) -> None:
        for number in range(3):
            failed(api_env, f"1555010043{number}", code="131049", company="beta")
        failed(api_env, "15550100434", code="131026", company="beta")
        ask = f"{MANY}/redrive"

        def redrive(**fields: Any) -> dict[str, Any]:
            answer = api_env.call("POST", "/api/v2/dead-letters/beta/redrive", json=fields)
            assert answer.status_code == 202, answer.text
            require_shape(described, "POST", ask, answer)
            found: dict[str, Any] = answer.json()
            return found

        assert redrive(code="131049", phoneIndex=1) == {"redriven": 0, "more": False}
        assert redrive(code="131049", failedBefore=ahead(hours=-1)) == {"redriven": 0, "more": False}
        assert redrive(code="131049", failedAfter=ahead(hours=-1), limit=2) == {"redriven": 2, "more": True}
        assert redrive(code="131049", phoneIndex=0, limit=2) == {"redriven": 1, "more": False}
        assert redrive() == {"redriven": 1, "more": False}

    @pytest.mark.parametrize(
        "fields", [{"limit": 0}, {"limit": 1001}, {"failedAfter": "yesterday"}, {"code": 131049}, {"everything": True}]
    )
    def test_a_filter_that_cannot_be_read_moves_nothing(self, api_env: ApiEnv, fields: dict[str, Any]) -> None:
        place = failed(api_env, "15550100440")
        answer = api_env.call("POST", "/api/v2/dead-letters/alpha/redrive", json=fields)
        assert problem(answer)["type"] == "body_invalid"
        assert api_env.call("GET", place).json()["status"] == "failed"
        api_env.call("POST", f"{place}/redrive")
        api_env.call("DELETE", place)


class TestProvidersIds:
    def test_a_letter_is_named_by_the_providers_id_in_its_own_chat_alone(self, api_env: ApiEnv) -> None:
        for action, body, made in (("redrive", None, failed), ("resolve", {"as": "sent"}, held)):
            place = made(api_env, "15550100448")
            message_id = place.rsplit("/", 1)[1]
            api_env.sql("UPDATE messages SET provider_id = 'wamid.LETTER' WHERE id = %s", int(message_id))
            for chat, company in (("15550100449", "alpha"), ("15550100448", "beta")):
                answer = api_env.call("POST", f"/api/v2/messages/{company}/{chat}/wamid.LETTER/{action}", json=body)
                assert problem(answer)["type"] == "message_unknown"
            answer = api_env.call("POST", f"/api/v2/messages/alpha/15550100448/wamid.LETTER/{action}", json=body)
            assert (answer.status_code < 300, answer.json()["id"]) == (True, message_id), answer.text
            api_env.sql("UPDATE messages SET state = 'delivered', provider_id = '' WHERE id = %s", int(message_id))


class TestResolve:
    @pytest.mark.parametrize(("word", "state"), [("sent", "sent"), ("resend", "queued"), ("failed", "failed")])
    def test_a_human_decides_once(self, api_env: ApiEnv, described: dict[str, Any], word: str, state: str) -> None:
        place = held(api_env, f"1555010045{len(word)}")
        for _ in range(2):
            answer = api_env.call("POST", f"{place}/resolve", json={"as": word})
            assert answer.status_code == 200, answer.text
            require_shape(described, "POST", f"{ONE}/resolve", answer)
            assert (answer.json()["status"], answer.json()["heldForHumanAt"]) == (state, None)
        other = api_env.call("POST", f"{place}/resolve", json={"as": "sent" if word != "sent" else "failed"})
        assert other.status_code == 409
        assert (problem(other)["type"], problem(other)["state"]) == ("not_held", state)
        api_env.call("DELETE", place)

    def test_only_three_words(self, api_env: ApiEnv) -> None:
        place = held(api_env, "15550100460")
        assert problem(api_env.call("POST", f"{place}/resolve", json={"as": "lost"}))["type"] == "body_invalid"
        assert api_env.call("GET", place).json()["heldForHumanAt"]


class TestListing:
    def test_what_waits_for_a_human_page_by_page(self, api_env: ApiEnv, described: dict[str, Any]) -> None:
        api_env.sql("UPDATE messages SET state = 'delivered', held_at = NULL WHERE company_id = 'beta'")
        template = """INSERT INTO messages (company_id, connection_id, process_name, chat_id, type, content, state,
            error_code)
                      SELECT 'beta', c.id, 'meta', '15550100470', 'text', '{"body": "secret"}', 'failed',
                      'many'
                      FROM phone_configs c, generate_series(1, 205) WHERE c.company_id = 'beta'"""
        api_env.sql(template)
        seen: list[str] = []
        cursor = ""
        while True:
            answer = api_env.call("GET", f"/api/v2/dead-letters/beta?code=many&phoneIndex=0{cursor}")
            require_shape(described, "GET", MANY, answer)
            seen += [letter["id"] for letter in answer.json()["letters"]]
            assert "secret" not in answer.text, "whoever wants to read it asks for the message"
            if answer.json()["next"] is None:
                break
            cursor = f"&cursor={answer.json()['next']}"
        assert len(seen) == len(set(seen)) == 205
        assert seen == sorted(seen, key=int, reverse=True)
        api_env.sql("DELETE FROM messages WHERE error_code = 'many'")

    def test_each_says_why_and_what_can_be_done(self, api_env: ApiEnv) -> None:
        places = {
            failed(api_env, "15550100473"): ["redrive"],
            held(api_env, "15550100474"): ["sent", "resend", "failed"],
        }
        for place, choices in places.items():
            message_id = place.rsplit("/", 1)[1]
            is_held = str("resend" in choices).lower()
            listed = api_env.call("GET", f"/api/v2/dead-letters/alpha?held={is_held}").json()["letters"]
            (letter,) = [one for one in listed if one["id"] == message_id]
            assert letter["choices"] == choices
            assert len(letter["reason"]) > 10
            others = api_env.call("GET", f"/api/v2/dead-letters/alpha?held={is_held == 'false'}".lower()).json()[
                "letters"
            ]
            assert message_id not in [one["id"] for one in others]

    @pytest.mark.parametrize("code", ["other_world", "other_account"])
    def test_why_is_a_sentence_where_the_row_has_only_a_code(self, api_env: ApiEnv, code: str) -> None:
        place = failed(api_env, "15550100477")
        message_id = place.rsplit("/", 1)[1]
        api_env.sql(f"UPDATE messages SET error_code = '{code}', error_detail = '' WHERE id = {message_id}")
        (letter,) = api_env.call("GET", f"/api/v2/dead-letters/alpha?code={code}").json()["letters"]
        assert letter["reason"].startswith("It was accepted for ")
        assert letter["reason"].endswith(".")
        api_env.sql("UPDATE messages SET state = 'delivered' WHERE id = " + message_id)

    @pytest.mark.parametrize(
        ("obstacle", "hindered", "free"),
        [
            (
                "connection_removed",
                "UPDATE phone_configs SET status = 'removed' WHERE company_id = 'beta' AND phone_index = 0",
                "UPDATE phone_configs SET status = 'active' WHERE company_id = 'beta' AND phone_index = 0",
            ),
            (
                "other_world",
                "UPDATE messages SET world = 'sandbox' WHERE company_id = 'beta'",
                "UPDATE messages SET world = 'live' WHERE company_id = 'beta'",
            ),
        ],
        ids=["removed", "world"],
    )
    def test_what_cannot_be_done_is_not_offered(self, api_env: ApiEnv, obstacle: str, hindered: str, free: str) -> None:
        number = 80 + 2 * len(obstacle)
        lost = failed(api_env, f"155501004{number}", company="beta")
        doubtful = held(api_env, f"155501004{number + 1}", company="beta")

        def choices(place: str) -> list[str]:
            letters = api_env.call("GET", "/api/v2/dead-letters/beta").json()["letters"]
            (offered,) = [one["choices"] for one in letters if one["id"] == place.rsplit("/", 1)[1]]
            return list(offered)

        api_env.sql(hindered)
        try:
            assert choices(lost) == []
            assert choices(doubtful) == ["sent", "failed"]
            refused = [
                problem(api_env.call("POST", f"{lost}/redrive")),
                problem(api_env.call("POST", f"{doubtful}/resolve", json={"as": "resend"})),
            ]
            assert [(one["type"], one["status"]) for one in refused] == [(obstacle, 409)] * 2
        finally:
            api_env.sql(free)
        assert choices(lost) == ["redrive"]
        assert choices(doubtful) == ["sent", "resend", "failed"]
        assert api_env.call("POST", f"{lost}/redrive").status_code == 202
        assert api_env.call("POST", f"{doubtful}/resolve", json={"as": "resend"}).status_code == 200

    def test_what_a_removed_connection_left_is_not_redriven(self, api_env: ApiEnv) -> None:
        place = failed(api_env, "15550100475", company="beta")
        api_env.sql("UPDATE phone_configs SET status = 'removed' WHERE company_id = 'beta' AND phone_index = 0")
        try:
            refused = problem(api_env.call("POST", place + "/redrive"))
            assert (refused["type"], refused["status"]) == ("connection_removed", 409)
            assert api_env.call("POST", "/api/v2/dead-letters/beta/redrive", json={}).json()["redriven"] == 0
        finally:
            api_env.sql("UPDATE phone_configs SET status = 'active' WHERE company_id = 'beta' AND phone_index = 0")
        assert api_env.call("POST", place + "/redrive").status_code == 202

    def test_held_ones_are_listed_with_their_state(self, api_env: ApiEnv) -> None:
        place = held(api_env, "15550100471")
        (letter,) = [
            one
            for one in api_env.call("GET", "/api/v2/dead-letters/alpha").json()["letters"]
            if one["chatId"] == "15550100471"
        ]
        assert (letter["status"], letter["error"]["code"], bool(letter["heldForHumanAt"])) == (
            "in_doubt",
            "no_evidence",
            True,
        )
        api_env.call("POST", f"{place}/resolve", json={"as": "sent"})

    @pytest.mark.parametrize(
        ("query", "kind"),
        [
            ("cursor=x", "query_invalid"),
            ("code=" + "x" * 101, "query_invalid"),
            ("code=%00", "query_invalid"),
            ("phoneIndex=-1", "query_invalid"),
            ("phoneIndex=0&phoneIndex=1", "query_invalid"),
        ],
    )
    def test_a_query_that_cannot_be_read_is_refused(self, api_env: ApiEnv, query: str, kind: str) -> None:
        assert problem(api_env.call("GET", f"/api/v2/dead-letters/alpha?{query}"))["type"] == kind

    def test_no_company_sees_anothers(self, api_env: ApiEnv) -> None:
        failed(api_env, "15550100472", company="beta")
        assert not [
            one
            for one in api_env.call("GET", "/api/v2/dead-letters/alpha").json()["letters"]
            if one["chatId"] == "15550100472"
        ]
        for method, place in (("GET", "/api/v2/dead-letters/nobody"), ("POST", "/api/v2/dead-letters/nobody/redrive")):
            assert problem(api_env.call(method, place, json={}))["type"] == "company_unknown"
