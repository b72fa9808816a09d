"""The result itself: a run that went well is clean, and a ledger that was doctored is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos.calls import Calls
from chaos.installation import ChaosInstallation
from chaos.judge import AcceptedMessage, ReportedState, RunResult, SenderKill, judge
from chaos.ledger import LedgerReader
from chaos.report import as_json, table
from chaos.run import Outcome

CHATS = ("meta_direct/0000", "360dialog/0001")
ACCEPTED = [
    AcceptedMessage(
        text=f"chaos-1 {chat} {number}", chat=chat, number=number, accepted_at=100.0 + number, id=f"{chat} {number}"
    )
    for chat in CHATS
    for number in range(1, 6)
]
SENT = {message.text: ReportedState(state="delivered") for message in ACCEPTED}


def honest() -> list[dict[str, Any]]:
    """Return the ledger of a run in which everything arrived once and in order, chats side by side, among entries that
    are no arrivals.
    """
    entries: list[dict[str, Any]] = [{"channel": "webhook", "event": "taken", "updates": []}]
    for number in range(1, 6):
        for chat in CHATS:
            text = f"chaos-1 {chat} {number}"
            body = {"type": "text", "message": {"text": {"body": text}}}
            entries.append({"channel": "graph", "event": "accepted", "id": f"wamid.{text}", "callback": "", **body})
            entries.append({"channel": "graph", "event": "refused", "fault": "cut_before"})
    entries.append(
        {"channel": "graph", "event": "accepted", "type": "text", "message": {"text": {"body": "somebody else's"}}}
    )
    entries.append({"channel": "web", "event": "message_arrived", "body": "another run's"})
    return entries


def arrival(text: str) -> dict[str, Any]:
    return {"channel": "web", "event": "message_arrived", "body": text}


def position(entries: list[dict[str, Any]], text: str) -> int:
    (found,) = [
        index
        for index, entry in enumerate(entries)
        if entry["event"] == "accepted" and entry["message"]["text"]["body"] == text
    ]
    return found


def judged(
    entries: list[dict[str, Any]],
    home: Path,
    reported: dict[str, ReportedState] = SENT,
    kills: tuple[SenderKill, ...] = (),
) -> RunResult:
    """Write the entries as the sandbox does, in two pieces with a torn line between them, and judge what the program
    reads from the file.
    """
    (home / "sandbox").mkdir()
    file = home / "sandbox" / "ledger.jsonl"
    lines = b"".join(
        json.dumps({"seq": number, "at": 100.0 + number, **entry}).encode() + b"\n"
        for number, entry in enumerate(entries, 1)
    )
    reader = LedgerReader(ChaosInstallation(home, {}, {}, Calls()), "chaos-1 ")
    reader.read()
    file.write_bytes(lines[: len(lines) // 2])
    reader.read()
    file.write_bytes(lines)
    reader.read()
    return judge(ACCEPTED, reader.received, reported, kills)


def test_an_honest_ledger_is_clean(tmp_path: Path) -> None:
    result = judged(honest(), tmp_path)
    assert result.is_clean
    assert (result.accepted, result.arrived, result.unasked) == (10, 10, 0)
    assert not (result.held or result.behind or result.parked or result.in_doubt)


def test_a_lost_message_is_named(tmp_path: Path) -> None:
    entries, text = honest(), ACCEPTED[2].text
    del entries[position(entries, text)]
    result = judged(entries, tmp_path)
    assert not result.is_clean
    assert result.lost == {text: "delivered"}, "what Bulkhead says about it does not help"
    assert not (result.duplicated or result.reordered)


def test_a_lost_message_without_any_trace_is_lost(tmp_path: Path) -> None:
    entries, text = honest(), ACCEPTED[2].text
    del entries[position(entries, text)]
    assert judged(entries, tmp_path, reported={}).lost == {text: "unknown"}


def test_a_dead_letter_is_lost(tmp_path: Path) -> None:
    entries, text = honest(), ACCEPTED[4].text
    del entries[position(entries, text)]
    assert judged(entries, tmp_path, {text: ReportedState(state="failed", code="131000")}).lost == {
        text: "failed 131000"
    }


def test_a_duplicate_is_counted_wherever_it_came_through(tmp_path: Path) -> None:
    entries, text = honest(), ACCEPTED[7].text
    result = judged([*entries, arrival(text), arrival(text)], tmp_path)
    assert not result.is_clean
    assert result.duplicated == {text: 3}
    assert not result.reordered, "a second arrival is a duplicate, not a disorder"


def test_two_messages_of_a_chat_in_the_wrong_order(tmp_path: Path) -> None:
    entries = honest()
    second, third = (position(entries, f"chaos-1 {CHATS[0]} {number}") for number in (2, 3))
    entries[second], entries[third] = entries[third], entries[second]
    result = judged(entries, tmp_path)
    assert not result.is_clean
    assert result.reordered == [f"chaos-1 {CHATS[0]} 2"]
    assert not (result.lost or result.duplicated)


def test_a_late_message_is_one_disorder_not_many(tmp_path: Path) -> None:
    entries = honest()
    entries.append(entries.pop(position(entries, f"chaos-1 {CHATS[1]} 1")))
    assert judged(entries, tmp_path).reordered == [f"chaos-1 {CHATS[1]} 1"]


def test_held_and_parked_are_named_and_not_lost(tmp_path: Path) -> None:
    entries = honest()
    gone = [ACCEPTED[0].text, ACCEPTED[1].text, ACCEPTED[9].text]
    for text in gone:
        del entries[position(entries, text)]
    reported = SENT | {
        gone[0]: ReportedState(state="in_doubt", code="no_evidence", held=True),
        gone[1]: ReportedState(state="queued"),
        gone[2]: ReportedState(state="failed", code="poison"),
        ACCEPTED[5].text: ReportedState(state="in_doubt", code="process_died"),
    }
    result = judged(entries, tmp_path, reported)
    assert result.is_clean
    assert result.held == {gone[0]: "no_evidence"}
    assert result.behind == [gone[1]]
    assert result.parked == [gone[2]]
    assert result.in_doubt == {ACCEPTED[5].text: "process_died"}


def test_a_queued_message_of_a_chat_without_a_held_one_is_lost(tmp_path: Path) -> None:
    entries, text = honest(), ACCEPTED[1].text
    del entries[position(entries, text)]
    assert judged(entries, tmp_path, SENT | {text: ReportedState(state="queued")}).lost == {text: "queued"}


def test_an_arrival_without_an_answer_is_allowed_once(tmp_path: Path) -> None:
    text = f"chaos-1 {CHATS[0]} 6"
    assert judged([*honest(), arrival(text)], tmp_path).unasked == 1


def test_and_not_twice(tmp_path: Path) -> None:
    text = f"chaos-1 {CHATS[0]} 6"
    assert judged([*honest(), arrival(text), arrival(text)], tmp_path).duplicated == {text: 2}


def test_the_time_after_a_kill_counts_what_was_accepted_before_it(tmp_path: Path) -> None:
    entries = honest()
    late = entries.pop(position(entries, f"chaos-1 {CHATS[0]} 2"))
    result = judged(
        [*entries, late],
        tmp_path,
        kills=(
            SenderKill(at=103.5, target="meta-0"),
            SenderKill(at=101.5, target="meta-1"),
            SenderKill(at=200.0, target="meta-0"),
        ),
    )
    last = 100.0 + len(entries) + 1
    # at 101.5 only the first messages were accepted, and they arrived soon
    assert [seconds for _, seconds in result.recoveries] == pytest.approx([last - 103.5, 104.0 - 101.5, 0.0])


@pytest.mark.parametrize(
    "what", ["lost", "duplicated", "reordered", "misdirected", "altered", "misreported", "misremembered"]
)
def test_the_report_says_not_clean(what: str, tmp_path: Path) -> None:
    clean = judged(honest(), tmp_path)
    doctored = {
        "lost": replace(clean, lost={"chaos-1 x 1": "queued"}),
        "duplicated": replace(clean, duplicated={"chaos-1 x 1": 2}),
        "reordered": replace(clean, reordered=["chaos-1 x 1"]),
        "misdirected": replace(clean, misdirected={"chaos-1 x 1": "to …0002"}),
        "altered": replace(clean, altered={"chaos-1 x 1": "differs in body"}),
        "misreported": replace(clean, misreported={"chaos-1 x 1": "shown as sent, never arrived"}),
        "misremembered": replace(clean, misremembered={"chaos-1 x 1": "begins with sent"}),
    }
    for result, is_clean in ((clean, True), (doctored[what], False)):
        outcome = Outcome(
            result=result,
            seconds=1.0,
            asked=10,
            again={},
            done={"kill_meta": 1, "cut_after": 2, "late_webhook": 3},
            left_out={},
            at_provider={"cut_after": 6, "webhook_delay": 30},
            crash_points={"meta:settle.begun": 1},
            settled=True,
            settle_s=0.1,
        )
        assert outcome.faults == 1 + 6 + 30 + 1, (
            "of the provider's faults each send and each webhook counts that one befell"
        )
        shown, result_json = table(outcome), as_json(outcome, seed=1)
        assert shown.endswith("result: clean" if is_clean else "result: NOT CLEAN")
        assert ("chaos-1 x 1" in shown) is not is_clean
        assert result_json["clean"] is is_clean
        assert bool(result_json[what]) is not is_clean
