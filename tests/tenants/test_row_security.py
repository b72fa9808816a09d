"""Requests about one company run in the tenant role: shown by an API whose statements have lost their conditions on the
company, and by one whose runtime role may not look at companies' tables.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from tests.api.api_env import CHAT, ApiEnv
from tests.support.servers import Servers
from tests.tenants.making import new_key
from tests.tenants.test_walk import short

NEEDED_BEFORE: Final = ("api_keys", "companies")
"""Tables that show whose key a request has, before its company is known."""
IN_THE_RUNTIME_ROLE: Final = frozenset({"POST /api/v2/keys", "POST /api/v2/keys/{keyId}/rotate"})
"""Operations that need the runtime role beside those that send: digests of keys are closed to the tenant role."""
CHANGED: Final = ("messages", "people", "conversations", "services", "functions", "documents", "hooks")
"""Tables of which a request changes or removes single rows."""
SEARCHES: Final = ("chats", "contacts", "messages")


@contextmanager
def running(servers: Servers, **variables: Any) -> Iterator[ApiEnv]:
    """Run an API over a database of its own, with one thing of each kind for companies alpha and beta."""
    home = Path(tempfile.mkdtemp(prefix="bh-"))
    name, url = servers.new_database()
    with ApiEnv(home, url, servers.new_redis(), **variables) as api:
        api.seed()
        for company in ("alpha", "beta"):
            fill(api, company)
        yield api.start()
    servers.drop_database(name)
    shutil.rmtree(home)


def fill(api: ApiEnv, company: str) -> None:
    """Put one thing of each kind into the database."""
    api.sql(
        """WITH c AS (SELECT id, company_id FROM phone_configs WHERE company_id = %s AND phone_index = 0),
        sent AS (INSERT INTO messages (company_id, connection_id, process_name, chat_id, type, content,
                                       state, error_code)
                 SELECT company_id, id, 'meta', %s, 'text', jsonb_build_object('body', 'of ' || company_id),
                        'failed', 'gone' FROM c),
        came AS (INSERT INTO inbound_messages (company_id, connection_id, provider_id, chat_id, sender, type,
                                               content, at)
                 SELECT company_id, id, 'wamid.' || company_id, %s, '1', 'text',
                        jsonb_build_object('body', 'to ' || company_id), now() FROM c),
        task AS (INSERT INTO tasks (company_id, process_name, operation, expires_at)
                 SELECT company_id, 'meta', 'of ' || company_id, now() FROM c),
        file AS (INSERT INTO media_files (company_id, sha256, size, mimetype)
                 SELECT company_id, repeat(CASE company_id WHEN 'alpha' THEN 'a' ELSE 'b' END, 64), 1, 'text/plain'
                 FROM c),
        hook AS (INSERT INTO hooks (company_id, url, sealed, xid, event_id)
                 SELECT company_id, 'https://' || company_id || '.example', '', 0, 0 FROM c RETURNING id),
        try AS (INSERT INTO hook_deliveries (hook_id, xid, event_id, type, attempt, outcome, took_ms)
                SELECT id, 1, 1, 'message.sent', 1, 'delivered', 1 FROM hook),
        template AS (INSERT INTO templates (connection_id, name, language, status, world)
                     SELECT id, 'of_' || company_id, 'en', 'APPROVED', 'sandbox' FROM c),
        document AS (INSERT INTO documents (company_id, sha256, title, mimetype, size)
                     SELECT company_id, repeat('d', 64), 'of ' || company_id, 'text/plain', 1 FROM c),
        person AS (INSERT INTO people (company_id, id, name, first_seen_at, last_seen_at)
                   SELECT company_id, nextval('person_ids'), 'of ' || company_id, now(), now() FROM c),
        talk AS (INSERT INTO conversations (company_id, connection_id, chat_id, state, assignee)
                 SELECT company_id, id, %s, 'human', 'of ' || company_id FROM c),
        service AS (INSERT INTO services (company_id, name) SELECT company_id, 'of ' || company_id FROM c),
        function AS (INSERT INTO functions (company_id, name, description, url)
                     SELECT company_id, 'hello', 'of ' || company_id, 'https://' || company_id || '.example' FROM c),
        secret AS (INSERT INTO tenant_secrets (company_id, name, sealed)
                   SELECT company_id, 'of_' || company_id, '' FROM c),
        event AS (INSERT INTO events (subject, type, company_id, connection_id, data)
                  SELECT 'session', 'session.ready', company_id, id,
                         jsonb_build_object('detail', 'of ' || company_id) FROM c)
        UPDATE phone_configs SET world = 'sandbox' WHERE company_id = %s""",
        company,
        CHAT,
        CHAT,
        CHAT,
        company,
    )


def things(api: ApiEnv, company: str) -> dict[str, Any]:
    """Return what paths name of a company's things."""

    def one(statement: str) -> Any:
        return api.sql(statement, company)[0]["id"]

    return {
        "companyId": company,
        "chatId": CHAT,
        "messageId": one("SELECT id FROM messages WHERE company_id = %s ORDER BY id LIMIT 1"),
        "phoneIndex": 0,
        "taskId": one("SELECT id FROM tasks WHERE company_id = %s ORDER BY id LIMIT 1"),
        "hookId": one("SELECT id FROM hooks WHERE company_id = %s ORDER BY id LIMIT 1"),
        "documentId": one("SELECT id FROM documents WHERE company_id = %s"),
        "contactId": f"p{one('SELECT id FROM people WHERE company_id = %s ORDER BY id LIMIT 1')}",
        "conversationId": one("SELECT id FROM conversations WHERE company_id = %s ORDER BY id LIMIT 1"),
        "serviceId": one("SELECT id FROM services WHERE company_id = %s"),
        "keyId": one("SELECT id FROM api_keys WHERE company_id = %s ORDER BY id LIMIT 1"),
        "name": "hello",
        "sha256": one("SELECT sha256 AS id FROM media_files WHERE company_id = %s"),
        "process": "api",
    }


