"""The prompts that a model's authors put before texts, by name. Strings only; none is added unless requested."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# The names that encode_document() of sentence-transformers 6.2 tries, in order.
DOCUMENT_PROMPT_NAMES = ("document", "passage", "corpus")
# The form of Qwen3-Embedding, E5-instruct and GTE-Qwen2, some of which have a space at the end.
_INSTRUCT = re.compile(r"\AInstruct: .*?(?P<end>\nQuery: ?)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class NamedPrompts:
    """The named prompts of one model. Any thread."""

    by_name: Mapping[str, str] = field(default_factory=dict)
    default_name: str = ""  # sentence-transformers adds it to every text; Hearth does not
    are_pooled: bool = True  # whether the prompt's tokens count in the vector

    @property
    def default(self) -> str:
        """The text of the default prompt; "" when there is none."""
        return self.by_name.get(self.default_name, "")

    def find(self, name: str) -> str | None:
        """A prompt by any of the names that clients and authors use for it."""
        names = (name, f"search_{name}", *(DOCUMENT_PROMPT_NAMES if name == "document" else ()))
        return next((self.by_name[prompt] for prompt in names if prompt in self.by_name), None)

    def instructed(self, instruction: str) -> "NamedPrompts | None":
        """The same prompts with another instruction in `query`; None if no prompt has a place for one."""
        prompts = (self.by_name.get("query", ""), *self.by_name.values())
        match = next(filter(None, map(_INSTRUCT.match, prompts)), None)
        if match is None:
            return None
        query = f"Instruct: {instruction}{match['end']}"
        return NamedPrompts(dict(self.by_name) | {"query": query}, self.default_name, self.are_pooled)
