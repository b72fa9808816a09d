"""Writes the parts of `bulkhead_client` that are made from others: `models.py` from the OpenAPI document, and
each `sync_….py` from the `async_….py` of its name.

`python -m script.client` writes them, `--check` lists those that would change.
"""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from script.openapi import openapi_document

REPOSITORY: Final = Path(__file__).parents[1]
FOLDER: Final = REPOSITORY / "bulkhead_client"
USED: Final = (
    "AcceptedMessage",
    "Analytics",
    "Chat",
    "ChatMessage",
    "ChatRead",
    "Company",
    "Connections",
    "Contact",
    "Conversation",
    "ConversationWithMessages",
    "Document",
    "DocumentSearch",
    "Event",
    "EventPage",
    "Hook",
    "HookDelivery",
    "HookReplay",
    "HookTest",
    "Message",
    "MessageEvent",
    "NewHook",
    "StoredFile",
    "Task",
    "Template",
)
"""Components that the client's methods return; what these refer to comes with them."""
_SIMPLE: Final = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_REPLACED: Final = (
    ("The client over aiohttp.", "The client over requests."),
    (
        "# script/client makes the module sync_… of the same name of this file\n",
        "# made by script/client from the module async_… of the same name\n",
    ),
    ("aiohttp_transport import AiohttpTransport", "requests_transport import RequestsTransport"),
    ("AiohttpTransport", "RequestsTransport"),
    ("bulkhead_client.async_", "bulkhead_client.sync_"),
    ("the asynchronous client", "the synchronous client"),
    ("AsyncBulkhead", "Bulkhead"),
    ("AsyncContacts", "SyncContacts"),
    ("AsyncConversations", "SyncConversations"),
    ("AsyncDocuments", "SyncDocuments"),
    ("AsyncCore", "SyncCore"),
    ("AsyncIterator", "Iterator"),
    ("__aenter__", "__enter__"),
    ("__aexit__", "__exit__"),
    ("async ", ""),
    ("await ", ""),
)
"""What makes the synchronous client of the other, in this order."""


def sync_client(text: str) -> str:
    """Return the synchronous client. `text`: of the asynchronous one."""
    for old, new in _REPLACED:
        text = text.replace(old, new)
    return text


def models(document: Mapping[str, Any]) -> str:
    """Return the module of types. Raises `KeyError` when the document has no component of a name in `USED`."""
    schemas = document["components"]["schemas"]
    chosen: list[str] = []
    reached = list(USED)
    while reached:
        name = reached.pop()
        if name not in chosen:
            chosen.append(name)
            reached += re.findall(r"#/components/schemas/(\w+)", str(schemas[name]))
    lines = [
        '"""Types of what the API answers, made by script/client from its OpenAPI document."""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Any, Literal, NotRequired, TypedDict",
    ]
    for name in sorted(chosen):
        lines += ["", "", *_definition(name, schemas[name])]
    return "\n".join(lines) + "\n"


def _definition(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    if "properties" not in schema:
        yield f"{name} = {_type(schema)}"
        return
    required = schema.get("required", ())
    fields = {
        field: _type(inner) if field in required else f"NotRequired[{_type(inner)}]"
        for field, inner in schema["properties"].items()
    }
    # a class cannot have fields that are words of Python
    if any(keyword.iskeyword(field) for field in fields):
        yield f'{name} = TypedDict("{name}", {{'
        yield from (f'    "{field}": "{kind}",' for field, kind in fields.items())
        yield "})"
    else:
        yield f"class {name}(TypedDict):"
        yield f'    """`{name}` of the OpenAPI document."""'
        yield ""
        yield from (f"    {field}: {kind}" for field, kind in fields.items())


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    types = schema.get("type", "any")
    alternatives = schema.get("anyOf") or (
        [{**schema, "type": one} for one in types] if isinstance(types, list) else []
    )
    if alternatives:
        return " | ".join(map(_type, alternatives))
    if "enum" in schema:
        return f"Literal[{', '.join(repr(value) for value in schema['enum'])}]"
    if types == "array":
        return f"list[{_type(schema['items'])}]"
    if types == "object":
        values = schema.get("additionalProperties", True)
        return f"dict[str, {_type(values) if isinstance(values, Mapping) else 'Any'}]"
    return _SIMPLE.get(types, "Any")


def made() -> dict[Path, str]:
    """Return the text of each file that is made."""
    texts = {
        FOLDER / "models.py": models(openapi_document()),
        **{
            path.with_name(path.name.replace("async_", "sync_")): sync_client(path.read_text(encoding="utf-8"))
            for path in sorted(FOLDER.glob("async_*.py"))
        },
    }
    return {path: _formatted(path, text) for path, text in texts.items()}


def _formatted(path: Path, text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["check", "--fix", "--select", "I", "--quiet"], ["format", "--quiet"]):
        words = [str(ruff), *command, "--stdin-filename", str(path), "-"]
        text = subprocess.run(words, input=text, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
    return text


def main(arguments: list[str]) -> int:
    """Write or check the files and return the exit code."""
    stale = {path: text for path, text in made().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(REPOSITORY)}: {'run script/client' if '--check' in arguments else 'written'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
