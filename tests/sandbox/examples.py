"""Meta's own examples of calls, cut out of its OpenAPI document: `python -m tests.sandbox.examples
business-messaging-api_v23.0.yaml`.

They are Meta's (MIT, fixtures/examples/LICENSE.facebook-openapi), unchanged but for their order.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

FILE: Final = Path(__file__).with_name("fixtures") / "examples" / "calls.json"
_NUMBER = "/{Version}/{Phone-Number-ID}"
PATHS: Final[Mapping[str, str]] = {
    "block_users": f"{_NUMBER}/block_users",
    "business_profile": f"{_NUMBER}/whatsapp_business_profile",
    "deregister": f"{_NUMBER}/deregister",
    "marketing_messages": f"{_NUMBER}/marketing_messages",
    "media": "/{Version}/{Media-ID}",
    "media_upload": f"{_NUMBER}/media",
    "message_history": f"{_NUMBER}/message_history",
    "message_history_events": "/{Version}/{Message-History-ID}/events",
    "messages": f"{_NUMBER}/messages",
    "phone_number": _NUMBER,
    "register": f"{_NUMBER}/register",
    "settings": f"{_NUMBER}/settings",
    "subscribed_apps": "/{Version}/{WABA-ID}/subscribed_apps",
    "waba_phone_numbers": "/{Version}/{WABA-ID}/phone_numbers",
}


class Example(NamedTuple):
    """One example. `status` is 0 for a request."""

    call: str
    method: str
    status: int
    name: str
    value: Any

    @property
    def title(self) -> str:
        """Name that no other example has."""
        return f"{self.method} {self.call} {self.status or 'request'}: {self.name}"


def load() -> list[Example]:
    """Return every example."""
    return [Example(*row) for row in json.loads(FILE.read_text(encoding="utf-8"))]


def _examples(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for shape in content.values():
        for name, example in shape.get("examples", {}).items():
            yield name, example["value"]
        if "example" in shape:
            yield "Example", shape["example"]


def cut(document: Mapping[str, Any]) -> list[Example]:
    """Return the examples of `PATHS` in a document."""
    found = []
    for call, path in PATHS.items():
        for method, operation in document["paths"][path].items():
            if method == "parameters":
                continue
            found += [
                Example(call, method.upper(), 0, *one)
                for one in _examples(operation.get("requestBody", {}).get("content", {}))
            ]
            for status, answer in operation["responses"].items():
                found += [
                    Example(call, method.upper(), int(status), *one) for one in _examples(answer.get("content", {}))
                ]
    return sorted(found, key=lambda example: example.title)


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    rows = cut(yaml.load(Path(sys.argv[1]).read_bytes(), Loader=yaml.CSafeLoader))
    FILE.write_text(json.dumps(rows, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
