"""Why a document is not indexed, as data: what was wrong, and what to do. docs/documents.md lists the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureReason:
    """One reason.

    Attributes:
        sentence: what was wrong, with `{facts}`. remedy: what to do. is_final: another try would end the same way.
    """

    sentence: str
    remedy: str
    is_final: bool = True

    def text(self, facts: Mapping[str, Any]) -> str:
        """Return both as one text."""
        return f"{self.sentence.format_map(facts)} {self.remedy}"


REASONS: Final[Mapping[str, FailureReason]] = {
    "encrypted": FailureReason(
        sentence="The file is encrypted.", remedy="Remove its password and upload the file without it."
    ),
    "damaged": FailureReason(
        sentence="The file is damaged ({error}).", remedy="Open it, save it anew and upload that file."
    ),
    "type_unsupported": FailureReason(
        sentence="The file is no PDF, DOCX, plain text or Markdown.", remedy="Save it as one of these and upload that."
    ),
    "not_unicode": FailureReason(
        sentence="The text is neither UTF-8 nor UTF-16.", remedy="Save it as UTF-8 and upload that."
    ),
    "too_many_pages": FailureReason(
        sentence="The file has {pages} pages; at most {limit} are indexed.", remedy="Upload it in parts."
    ),
    "too_large_unpacked": FailureReason(
        sentence="Unpacked, the file has more than {limit} bytes.", remedy="Remove its pictures, or upload it in parts."
    ),
    "too_much_text": FailureReason(
        sentence="The file has more than {limit} passages.", remedy="Upload it in parts, or with a larger `chunkSize`."
    ),
    "too_much_memory": FailureReason(
        sentence="Reading the file takes more than {memory_mb} MB of memory.",
        remedy="Save it anew by another program, or upload it in parts.",
        is_final=False,
    ),
    "too_slow": FailureReason(
        sentence="Reading the file takes more than {cpu_s} s of CPU, or {wall_s} s in all.",
        remedy="Save it anew by another program, or upload it in parts.",
        is_final=False,
    ),
    "reader_died": FailureReason(
        sentence="The process that read the file died ({error}).",
        remedy="Save it anew by another program and upload that; if it goes on, report it.",
        is_final=False,
    ),
    "original_missing": FailureReason(
        sentence="The file is not in the storage any more.", remedy="Remove the document and upload it again."
    ),
    "dimensions_differ": FailureReason(
        sentence="The embedding model returned vectors of another length than it is known for: {error}.",
        remedy="Correct the model's settings, then index the document again.",
    ),
    "model_away": FailureReason(
        sentence="The embedding model did not answer: {error}.",
        remedy="It is asked again by itself; if that lasts, correct its address, key, budget or name.",
        is_final=False,
    ),
    "storage_away": FailureReason(
        sentence="The storage of files did not answer: {error}.",
        remedy="It is asked again by itself; if that lasts, correct MEDIA_STORAGE.",
        is_final=False,
    ),
    "database_away": FailureReason(
        sentence="PostgreSQL did not answer: {error}.", remedy="It is asked again by itself.", is_final=False
    ),
    "internal": FailureReason(
        sentence="Indexing failed by a fault of the program ({error}).",
        remedy="The log of kind index has it; report it.",
        is_final=False,
    ),
    "interrupted": FailureReason(
        sentence="Three times the process died while the document was in its hands.",
        remedy="Save it anew by another program and upload that; or index it again.",
    ),
}
"""By code."""


class IndexingFailed(Exception):
    """Raised when a document cannot be indexed; `code` is a row of `REASONS`, `facts` fill its sentence."""

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(code)
        self.code, self.reason = code, REASONS[code]
        self.text = self.reason.text(facts)
