"""Fills a chat template, in this process or in one with limits. As it is a script too, it imports nothing of Hearth.

A template is a program in a model's folder. Its first run is in the process of its own, where loops, recursion and long
texts end it alone.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from jinja2 import Template

# Templates take milliseconds and a few kilobytes.
MAX_CPU_SECONDS = 5
MAX_MEMORY_BYTES = 1024**3
MAX_PROMPT_CHARACTERS = 1_000_000
# For a machine that is busy with other things.
MAX_SECONDS = 15

Messages = Sequence[Mapping[str, Any]]


class ChatTemplateError(Exception):
    """The template does not take these messages; the text is the template's own reason."""


def fill_chat_template(source: str, messages: Messages, variables: Mapping[str, Any]) -> str:
    """A template filled as transformers' apply_chat_template() does, without tools and documents.

    Raises: ChatTemplateError.
    """
    from jinja2 import TemplateError

    fixed = {"messages": messages, "tools": None, "documents": None}
    try:
        return _compiled(source).render(**{"add_generation_prompt": False, **variables, **fixed})
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise ChatTemplateError(str(error).split("\n", 1)[0]) from error
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise ChatTemplateError(f"it is nested too deeply or too long ({type(error).__name__})") from error


def fill_within_limits(source: str, conversations: Sequence[Messages], variables: Mapping[str, Any]) -> list[str]:
    """The template filled with each conversation, in a process that may take little time and memory.

    Raises: ChatTemplateError: it fails, or takes more.
    """
    request = json.dumps(
        {
            "source": source,
            "conversations": conversations,
            "variables": variables,
            "limits": [MAX_CPU_SECONDS, MAX_MEMORY_BYTES],
        }
    )
    try:
        child = subprocess.run(  # noqa: S603 (our own file)
            # -P: the folder of this file is no place to import from.
            [sys.executable, "-P", __file__],
            input=request.encode(),
            capture_output=True,
            timeout=MAX_SECONDS,
        )
    except subprocess.TimeoutExpired:
        child = None
    if child is None or child.returncode != 0:
        raise ChatTemplateError(
            f"it needs more than {MAX_CPU_SECONDS} s or {MAX_MEMORY_BYTES // 1024**2} MiB to fill in two short texts"
        )
    answer = json.loads(child.stdout)
    if "error" in answer:
        raise ChatTemplateError(answer["error"])
    return list(answer["texts"])


@lru_cache(maxsize=16)
def _compiled(source: str) -> "Template":
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # transformers, chat_template_utils: _cached_compile_jinja_template.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(source)


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    source, variables = request["source"], request["variables"]
    try:
        texts = [fill_chat_template(source, messages, variables) for messages in request["conversations"]]
    except ChatTemplateError as error:
        return {"error": str(error)[:1000]}
    if (characters := sum(map(len, texts))) > MAX_PROMPT_CHARACTERS:
        return {
            "error": f"it makes {characters} characters of short texts; at most {MAX_PROMPT_CHARACTERS} are allowed"
        }
    return {"texts": texts}


def _main() -> None:
    import resource

    request = json.loads(sys.stdin.buffer.read())
    seconds, size = request["limits"]
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = _answer(request)
    sys.stdout.buffer.write(json.dumps(answer).encode())


if __name__ == "__main__":
    _main()
