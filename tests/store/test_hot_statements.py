"""The statements that run for every batch: prepared on each connection, and cheap however much waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

import psycopg2
import pytest

from shared.clock import monotonic as now
from shared.errors import StoreUnavailable
from shared.inbound_events import ContactMove
from shared.states import MessageState
from shared.store import contacts, inbound, messages, people
from shared.store.pool import Pool, Transaction
from shared.store.statements import HOT, prepared, statements
from tests.store.env import LONG_AGO, StoreEnv
from tests.support.database import query

BACKLOG = 12_000
FEW_PAGES = 300


def execute(transaction: Transaction, statement: str) -> list[tuple[object, ...]]:
    """Run any statement inside the transaction."""
    transaction._cursor.execute(statement)
    return list(transaction._cursor.fetchall()) if transaction._cursor.description else []


def prepared_names(transaction: Transaction) -> set[object]:
    return {name for (name,) in execute(transaction, "SELECT name FROM pg_prepared_statements")}


def pages_read(transaction: Transaction) -> int:
    """Return how many pages of the messages and their indexes this transaction has looked at."""
    return int(
        str(
            execute(
                transaction,
                """SELECT sum(pg_stat_get_xact_blocks_fetched(oid)) FROM (
                       SELECT 'messages'::regclass::oid AS oid
                       UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = 'messages'::regclass) AS relations""",
            )[0][0]
        )
    )


@pytest.fixture
def waiting(own_env: StoreEnv) -> StoreEnv:
    """Many open rows that statistics know nothing of, as when a provider's outage begins."""
    # of its own: a table that was emptied counts as empty until it is analysed, whatever size it has
    query(own_env.url, "VACUUM ANALYZE messages")
    own_env.accept(*(f"chat-{number}" for number in range(BACKLOG)))
    return own_env


class TestPrepared:
    def test_every_hot_statement_exists_and_every_parameter_is_passed_on(self) -> None:
        assert statements().keys() >= HOT
        for name, (prepare, execute_) in prepared().items():
            assert "%(" not in prepare
            assert statements()[name].count("%(") >= execute_.count("%(") > 0

    def test_a_connection_prepares_a_statement_once_and_keeps_it_through_a_rollback(self, env: StoreEnv) -> None:
        pool = Pool(env.url, limit=1, application_name="prepared", idle_s=30.0, connect_s=5.0)
        ids = env.accept("a", "b")

        with pytest.raises(ZeroDivisionError), pool.transaction(monotonic() + 5) as transaction:
            messages.claim(transaction, kind="meta", incarnation="meta-0.a", ids=ids, most=10, token_at_claim=True)
            raise ZeroDivisionError
        with pool.transaction(monotonic() + 5) as transaction:
            assert "claim_messages" in prepared_names(transaction)
            claimed = messages.claim(
                transaction, kind="meta", incarnation="meta-0.b", ids=ids, most=10, token_at_claim=True
            )
        pool.close()

        assert [(message.id, message.incarnation) for message in claimed] == [(row_id, "meta-0.b") for row_id in ids]

    def test_a_statement_that_could_not_be_prepared_is_prepared_later(self, env: StoreEnv) -> None:
        pool = Pool(env.url, limit=1, application_name="prepared", idle_s=30.0, connect_s=5.0)
        with pytest.raises(psycopg2.Error), pool.transaction(monotonic() + 5) as transaction:
            transaction._cursor.execute("SET LOCAL search_path TO nowhere")
            try:
                messages.settle(transaction, incarnation="x", settlements=[])
            except psycopg2.Error as error:
                raise psycopg2.DataError from error
        with pool.transaction(monotonic() + 5) as transaction:
            assert messages.settle(transaction, incarnation="x", settlements=[]) == set()
        pool.close()

    def test_plans_are_made_anew_as_tables_grow(self, env: StoreEnv) -> None:
        at = [now()]
        pool = Pool(env.url, limit=1, application_name="prepared", idle_s=30.0, connect_s=60.0, clock=lambda: at[0])

        def plans_made() -> object:
            with pool.transaction(monotonic() + 60) as transaction:
                messages.settle(transaction, incarnation="x", settlements=[])
                return execute(
                    transaction, "SELECT generic_plans FROM pg_prepared_statements WHERE name = 'settle_messages'"
                )[0][0]

        assert [plans_made(), plans_made()] == [1, 2]
        at[0] += 6.0
        # the count of executions goes on: the statement is still the same one
        assert plans_made() == 3
        pool.close()


