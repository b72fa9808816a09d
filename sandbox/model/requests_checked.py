"""What OpenAI's API refuses of a request for a chat completion, in its words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NUMBERS: Final[Mapping[str, tuple[float, float]]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "max_tokens": (1, 1_000_000),
    "max_completion_tokens": (1, 1_000_000),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
TOOLS_MOST: Final = 128


class RequestRefused(Exception):
    """Raised for a request that OpenAI answers with 400: its message, the parameter and the code."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        self.param, self.code, self.status = param, code, status
        super().__init__(message)


def require_chat(body: Mapping[str, Any]) -> None:
    """Raise `RequestRefused` when a body is no request for a chat completion."""
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise RequestRefused("you must provide a model parameter", "model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestRefused("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    _require_messages(messages)
    for name, (low, high) in _NUMBERS.items():
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise RequestRefused(f"Invalid type for '{name}': expected a number.", name, "invalid_type")
        if value is not None and not low <= value <= high:
            raise RequestRefused(f"Invalid '{name}': expected a value from {low} to {high}.", name)
    if body.get("stream"):
        raise RequestRefused("The sandbox does not stream.", "stream", "unsupported_value")
    if body.get("n") not in (None, 1):
        raise RequestRefused("The sandbox gives one choice.", "n", "unsupported_value")
    _require_tools(body.get("tools"))


def _require_messages(messages: Sequence[Any]) -> None:
    open_calls: list[str] = []
    for index, message in enumerate(messages):
        at = f"messages.[{index}]"
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise RequestRefused(f"Invalid value: expected one of {', '.join(ROLES)}.", f"{at}.role", "invalid_value")
        role, calls = message["role"], message.get("tool_calls")
        if role == "tool":
            if message.get("tool_call_id") not in open_calls:
                raise RequestRefused(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceding message with "
                    "'tool_calls'.",
                    f"{at}.role",
                )
            open_calls.remove(message["tool_call_id"])
            continue
        _require_answered(open_calls, f"messages.[{index}].role")
        if calls is not None:
            open_calls = _call_ids(calls, at)
        if message.get("content") is None and not (role == "assistant" and (calls or message.get("refusal"))):
            raise RequestRefused("Invalid value for 'content': expected a string, got null.", f"{at}.content")
    _require_answered(open_calls, "messages")


def _require_answered(open_calls: Sequence[str], at: str) -> None:
    if open_calls:
        raise RequestRefused(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(open_calls)}",
            at,
        )


def _call_ids(calls: Any, at: str) -> list[str]:
    if not isinstance(calls, list) or not calls:
        raise RequestRefused(f"Invalid '{at}.tool_calls': empty array.", f"{at}.tool_calls", "empty_array")
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if (
            not isinstance(function, Mapping)
            or not isinstance(call.get("id"), str)
            or not isinstance(function.get("arguments"), str)
            or not _NAME.fullmatch(str(function.get("name", "")))
        ):
            raise RequestRefused("Invalid tool call.", f"{at}.tool_calls", "invalid_value")
    return [call["id"] for call in calls]


def _require_tools(tools: Any) -> None:
    if tools is None:
        return
    if not isinstance(tools, list) or not tools or len(tools) > TOOLS_MOST:
        raise RequestRefused(f"Invalid 'tools': expected 1 to {TOOLS_MOST} tools.", "tools")
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, Mapping) and tool.get("type") == "function" else None
        if not isinstance(function, Mapping) or not _NAME.fullmatch(str(function.get("name", ""))):
            raise RequestRefused(
                f"Invalid 'tools[{index}].function.name': string does not match pattern '^[a-zA-Z0-9_-]+$'.",
                f"tools[{index}].function.name",
                "invalid_value",
            )
        parameters = function.get("parameters", {})
        if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
            raise RequestRefused(
                f"Invalid schema for function '{function['name']}': schema must be a JSON Schema of type object.",
                f"tools[{index}].function.parameters",
                "invalid_function_parameters",
            )
