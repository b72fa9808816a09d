"""Whether a customer asks for a human: whole words, in the scripts of many languages; pure."""

from __future__ import annotations

import pytest

from shared.conversations.keywords import LONGEST_TEXT, asks_for_human, keywords_of, said
from shared.tenancy.company_settings import CompanySettings


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        ("help", "help"),
        ("HELP!", "help"),
        ("Can you, please, help?", "Help"),
        ("(help)", "help"),
        ("help-me", "help"),
        ("…help…", "help"),
        ("help❤️", "help"),
        # full-width letters, and a ligature
        ("\uff28\uff25\uff2c\uff30", "help"),
        ("o\ufb03ce", "office"),
        ("I want to talk   to a\nHUMAN being", "talk to a human"),
        ("Ich möchte einen MENSCHEN", "Menschen"),
        # composed and decomposed
        ("conseille\u0300re", "conseill\u00e8re"),
        ("STRASSE", "straße"),
        ("ΑΝΘΡΩΠΟΣ", "άνθρωπος".replace("ά", "α")),
        ("Позовите ЧЕЛОВЕКА, пожалуйста", "человека"),
        ("أريد موظف", "موظف"),
        ("मुझे मदद चाहिए", "मदद"),
        ("请帮我转人工服务", "人工"),
        ("人工!", "人工"),
        ("人間と話したい", "人間"),
        ("ヘルプをお願いします", "ヘルプ"),
        ("ขอคุยกับคนจริง", "คน"),
        ("상담원 연결해 주세요", "상담원"),
        ("상담원과 이야기하고 싶어요", "상담원"),
        ("agent 007", "agent"),
        ("need C++ help", "c++"),
    ],
)
def test_found(text: str, keyword: str) -> None:
    assert asks_for_human(text, [keyword], ["en"])


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        ("That was helpful", "help"),
        ("unhelp", "help"),
        ("help_desk", "help"),
        ("help2", "help"),
        ("superhuman", "human"),
        ("humane", "human"),
        ("Hilfestellung", "hilfe"),
        ("reagent", "agent"),
        # a letter that is marked is another one
        ("agente\u0301", "agente"),
        ("मददगार", "मदद"),
        ("मदद\u0940", "मदद"),
        ("ヘルプデスク", "ヘルプ"),
        ("새상담원", "상담원"),
        ("", "help"),
        ("help", ""),
    ],
)
def test_not_found(text: str, keyword: str) -> None:
    assert not asks_for_human(text, [keyword], ["en"])


@pytest.mark.parametrize("text", ["İNSAN", "insan", "INSAN", "İnsan lütfen"])
def test_the_two_letters_i_of_turkish(text: str) -> None:
    assert asks_for_human(text, ["insan"], ["tr-TR"])


def test_a_dotless_i_is_found_where_it_is_a_letter() -> None:
    assert asks_for_human("YARDIM", ["yardım"], ["tr"])
    assert not asks_for_human("YARDIM", ["yardım"], ["en"])


def test_any_of_several_and_no_more_than_a_message_holds() -> None:
    assert asks_for_human("an agent please", ["human", "agent"], ["en"])
    assert not asks_for_human("", ["human"], ["en"])
    assert not asks_for_human("human", [], ["en"])
    assert not asks_for_human("x" * LONGEST_TEXT + " human", ["human"], ["en"])


def test_companies_that_set_none_have_those_of_their_languages() -> None:
    usual = keywords_of(CompanySettings.read({"locale": ["de-AT", "en"]}))
    assert {"human", "agent", "help", "mensch"} <= set(usual)
    assert "humano" not in usual
    assert keywords_of(CompanySettings.read({"locale": ["de"], "humanHandoffKeywords": ["ops"]})) == ("ops",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"body": "a"}, "a"),
        ({"media": {}, "caption": "b"}, "b"),
        ({"kind": "button", "title": "c"}, "c"),
        ({"latitude": 1}, ""),
        ({"body": None}, ""),
    ],
)
def test_where_a_message_has_its_words(content: dict[str, object], words: str) -> None:
    assert said(content) == words
