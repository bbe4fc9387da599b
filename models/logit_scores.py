"""What a causal cross-encoder's own files say of its score: which token means yes, and in which prompt."""

from models.checkpoint import Checkpoint
from models.interface import ModelError
from models.prompts import PREFIX, RerankPrompt

LOGIT_SCORE = "LogitScore"
# The system message of the Qwen3 reranker, without the control tokens around it.
ASKS = PREFIX[PREFIX.index("Judge") : PREFIX.index("<|im_end|>")]


def check_prompt(checkpoint: Checkpoint) -> None:
    """Refuse a causal cross-encoder that asks in another way than the Qwen3 reranker does.

    Raises: ModelError.
    """
    if LOGIT_SCORE in checkpoint.modules and (checkpoint.model_type != "qwen3" or _asks_otherwise(checkpoint)):
        raise ModelError(f"{checkpoint.path} is a reranker with a prompt of its own, which is not served")


def read_no_yes(checkpoint: Checkpoint, prompt: RerankPrompt) -> tuple[int, int]:
    """The ids of no and yes: those of the checkpoint's LogitScore module, else the words' own.

    Raises: ModelError: it scores by one token alone.
    """
    config = next((checkpoint.config_of(path) for name, path in checkpoint.module_paths if name == LOGIT_SCORE), None)
    if config is None:
        return prompt.no, prompt.yes
    no, yes = config.get("false_token_id"), config.get("true_token_id")
    if not isinstance(no, int) or not isinstance(yes, int):
        raise ModelError(f"{checkpoint.path} scores by one token alone, which is not served; LogitScore: {config}")
    return no, yes


def _asks_otherwise(checkpoint: Checkpoint) -> bool:
    template = checkpoint.chat_template
    # One that has no place for documents is for chats, and nobody ranks with it.
    return "document" in template and ASKS not in template.replace('\\"', '"')
