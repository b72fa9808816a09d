"""Whether a customer asks for a human: a company's keywords, found as whole words in any script; pure.

- Case does not matter, nor does the way in which a character is composed (NFKC and case folding of Unicode). For
  Turkish and Azerbaijani, whose I and İ are two letters, both ways of folding are tried.
- A keyword is found whole: `help` is not in `helpful`, nor in `self_help2`. One of several words may have any spaces
  between them.
- Scripts without spaces between words (Chinese, Japanese, Thai, …) have no such bounds: there a keyword is found
  anywhere. A run of katakana is a word all the same, and Korean particles may follow a keyword.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from shared.tenancy.company_settings import SETTINGS, CompanySettings

LONGEST_TEXT: Final = 4096
"""Characters of a text that are looked at: as many as a message of WhatsApp has."""
_DOTTED: Final = frozenset({"tr", "az"})
"""Languages with a dotted and a dotless I."""
_DOTTED_CAPITALS: Final = str.maketrans({"I": "ı", "İ": "i"})
_USUAL_KEYWORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "de": ("mensch", "mitarbeiter", "mitarbeiterin", "hilfe"),
    "es": ("humano", "persona", "agente", "ayuda"),
    "fr": ("humain", "conseiller", "conseillère", "aide"),
    "it": ("umano", "operatore", "aiuto"),
    "nl": ("mens", "medewerker", "hulp"),
    "pl": ("człowiek", "konsultant", "pomoc"),
    "pt": ("humano", "pessoa", "atendente", "ajuda"),
    "tr": ("insan", "temsilci", "yardım"),
    "ar": ("موظف", "إنسان", "مساعدة"),
    "hi": ("इंसान", "एजेंट", "मदद"),
    "ja": ("人間", "担当者", "ヘルプ"),
    "ko": ("상담원", "사람", "도움"),
    "zh": ("人工", "客服", "帮助"),
}
"""Keywords of a company that set none, beside the English ones, by the languages of its customers."""
_DEFAULT: Final = next(tuple(field.default) for field in SETTINGS if field.name == "humanHandoffKeywords")

# First and last character of the blocks of scripts that are written without spaces between words. Katakana is apart:
# its runs are words.
_UNSPACED: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),
    (0x3041, 0x309F),  # hiragana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_KATAKANA: Final = ((0x30A1, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF))
_HANGUL: Final = ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7A3))
# within a word of Persian, Hindi and others
_JOINERS: Final = "\u200c\u200d"


def keywords_of(settings: CompanySettings) -> tuple[str, ...]:
    """Return the keywords of a company: those that it set, or the usual ones in the languages of its customers."""
    if settings.handoff_keywords != _DEFAULT:
        return settings.handoff_keywords
    languages = [locale.partition("-")[0].lower() for locale in settings.locales]
    return (*_DEFAULT, *(word for language in languages for word in _USUAL_KEYWORDS.get(language, ())))


def said(content: Mapping[str, Any]) -> str:
    """Return the words of a message: its text, the caption of its file, or the button that was chosen."""
    found = content.get("body") or content.get("caption") or content.get("title") or ""
    return found if isinstance(found, str) else ""


def asks_for_human(text: str, keywords: Sequence[str], locales: Iterable[str]) -> bool:
    """Return whether a text has any of the keywords.

    Args:
        locales: of the company's customers, as BCP 47 tags.
    """
    text = text[:LONGEST_TEXT]
    if not text or not keywords:
        return False
    ways = (False, True) if any(locale.partition("-")[0].lower() in _DOTTED for locale in locales) else (False,)
    for is_dotted in ways:
        folded = _folded(text, is_dotted=is_dotted)
        if any(_stands_in(folded, _folded_keyword(keyword, is_dotted)) for keyword in keywords):
            return True
    return False


def _folded(text: str, *, is_dotted: bool) -> str:
    composed = unicodedata.normalize("NFKC", text)
    if is_dotted:
        composed = composed.translate(_DOTTED_CAPITALS)
    # folding may take characters apart again; a dot that it leaves above an i is no letter
    folded = unicodedata.normalize("NFKC", composed.casefold()).replace("i\u0307", "i")
    return " ".join(folded.split())


@lru_cache(maxsize=4096)
def _folded_keyword(keyword: str, is_dotted: bool) -> str:
    return _folded(keyword, is_dotted=is_dotted)


def _stands_in(text: str, keyword: str) -> bool:
    if not keyword:
        return False
    place = text.find(keyword)
    while place >= 0:
        end = place + len(keyword)
        before = text[place - 1] if place else ""
        after = text[end] if end < len(text) else ""
        if _is_bound(before, keyword[0], is_end=False) and _is_bound(keyword[-1], after, is_end=True):
            return True
        place = text.find(keyword, place + 1)
    return False


def _is_bound(left: str, right: str, *, is_end: bool) -> bool:
    """Return whether a word may end between two characters, of which one is the keyword's; `is_end`: the left one."""
    if not left or not right or not (_is_of_word(left) and _is_of_word(right)):
        return True
    if _is_in(left, _KATAKANA) and _is_in(right, _KATAKANA):
        return False
    # what marks the character before it is a part of that
    if unicodedata.category(right).startswith("M") or right in _JOINERS or left in _JOINERS:
        return False
    if any(_is_in(one, _UNSPACED) or _is_in(one, _KATAKANA) for one in (left, right)):
        return True
    # a particle
    return is_end and _is_in(left, _HANGUL) and _is_in(right, _HANGUL)


def _is_of_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN" or character == "_" or character in _JOINERS


def _is_in(character: str, blocks: Iterable[tuple[int, int]]) -> bool:
    return any(first <= ord(character) <= last for first, last in blocks)