class TestCost:
    def test_a_claim_and_its_settlement_cost_what_they_take_not_what_waits(self, waiting: StoreEnv) -> None:
        ids = [
            int(row["id"])
            for row in query(waiting.url, "SELECT id FROM messages WHERE state = 'queued' ORDER BY id LIMIT 5")
        ]
        pool = Pool(waiting.url, limit=1, application_name="prepared", idle_s=30.0, connect_s=5.0)
        with pool.transaction(monotonic() + 5) as transaction:
            claimed = messages.claim(
                transaction,
                kind="meta",
                incarnation="meta-0.a",
                ids=ids,
                chats=[(waiting.connection, "chat-9")],
                most=10,
                token_at_claim=True,
            )
            for_claim = pages_read(transaction)
        with pool.transaction(monotonic() + 5) as transaction:
            outcomes = [
                messages.Settlement(id=message.id, state=MessageState.SENT, provider_id=f"w-{message.id}")
                for message in claimed
            ]
            written = messages.settle(transaction, incarnation="meta-0.a", settlements=outcomes)
            for_both = pages_read(transaction)
        pool.close()

        assert len(written) == len(claimed) == 6
        assert for_claim < FEW_PAGES
        # the server adds up what a session has not reported yet
        assert for_both < 2 * FEW_PAGES


FIRST_PEOPLE, PEOPLE = 20, 3_000
"""Known at the connection when statements are planned, and when they run; each by a number and a user id."""


def rows_read(transaction: Transaction) -> int:
    """Return how many rows and index entries of any table this transaction has looked at."""
    return int(
        str(
            execute(
                transaction,
                """SELECT sum(pg_stat_get_xact_tuples_returned(oid)) FROM pg_class
                   WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'i')""",
            )[0][0]
        )
    )


