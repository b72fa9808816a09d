"""The process: indexes what is uploaded, answers what the API asks, and goes on after kill -9 at each crash point."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.fail_points import LOG_NAME
from shared.process import runtime
from shared.store import companies
from shared.store.documents import DOCUMENTS_MOST
from tests.api.api_env import ApiEnv, problem
from tests.index import files
from tests.support import ports
from tests.support.database import query
from tests.support.entry import Entry
from tests.support.servers import Servers
from tests.support.waiting import deadline_s, eventually

OF_INDEX = {"index.leased": 1, "index.read": 1, "index.written": 1, "index.switched": 1}
"""The points, and at which visit of a life each goes off."""


@pytest.fixture(scope="module")
def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiEnv]:
    """The API over a database of its own, with companies alpha and beta."""
    home = Path(f"/tmp/bh-know-{os.getpid()}")
    name, url = servers.new_database()
    with ApiEnv(home, url, servers.new_redis(kept=True)) as started:
        yield started.seed().start()
    servers.drop_database(name)


def entry(api: ApiEnv, **variables: Any) -> Entry:
    """Return the process over the API's home, not started."""
    return Entry(
        "index",
        api.entry.home,
        database_url=api.database_url,
        admin_port=ports.free_port_block(120),
        sandbox="off",
        **variables,
    )


def upload(
    api: ApiEnv, content: bytes, name: str = "terms.pdf", path: str = "/api/v2/documents/alpha"
) -> dict[str, Any]:
    answer = api.call("POST", path, files={"file": (name, content)})
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    assert {"id", "status"} <= body.keys()
    return body


def status(api: ApiEnv, document_id: str, company: str = "alpha") -> str:
    return str(api.call("GET", f"/api/v2/documents/{company}/{document_id}").json()["status"])


def test_from_upload_to_answer_through_every_crash_point(api: ApiEnv) -> None:
    points = ",".join(f"index:{name}=kill@{visit}" for name, visit in OF_INDEX.items())
    index = entry(api, chaos="on", crash_points=points)
    document = upload(api, files.pdf(files.TERMS), path="/api/tenants/alpha/documents")
    try:
        for point in OF_INDEX:
            index.start()
            eventually(lambda: index.process.poll() is not None, 40.0, f"a death; {point} is one of them")
            assert index.process.returncode == -signal.SIGKILL, index.log.read_text()
            # as the recorder does for a dead incarnation; three tries would not last for four deaths
            query(
                api.database_url,
                "UPDATE documents SET state = CASE state WHEN 'indexing' THEN 'uploaded' ELSE state END, attempts = 0, "
                "leased_until = now(), incarnation = ''",
            )
        index.start().wait_ready()
        eventually(lambda: status(api, document["id"]) == "indexed", 30.0, index.log.read_text)
        record = runtime.run_dir(api.entry.home) / LOG_NAME
        assert set(record.read_text().split()) == {f"index:{name}" for name in OF_INDEX}
        found = api.call("GET", "/api/v2/search/alpha?q=what is your refund policy please&k=2").json()
        assert found["legs"] == ["keyword", "vector"], found
        assert found["results"][0]["documentId"] == document["id"]
        assert found["results"][0]["source"] == "terms.pdf, page 3"
        assert 0 < found["results"][0]["score"] <= 1
        assert len(found["results"]) <= 2
        assert query(api.database_url, "SELECT 1 FROM search_questions") == []
        assert api.call("GET", "/api/v2/search/beta?q=refund").json()["results"] == []
        assert index.stop() == 0
    finally:
        index.close()


