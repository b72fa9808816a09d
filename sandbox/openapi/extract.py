"""Cuts the part that the stand-ins need out of Meta's OpenAPI document: `python -m sandbox.openapi.extract
business-messaging-api_v23.0.yaml`.

The document is `business-messaging-api_v23.0.yaml` of github.com/facebook/openapi. To serve one more endpoint, add its
path to `PATHS` and run this again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import yaml

SOURCE: Final = "https://github.com/facebook/openapi/blob/ecba623b/business-messaging-api_v23.0.yaml"
"""The commit that the part was extracted from; the extracted file names it as `source`."""
PATHS: Final = (
    "/{Version}/{Phone-Number-ID}/messages",
    "/{Version}/{Phone-Number-ID}/register",
    "/{Version}/{WABA-ID}/message_templates",
    "/{Version}/{WABA-ID}/subscribed_apps",
    "/whatsapp/webhooks",
)
"""Paths of the document whose schemas the stand-ins use."""
TARGET: Final = Path(__file__).with_name("business_messaging_v23.json")


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        # `$ref` may also be the name of a property; its value is then not a string
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(_references, node.values()))
    if isinstance(node, list):
        return set().union(*map(_references, node))
    return set()


def extract(document: dict[str, Any]) -> dict[str, Any]:
    """Return `PATHS` of `document` and every component that they refer to, unchanged.

    Raises:
        KeyError: a path or component is not in the document.
    """
    cut: dict[str, Any] = {
        "source": SOURCE,
        "openapi": document["openapi"],
        "paths": {path: document["paths"][path] for path in PATHS},
        "components": {},
    }
    # components refer to each other, also in cycles: only new ones are followed
    missing = _references(cut["paths"])
    while missing:
        _, _, group, name = missing.pop().split("/")
        if name not in cut["components"].setdefault(group, {}):
            cut["components"][group][name] = document["components"][group][name]
            missing |= _references(document["components"][group][name])
    return cut


def main() -> None:
    """Write `TARGET` from the document named on the command line."""
    # the C loader: the Python one takes many times as long for a document of this size
    document = yaml.load(Path(sys.argv[1]).read_bytes(), Loader=yaml.CSafeLoader)
    # `default`: YAML reads unquoted dates in examples as dates
    TARGET.write_text(
        json.dumps(extract(document), indent=1, sort_keys=True, default=str, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
