"""The space that the vectors of a request lie in, and the request that expects another."""

import logging
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from models import (
    UNKNOWN,
    BackendInfo,
    Checkpoint,
    Checksums,
    ModelError,
    OutputDtype,
    Preprocessor,
    VectorSpace,
    compare_spaces,
    digest_of,
    model_digest,
    read_space,
)
from server.errors import InvalidValue, SpaceMismatch, SpaceUnknown
from server.registry import ServedModel

EXPECTED_SPACE = "X-Hearth-Expected-Space"
log = logging.getLogger("hearth.models")


class SpaceNames:
    """Names the spaces of served models. Large files are hashed in a thread when their model is first named."""

    def __init__(self, models: Sequence[ServedModel], state_folder: Path | None) -> None:
        self._state_folder = state_folder
        self._models: dict[str, str] = {}
        for model in models:
            self._name(model, model.digest)
        self._missing = [model for model in models if model.kind != "reranker" and not model.digest]

    def spaces(
        self,
        model: ServedModel,
        backend: BackendInfo | None,
        forms: Iterable[OutputDtype] = ("float32",),
        *,
        dimensions: int | None = None,
        is_unit: bool = True,
    ) -> tuple[VectorSpace, ...]:
        """The space of each form; none while the checksums of the model's files are being computed."""
        name = self._models.get(model.id)
        if name is None:
            self._hash_soon()
            return ()
        info = model.preprocessor.info
        calibration = f"-{model.calibration.digest}" if model.calibration else ""
        return tuple(
            VectorSpace(
                name,
                backend.dtype if backend else UNKNOWN,
                info.max_tokens,
                form if form.startswith("float") else form + calibration,
                dimensions or info.width,
                "unit" if is_unit else "raw",
            )
            for form in forms
        )

    def check(self, expected: str, spaces: Sequence[VectorSpace]) -> None:
        """Refuse vectors that cannot be compared with those of the space that the client expects.

        Raises: InvalidValue, SpaceMismatch, SpaceUnknown.
        """
        wanted = read_space(expected)
        if wanted is None:
            raise InvalidValue(EXPECTED_SPACE, f"expected the X-Hearth-Space of another answer; got '{expected[:64]}'.")
        if not spaces:
            raise SpaceUnknown
        for space in spaces:
            verdict, different = compare_spaces(wanted, space)
            if verdict == "other":
                raise SpaceMismatch(str(space), str(wanted), different)

    def _name(self, model: ServedModel, digest: str | None) -> None:
        if digest is not None:
            self._models[model.id] = name_model(model.preprocessor, model.config.prompt_name, digest)

    def _hash_soon(self) -> None:
        missing, self._missing = self._missing, []
        if missing:
            threading.Thread(target=self._hash, args=(missing,), name="checksums", daemon=True).start()

    def _hash(self, models: Sequence[ServedModel]) -> None:
        for model in models:
            try:
                digest = model_digest(Checkpoint(Path(model.preprocessor.info.path)), Checksums(self._state_folder))
            except (ModelError, OSError) as error:
                log.warning("%s has no space name: %s", model.id, error)
                continue
            self._name(model, digest)


def name_model(text: Preprocessor, prompt_name: str | None, digest: str) -> str:
    """Names all that decides a model's vectors before they are cut and scaled: files, pooling, prompts, terminators."""
    return digest_of(
        {
            "files": digest,
            "pooling": text.info.library_modules or text.info.pooling,
            "prompts": dict(text.prompts.by_name),
            "prompt": prompt_name or "",
            "around": [text.tokenizer.before.tolist(), text.tokenizer.after.tolist()],
        }
    )
