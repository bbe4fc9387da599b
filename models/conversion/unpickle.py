"""Reads one pytorch_model.bin and writes its tensors as safetensors. A program of its own, which a parent starts.

It imports nothing of Hearth, so that it can give up the network before torch starts threads. torch reads the file with
weights_only=True: it makes tensors, numbers and texts, and refuses whatever else a pickle may ask for.
"""

import ctypes
import json
import os
import platform
import struct
import sys
from pathlib import Path
from typing import Any

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
# linux/audit.h and the tables of system calls: socket and connect.
SOCKET_CALLS = {"x86_64": (0xC000003E, (41, 42)), "aarch64": (0xC00000B7, (198, 203))}
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 1  # EPERM
# Where training code puts the weights in a larger file.
NESTED_UNDER = ("state_dict", "model_state_dict")
# A head that is tied to the token table: transformers stores the table alone.
TIED_HEADS = (
    *("lm_head.weight", "lm_head.decoder.weight", "cls.predictions.decoder.weight", "vocab_projector.weight"),
    *("predictions.decoder.weight", "generator_lm_head.weight", "decoder.weight"),
)


def isolate() -> str:
    """Give up the network, and say how. Call it while the process has one thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0:
        return "in a network namespace of its own"
    if _refuse_sockets(libc):
        return "with system calls that refuse sockets (seccomp)"
    return "without isolation: this machine allows neither a network namespace nor seccomp"


def _refuse_sockets(libc: Any) -> bool:
    """Let the kernel refuse to open sockets, by a filter of system calls; whether it does."""
    if platform.machine() not in SOCKET_CALLS:
        return False
    architecture, numbers = SOCKET_CALLS[platform.machine()]
    # Each instruction: code, jump if true, jump if false, value. seccomp_data holds the number at 0, the machine at 4.
    checks = [(JUMP_IF_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    program = [
        (LOAD, 0, 0, 4),
        (JUMP_IF_EQUAL, 0, len(numbers) + 2, architecture),
        (LOAD, 0, 0, 0),
        *checks,
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    pointer = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer)))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, pointer, 0, 0) == 0)


def convert_file(source: Path, target: Path) -> dict[str, list[Any]]:
    """Write the tensors of a pickle, compare what was written with them, and give each name its dtype and shape.

    Raises: ValueError: the file holds no tensors, or something else beside them.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    loaded = torch.load(source, map_location="cpu", weights_only=True)
    tensors = _own_memory(_tensors(loaded))
    del loaded
    save_file(tensors, target, metadata={"format": "pt"})
    # safetensors lets its owner alone read it; as a new file, it is for whom the umask lets read.
    umask = os.umask(0)
    os.umask(umask)
    target.chmod(0o666 & ~umask)
    with safe_open(target, framework="pt") as written:
        stored = {name: written.get_tensor(name) for name in written.keys()}  # noqa: SIM118
        if stored.keys() != tensors.keys() or not all(_is_same(stored[name], tensors[name]) for name in tensors):
            raise ValueError("what was written differs from what was read")
    return {name: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for name, tensor in tensors.items()}


def _tensors(loaded: Any) -> dict[str, Any]:
    import torch

    for name in NESTED_UNDER:
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    if not isinstance(loaded, dict) or not loaded:
        raise ValueError(f"it holds no tensors by name, but a {type(loaded).__name__}")
    if others := [str(name) for name, value in loaded.items() if not isinstance(value, torch.Tensor)]:
        raise ValueError(f"it holds something else than tensors: {', '.join(others[:3])}")
    return {str(name): tensor.detach() for name, tensor in loaded.items()}


def _own_memory(tensors: dict[str, Any]) -> dict[str, Any]:
    """Tensors that share no memory: a tied head is left out, and other shared tensors are copied."""
    own: dict[str, Any] = {}
    seen: set[int] = set()
    places = [(tensor.data_ptr(), tuple(tensor.shape), tensor.stride()) for tensor in tensors.values()]
    for (name, tensor), place in zip(tensors.items(), places, strict=True):
        if name.endswith(TIED_HEADS) and place[0] and places.count(place) > 1:
            continue
        storage = tensor.untyped_storage()
        is_whole = tensor.is_contiguous() and storage.nbytes() == tensor.nbytes
        own[name] = tensor if is_whole and storage.data_ptr() not in seen else tensor.clone().contiguous()
        seen.add(storage.data_ptr())
    return own


def _is_same(one: Any, other: Any) -> bool:
    import torch

    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    # By bytes: a NaN differs from itself.
    return bool(torch.equal(one.contiguous().view(-1).view(torch.uint8), other.contiguous().view(-1).view(torch.uint8)))


def main() -> None:
    source, target = map(Path, sys.argv[1:3])
    report: dict[str, Any] = {"isolation": isolate()}
    try:
        report["tensors"] = convert_file(source, target)
        report["bytes"] = target.stat().st_size
    except Exception as error:  # torch raises exceptions of any class for files that it does not read
        report["error"] = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), 'no reason given')}"
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
