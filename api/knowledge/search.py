"""Searches in documents. The question is left for kind `index`, which has the embedder; without an answer in time the
words alone are searched here, and the answer says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.http.operations import Operation
from api.http.parameters import Parameter, query_of
from shared.clock import left, monotonic
from shared.compose.directory import Directory
from shared.rag.passages import QUESTION_MOST, RagConfig, retrieve
from shared.store import documents
from shared.store.store import Store
from shared.tenancy.company_settings import read_company
from shared.tenancy.known_companies import company_unknown

_WAIT_S: Final = 3.0
"""Seconds for kind `index` to answer: a search takes some hundredths of one, and a start of the process a second."""
_LOOK_S: Final = 0.02
_MOST: Final = 50
_NOT_BLANK: Final = r"\S[\s\S]*$"
_LATE: Final = "kind index did not answer in time; only words were searched"
_FULL: Final = "too many searches of the company wait; only words were searched"


class DocumentSearchOperations:
    """The search in documents."""

    def __init__(self, directory: Directory, store: Store, stopping: asyncio.Event, *, wait_s: float = _WAIT_S) -> None:
        self._directory, self._store, self._stopping, self._wait_s = directory, store, stopping, wait_s

    def operations(self) -> list[Operation]:
        """Return it."""
        return [
            Operation(
                operation_id="searchDocuments",
                method="GET",
                path="/api/v2/search/{companyId}",
                scope="read",
                group="Documents",
                summary="Passages of a company's documents that answer a question, the best first",
                handler=self.search,
                parameters=(
                    Parameter(
                        name="q",
                        place="query",
                        purpose="The question, or words.",
                        schema={"type": "string", "pattern": _NOT_BLANK, "minLength": 1, "maxLength": QUESTION_MOST},
                        rule=f"a question, or words, of 1 to {QUESTION_MOST} characters",
                        required=True,
                    ),
                    Parameter(
                        name="k",
                        place="query",
                        purpose="Passages at most; without it as many as the company's `ragConfig.topK` says.",
                        schema={"type": "integer", "minimum": 1, "maximum": _MOST},
                    ),
                ),
                answers={200: ("What was found.", "DocumentSearch")},
                problems=("company_unknown", "query_invalid"),
            )
        ]

    async def search(self, request: Request) -> Response:
        """Answer with passages."""
        company_id, query = request.path_params["companyId"], query_of(request)
        await self._directory.require_company(company_id)
        question = query["q"].strip()
        own = self._store.as_company(company_id)
        company = await own.call(read_company, company_id)
        if company is None:
            raise company_unknown()
        if not await own.call(documents.has_passages, company_id):
            return JSONResponse({"results": [], "legs": [], "why": "the company has no indexed documents"})
        rag = RagConfig.of(company.settings, top_k=query["k"])
        question_id = await own.call(documents.ask, company_id, question, most=rag.top_k)
        answer = None if question_id is None else await self._answer(company_id, question_id)
        if answer is None:
            found = await retrieve(self._store, company_id, question, rag=rag, embedder=None)
            answer = replace(found, why=_FULL if question_id is None else _LATE).as_json()
        return JSONResponse(answer)

    async def _answer(self, company_id: str, question_id: int) -> Mapping[str, Any] | None:
        own, by = self._store.as_company(company_id), monotonic() + self._wait_s
        try:
            while True:
                answer = await own.call(documents.answer, company_id, question_id)
                if answer is not None or self._stopping.is_set() or not left(by):
                    return answer
                try:
                    # a sleep that ends with the process: a drain must not wait for clients
                    await asyncio.wait_for(self._stopping.wait(), min(_LOOK_S, left(by)))
                except TimeoutError:
                    continue
        finally:
            # what a customer asked is not kept
            await own.call(documents.forget_question, company_id, question_id)
