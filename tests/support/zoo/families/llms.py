"""The LLMs that the seed documents name as embedders: GLM-4.5, gpt-oss-20b, Kimi K2, DeepSeek R1."""

from tests.support.zoo.recipe import JsonObject, Recipe, published
from tests.support.zoo.tokenizers.vocabularies import DEEPSEEK_WORDS, GLM_WORDS, GPT_OSS_WORDS, KIMI_WORDS

# What one head of multi-head latent attention consists of, at a size for tests.
LATENT: JsonObject = {
    # Not a whole number of FP8 blocks, together with the rotary part: 576 rows in truth, of blocks of 128.
    "kv_lora_rank": 32,
    "q_lora_rank": 24,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
# The first layer is dense, and each token takes 4 of 16 experts.
EXPERTS: JsonObject = {"first_k_dense_replace": 1, "n_routed_experts": 16, "num_experts_per_tok": 4}


def _llm(name: str, seed_name: str, reduced: JsonObject, **about: object) -> Recipe:
    config = published(name.rsplit("/", 1)[-1].lower())
    reduced = {"hidden_size": 64, "num_hidden_layers": 3, **reduced}
    return Recipe(
        name=name,
        seed_name=seed_name,
        config=config,
        reduced=reduced,
        native_reduced=reduced,
        saved_as="AutoModelForCausalLM",
        kind="llm",
        max_tokens=int(config["max_position_embeddings"]),
        **about,  # type: ignore[arg-type]
    )


LLMS = (
    _llm(
        "zai-org/GLM-4.5",
        "fireworks/glm-4p5",
        # 12 query heads to a key head, and together wider than the hidden state, as published.
        EXPERTS
        | {"num_attention_heads": 12, "num_key_value_heads": 1, "head_dim": 8, "intermediate_size": 96}
        | {"hidden_size": 40, "moe_intermediate_size": 24},
        vocabulary=GLM_WORDS,
    ),
    _llm(
        "openai/gpt-oss-20b",
        "fireworks/gpt-oss-20b",
        {"num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 12, "intermediate_size": 64}
        | {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 16}
        | {"num_local_experts": 8},
        vocabulary=GPT_OSS_WORDS,
        quantised="mxfp4",
    ),
    _llm(
        "moonshotai/Kimi-K2-Instruct-0905",
        "fireworks/kimi-k2-instruct-0905",
        EXPERTS
        | LATENT
        | {"num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 160}
        | {"moe_intermediate_size": 24},
        # The same network under the name that the library knows.
        native={**published("kimi-k2-instruct-0905"), "model_type": "deepseek_v3"},
        vocabulary=KIMI_WORDS,
        quantised="fp8",
    ),
    _llm(
        "deepseek-ai/DeepSeek-R1-0528",
        "fireworks/deepseek-r1-0528",
        EXPERTS
        | LATENT
        | {"num_attention_heads": 8, "num_key_value_heads": 8, "intermediate_size": 160}
        | {"moe_intermediate_size": 24, "n_group": 4, "topk_group": 2},
        vocabulary=DEEPSEEK_WORDS,
        quantised="fp8",
    ),
)
