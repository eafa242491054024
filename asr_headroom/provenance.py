"""Where a number comes from: code revision, versions and hardware, stored in every result."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import asr_headroom

__all__ = ["collect_provenance"]

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "numpy", "rapidfuzz", "soundfile", "soxr")


def collect_provenance() -> dict[str, Any]:
    """Code revision, package versions and hardware of this process, as plain values for JSON."""
    return {
        "asr_headroom": asr_headroom.__version__,
        "revision": _git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "hardware": _hardware(),
    }


@functools.cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _git_revision() -> str | None:
    """The commit of the source tree, with ``+changes`` when it is not clean; None for an installed package."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        run = functools.partial(subprocess.run, cwd=root, capture_output=True, text=True, timeout=10, check=True)
        commit = run(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        changed = run(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changed else "")


def _hardware() -> dict[str, Any]:
    hardware: dict[str, Any] = {"machine": platform.machine(), "cpus": os.cpu_count()}
    # Only a process that already works with torch says so; scoring must not load it to fill a field.
    torch = sys.modules.get("torch")
    if torch is not None:
        hardware["torch_threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            hardware["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return hardware
