"""Which tensors of a checkpoint may be left over when a network has taken its own. No torch.

Any other left-over tensor means that config.json describes another network than the weights. Fewer layers, for example,
give vectors that look right and are wrong.
"""

import re
from collections.abc import Iterable

# Heads that files of published models keep: of language models, of masked language models, and of classifiers.
_HEADS = (
    *(r"lm_head\.", r"embed_out\.", r"cls\.", r"predictions\.", r"generator_lm_head\.", r"(lm|mask)_predictions\."),
    *(r"(discriminator|generator)_predictions\.", r"vocab_(transform|layer_norm|projector)\."),
    *(r"head\.(dense|norm)\.", r"decoder\.(weight|bias)$"),  # ModernBERT's masked language model
    *(r"(pre_)?classifier\.", r"score\.", r"qa_outputs\."),
)
# Buffers that older versions of transformers stored: each network computes its own.
_BUFFERS = (r"position_ids$", r"token_type_ids$", r"(^|\.)inv_freq$", r"\.attn\.(masked_)?bias$")
# Embedders and language models do not read a pooler; a classifier whose head lacks its pooler is refused elsewhere.
_HARMLESS = re.compile("|".join((rf"^(\w+\.)?({'|'.join(_HEADS)})", r"(^|\.)pooler\.", *_BUFFERS)))
_LAYER = re.compile(r"^(?:\w+\.)?layers\.(\d+)\.")
NAMED = 3


def surplus(left_over: Iterable[str], *, layers: int = 0, layers_ahead: int = 0) -> list[str]:
    """Those of the left-over tensors that are not known to be harmless, sorted.

    Args:
        left_over: names of tensors that the network did not take.
        layers: how many layers the network has.
        layers_ahead: how many more layers predict further tokens (num_nextn_predict_layers), and are not run here.
    """
    return sorted(name for name in left_over if not _is_harmless(name, range(layers, layers + layers_ahead)))


def say_surplus(network: str, names: list[str]) -> str:
    """A clause that names some of the tensors."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"holds tensors that {network} does not have by config.json: {', '.join(names[:NAMED])}{more}; "
        "correct config.json (num_hidden_layers, for instance), or use the model's own weights"
    )


def _is_harmless(name: str, ahead: range) -> bool:
    layer = _LAYER.match(name)
    return bool(_HARMLESS.search(name)) or (layer is not None and int(layer[1]) in ahead)