def walk(
    api: ApiEnv, company: str, things_of: str, key: str, *, but: Callable[[Mapping[str, Any]], bool] | None = None
) -> dict[str, requests.Response]:
    """Request every operation with a company's path and another company's things, by method and path template; not
    those of which `but` says so.
    """
    # anything else that a path names is not there
    named = defaultdict(lambda: 999_999, things(api, things_of) | {"companyId": company})
    bodies: Mapping[str, Any] = {
        "resolve": {"as": "failed"},
        "status": {"status": "paused"},
        "hooks": {"url": "https://example.com/x", "types": []},
        "sessions": {"desired": "paused"},
        "replay": {"since": "2026-01-01T00:00:00Z"},
        "assign": {"assignee": "another"},
        "contacts": {"name": "another"},
        "slots": {"startsAt": ["2030-01-01T09:00:00Z"]},
        "functions": {"description": "another", "url": "https://another.example"},
    }
    answers = {}
    paths = api.call("GET", "/openapi.json", key=None).json()["paths"]
    for path, methods in paths.items():
        # what reads first: a removal would leave nothing to read
        for method, operation in sorted(methods.items(), key=lambda pair: pair[0] == "delete"):
            if not operation["security"] or operation["x-owner"] == "installation":
                continue
            if but is not None and but(operation):
                continue
            words = [word for word in path.split("/") if word and not word.startswith("{")]
            body = bodies.get(words[-1], {}) if method in ("post", "put", "patch") else None
            # no process carries out tasks here: their end is not waited for
            answers[f"{method.upper()} {path}"] = api.call(
                method.upper(), path.format_map(named), key=key, json=body, headers={"Prefer": "respond-async"}
            )
    assert len(answers) > 40
    return answers


@pytest.fixture(scope="module")
def blind(servers: Servers) -> Iterator[ApiEnv]:
    """An API whose statements do not name the company."""
    name = "tests.tenants.api_without_conditions"
    with running(servers) as api:
        api.entry.stop()
        api.entry._command[1:] = ["-m", name]
        yield api.start()


def test_without_a_condition_no_row_of_another_company_is_shown_or_changed(blind: ApiEnv) -> None:
    new_key(blind, "alpha")
    key = new_key(blind, "beta")["key"]
    for company in ("alpha", "beta"):
        # what the copies would show
        blind.sql(
            """INSERT INTO chats (company_id, chat_id, connection_id, last_at)
               SELECT company_id, %s, id, now() FROM phone_configs WHERE company_id = %s AND phone_index = 0""",
            CHAT,
            company,
        )
    whose = {table: f"SELECT * FROM {table} WHERE company_id = 'alpha' ORDER BY id" for table in CHANGED}
    before = {table: blind.sql(rows) for table, rows in whose.items()}
    answers = walk(blind, "beta", "alpha", key)
    for name, answer in answers.items():
        # ids of alpha are in paths that an answer may repeat; nothing of its data is
        for text in ("of alpha", "to alpha", "of_alpha", "alpha.example", '"alpha"'):
            assert text not in answer.text, f"{name}: {answer.text}"
    assert {table: blind.sql(rows) for table, rows in whose.items()} == before
    shown = " ".join(answer.text for answer in answers.values())
    for text in ("of beta", "to beta", "of_beta", "beta.example"):
        assert text in shown, f"{text}: its own is found"


