"""The public names of models: all that server/ may import. Torch comes in only with a model or a device."""

from models.backends.warm_up import BatchCost, warm_up
from models.checkpoint.folder import Checkpoint
from models.checkpoint.hub import default_models, demo_models, find_checkpoint, model_id
from models.checkpoint.manifest import Manifest
from models.checkpoint.pull import Pulled, pull_model
from models.chunking import pass_work
from models.conversion.convert import Converted, convert_folder
from models.cores import available_cores
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
    Side,
    SplitPass,
)
from models.loading import Preprocessor, device_name, limit_memory, load_backend, load_preprocessor
from models.outputs.calibration import (
    CALIBRATIONS,
    Calibration,
    calibration_file,
    read_calibration,
    write_calibration,
)
from models.outputs.fingerprint import Checksums, bytes_to_read, digest_of, model_digest
from models.outputs.output_dtype import (
    NUMBERS,
    OutputDtype,
    Quantized,
    bytes_of,
    needs_calibration,
    quantize,
    unit_statistics,
)
from models.outputs.ranking_loss import RankingLoss
from models.outputs.space import UNKNOWN, VectorSpace, compare_spaces, read_space
from models.packing import PrefixOrder, sort_by_prefix
from models.postprocess import Matrix, finish_logits, finish_scores, finish_vectors
from models.text.chat.chat_template import ChatTemplate
from models.text.chat.template_renderer import ChatTemplateError
from models.text.long_text import TextIds, TextLimit
from models.text.named_prompts import NamedPrompts
from models.text.qwen3_prompt import DEFAULT_INSTRUCTION, Qwen3RerankPrompt, is_complete_prompt
from models.text.rerank_prompt import RerankPrompt
from models.text.tokenizer import EDGE_FROM_IDS, TokenizerFailed, agree_inside, cut
from models.verify.calibrate import CalibrationReport, calibrate_model
from models.verify.calibration_texts import CALIBRATION_TEXTS
from models.verify.check import CheckReport, check_model
from models.verify.compare import Scores, Vectors, compare_scores, compare_vectors
from models.verify.offline import OfflineModel, fitting, fitting_documents
from models.verify.samples import SAMPLE_DOCUMENTS, SAMPLE_QUERIES, SAMPLE_TEXTS

__all__ = [
    "CALIBRATIONS",
    "CALIBRATION_TEXTS",
    "DEFAULT_INSTRUCTION",
    "EDGE_FROM_IDS",
    "NUMBERS",
    "SAMPLE_DOCUMENTS",
    "SAMPLE_QUERIES",
    "SAMPLE_TEXTS",
    "UNKNOWN",
    "Backend",
    "BackendInfo",
    "BatchCost",
    "Calibration",
    "CalibrationReport",
    "ChatTemplate",
    "ChatTemplateError",
    "CheckReport",
    "Checkpoint",
    "Checksums",
    "Converted",
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
    "OfflineModel",
    "OutOfMemory",
    "OutputDtype",
    "Pending",
    "PrefixOrder",
    "Preprocessor",
    "Pulled",
    "Quantized",
    "Qwen3RerankPrompt",
    "RankingLoss",
    "Readout",
    "RerankPrompt",
    "Row",
    "Scores",
    "Side",
    "SplitPass",
    "TextIds",
    "TextLimit",
    "TokenizerFailed",
    "VectorSpace",
    "Vectors",
    "agree_inside",
    "available_cores",
    "bytes_of",
    "bytes_to_read",
    "calibrate_model",
    "calibration_file",
    "check_model",
    "compare_scores",
    "compare_spaces",
    "compare_vectors",
    "convert_folder",
    "cut",
    "default_models",
    "demo_models",
    "device_name",
    "digest_of",
    "find_checkpoint",
    "finish_logits",
    "finish_scores",
    "finish_vectors",
    "fitting",
    "fitting_documents",
    "is_complete_prompt",
    "limit_memory",
    "load_backend",
    "load_preprocessor",
    "model_digest",
    "model_id",
    "needs_calibration",
    "pass_work",
    "pull_model",
    "quantize",
    "read_calibration",
    "read_space",
    "sort_by_prefix",
    "unit_statistics",
    "warm_up",
    "write_calibration",
]
