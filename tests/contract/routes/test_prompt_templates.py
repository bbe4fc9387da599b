"""prompt_template over a real socket."""

import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models import Preprocessor
from tests.support.http.requests import FIREWORKS, V1, embed, openai_error, tokens, vector, vectors
from tests.support.server.process import ServerProcess

DOCUMENTED = {
    "input": [{"text": "First document", "metadata": {"id": 1}}],
    "prompt_template": "Embed this text: {text}",
}


@pytest.mark.parametrize("path", [V1, FIREWORKS])
def test_48_fireworks_example_embeds_the_filled_template(plain: httpx.Client, path: str) -> None:
    answer = plain.post(path, json=DOCUMENTED)

    assert answer.json()["data"] == embed(plain, ["Embed this text: First document"], path).json()["data"]


def test_48_each_object_gives_a_vector(plain: httpx.Client) -> None:
    found = vectors(plain, [{"text": "a"}, {"text": "b"}], prompt_template="<{text}>")

    assert np.array_equal(found, vectors(plain, ["<a>", "<b>"]))


@pytest.mark.parametrize(
    ("given", "template", "text"),
    [
        ({"text": "x"}, "{{ text }}", "x"),
        ({"a": "x"}, "{% if a %}{{ a }}{% endif %}", "x"),
        ("x", "Embed: {text}", "Embed: x"),
        ("x", "Embed: {{ text }}\n", "Embed: x\n"),
        ({"metadata": {"source": "s"}}, "{metadata.source}", "s"),
        ({"metadata": {"id": 1}}, "{metadata}", '{"id":1}'),
        ({"a": "x"}, '{a} {"k": 1}', 'x {"k": 1}'),
        ({"words": ["a", "b"]}, "{% for w in words %}[{{ w }}]{% endfor %}", "[a][b]"),
        ("x", "no variable at all", "no variable at all"),
    ],
)
def test_49_both_ways_of_writing_a_template_work(plain: httpx.Client, given: Any, template: str, text: str) -> None:
    assert np.array_equal(vector(plain, given, prompt_template=template), vector(plain, text))


@pytest.mark.parametrize("template", ["{text}", "{{ text }}"])
def test_50_a_missing_variable_is_400_with_its_name_and_place(plain: httpx.Client, template: str) -> None:
    error = openai_error(embed(plain, [{"text": "a"}, {"other": "b"}], prompt_template=template), 400)

    assert error["message"] == "prompt_template needs 'text', which input[1] does not have."


@pytest.mark.parametrize(
    ("given", "template"),
    [([1, 2], "{text}"), ([[1, 2]], "{text}"), ("a", "{{ text"), ("a", "{% if %}"), ([{"text": "a"}, "b"], "{text}")],
)
def test_50_what_cannot_be_filled_is_400(plain: httpx.Client, given: object, template: str) -> None:
    openai_error(embed(plain, given, prompt_template=template), 400)


@pytest.mark.parametrize("given", [{"title": "a"}, [{"text": "a", "title": "b"}]])
def test_50_objects_need_a_template(plain: httpx.Client, given: object) -> None:
    error = openai_error(embed(plain, given), 400)

    assert error["message"].endswith("objects require 'prompt_template'.")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}",
        "{{ text.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{{ 9**(9**9) }}",
        "{{ 'a' * 1000000000 }}",
        "{{ '%500000000d' % 1 }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
        "{{ 'x'|center(10**9) }}",
        "{% include 'x' %}",
        "{% set x = 1 %}{{ x }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ text|attr('__class__') }}",
        "{{ self }}",
    ],
)
def test_51_what_is_not_on_the_list_is_400_at_once(plain: httpx.Client, template: str) -> None:
    answer = embed(plain, "a", prompt_template=template)

    assert openai_error(answer, 400)["param"] == "prompt_template"
    assert answer.elapsed.total_seconds() < 1
    assert embed(plain, "a").status_code == 200


@pytest.mark.parametrize("template", ["{{ truncate_tokens(text, 5) }}", "{truncate_tokens(text, 5)}"])
def test_52_a_template_may_cut_its_text(plain: httpx.Client, template: str) -> None:
    assert tokens(embed(plain, "one two three four five six seven", prompt_template=template)) == 6


@pytest.mark.parametrize("template", ["{text}", "{{ text }}", "<|im_end|>{text}"])
def test_52_control_tokens_are_spelt_out_wherever_they_come_from(
    plain: httpx.Client, embedder: Preprocessor, template: str
) -> None:
    used = tokens(embed(plain, "<|im_end|>", prompt_template=template))

    text = template.replace("{{ text }}", "{text}").replace("{text}", "<|im_end|>")
    assert used == len(embedder.tokenizer.encode([text])[0]) + 1


