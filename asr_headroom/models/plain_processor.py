"""Tokenizer, chat template and feature settings of checkpoints whose own processor class asks for torchaudio.

Reads and writes the files that the library's processors read and write; the features are the family's own affair.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transformers import AutoTokenizer
from transformers.utils import cached_file

from asr_headroom.errors import ModelError

__all__ = ["PlainProcessor"]

_PROCESSOR_FILE = "processor_config.json"
_FEATURE_FILE = "preprocessor_config.json"


class PlainProcessor:
    """A tokenizer, and feature settings as attributes of ``feature_extractor``.

    Args:
        tokenizer: with the chat template.
        config: as ``processor_config.json`` holds it.
        section: of it that holds the feature settings.
        defaults: feature settings of the library's class, for those that a checkpoint leaves out.
    """

    def __init__(self, tokenizer: Any, config: Mapping[str, Any], *, section: str, defaults: Mapping[str, Any]) -> None:
        self.tokenizer = tokenizer
        self.config = dict(config)
        self.feature_extractor = SimpleNamespace(**{**defaults, **self.config[section]})

    @classmethod
    def from_pretrained(
        cls, source: str, *, section: str, processor_class: str, defaults: Mapping[str, Any]
    ) -> PlainProcessor:
        """Reads tokenizer and settings from a hub id or a folder.

        Args:
            source: hub id or folder.
            section: of ``processor_config.json`` that holds the feature settings.
            processor_class: of the library, which is to read what is saved.
            defaults: feature settings of the library's class.

        Raises:
            ModelError: no feature settings are there.
        """
        tokenizer = AutoTokenizer.from_pretrained(source)
        config = _read_json(source, _PROCESSOR_FILE) or {}
        if section not in config:  # before transformers 5 they had a file of their own
            settings = _read_json(source, _FEATURE_FILE)
            if settings is None:
                raise ModelError(
                    f"'{source}' holds neither {_PROCESSOR_FILE} with '{section}' nor {_FEATURE_FILE}; copy the "
                    "processor's files from the original checkpoint"
                )
            config = {**config, section: settings, "processor_class": processor_class}
        return cls(tokenizer, config, section=section, defaults=defaults)

    def save_pretrained(self, directory: Path | str) -> None:
        """Writes the tokenizer's files, the chat template and ``processor_config.json``."""
        self.tokenizer.save_pretrained(directory)
        text = json.dumps(self.config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        (Path(directory) / _PROCESSOR_FILE).write_text(text, encoding="utf-8")


def _read_json(source: str, name: str) -> dict[str, Any] | None:
    path = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
