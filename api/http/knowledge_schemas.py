"""Shapes of documents and searches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.http.shapes import (
    AT,
    AT_OR_NULL,
    COUNT,
    TEXT,
    TEXT_OR_NULL,
    Schema,
    array,
    choice,
    closed_object,
    named,
    named_object,
    ref,
)

_PASSAGE: Final = named_object(
    "FoundPassage",
    {
        "documentId": TEXT,
        "title": TEXT,
        "source": {**TEXT, "description": "Where it stands, for people: `terms.pdf, page 3`."},
        "text": TEXT,
        "score": {"type": "number", "minimum": 0, "maximum": 1},
    },
)
KNOWLEDGE_SCHEMAS: Final[Mapping[str, Schema]] = {
    "Document": closed_object(
        {
            "id": TEXT,
            "status": {
                **choice("DocumentStatus", "uploaded", "indexing", "indexed", "no_text", "failed"),
                "description": "`no_text`: nothing to search, a scan perhaps. `failed`: see `reason`.",
            },
            "title": TEXT,
            "mimetype": TEXT,
            "size": COUNT,
            "sha256": TEXT,
            "chunks": {**COUNT, "description": "Passages that are searched."},
            "pages": {"type": ["integer", "null"], "minimum": 0, "description": "Of a PDF."},
            "model": {**TEXT_OR_NULL, "description": "By which it was embedded; null: only its words are searched."},
            "attempts": COUNT,
            "code": {**TEXT_OR_NULL, "description": "Why it is not (wholly) indexed, for programs."},
            "reason": {**TEXT_OR_NULL, "description": "The same for people, with what to do."},
            "createdAt": AT,
            "updatedAt": AT,
            "indexedAt": AT_OR_NULL,
        }
    ),
    "Documents": closed_object(
        {
            "documents": array(ref("Document")),
            "next": {**TEXT_OR_NULL, "description": "Cursor of the next page; null on the last."},
        }
    ),
    "DocumentSearch": closed_object(
        {
            "results": array(_PASSAGE),
            "legs": {
                **array(named("SearchLeg", {"type": "string", "enum": ["keyword", "vector"]})),
                "description": "The searches that were made: by words, by meaning.",
            },
            "why": {**TEXT_OR_NULL, "description": "Why one of them was not made."},
        }
    ),
}