@pytest.mark.parametrize(
    ("given", "template", "text"),
    [
        ({"a": "x"}, "{a} {b {} {a", "x {b {} {a"),
        ({"a": {"b": {"c": "deep"}}}, "{a.b.c}", "deep"),
        ({"a": {"b": "x"}}, "{{ a.b }}{{ a['b'] }}", "xx"),
        ({"a": None, "b": True, "c": 1.5}, "{a} {b} {c}", "null true 1.5"),
        ({"items": "not a method", "keys": "k"}, "{{ items }} {{ keys }}", "not a method k"),
        (
            {"tags": [" A ", "b"]},
            "{% for t in tags %}{{ t|trim|lower }}{% if not loop.last %},{% endif %}{% endfor %}",
            "a,b",
        ),
        ({"a": "x"}, "{{ missing|default('-') }}{% if missing is defined %}!{% endif %}", "-"),
        ({"a": "x"}, "{% if a == 'x' and not (a != 'x') %}yes{% else %}no{% endif %}", "yes"),
        ({"a": "x"}, "{{ a if a in 'xyz' else 'no' }}", "x"),
        ({"text": "x"}, "{% raw %}{{ text }}{% endraw %}", "{{ text }}"),
        ({"text": "<b>&"}, "{{ text }}", "<b>&"),
        ({"text": "{{ 7 * 7 }} {text}"}, "{{ text }}", "{{ 7 * 7 }} {text}"),
    ],
)
def test_49_what_the_list_allows_works(plain: httpx.Client, given: Any, template: str, text: str) -> None:
    assert np.array_equal(vector(plain, given, prompt_template=template), vector(plain, text))


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("a\n{{ text", 2),
        ("\n\n{% if %}", 3),
        ("{{ text }}\n{% set a = 1 %}", 2),
        ("{{ text }}\n\n{{ text|length(1) }}", 3),
    ],
)
def test_50_a_templates_error_names_its_line(plain: httpx.Client, template: str, line: int) -> None:
    error = openai_error(embed(plain, "a", prompt_template=template), 400)

    assert f"line {line}: " in error["message"]


@pytest.mark.parametrize("path", [V1, FIREWORKS])
@pytest.mark.parametrize(
    "template", ["{{ missing }}", "{% if missing < 1 %}{% endif %}", "{% for x in missing %}{% endfor %}", "{missing}"]
)
def test_50_wherever_a_variable_is_missing_it_is_named(plain: httpx.Client, path: str, template: str) -> None:
    answer = embed(plain, "a", path, prompt_template=template)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "prompt_template needs 'missing', which input does not have."


# Names of Python's, at every place where a template may have a name or a value.
REACHING = [
    "{{ truncate_tokens }}",
    "{{ truncate_tokens|string }}",
    "{{ truncate_tokens|default }}",
    "{{ missing|default(truncate_tokens) }}",
    "{{ truncate_tokens.__globals__ }}",
    "{{ truncate_tokens['__globals__'] }}",
    "{% if truncate_tokens %}x{% endif %}",
    "{{ truncate_tokens() }}",
    "{{ truncate_tokens(text, 1, 2) }}",
    "{{ truncate_tokens(*text) }}",
    "{{ truncate_tokens(**object) }}",
    "{{ truncate_tokens(text=text) }}",
    "{{ truncate_tokens(text, 'many') }}",
    "{{ truncate_tokens(text, -1) }}",
    "{{ truncate_tokens(text, 1.5) }}",
    "{% for x in list %}{{ loop }}{% endfor %}",
    "{% for x in list %}{{ loop|string }}{% endfor %}",
    "{% for x in list %}{{ loop.cycle('a') }}{% endfor %}",
    "{% for x in list %}{{ loop._iterable }}{% endfor %}",
    "{% for x in list %}{{ loop.__class__ }}{% endfor %}",
    "{% for x in list recursive %}{{ loop(list) }}{% endfor %}",
    "{% for loop in list %}{% endfor %}",
    "{% for self in list %}{% endfor %}",
    "{% for truncate_tokens in list %}{% endfor %}",
    "{{ text.upper() }}",
    "{{ text.format }}",
    "{{ text['__class__'] }}",
    "{{ list.append }}",
    "{{ list.__len__ }}",
    "{{ object.items() }}",
    "{{ object.__class__ }}",
    "{{ object|attr('items') }}",
    "{{ range }}",
    "{{ dict }}",
    "{{ lipsum }}",
    "{{ joiner }}",
    "{{ namespace }}",
    "{{ caller }}",
    "{{ context }}",
    "{{ environment }}",
    "{{ self._TemplateReference__context }}",
    "{{ super() }}",
    "{{ text|map('upper') }}",
    "{{ text|pprint }}",
    "{{ text|format }}",
    "{{ text|tojson }}",
    "{{ text|xmlattr }}",
    "{{ text is callable }}",
    "{{ text is filter }}",
    "{% import 'x' as y %}",
    "{% extends 'x' %}",
    "{% block a %}{% endblock %}",
    "{% call text() %}{% endcall %}",
    "{% with a = 1 %}{{ a }}{% endwith %}",
    "{% filter upper %}x{% endfilter %}",
    "{% autoescape true %}{% endautoescape %}",
    "{% do text %}",
    "{% debug %}",
    "{{ [1] }}",
    "{{ {} }}",
    "{{ (1, 2) }}",
    "{{ text[1:2] }}",
    "{{ text ~ text }}",
    "{{ 1 + 1 }}",
    "{{ -1 }}",
    "{{ text % 1 }}",
]


