"""A chat template's first run is in a process of its own: what it wastes or breaks there is one sentence here."""

import pytest

from models.text.chat import template_renderer
from models.text.chat.template_renderer import ChatTemplateError, fill_chat_template, fill_within_limits

TALK = [{"role": "user", "content": "Where?"}]


def test_the_process_fills_a_template_as_we_do() -> None:
    source = "{% for m in messages %}<{{ m.role }}>{{ m.content }} {{ tone }}{% endfor %}\n"

    texts = fill_within_limits(source, [TALK, [*TALK, *TALK], []], {"tone": "naïve 🙂"})

    assert texts == [fill_chat_template(source, talk, {"tone": "naïve 🙂"}) for talk in (TALK, TALK * 2, [])]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "needs more than 1 s or"),
        ("{{ 'a' * 3000000000 }}", "too long"),
        ("{{ 'x'|center(2000000000) }}", "too long"),
        ("{{ 'a' * 2000000 }}", "makes 2000000 characters"),
        ("{{ 9**(9**9) }}", "needs more than 1 s or"),
        ("{% if 1 %}" * 3000 + "x" + "{% endif %}" * 3000, "nested too deeply|needs more than"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested too deeply"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ raise_exception('no system messages') }}", "^no system messages$"),
        ("{% if %}", "Expected an expression"),
    ],
)
def test_a_template_that_breaks_ends_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.setattr(template_renderer, "MAX_CPU_SECONDS", 1)

    with pytest.raises(ChatTemplateError, match=message):
        fill_within_limits(source, [TALK], {})
