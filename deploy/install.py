"""Installs Hearth into a virtual environment: says what it downloads, and takes torch's CPU build where that fits.

    python3 deploy/install.py .venv

DEVICE=cpu or DEVICE=cuda chooses torch's build; by default the one for this machine. Needs nothing but Python.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
REACHABLE_TIMEOUT_S = 5
# Of the pinned versions on Linux, x86-64, with the weights of all-MiniLM-L6-v2: to download, and free space to unpack.
DOWNLOAD_GB = {"cpu": 0.43, "cuda": 2.92}
DISK_GB = {"cpu": 2, "cuda": 10}


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".venv")
    check_prerequisites()
    device = os.environ.get("DEVICE") or ("cuda" if has_nvidia_driver() else "cpu")
    if device not in DOWNLOAD_GB:
        sys.exit(f"DEVICE must be cpu or cuda; got {device!r}")
    options = index_options(device)
    announce(folder, device, options)
    check_disk(folder, device)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    # Torch is named, so that the pinned build is taken and no newer one with it.
    command = [*pip, *options, "-c", "constraints.txt", "torch", "-e", ".[minilm]"]
    sys.exit(subprocess.run(command, check=False).returncode)


def check_prerequisites():
    """Exit with the fix if Python is too old or cannot make virtual environments."""
    major, minor = sys.version_info[:2]
    if (major, minor) < (3, 11):
        sys.exit(f"Hearth needs Python 3.11 or newer; this is {major}.{minor}. Try: make serve PYTHON=python3.12")
    if not importlib.util.find_spec("ensurepip"):
        sys.exit(f"Python's venv module is missing. On Debian and Ubuntu: sudo apt install python{major}.{minor}-venv")


def has_nvidia_driver():
    """Whether torch could use a GPU here: Linux has NVIDIA's driver loaded, or WSL lends one."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/usr/lib/wsl/lib/libcuda.so.1").exists()


def index_options(device):
    """pip's option for PyTorch's index of CPU builds: the package index has only the CUDA build for Linux.

    Whoever configured pip's indexes, or runs in CI, decides by that where packages come from.
    """
    if device != "cpu" or sys.platform != "linux" or os.environ.get("CI") or has_own_index():
        return []
    if is_reachable(CPU_INDEX):
        return ["--extra-index-url", CPU_INDEX]
    print(
        f"{CPU_INDEX} cannot be reached: torch comes from pip's own index, perhaps with CUDA ({DOWNLOAD_GB['cuda']} GB)"
    )
    return []


def has_own_index():
    """Whether pip's configuration or its environment names an index, or a folder of wheels."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.lower()
    return any(name in listed for name in ("index", "find-links"))


def is_reachable(index):
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=REACHABLE_TIMEOUT_S):
            return True
    except OSError:
        return False


def announce(folder, device, options):
    """Say what is about to happen, before the first download."""
    reason = "DEVICE" if os.environ.get("DEVICE") else f"{'an' if device == 'cuda' else 'no'} NVIDIA driver is loaded"
    print(f"Installing Hearth into {folder}, for {device.upper()} ({reason}; DEVICE=cpu or DEVICE=cuda chooses).")
    if device == "cpu" and not options and sys.platform == "linux":
        sizes = f"{DOWNLOAD_GB['cpu']} GB, or {DOWNLOAD_GB['cuda']} GB if pip's index has only torch's CUDA build"
    else:
        sizes = f"{DOWNLOAD_GB[device]} GB"
    print(f"pip downloads about {sizes}, unless its cache has them. This takes minutes, once.", flush=True)


def check_disk(folder, device):
    """Exit if the environment would not fit."""
    free_gb = shutil.disk_usage(folder.absolute().parent).free / 1e9
    if free_gb < DISK_GB[device]:
        sys.exit(f"{folder} needs about {DISK_GB[device]} GB of disk for {device.upper()}; {free_gb:.1f} GB are free")


if __name__ == "__main__":
    main()