class TestCostOfPeople:
    """What a batch costs does not grow with the people whom a connection knows, even by plans for few of them."""

    BATCH = 50
    ROWS_EACH = 60

    def cost(self, env: StoreEnv, step: Callable[[Transaction], object], at_first: int = FIRST_PEOPLE) -> int:
        """Return how many rows a step reads for one of the batch: planned with few people, run with many."""
        at = now()
        pool = Pool(env.url, limit=1, application_name="crowd", idle_s=30.0, connect_s=5.0, clock=lambda: at)
        try:
            self.meet(env, 1, at_first)
            query(env.url, "VACUUM ANALYZE contacts, contact_aliases, people")
            with pytest.raises(ZeroDivisionError), pool.transaction(monotonic() + 20) as transaction:
                step(transaction)
                raise ZeroDivisionError
            self.meet(env, at_first + 1, PEOPLE)
            with pool.transaction(monotonic() + 20) as transaction:
                before = rows_read(transaction)
                step(transaction)
                return (rows_read(transaction) - before) // self.BATCH
        finally:
            pool.close()

    def meet(self, env: StoreEnv, first: int, last: int) -> None:
        for statement in (
            """INSERT INTO contacts (connection_id, user_id, phone, first_seen_at, last_seen_at)
               SELECT %(connection)s, 'US.' || g, (15550000000 + g)::text, now(), now()
               FROM generate_series(%(first)s, %(last)s) AS g""",
            """INSERT INTO contact_aliases (company_id, alias, person_id)
               SELECT c.company_id, alias, 1000000 + g
               FROM phone_configs c, generate_series(%(first)s, %(last)s) AS g,
                    unnest(ARRAY['US.' || g, (15550000000 + g)::text]) AS alias WHERE c.id = %(connection)s""",
            """INSERT INTO people (company_id, id, first_seen_at, last_seen_at)
               SELECT c.company_id, 1000000 + g, now(), now()
               FROM phone_configs c, generate_series(%(first)s, %(last)s) AS g WHERE c.id = %(connection)s""",
        ):
            query(env.url, statement, connection=env.connection, first=first, last=last)

    @pytest.mark.parametrize(("known", "at_first"), [(True, 0), (True, FIRST_PEOPLE), (False, FIRST_PEOPLE)])
    def test_who_is_one_person(self, own_env: StoreEnv, known: bool, at_first: int) -> None:
        first = 1 if known else PEOPLE + 1
        pairs = [
            people.OnePerson(connection_id=own_env.connection, first=f"US.{n}", second=str(15550000000 + n))
            for n in range(first, first + self.BATCH)
        ]
        assert self.cost(own_env, lambda transaction: people.learn(transaction, pairs), at_first) < self.ROWS_EACH

    def test_who_has_another_number(self, own_env: StoreEnv) -> None:
        moves = [
            ContactMove(
                connection_id=own_env.connection,
                former=str(15550000000 + n),
                user_id=f"US.9{n}",
                phone=str(15560000000 + n),
                at=LONG_AGO,
            )
            for n in range(1, self.BATCH + 1)
        ]
        assert self.cost(own_env, lambda transaction: inbound.see(transaction, [], moves)) < self.ROWS_EACH
        moved = query(own_env.url, "SELECT user_id FROM contacts WHERE phone LIKE '1556%%'")
        assert {row["user_id"] for row in moved} == {move.user_id for move in moves}

    def test_whose_messages_are_new(self, own_env: StoreEnv) -> None:
        ids = own_env.accept(*(str(15550000000 + n) for n in range(PEOPLE - 24, PEOPLE + 26)))
        query(own_env.url, "ANALYZE messages")
        assert self.cost(own_env, lambda transaction: contacts.see(transaction, ids)) < self.ROWS_EACH
        (row,) = query(own_env.url, "SELECT count(*) AS people FROM people")
        assert row["people"] == PEOPLE + 25


class TestEachStatementByItself:
    def test_what_was_written_before_an_error_stays_and_the_connection_serves_on(self, env: StoreEnv) -> None:
        pool = Pool(env.url, limit=1, application_name="each", idle_s=30.0, connect_s=5.0)
        first, second = env.accept("a", "b")

        with pytest.raises(ZeroDivisionError), pool.statements(monotonic() + 5) as each:
            messages.claim(each, kind="meta", incarnation="meta-0.a", ids=[first], most=10, token_at_claim=True)
            raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError), pool.transaction(monotonic() + 5) as transaction:
            messages.claim(transaction, kind="meta", incarnation="meta-0.a", ids=[second], most=10, token_at_claim=True)
            raise ZeroDivisionError

        assert (env.state(first), env.state(second)) == ("sending", "queued")
        assert (pool.stats.opened, pool.stats.discarded) == (1, 0)
        pool.close()

    def test_a_statement_whose_answer_is_lost_may_be_done(self, env: StoreEnv) -> None:
        pool = Pool(env.url, limit=1, application_name="each", idle_s=30.0, connect_s=5.0)
        with pytest.raises(StoreUnavailable) as raised, pool.statements(monotonic() + 0.3) as each:
            execute(each, "SELECT pg_sleep(20)")
        assert raised.value.may_be_done
        pool.close()

    def test_from_the_event_loop(self, env: StoreEnv) -> None:
        (row_id,) = env.accept("a")
        claimed = asyncio.run(
            env.store.call_each(
                messages.claim, kind="meta", incarnation="meta-0.a", ids=[row_id], most=10, token_at_claim=True
            ),
        )
        assert [message.id for message in claimed] == [row_id]
        env.store.close()
        with pytest.raises(StoreUnavailable):
            asyncio.run(env.store.call_each(messages.queue_depth))