def test_a_killed_process_takes_its_reader_along(api: ApiEnv) -> None:
    index = entry(api)
    # without a word of output, which would end it by the broken pipe
    document = upload(api, files.pdf_slow(100), "slow.pdf")
    try:
        index.start().wait_ready()

        def reader() -> list[int]:
            return [
                int(folder.name)
                for folder in Path("/proc").iterdir()
                if folder.name.isdecimal() and b"index.reader" in _command(folder)
            ]

        # with its limits in force, the kernel's signal among them
        eventually(
            lambda: any(Path(f"/proc/{pid}/oom_score_adj").read_text() == "900\n" for pid in reader()),
            30.0,
            lambda: f"a reader runs\n{index.log.read_text()}",
            ignoring=(OSError,),
        )
        os.kill(index.process.pid, signal.SIGKILL)
        index.process.wait(deadline_s(10))
        eventually(lambda: not reader(), 10.0, "it ends with the process")
    finally:
        index.close()
        api.call("DELETE", f"/api/v2/documents/alpha/{document['id']}")


HOSTILE: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "bomb.pdf": (lambda: files.pdf_bomb(300), {"too_much_memory", "too_slow", "reader_died", "damaged"}),
    "bomb.docx": (lambda: files.docx_bomb(300), {"too_large_unpacked"}),
    "laughs.docx": (files.docx_entities, {"damaged", "too_much_memory", "too_slow"}),
    "circle.pdf": (files.pdf_circle, {"damaged", "too_many_pages", "too_slow"}),
    "locked.pdf": (lambda: files.pdf(files.TERMS, password="secret"), {"encrypted"}),
    "pages.pdf": (lambda: files.pdf_blank(10_000), {"too_many_pages"}),
}
"""Files of one company, and how reading each may end."""


@pytest.mark.timeout(180)
def test_hostile_files_of_one_company_are_noticed_by_no_other(api: ApiEnv) -> None:
    index = entry(api, index_cpu_s=4, index_memory_mb=256)
    hostile = {name: upload(api, made(), name)["id"] for name, (made, _) in HOSTILE.items()}
    sound = upload(api, files.pdf(files.TERMS), path="/api/v2/documents/beta")["id"]
    try:
        pid = index.start().wait_ready().process.pid
        eventually(lambda: status(api, sound, "beta") == "indexed", 30.0, index.log.read_text)

        def codes() -> dict[str, str]:
            """Return how reading each has ended; none is left out once it has."""
            return {
                name: str(api.call("GET", f"/api/v2/documents/alpha/{document}").json()["code"] or "")
                for name, document in hostile.items()
            }

        # they are still in hand, and others are answered by words and meaning
        found = api.call("GET", "/api/v2/search/beta?q=what is your refund policy please").json()
        assert (found["legs"], found["results"][0]["documentId"]) == (["keyword", "vector"], sound)
        eventually(lambda: all(codes().values()), 90.0, lambda: f"{codes()}\n{index.log.read_text()}")
        assert {name: code for name, code in codes().items() if code not in HOSTILE[name][1]} == {}
        assert (index.process.pid, index.process.poll()) == (pid, None), "the process itself has survived all of them"
        assert index.stop() == 0
    finally:
        index.close()
        for document in hostile.values():
            api.call("DELETE", f"/api/v2/documents/alpha/{document}")
        api.call("DELETE", f"/api/v2/documents/beta/{sound}")