def test_the_runtime_role_is_not_needed_for_requests_about_one_company(servers: Servers) -> None:
    with running(servers) as api:
        # the first one is revoked on the way
        new_key(api, "alpha")
        key = new_key(api, "alpha")["key"]
        protected = "SELECT name FROM row_security_rules WHERE condition LIKE '%%own_company%%'"
        tables = [row["name"] for row in api.sql(protected)]
        assert len(tables) > 15
        for table in set(tables) - set(NEEDED_BEFORE):
            api.sql(f"REVOKE ALL ON {table} FROM bulkhead_runtime")
        answers = walk(api, "alpha", "alpha", key, but=sends)
        answers |= {
            f"search in {what}": api.call("GET", f"/api/v2/{what}/alpha", key=key, params={"q": "of"})
            for what in SEARCHES
        }
        refused = {name: short(answer) for name, answer in answers.items() if answer.status_code >= 500}
        assert refused.keys() <= IN_THE_RUNTIME_ROLE, refused
        found = {name for name, answer in answers.items() if answer.status_code < 300}
        assert len(found) > 25, "they found what they asked for"


def sends(operation: Mapping[str, Any]) -> bool:
    """Whether an operation accepts messages: one commit holds those of many companies."""
    return any(parameter.get("name") == "Idempotency-Key" for parameter in operation.get("parameters", ()))


WAIT_FOR_OTHERS: Final = frozenset({"processMessage", "searchDocuments"})
"""Operations that are answered by a kind that does not run here."""
TEXTS_OF_BETA: Final = ("of beta", "to beta", "of_beta", "beta.example")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_ids_of_another_company_in_bodies_and_queries_reach_nothing(servers: Servers) -> None:
    """Each place of each body and each parameter of a query names each thing of another company, with a path of one's
    own.
    """
    with running(servers) as api:
        for company in ("alpha", "beta"):
            new_key(api, company)
        key = new_key(api, "alpha")["key"]
        theirs = things(api, "beta")
        foreign = [str(theirs[name]) for name in theirs if name not in ("chatId", "phoneIndex", "process")]
        foreign += ["wamid.beta", "../beta", "beta/0"]
        rules = "SELECT name FROM row_security_rules WHERE condition LIKE '%%own_company%%'"
        tables = [row["name"] for row in api.sql(rules)]
        rows = {
            table: f"SELECT * FROM {table} AS t WHERE company_id = 'beta' ORDER BY t::text"
            for table in tables
            if api.sql("SELECT 1 FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'company_id'", table)
        }
        assert len(rows) > 15
        before = {table: api.sql(statement) for table, statement in rows.items()}
        own = defaultdict(lambda: 999_999, things(api, "alpha"))
        requested = 0
        for method, path, body, query in mutated(api.call("GET", "/openapi.json", key=None).json(), foreign):
            answer = api.call(
                method, path.format_map(own), key=key, json=body, params=query, headers={"Prefer": "respond-async"}
            )
            requested += 1
            for text in TEXTS_OF_BETA:
                # what was sent may be repeated
                assert text not in answer.text or text in str((body, query)), (
                    f"{method} {path} {body} {query}: {answer.text}"
                )
            assert answer.status_code < 500, f"{method} {path} {body} {query}: {answer.text}"
        assert requested > 1000
        assert {table: api.sql(statement) for table, statement in rows.items()} == before


def mutated(document: Mapping[str, Any], foreign: list[str]) -> Iterator[tuple[str, str, Any, Mapping[str, str]]]:
    """Yield requests: method, path, body, query; removals last, since they leave nothing to look for."""
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation["security"]
        and operation["x-owner"] != "installation"
        and operation["operationId"] not in WAIT_FOR_OTHERS
    ]
    for method, path, operation in sorted(operations, key=lambda one: one[0] == "delete"):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query":
                for text in foreign:
                    yield method.upper(), path, None, {parameter["name"]: text}
        described = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for example in described.get("examples", {}).values():
            for place in places(example["value"]):
                for text in foreign:
                    yield method.upper(), path, put(example["value"], place, text), {}


def places(value: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each text or number of a body."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from ((name, *rest) for rest in places(inner))
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        yield ()


def put(value: Any, place: tuple[Any, ...], text: str) -> Any:
    """Return a body with a text, or a number where one stood, in one of its places."""
    if not place:
        return int(text) if isinstance(value, int) and text.isdigit() else text
    name, *rest = place
    if isinstance(value, dict):
        return {**value, name: put(value[name], tuple(rest), text)}
    return [put(one, tuple(rest), text) if number == name else one for number, one in enumerate(value)]
