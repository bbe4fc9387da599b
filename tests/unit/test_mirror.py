"""tests/unit mirrors the source: test_X.py or test_X_detail.py tests X.py of the same folder."""

from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = Path(__file__).parent
TESTS = sorted(UNIT.rglob("test_*.py"))
SOURCES = sorted(
    file
    for package in ("server", "models")
    for file in (ROOT / package).rglob("*.py")
    if file.name != "__init__.py" and "training" not in file.parts
)

# Tests of a rule or of shipped files, not of one module.
WITHOUT_SOURCE = {
    "test_house.py",
    "test_import_order.py",
    "test_mirror.py",
    "models/demo/test_demo.py",
    "server/api/dialects/test_new_dialect.py",
}

# Modules that are tested where they are used.
TESTED_ELSEWHERE = {
    "server/__main__.py": "contract/operations/test_start_and_stop.py",
    "server/api/dialects/cohere.py": "contract/routes/test_other_apis.py",
    "server/api/dialects/fireworks.py": "contract/routes/test_embeddings.py",
    "server/api/dialects/openai.py": "contract/routes/test_embeddings.py",
    "server/api/dialects/tei.py": "contract/routes/test_other_apis.py",
    "server/api/dialects/vllm.py": "contract/routes/test_other_apis.py",
    "server/api/openapi.py": "contract/pages/test_api_docs.py",
    "server/api/pages/docs_page.py": "contract/pages/test_api_docs.py",
    "server/api/pages/search_page.py": "contract/pages/test_search_page.py",
    "server/api/pages/static_files.py": "contract/pages/test_search_page.py",
    "server/api/routes.py": "contract/routes/test_embeddings.py",
    "server/api/system_routes.py": "contract/operations/test_operation.py",
    "server/api/tokenize_routes.py": "contract/routes/test_other_apis.py",
    "models/conversion/unpickle.py": "unit/models/conversion/test_convert.py",
    "server/cli/convert.py": "unit/models/conversion/test_convert.py",
    "server/api/fields/output_forms.py": "unit/server/processing/outputs/test_output_forms.py",
    "server/cli/check.py": "contract/operations/test_check_against.py",
    "server/cli/pull.py": "unit/models/checkpoint/test_pull.py",
    "server/config_sources.py": "unit/server/test_config.py",
    "server/engine/in_flight.py": "unit/server/engine/test_scheduler.py",
    "server/processing/context.py": "unit/server/processing/test_embed.py",
    "server/processing/templates/prompt_template.py": "contract/routes/test_prompt_templates.py",
    "server/processing/requests.py": "unit/server/processing/test_tokenization.py",
    "server/processing/templates/template_sandbox.py": "contract/routes/test_prompt_templates.py",
    "models/backends/fake.py": "unit/server/engine/test_scheduler.py",
    "models/backends/huggingface/float32_rerun.py": "unit/models/backends/huggingface/test_transformers_backend.py",
    "models/backends/huggingface/layout_check.py": "unit/models/backends/huggingface/test_layouts.py",
    "models/backends/micro_batch.py": "unit/models/backends/test_packed.py",
    "models/checkpoint/formats/bitsandbytes.py": "unit/models/checkpoint/formats/test_registry.py",
    "models/checkpoint/formats/compressed_tensors.py": "unit/models/checkpoint/formats/test_registry.py",
    "models/checkpoint/formats/fp8.py": "unit/models/checkpoint/formats/test_registry.py",
    "models/checkpoint/formats/gguf_model.py": "unit/models/checkpoint/formats/test_gguf.py",
    "models/checkpoint/formats/mxfp4.py": "unit/models/checkpoint/formats/test_registry.py",
    "models/checkpoint/formats/packed_inputs.py": "unit/models/checkpoint/formats/test_registry.py",
    "models/checkpoint/formats/plan.py": "unit/models/checkpoint/formats/test_registry.py",
    "models/checkpoint/info.py": "unit/models/test_loading.py",
    "models/checkpoint/published_models.py": "model_zoo/test_recipes.py",
    "models/cuda/attention_kernel.py": "gpu_rehearsal/kernels/test_interpreted.py",
    "models/cuda/elementwise.py": "gpu_rehearsal/kernels/test_interpreted.py",
    "models/cuda/kernels.py": "unit/models/cuda/test_choice.py",
    "models/cuda/triton_kernels.py": "gpu_rehearsal/kernels/test_interpreted.py",
    "models/dequantization/bitsandbytes.py": "unit/models/dequantization/test_reader.py",
    "models/dequantization/blocks.py": "unit/models/dequantization/test_reader.py",
    "models/dequantization/mxfp4.py": "model_zoo/test_quantized.py",
    "models/interface.py": "unit/models/test_packing.py",
    "models/layers/efficient_attention.py": "gpu/test_attention.py",
    "models/layers/varlen_attention.py": "unit/models/layers/test_attention.py",
    "models/networks/packed_network.py": "unit/models/backends/test_packed.py",
    "models/networks/qwen3.py": "unit/models/backends/test_packed.py",
    "models/verify/calibration_texts.py": "unit/models/verify/test_calibrate.py",
    "models/verify/reference.py": "unit/models/verify/test_check.py",
    "models/verify/samples.py": "unit/models/verify/test_offline.py",
}


def _source(test: Path) -> Path | None:
    """The module that a test file is named after: the longest X of test_X_detail.py that exists."""
    words = test.stem.split("_")[1:]
    folder = ROOT / test.parent.relative_to(UNIT)
    names = ("_".join(words[:count]) for count in range(len(words), 0, -1))
    return next((file for name in names if (file := folder / f"{name}.py").is_file()), None)


@cache
def _tested() -> set[Path | None]:
    return {_source(test) for test in TESTS}


@pytest.mark.parametrize("test", TESTS, ids=lambda file: str(file.relative_to(UNIT)))
def test_a_unit_test_is_named_after_a_module_of_the_mirrored_folder(test: Path) -> None:
    assert _source(test) or str(test.relative_to(UNIT)) in WITHOUT_SOURCE


@pytest.mark.parametrize("source", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_has_a_unit_test_or_names_the_tests_that_cover_it(source: Path) -> None:
    assert source in _tested() or str(source.relative_to(ROOT)) in TESTED_ELSEWHERE


def test_the_exceptions_exist_and_are_needed() -> None:
    tested = {str(source.relative_to(ROOT)) for source in _tested() if source}

    assert {name for name in WITHOUT_SOURCE if not (UNIT / name).is_file()} == set()
    assert {name for name in TESTED_ELSEWHERE if not (ROOT / name).is_file()} == set()
    assert {test for test in TESTED_ELSEWHERE.values() if not (ROOT / "tests" / test).is_file()} == set()
    assert tested & TESTED_ELSEWHERE.keys() == set()
