"""The kind in the whole program: it runs while there is a document, and what is uploaded is found by its meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.index import files
from tests.support.bulkhead import Bulkhead
from tests.support.waiting import eventually


def index_status(program: Bulkhead) -> list[str]:
    listed: list[dict[str, Any]] = program.api("GET", "/health/all").json()["processes"]
    return [one["status"] for one in listed if one["process"] == "index"]


def test_the_first_document_starts_the_kind_and_the_last_one_ends_it(
    bulkhead: Callable[..., Bulkhead], database_url: str, redis_url: str
) -> None:
    program = bulkhead(database_url=database_url, redis_url=redis_url, sandbox="off")
    program.start().wait_ready("recorder", "api")
    assert program.api("POST", "/api/v2/companies", json={"companyId": "acme"}).status_code == 201
    assert "healthy" not in index_status(program)
    made = program.api("POST", "/api/v2/documents/acme", files={"file": ("terms.pdf", files.pdf(files.TERMS))})
    assert made.status_code == 202, made.text
    path = f"/api/v2/documents/acme/{made.json()['id']}"
    eventually(
        lambda: program.api("GET", path).json()["status"] == "indexed",
        90.0,
        lambda: f"it is indexed: {program.api('GET', path).text}\n{program.tail()}",
    )
    # the settings of a new company: a threshold of 0.7, other words than the document has
    found = program.api("GET", "/api/v2/search/acme?q=how can I give something back and get my money").json()
    assert found["legs"] == ["keyword", "vector"], found
    assert found["results"][0]["source"] == "terms.pdf, page 3", found
    assert program.api("GET", "/api/v2/search/acme?q=how tall is Mount Everest").json()["results"] == []
    assert program.api("DELETE", path).status_code == 200
    eventually(lambda: "healthy" not in index_status(program), 60.0, "the kind ends")
    assert program.stop() == 0
