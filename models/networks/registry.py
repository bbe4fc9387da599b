"""Which checkpoints a packed network of ours can run. No torch."""

from models.checkpoint.folder import Checkpoint
from models.interface import ModelError
from models.networks.qwen3_config import read_qwen3_config


def why_not_packed(checkpoint: Checkpoint) -> str | None:
    """Why no packed network runs this checkpoint, or None if one does."""
    if checkpoint.model_type != "qwen3":
        return f"there is no packed network for: {checkpoint.model_type}"
    try:
        read_qwen3_config(checkpoint.config)
    except ModelError as error:
        return str(error)
    return None
