"""Which system was made from which, as far as files tell: by stated parent, by model and adapter, or by name.

A run of ours names its parent. Other people's files state a model and an adapter, or are called ``baseline_small`` and
``lora_small``: the same words once those of the method are left out. Without such a sign two files are two systems, and
no claim is made about them.

Start with :func:`find_bases`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from asr_headroom.results.store import Results

__all__ = ["find_bases", "method_words"]

_TUNED_WORDS = {
    "adapted", "adapter", "dora", "finetuned", "ft", "full", "gspo", "lora", "mwer", "qlora", "rl", "sft", "tuned",
}  # fmt: skip
_BASE_WORDS = {"base", "baseline", "original", "pretrained", "zeroshot"}
_UNRELATED_WORDS = {"scratch"}
_EDITION = re.compile(r"v\d+|\d+ep|\d+epochs?|run\d+|seed\d+")


class _System(NamedTuple):
    """What a file says about where its system comes from."""

    words: frozenset[str]
    model: str
    folder: PurePath
    is_tuned: bool
    is_base: bool
    is_called_base: bool


def find_bases(files: Mapping[str, Results]) -> dict[str, str]:
    """The base of each fine-tuned system on one test, both by path; systems whose base is not there are left out."""
    systems = {path: _system(path, results) for path, results in files.items()}
    bases = {}
    for path, results in files.items():
        parent = results.run.parent
        if parent is not None:
            base = next((other for other in files if files[other].run.name == parent and other != path), None)
        else:
            base = _likeliest_base(path, systems) if systems[path].is_tuned else None
        if base is not None:
            bases[path] = base
    return bases


def _system(path: str, results: Results) -> _System:
    run = results.run
    head = _head(results)
    words = _words(results)
    method = run.model.get("method")
    adapter = head.get("adapter") or head.get("adapter_path")
    is_unrelated = bool(_UNRELATED_WORDS & words) or method == "scratch"
    is_tuned = not is_unrelated and (bool(adapter) or method is not None or bool(_TUNED_WORDS & words))
    return _System(
        words=frozenset(w for w in words - _TUNED_WORDS - _BASE_WORDS if not _EDITION.fullmatch(w)),
        model=str(run.model.get("id") or ""),
        folder=PurePath(path).parent,
        is_tuned=is_tuned,
        is_base=not is_tuned and not is_unrelated and run.parent is None,
        is_called_base=bool(_BASE_WORDS & words),
    )


def method_words(results: Results) -> frozenset[str]:
    """The words of a system's name that say how it was made from a model; empty for the model itself."""
    words = _words(results)
    method = words & (_TUNED_WORDS | _UNRELATED_WORDS)
    return frozenset(method | {word for word in words if _EDITION.fullmatch(word)}) if method else frozenset()


def _head(results: Results) -> dict[str, Any]:
    """What a file states beside its rows."""
    head = results.run.config.get("file")
    return head if isinstance(head, dict) else {}


def _words(results: Results) -> set[str]:
    name = str(_head(results).get("tag") or results.run.name).lower()
    return {word for word in re.split(r"[^a-z0-9]+", name) if word}


def _likeliest_base(path: str, systems: Mapping[str, _System]) -> str | None:
    tuned = systems[path]
    ranks = {}
    for other, system in systems.items():
        # "base" and "lora" alone are a pair; "lora" and "a", which share no word, are not.
        same_name = tuned.words == system.words and (bool(tuned.words) or system.is_called_base)
        same_model = tuned.model != "" and tuned.model == system.model
        if other != path and system.is_base and (same_name or same_model):
            ranks[other] = (same_name and system.is_called_base, same_name, same_model, tuned.folder == system.folder)
    return max(ranks, key=lambda other: ranks[other]) if ranks else None
