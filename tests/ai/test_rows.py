"""Claims, fences and reclaims of turns against the database, without any process."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path

import pytest

from ai import rows
from ai.answer_time import AnswerTime
from ai.rows import AssistantTurn, TurnLost
from ai.runs import AnswerRun, Caps, RunSpending
from shared.delivery.reclaim import reclaim, reclaim_expired
from shared.llm.asking import ModelMetrics
from shared.llm.failures import ModelFailed
from shared.llm.prices import PRICES
from shared.llm.questions import ModelAnswer, ModelTarget, Question
from shared.process.metrics import Metrics
from shared.store import processes
from shared.store.connections import desired_kinds
from shared.store.pool import Transaction
from shared.tenancy.company_settings import CompanySettings
from tests.ai.env import AiEnv
from tests.store.env import side_by_side
from tests.store.test_hosts import beat
from tests.support.database import query

_CHAT = "15550100200"
_CAPS = Caps(iterations=5, tokens=1000, micros=1_000_000, wall_s=60)


def _claim(ai: AiEnv, incarnation: str) -> list[AssistantTurn]:
    return ai.store.store.run(rows.claim, incarnation=incarnation, most=10, each=10)


def _pages_read(transaction: Transaction) -> int:
    transaction._cursor.execute(
        """SELECT sum(pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class
           WHERE oid = 'turns'::regclass
             OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'turns'::regclass)"""
    )
    return int(transaction._cursor.fetchone()[0])


def test_the_kind_runs_while_a_company_uses_it_or_something_waits(ai: AiEnv) -> None:
    def is_needed() -> bool:
        return "ai" in ai.store.store.run(desired_kinds)

    assert is_needed()
    ai.write(_CHAT, "hello")
    ai.set(enableAssistant=False)
    assert is_needed(), "a turn waits"
    (turn,) = _claim(ai, "ai-0.a")
    assert is_needed(), "it is being answered"
    ai.store.store.run(rows.end, turn, incarnation="ai-0.a", state="dropped")
    assert not is_needed()
    query(ai.store.url, "UPDATE companies SET settings = '{\"enableAssistant\": true}', state = 'suspended'")
    assert not is_needed()


def test_two_processes_never_have_one_turn(ai: AiEnv) -> None:
    for number in range(20):
        ai.write(f"1555010{number:04}", "hello")
    both = side_by_side(lambda: _claim(ai, "ai-0.a"), lambda: _claim(ai, "ai-1.b"))
    ids = [turn.id for found in both for turn in found]
    assert len(ids) == len(set(ids))


def test_what_a_dead_process_had_in_hand_is_claimed_first(ai: AiEnv, tmp_path: Path) -> None:
    ai.write(_CHAT, "hello")
    (turn,) = _claim(ai, "ai-0.a")
    # the next turn of the conversation is open meanwhile, and waits
    ai.write(_CHAT, "are you there?")
    assert not _claim(ai, "ai-1.b")
    ai.store.store.run(reclaim, tmp_path, "ai-0.a", why="test")
    (again,) = _claim(ai, "ai-1.b")
    assert (again.id, again.attempts) == (turn.id, 2)
    ai.store.store.run(rows.end, again, incarnation="ai-1.b", state="answered")
    (following,) = _claim(ai, "ai-1.b")
    assert following.id > turn.id


def test_what_a_dead_process_had_in_hand_comes_before_what_came_in_since(ai: AiEnv, tmp_path: Path) -> None:
    ai.write(_CHAT, "hello")
    (turn,) = _claim(ai, "ai-0.a")
    ai.write("15550100201", "hello")
    ai.store.store.run(reclaim, tmp_path, "ai-0.a", why="test")
    (first,) = ai.store.store.run(rows.claim, incarnation="ai-1.b", most=1, each=10)
    assert first.id == turn.id


def test_a_claim_reads_what_a_company_may_have_and_not_what_waits(ai: AiEnv) -> None:
    query(
        ai.store.url,
        """WITH made AS (
               INSERT INTO conversations (company_id, connection_id, chat_id, state)
               SELECT 'acme', %(connection)s, (15551000000 + n)::text, 'bot' FROM generate_series(1, 5000) AS n
               RETURNING id, company_id)
           INSERT INTO turns (company_id, conversation_id, first_inbound_id, last_inbound_id)
           SELECT company_id, id, 1, 1 FROM made""",
        connection=ai.connection,
    )
    query(ai.store.url, "ANALYZE turns")

    def work(transaction: Transaction) -> tuple[int, int]:
        before = _pages_read(transaction)
        claimed = rows.claim(transaction, incarnation="ai-0.a", most=32, each=8)
        return len(claimed), _pages_read(transaction) - before

    assert ai.store.store.run(rows.next_in_s) <= 0
    claimed, pages = ai.store.store.run(work)
    assert claimed == 8
    assert pages < 400, "5,000 turns have more pages than that"
    # a company that has its share is not read at all
    claimed, pages = ai.store.store.run(work)
    assert (claimed, pages < 100) == (0, True), pages


def test_a_turn_is_awaited_until_it_is_due(ai: AiEnv) -> None:
    assert ai.store.store.run(rows.next_in_s) == math.inf
    ai.set(answerDelaySeconds=30).write(_CHAT, "hello")
    assert 0 < ai.store.store.run(rows.next_in_s) <= 30
    assert not _claim(ai, "ai-0.a")


def test_a_new_life_of_a_slot_takes_nothing_from_another_host(ai: AiEnv) -> None:
    ai.write(_CHAT, "hello")
    ai.write("15550100201", "hello")
    here, there = (
        ai.store.store.run(rows.claim, incarnation=one, most=1, each=10)[0] for one in ("ai-0.a@here", "ai-0.b@there")
    )
    assert ai.store.store.run(rows.release_earlier_lives, slot="ai-0", living="ai-0.c@here") == 1
    assert [turn.id for turn in _claim(ai, "ai-0.c@here")] == [here.id]
    ai.store.store.run(rows.hold, there.id, incarnation="ai-0.b@there")


class TestLateClaims:
    """A claim that is committed after its process was found dead: without it, no other process would ever answer."""

    def test_of_this_host(self, ai: AiEnv, tmp_path: Path) -> None:
        ai.write(_CHAT, "hello")
        (turn,) = _claim(ai, "ai-0.a@here")
        ended = {"boot_id": "b", "seq": 1, "at": "2026-01-01T00:00:00+00:00", "event": "slot_free", "detail": {},
                 "process_name": "ai", "instance": 0, "incarnation": "ai-0.a@here"}  # fmt: skip
        store = ai.store.store
        assert store.run(processes.proved_dead, "here") == []
        store.run(processes.write_events, [ended])
        assert store.run(processes.proved_dead, "there") == []
        assert store.run(processes.proved_dead, "here") == ["ai-0.a@here"]
        store.run(reclaim, tmp_path, "ai-0.a@here", why="test")
        assert store.run(processes.proved_dead, "here") == []
        assert [again.id for again in _claim(ai, "ai-0.b@here")] == [turn.id]

    @pytest.mark.parametrize("has_beaten", [True, False])
    def test_of_another_host(self, ai: AiEnv, tmp_path: Path, has_beaten: bool) -> None:
        store = ai.store.store
        if has_beaten:
            beat(ai.store, "ai-0.a@there", age_s=90.0)
            (life,) = store.run(processes.silent_lives, silent_s=20.0)
            store.run(reclaim_expired, tmp_path, life)
            assert store.run(processes.silent_lives, silent_s=20.0) == [], "it is fenced and holds nothing"
        ai.write(_CHAT, "hello")
        (turn,) = _claim(ai, "ai-0.a@there")
        query(ai.store.url, "UPDATE turns SET claimed_at = now() - interval '1 minute'")
        (life,) = store.run(processes.silent_lives, silent_s=20.0)
        assert (life.incarnation, life.expired) == ("ai-0.a@there", True)
        store.run(reclaim_expired, tmp_path, life)
        assert [again.id for again in _claim(ai, "ai-0.b@here")] == [turn.id]


_TARGET = ModelTarget(model="gpt-4o", base_url="http://model.test", key="", is_ours=True)
_QUESTION = Question(company_id="acme", messages=[{"role": "user", "content": "hello"}], most_tokens=100)


def _spending(ai: AiEnv, turn: AssistantTurn, **caps: float) -> RunSpending:
    run = AnswerRun(
        company_id="acme",
        name=turn.run,
        turn_id=turn.id,
        settings=CompanySettings.read({}),
        fence=lambda transaction: rows.hold(transaction, turn.id, incarnation="ai-0.a"),
    )
    return RunSpending(
        ai.store.store,
        run,
        replace(_CAPS, **caps),  # type: ignore[arg-type]
        prices=PRICES,
        metrics=ModelMetrics(Metrics()),
        time=AnswerTime(60.0),
    )


def test_one_answer_has_limits_of_tokens_and_money(ai: AiEnv) -> None:
    ai.write(_CHAT, "hello")
    (turn,) = _claim(ai, "ai-0.a")
    with pytest.raises(ModelFailed, match="turn_cost"):
        asyncio.run(_spending(ai, turn, micros=10).reserve(_TARGET, _QUESTION))
    spending = _spending(ai, turn, tokens=50)
    number = asyncio.run(spending.reserve(_TARGET, _QUESTION))
    answer = ModelAnswer(model="gpt-4o", text="hi", tokens_in=40, tokens_out=10)
    asyncio.run(spending.settle(number, answer, None, 1.0))
    with pytest.raises(ModelFailed, match="tokens"):
        asyncio.run(spending.reserve(_TARGET, _QUESTION))
    # what was refused reserved nothing
    assert ai.spent()["reserved"] == 0 and ai.spent()["calls"] == 1


def test_a_lost_turn_asks_no_model(ai: AiEnv) -> None:
    ai.write(_CHAT, "hello")
    (turn,) = _claim(ai, "ai-0.a")
    spending = _spending(ai, turn)
    number = asyncio.run(spending.reserve(_TARGET, _QUESTION))
    assert ai.spent()["reserved"] > 0
    query(ai.store.url, "UPDATE turns SET incarnation_id = 'ai-1.b'")
    with pytest.raises(TurnLost):
        asyncio.run(spending.reserve(_TARGET, _QUESTION))
    # what it had asked for is settled once, by the first that comes
    ai.store.store.run(rows.settle_lost, "acme", turn.run, turn_id=turn.id)
    with pytest.raises(TurnLost):
        asyncio.run(spending.settle(number, None, None, 1.0))
    spent = ai.spent()
    assert spent["reserved"] == 0 and spent["calls"] == 1 and spent["spent"] > 0
