"""The door to the package `openai`: one call, without any retry of the library's own, and what its errors mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import httpx2
import openai

from shared.llm.failures import ModelFailed
from shared.llm.questions import ModelAnswer, ModelTarget, Question, ToolCall, usage_of
from shared.llm.transport import ModelPool
from shared.media.errors import FetchFailed
from shared.media.reach import Reach, checked
from shared.retry_after import retry_after_s

_NO_KEY: Final = "none"
"""What servers without keys (Ollama, llama.cpp) get: the library wants one."""
_CODES: Final = {400: "refused", 401: "credentials", 403: "credentials", 404: "unknown_model", 413: "refused",
                 422: "refused"}  # fmt: skip
"""What an HTTP status means; other ones from 500 are `server_error`."""


class ModelProvider:
    """Calls models.

    Args:
        reach: of addresses that companies choose.
    """

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        # apart: an operator's own model may be anywhere, also beside this process
        self._ours, self._theirs = ModelPool(Reach.PRIVATE), ModelPool(reach)

    async def ask(self, target: ModelTarget, question: Question, timeout_s: float) -> ModelAnswer:
        """Ask once. Raises `ModelFailed`."""
        client = self._client(target, question.company_id, timeout_s)
        asked: dict[str, Any] = {"model": target.model, "messages": list(question.messages)}
        asked |= {"max_tokens": question.most_tokens, "temperature": question.temperature}
        if question.tools:
            asked["tools"] = list(question.tools)
        headers = {"X-Client-Request-Id": question.request_id} if question.request_id else {}
        try:
            made = await client.chat.completions.create(**asked, extra_headers=headers)
        except (openai.OpenAIError, httpx2.HTTPError, ValueError) as error:
            raise _failure(error) from error
        return _answer(target, question, made)

    async def embed(
        self,
        target: ModelTarget,
        company_id: str,
        texts: Sequence[str],
        timeout_s: float,
        *,
        dimensions: int | None = None,
    ) -> tuple[list[list[float]], int]:
        """Return the vectors of texts in their order, and the tokens that were counted. Raises `ModelFailed`.

        Args:
            dimensions: length that is asked for; None: the model's own.
        """
        client = self._client(target, company_id, timeout_s)
        try:
            made = await client.embeddings.create(
                model=target.model,
                input=list(texts),
                encoding_format="float",
                # most servers that are not OpenAI's refuse it
                dimensions=openai.omit if dimensions is None else dimensions,
            )
            vectors = [list(one.embedding) for one in sorted(made.data, key=lambda one: one.index)]
            used = int(made.usage.prompt_tokens)
        except (openai.OpenAIError, httpx2.HTTPError, ValueError) as error:
            raise _failure(error) from error
        # a page of HTML, or an object of another form, is handed on by the library as it is
        except (AttributeError, TypeError) as error:
            raise ModelFailed("invalid_answer") from error
        if len(vectors) != len(texts) or len({len(vector) for vector in vectors}) > 1:
            raise ModelFailed("invalid_answer", "not one vector for each text")
        return vectors, used

    async def close(self) -> None:
        """Close all connections."""
        await self._ours.close()
        await self._theirs.close()

    def _client(self, target: ModelTarget, company_id: str, timeout_s: float) -> openai.AsyncOpenAI:
        if not target.is_ours:
            try:
                # a cheap first look; what decides is the address that the socket connects to
                checked(target.base_url, self._reach)
            except FetchFailed as refused:
                raise ModelFailed("address_refused") from refused
        pool = self._ours if target.is_ours else self._theirs
        # made for each call: it holds nothing but settings, the connections are the pool's
        return openai.AsyncOpenAI(
            base_url=target.base_url,
            api_key=target.key or _NO_KEY,
            organization=None,
            project=None,
            # multiplied with ours, a few failures would be dozens of calls
            max_retries=0,
            timeout=timeout_s,
            # never from the environment: proxies, certificates
            http_client=httpx2.AsyncClient(transport=pool.transport(company_id), trust_env=False),
        )


def _answer(target: ModelTarget, question: Question, made: Any) -> ModelAnswer:
    """Return what an answer of the API says. Raises `ModelFailed` when it says nothing that can be used."""
    try:
        choice = made.choices[0]
        message, finish = choice.message, choice.finish_reason
        text, refusal = message.content or "", message.refusal if hasattr(message, "refusal") else None
        calls = tuple(
            ToolCall(str(call.id), str(call.function.name), str(call.function.arguments))
            for call in message.tool_calls or ()
        )
    # a page of HTML, or an object of another form, is handed on by the library as it is
    except (AttributeError, IndexError, TypeError) as error:
        raise ModelFailed("invalid_answer") from error
    if not isinstance(text, str):
        raise ModelFailed("invalid_answer")
    if finish == "content_filter" or refusal:
        raise ModelFailed("blocked")
    if finish == "length":
        raise ModelFailed("incomplete")
    if not text.strip() and not calls:
        raise ModelFailed("empty")
    tokens_in, tokens_out, has_usage = usage_of(question, text, calls, getattr(made, "usage", None))
    return ModelAnswer(
        model=target.model, text=text, calls=calls, tokens_in=tokens_in, tokens_out=tokens_out, has_usage=has_usage
    )


def _failure(error: Exception) -> ModelFailed:
    """Return what an error of the library means; its text may hold what was asked, and is left out."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, httpx2.HTTPError):
        cause = cause.__cause__
    if isinstance(error, openai.APIStatusError):
        return _status(error)
    if isinstance(error, openai.APITimeoutError) or isinstance(cause, httpx2.TimeoutException):
        return ModelFailed("timeout")
    if isinstance(cause, httpx2.ConnectError):
        return ModelFailed("address_refused" if "PermissionError" in str(cause) else "unreachable")
    if isinstance(cause, httpx2.HTTPError) or isinstance(error, openai.APIConnectionError):
        return ModelFailed("cut")
    # the body is no JSON, or has another form
    return ModelFailed("invalid_answer", type(error).__name__)


def _status(error: openai.APIStatusError) -> ModelFailed:
    status, headers = error.status_code, error.response.headers
    if status == 429:
        if error.code == "insufficient_quota" or error.type == "insufficient_quota":
            return ModelFailed("quota")
        asked_s = retry_after_s(headers.get("retry-after", ""), headers.get("date", ""))
        return ModelFailed("rate_limited", wait_s=asked_s or None)
    return ModelFailed(_CODES.get(status, "server_error" if status >= 500 else "refused"), f"http_{status}")