@pytest.mark.parametrize("template", REACHING)
def test_51_no_name_of_pythons_is_reached_or_shown(plain: httpx.Client, template: str) -> None:
    given = {"text": "text of the tests", "list": [1, 2], "object": {"a": 1}}

    answer = embed(plain, given, prompt_template=template)

    message = openai_error(answer, 400)["message"]
    assert not re.search(r"<(function|class|built-in|Loop)|object at 0x|Traceback|lambda|File \"|\.py|jinja", message)
    assert answer.elapsed.total_seconds() < 1


MANY = 5000
# What costs a parser, a compiler or a renderer much, though each part of it is on the list.
DEAR = {
    "a number of many digits": "{{ " + "1" * MANY + " }}",
    "a number of many hexadecimal digits": "{{ 0x" + "f" * MANY + " }}",
    "such a number in a condition": "{% if text == 0x" + "f" * MANY + " %}{% endif %}",
    "an infinite number": "{% if 1 < 1e999 %}{% endif %}",
    "parentheses": "{{ " + "(" * MANY + "text" + ")" * MANY + " }}",
    "brackets": "{{ text" + "[0]" * MANY + " }}",
    "attributes": "{{ text" + ".a" * MANY + " }}",
    "nots": "{{ " + "not " * 4000 + "text }}",
    "ands": "{{ " + "text and " * 2000 + "text }}",
    "ifs in ifs": "{% if text %}" * 150 + "{% endif %}" * 150,
    "filters": "{{ text" + "|upper" * 2000 + " }}",
    "calls": "{{ truncate_tokens(text) }}" * 700,
    "calls in plain form": "{truncate_tokens(text)}" * 800,
    "calls in calls": "{{ " + "truncate_tokens(" * 1000 + "text" + ")" * 1000 + " }}",
    "loops": "{% for x in list %}{% endfor %}" * 600,
    "loops in loops": "{% for x in list %}" * 300 + "{% endfor %}" * 300,
    "a call in a loop's condition": "{% for x in list if truncate_tokens(text) %}{% endfor %}",
    "a template of many parts": "{{ a }}" * 2800,
    "a template that is too long": "a" * 20_001,
    "text upon text": "{text}" * 3300,
    "text upon text in jinja": "{{ text }}" * 400,
    "text in a loop": "{% for x in list %}{{ text }}{% endfor %}",
    "a comparison in a loop": "{% for x in list %}" + "{% if text in other %}{% endif %}" * 90 + "{% endfor %}",
    "filters in a loop": "{% for x in list %}{% if text|upper|lower|title == text|lower %}{% endif %}{% endfor %}",
    "lists that are compared": "{% for x in list %}" + "{% if lists == others %}{% endif %}" * 90 + "{% endfor %}",
    "a list that is too long to go over": "{% for x in lists %}{% endfor %}",
}


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads /proc")
@pytest.mark.parametrize("template", DEAR.values(), ids=DEAR.keys())
def test_51_what_would_take_long_or_grow_is_400_soon_and_memory_stays_flat(
    plain_server: ServerProcess, template: str
) -> None:
    text = "x" * 300_000
    given = {"text": text, "other": text + "y", "list": [1] * 256, "lists": [0] * 50_000, "others": [0] * 50_000}
    # Once before it is measured: what an ordinary request of this size leaves behind.
    embed(plain_server.client, given, prompt_template="{list}", truncate=True)
    before = _peak_megabytes(plain_server)

    answer = embed(plain_server.client, given, prompt_template=template)

    assert openai_error(answer, 400)["param"] == "prompt_template"
    assert answer.elapsed.total_seconds() < 3
    assert _peak_megabytes(plain_server) - before < 50
    assert embed(plain_server.client, "a").status_code == 200


def test_51_many_inputs_share_what_a_template_may_cost(plain: httpx.Client) -> None:
    template = "{% for x in list %}" + "{{ a }}" * 300 + "{% endfor %}"

    answer = embed(plain, [{"list": [1] * 256, "a": ""}] * 2048, prompt_template=template)

    error = openai_error(answer, 400)
    assert "takes too long to render" in error["message"]
    assert answer.elapsed.total_seconds() < 5


def _peak_megabytes(hearth: ServerProcess) -> int:
    status = Path(f"/proc/{hearth._process.pid}/status").read_text("ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024


@pytest.mark.parametrize(
    ("template", "variables"),
    [
        ("{text}" * 3000, {"text": "a"}),
        ("{a.b.c.d.e.f}" * 1500, {"a": {"b": {"c": {"d": {"e": {"f": "x"}}}}}}),
        ("{o}" * 1000, {"o": {"k": ["v" * 10] * 50}}),
    ],
)
def test_51_plain_templates_pay_for_their_work_too(
    plain: httpx.Client, template: str, variables: dict[str, Any]
) -> None:
    answer = embed(plain, [variables] * 2000, prompt_template=template)

    error = openai_error(answer, 400)
    assert "takes too long to render" in error["message"]
    assert answer.elapsed.total_seconds() < 5
