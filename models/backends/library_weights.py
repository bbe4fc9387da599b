"""A checkpoint's own network from the transformers library, every weight in place. No devices, no batches."""

from typing import Any, cast

import torch
from torch import nn

from models.backends.library_config import read_config
from models.checkpoint import Checkpoint
from models.freeing import freeing_at_once
from models.interface import ModelError


def load_network(checkpoint: Checkpoint, dtype: torch.dtype, *, classifier: bool = False) -> nn.Module:
    """The network on the CPU: a `classifier` with its head, any other without.

    Raises: ModelError: an entry of config.json or a tensor that the library's class does not know, or lacks.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # its load report: what matters of it is raised below
    where = {"trust_remote_code": False, "local_files_only": True}
    try:
        config = read_config(checkpoint)
        kind = transformers.AutoModelForSequenceClassification if classifier else transformers.AutoModel
        with freeing_at_once():
            network, found = kind.from_pretrained(
                checkpoint.path,
                config=config,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # to name them, below
                **where,
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ModelError(f"transformers cannot load {checkpoint.path}: {str(error).splitlines()[0]}") from error
    _check_found(checkpoint, network, found, reads_pooler=classifier)
    return cast("nn.Module", network.eval())


def _check_found(checkpoint: Checkpoint, network: nn.Module, found: Any, *, reads_pooler: bool) -> None:
    # What is missing would be random numbers; only a head reads a pooler.
    missing = [name for name in found["missing_keys"] if reads_pooler or "pooler." not in name]
    other_shapes = [str(key if isinstance(key, str) else key[0]) for key in found["mismatched_keys"]]
    if wrong := sorted([*missing, *other_shapes, *map(str, found.get("error_msgs") or [])]):
        name = type(network).__name__
        raise ModelError(f"{checkpoint.path} lacks weights of {name}, or they do not fit: {', '.join(wrong[:3])}")
