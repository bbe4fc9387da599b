"""No body whatever brings out a 422, a 500 or FastAPI's own words."""

import json

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.http.requests import FIREWORKS, FIREWORKS_RERANK, RERANK, V1

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PATHS = st.sampled_from([V1, FIREWORKS, RERANK, FIREWORKS_RERANK])
NAMES = st.sampled_from(
    [
        "input",
        "model",
        "dimensions",
        "encoding_format",
        "normalize",
        "return_logits",
        "prompt_template",
        "truncate",
        "truncate_prompt_tokens",
        "truncation_side",
        "prompt_name",
        "embed_dtype",
        "query",
        "documents",
        "top_n",
        "top_k",
        "return_documents",
        "task",
        "instruction",
        "chat_template_kwargs",
        "max_tokens_per_doc",
        "raw_scores",
        "use_activation",
        "rank_fields",
        "perf_metrics_in_response",
        "output_dimension",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)


@SETTINGS
@given(path=PATHS, body=st.dictionaries(NAMES | st.text(), VALUES, max_size=8))
def test_74_any_fields_are_answered_by_the_contract(plain: httpx.Client, path: str, body: dict[str, object]) -> None:
    answer = plain.post(path, content=json.dumps(body, ensure_ascii=True))

    assert answer.status_code in (200, 400, 404)
    assert not isinstance(answer.json().get("detail"), list)


@SETTINGS
@given(path=PATHS, body=st.binary(max_size=200))
def test_74_any_bytes_are_answered_by_the_contract(plain: httpx.Client, path: str, body: bytes) -> None:
    answer = plain.post(path, content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 400
    assert isinstance(answer.json()["error"]["message"], str)
