"""OpenAI's calls under `/openai/v1/…`: https://platform.openai.com/docs/api-reference."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from sandbox.connection import Cut, Hang
from sandbox.ledger import Ledger
from sandbox.model.answers import Reply, reply, text_of
from sandbox.model.embedding_requests import read_embedding_request
from sandbox.model.embeddings import StandInEmbeddings, encoded
from sandbox.model.requests_checked import RequestRefused, require_chat
from sandbox.model.script import Behaviour, ModelScript
from sandbox.model.words import tokens

MODEL: Final = "sandbox-model"
EMBEDDING_MODEL: Final = "sandbox-embedding"
_CONTEXT_TOKENS: Final = 128_000
"""Tokens that a request and its answer have together, as with OpenAI's smaller models."""
_BODY_MOST: Final = 8 << 20
_KEPT: Final = ("tools", "tool_choice", "temperature", "max_tokens", "max_completion_tokens", "user", "metadata")
"""Parameters that the ledger keeps beside messages."""


class ModelHost(Protocol):
    """What the stand-in needs of the sandbox: see `sandbox.state.Sandbox`."""

    ledger: Ledger
    script: ModelScript
    released: asyncio.Event


class CutBody(Response):
    """Sends the head of an answer and half of its body, and closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(self.body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(self.body[: len(self.body) // 2]), "more_body": True})
        await Cut()(scope, receive, send)


def _error(status: int, message: str, kind: str, param: str | None = None, code: str | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def model_routes(host: ModelHost) -> list[BaseRoute]:
    """Return the routes of the stand-in for a model."""
    calls = _ModelCalls(host)
    return [
        Route("/openai/v1/chat/completions", calls.chat, methods=["POST"]),
        Route("/openai/v1/embeddings", calls.embeddings, methods=["POST"]),
        Route("/openai/v1/models", calls.models, methods=["GET"]),
        Route("/openai/{path:path}", calls.other, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ]


class _ModelCalls:
    def __init__(self, host: ModelHost) -> None:
        self._host, self._embeddings = host, StandInEmbeddings()

    async def models(self, _: Request) -> Response:
        """List the models."""
        rows = [
            {"id": name, "object": "model", "created": 0, "owned_by": "sandbox"} for name in (MODEL, EMBEDDING_MODEL)
        ]
        return JSONResponse({"object": "list", "data": rows})

    async def other(self, request: Request) -> Response:
        """Answer what is not served."""
        return _error(404, f"Invalid URL ({request.method} {request.url.path})", "invalid_request_error")

    async def chat(self, request: Request) -> Response:
        """Answer with a chat completion, or as the script says."""
        try:
            body = await _read(request)
            require_chat(body)
        except RequestRefused as refused:
            return self._refused(request, refused)
        messages = body["messages"]
        question = next((text_of(one) for one in reversed(messages) if one["role"] == "user"), "")
        results = sum(one["role"] == "tool" for one in messages)
        taken = self._host.script.take(model=body["model"], question=question, results=results)
        name = taken[0] if taken else ""
        entry: dict[str, Any] = {
            "request_id": request.headers.get("x-client-request-id", ""),
            "model": body["model"],
            "behaviour": name,
            "messages": messages,
            **{key: body[key] for key in _KEPT if key in body},
        }
        if taken is not None and (answer := await self._failed(*taken)) is not None:
            self._host.ledger.append("model", "failed", **entry)
            return answer
        found = _answer(body, *taken) if taken else _answer(body, "", None)
        message = found["choices"][0]["message"]
        # before the answer leaves, as for messages: what a client has is in the ledger
        self._host.ledger.append("model", "answered", id=found["id"], answer=message, usage=found.get("usage"), **entry)
        return CutBody(json.dumps(found)) if name == "cut_body" else JSONResponse(found)

    async def embeddings(self, request: Request) -> Response:
        """Answer with embeddings."""
        try:
            body = await _read(request)
            asked = read_embedding_request(body)
        except RequestRefused as refused:
            return self._refused(request, refused)
        texts = len(asked.texts)
        taken = self._host.script.take(model=asked.model)
        if taken is not None and (answer := await self._failed(*taken)) is not None:
            self._host.ledger.append("model", "failed", behaviour=taken[0], model=asked.model, texts=texts)
            return answer
        try:
            vectors = await asyncio.to_thread(self._embeddings.of, asked.texts, asked.dimensions)
        except ModuleNotFoundError as error:
            sentence = f"The stand-in has no weights: {error}; pip install '.[embeddings]'."
            return _error(503, sentence, "server_error")
        self._host.ledger.append("model", "embedded", model=asked.model, texts=texts)
        return JSONResponse(
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": index, "embedding": encoded(vector, asked.form)}
                    for index, vector in enumerate(vectors)
                ],
                "model": asked.model,
                "usage": {"prompt_tokens": asked.tokens, "total_tokens": asked.tokens},
            }
        )

    def _refused(self, request: Request, refused: RequestRefused) -> Response:
        self._host.ledger.append(
            "model",
            "refused",
            request_id=request.headers.get("x-client-request-id", ""),
            http_status=refused.status,
            details=str(refused),
        )
        kind = "invalid_request_error"
        return _error(refused.status, str(refused), kind, refused.param, refused.code)

    async def _failed(self, name: str, behaviour: Behaviour) -> Response | None:
        """Return the answer of a behaviour in whose place there is no completion; None: there is one."""
        if name == "slow":
            await asyncio.sleep(behaviour.latency_ms / 1000)
        if name == "hang":
            return Hang(self._host.released)
        if name == "cut":
            return Cut()
        if name == "not_json":
            return HTMLResponse("<html><body>Bad gateway</body></html>")
        if name == "error":
            status = behaviour.http_status
            return _error(status, "The server had an error while processing your request.", "server_error")
        if name in ("rate_limit", "quota"):
            kind = "insufficient_quota" if name == "quota" else "requests"
            answer = _error(
                429, "Rate limit reached for requests", kind, None, {"requests": "rate_limit_exceeded"}.get(kind, kind)
            )
            if name == "rate_limit":
                answer.headers["retry-after"] = f"{behaviour.retry_after_s:g}"
            return answer
        return None


async def _read(request: Request) -> dict[str, Any]:
    if not request.headers.get("authorization", "").removeprefix("Bearer ").strip():
        raise RequestRefused("You didn't provide an API key.", None, "invalid_api_key", 401)
    raw = await request.body()
    if len(raw) > _BODY_MOST:
        raise RequestRefused("The request is too large.", None, None, 413)
    try:
        body = json.loads(raw)
    # RecursionError: the decoder raises it for JSON that is nested a thousand levels deep
    except (ValueError, RecursionError):
        raise RequestRefused("We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict):
        raise RequestRefused("The body is no JSON object.")
    return body


def _answer(body: Mapping[str, Any], name: str, behaviour: Behaviour | None) -> dict[str, Any]:
    tools = body.get("tools") or ()
    said = _said(name, behaviour, body) or reply(body["messages"], tools if body.get("tool_choice") != "none" else ())
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
    finish = "stop"
    if said.calls:
        finish = "tool_calls"
        message["tool_calls"] = [
            {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": {"name": tool, "arguments": given}}
            for tool, given in said.calls
        ]
    if name == "length":
        finish, message["content"] = "length", (said.text or "The answer to this is lo")[:24]
    if name == "filtered":
        finish, message["content"] = "content_filter", ""
    if name == "refusal":
        message |= {"content": None, "refusal": "I cannot help with that."}
    asked = sum(tokens(json.dumps(one)) for one in (*body["messages"], *tools))
    given_tokens = tokens(json.dumps(message))
    most = body.get("max_completion_tokens") or body.get("max_tokens") or _CONTEXT_TOKENS
    if given_tokens > most and finish == "stop" and said.text:
        finish, message["content"], given_tokens = "length", said.text[: 4 * most], most
    found: dict[str, Any] = {
        "id": f"chatcmpl-{secrets.token_hex(14)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": given_tokens,
            "total_tokens": asked + given_tokens,
        },
    }
    if name == "usage" and behaviour is not None:
        if behaviour.usage is None:
            del found["usage"]
        else:
            found["usage"] = behaviour.usage
    return found


def _said(name: str, behaviour: Behaviour | None, body: Mapping[str, Any]) -> Reply | None:
    """Return what a script makes the model say; None: what it says by itself."""
    if behaviour is None:
        return None
    tools = body.get("tools") or ()
    first = tools[0]["function"]["name"] if tools else "no_such_tool"
    if name in ("tool_calls", "loop"):
        return Reply(
            None,
            tuple(
                (str(call.get("name", first)), _arguments(call.get("arguments", {})))
                for call in behaviour.calls or [{"name": first}]
            ),
        )
    return {
        "answer": Reply(behaviour.text),
        "bad_json": Reply(None, ((first, '{"unfinished": '),)),
        "unknown_tool": Reply(None, (("no_such_tool", "{}"),)),
        "empty": Reply(""),
    }.get(name)


def _arguments(given: Any) -> str:
    return given if isinstance(given, str) else json.dumps(given)
