"""What a checkpoint asks of its network and its tokens in sentence_bert_config.json, known or refused. No torch."""

from typing import Any

from models.checkpoint import Checkpoint
from models.interface import ModelError

# sentence-transformers 6.2, Transformer: what the network is asked for by task, when texts come in.
OUTPUTS = {
    "feature-extraction": "last_hidden_state",
    "sequence-classification": "logits",
    "text-generation": "logits",
}
# Entries that change neither the tokens of a text nor what is read from the network.
HARMLESS = (
    *("max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name", "unpad_inputs"),
    *("model_args", "model_kwargs", "config_args", "config_kwargs"),
    *("query_length", "document_length"),  # of models with many vectors a text
)


def asks_lower_case(checkpoint: Checkpoint) -> bool:
    """Whether texts are put into lower case before they are split into tokens."""
    return bool(checkpoint.first_part.get("do_lower_case"))


def check_first_part(checkpoint: Checkpoint) -> None:
    """Refuse entries that would change tokens or states, and that nobody here reads.

    Raises: ModelError: names them.
    """
    config = checkpoint.first_part
    unknown = [key for key, value in config.items() if key not in HARMLESS and value and not _is_harmless(key, value)]
    if unknown:
        raise ModelError(f"{checkpoint.path}/sentence_bert_config.json has entries not served: {', '.join(unknown)}")
    task = str(config.get("transformer_task", "feature-extraction"))
    modalities = config.get("modality_config")
    if modalities is None:
        return
    modalities = modalities if isinstance(modalities, dict) else {}
    text = modalities.get("text")
    if "message" in modalities and task != "text-generation":
        raise ModelError(f"{checkpoint.path} puts texts into a chat before they are embedded, which is not served")
    if task not in OUTPUTS or text != {"method": "forward", "method_output_name": OUTPUTS[task]}:
        raise ModelError(f"{checkpoint.path} reads its network in a way that is not served: {task}, {text}")


def _is_harmless(key: str, value: Any) -> bool:
    # A chat template is rendered by us, or not at all; what a tokenizer is told beside its file may change tokens.
    asked = value.items() if key == "processing_kwargs" and isinstance(value, dict) else [("", None)]
    return all(name == "chat_template" and isinstance(settings, dict) for name, settings in asked)
