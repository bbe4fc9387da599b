"""The space that the vectors of a request lie in, and the request that expects another."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
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
# Names are kept for this many kinds of request; a client may ask for any `dimensions`.
MAX_KEPT_NAMES = 256
log = logging.getLogger("hearth.models")


class Named:
    """The spaces of the forms in one answer, and the header that names them; None without any."""

    def __init__(self, spaces: tuple[VectorSpace, ...]) -> None:
        self.spaces = spaces
        self.header = ",".join(map(str, spaces)) or None


NOT_NAMED = Named(())


class SpaceNames:
    """Names the spaces of served models. Large files are hashed in a thread when their model is first named."""

    def __init__(self, models: Sequence[ServedModel], state_folder: Path | None) -> None:
        self._state_folder = state_folder
        self._models: dict[str, str] = {}
        self._kept: dict[tuple[object, ...], Named] = {}
        for model in models:
            self._name(model, model.digest)
        self._missing = [model for model in models if model.kind != "reranker" and not model.digest]

    def named(
        self,
        model: ServedModel,
        backend: BackendInfo | None,
        forms: tuple[OutputDtype, ...] = ("float32",),
        *,
        dimensions: int | None = None,
        is_unit: bool = True,
    ) -> Named:
        """The space of each form; none while the checksums of the model's files are being computed."""
        name = self._models.get(model.id)
        if name is None:
            self._hash_soon()
            return NOT_NAMED
        dtype = backend.dtype if backend else UNKNOWN
        # Making the names takes 11 us, and every request has one.
        key = (model.id, dtype, forms, dimensions, is_unit)
        named = self._kept.get(key)
        if named is None:
            if len(self._kept) >= MAX_KEPT_NAMES:
                self._kept.clear()
            whole = VectorSpace(
                name,
                dtype,
                model.preprocessor.info.max_tokens,
                "",
                dimensions or model.preprocessor.info.width,
                "unit" if is_unit else "raw",
            )
            named = self._kept[key] = Named(tuple(replace(whole, form=_form(form, model)) for form in forms))
        return named

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


def _form(form: OutputDtype, model: ServedModel) -> str:
    is_measured = model.calibration is not None and not form.startswith("float")
    return f"{form}-{model.calibration.digest}" if is_measured and model.calibration else form


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