def _command(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:
        return b""


def test_without_the_process_words_are_searched_and_the_answer_says_so(api: ApiEnv) -> None:
    query(
        api.database_url,
        """WITH d AS (INSERT INTO documents (company_id, sha256, title, mimetype, size, state, generation, chunks)
                      VALUES ('empty', repeat('c', 64), 'hours.md', 'text/markdown', 1, 'indexed', 1, 1) RETURNING id)
           INSERT INTO document_chunks (company_id, document_id, generation, position, section, body, tokens, words)
           SELECT 'empty', id, 1, 0, 'Opening hours', 'We open at nine.', 4,
                  chunk_words('empty', 'en', 'We open at nine.')
           FROM d""",
    )
    answer = api.call("GET", "/api/v2/search/empty?q=when do you open").json()
    assert answer["legs"] == ["keyword"]
    assert answer["why"] == "kind index did not answer in time; only words were searched"
    assert [one["source"] for one in answer["results"]] == ["hours.md, Opening hours"]
    assert query(api.database_url, "SELECT 1 FROM search_questions") == []


def test_documents_are_listed_shown_reindexed_and_removed(api: ApiEnv) -> None:
    ids = [
        upload(api, f"Text {number}.".encode(), f"{number}.md", "/api/v2/documents/beta")["id"] for number in range(3)
    ]
    page = api.call("GET", "/api/v2/documents/beta?limit=2").json()
    assert [one["id"] for one in page["documents"]] == [ids[2], ids[1]]
    rest = api.call("GET", f"/api/v2/documents/beta?limit=2&cursor={page['next']}").json()
    assert ([one["id"] for one in rest["documents"]], rest["next"]) == ([ids[0]], None)
    one = api.call("GET", f"/api/v2/documents/beta/{ids[0]}").json()
    assert (one["title"], one["mimetype"], one["status"]) == ("0.md", "text/markdown", "uploaded")
    assert api.call("POST", f"/api/v2/documents/beta/{ids[0]}/reindex").status_code == 202
    query(api.database_url, "UPDATE documents SET state = 'indexing' WHERE id = %(id)s", id=int(ids[0]))
    assert problem(api.call("POST", f"/api/v2/documents/beta/{ids[0]}/reindex"))["type"] == "document_busy"
    for document in ids:
        assert api.call("DELETE", f"/api/v2/documents/beta/{document}").status_code == 200
        assert problem(api.call("GET", f"/api/v2/documents/beta/{document}"))["type"] == "document_unknown"
    assert api.call("GET", "/api/v2/documents/beta").json() == {"documents": [], "next": None}
    assert problem(api.call("GET", "/api/v2/documents/nobody"))["type"] == "company_unknown"
    assert problem(api.call("GET", f"/api/v2/documents/alpha/{ids[0]}"))["type"] == "document_unknown"


def test_the_refusal_of_a_full_company_names_the_limit(api: ApiEnv) -> None:
    api.run(companies.ensure, "full")
    query(
        api.database_url,
        """INSERT INTO documents (company_id, sha256, title, mimetype, size, state)
           SELECT 'full', lpad(n::text, 64, '0'), 'a.txt', 'text/plain', 1, 'indexed'
           FROM generate_series(1, %(most)s) n""",
        most=DOCUMENTS_MOST,
    )
    answer = api.call("POST", "/api/v2/documents/full", files={"file": ("a.txt", b"Text.")})
    refused = problem(answer)
    assert (answer.status_code, refused["type"], refused["limit"]) == (409, "too_many_documents", DOCUMENTS_MOST)
    query(api.database_url, "DELETE FROM documents WHERE company_id = 'full'")
    upload(api, b"Text.", "a.txt", "/api/v2/documents/full")


@pytest.mark.parametrize(
    ("content", "name", "refusal"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "picture.pdf", "document_type_unsupported"),
        (b"", "empty.txt", "body_invalid"),
        (b"x" * (33 << 20), "large.txt", "media_too_large"),
    ],
    ids=["type", "empty", "large"],
)
def test_what_cannot_be_a_document_is_refused_at_the_door(api: ApiEnv, content: bytes, name: str, refusal: str) -> None:
    answer = api.call("POST", "/api/v2/documents/alpha", files={"file": (name, content)})
    assert problem(answer)["type"] == refusal
    assert query(api.database_url, "SELECT 1 FROM documents WHERE title = %(name)s", name=name) == []


def test_the_form_has_one_file(api: ApiEnv) -> None:
    assert problem(api.call("POST", "/api/v2/documents/alpha", files={"other": ("a", b"x")}))["type"] == "body_invalid"
    assert problem(api.call("POST", "/api/v2/documents/alpha", json={}))["type"] == "form_invalid"


@pytest.mark.parametrize("where", ["q=", "q=%20", "", "q=x&k=0", "q=x&k=51", f"q={'x' * 1001}"])
def test_a_search_needs_a_question(api: ApiEnv, where: str) -> None:
    assert problem(api.call("GET", f"/api/v2/search/alpha?{where}"))["type"] == "query_invalid"
