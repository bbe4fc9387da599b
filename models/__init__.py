"""The door: the only names that server/ may import. Torch is imported inside load_backend and nowhere else."""

from models.chat_prompts import ChatPrompt
from models.checking import Report, check_model
from models.comparing import Scores, Vectors, compare_scores, compare_vectors
from models.finish import Matrix, finish_logits, finish_scores, finish_vectors
from models.interface import (
    Backend,
    BackendInfo,
    DeviceLost,
    Dtype,
    Ids,
    Item,
    Kind,
    LoadOptions,
    ModelError,
    ModelInfo,
    NonFinite,
    OutOfMemory,
    Pending,
    Readout,
    Row,
)
from models.loading import TextModel, device_name, load_backend, load_text
from models.manifest import Manifest
from models.named_prompts import NamedPrompts
from models.pairs import PairPrompt
from models.prompts import INSTRUCTION, RerankPrompt, is_complete_prompt
from models.pulling import Pulled, pull
from models.samples import DOCUMENTS, QUERIES, TEXTS
from models.sources import demo_models, find_checkpoint, model_id
from models.tokenizer import EDGE_FROM_IDS, agree_inside, cut
from models.trial import Trial, fitting, fitting_documents

__all__ = [
    "DOCUMENTS",
    "EDGE_FROM_IDS",
    "INSTRUCTION",
    "QUERIES",
    "TEXTS",
    "Backend",
    "BackendInfo",
    "ChatPrompt",
    "DeviceLost",
    "Dtype",
    "Ids",
    "Item",
    "Kind",
    "LoadOptions",
    "Manifest",
    "Matrix",
    "ModelError",
    "ModelInfo",
    "NamedPrompts",
    "NonFinite",
    "OutOfMemory",
    "PairPrompt",
    "Pending",
    "Pulled",
    "Readout",
    "Report",
    "RerankPrompt",
    "Row",
    "Scores",
    "TextModel",
    "Trial",
    "Vectors",
    "agree_inside",
    "check_model",
    "compare_scores",
    "compare_vectors",
    "cut",
    "demo_models",
    "device_name",
    "find_checkpoint",
    "finish_logits",
    "finish_scores",
    "finish_vectors",
    "fitting",
    "fitting_documents",
    "is_complete_prompt",
    "load_backend",
    "load_text",
    "model_id",
    "pull",
]
