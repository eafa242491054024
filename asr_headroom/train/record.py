"""``train.json``: what a run is, its frozen plan, its minutes, and whether a directory may be gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from asr_headroom.errors import TrainingError
from asr_headroom.results.store import write_json

__all__ = ["RunRecord"]

_SCHEMA = "asr-headroom/train/1"
_MAY_CHANGE = {"budget", "logging_steps", "dataloader_num_workers"}
"""Settings that change nothing of what a step computes: a run may be resumed with others."""


class RunRecord:
    """The record of one run, a mapping on disk that is replaced whole.

    Args:
        directory: of the run.
        identity: what makes it this run and no other (``config``, ``facts``), as plain values.
        fresh: further entries of a run that begins.
        writes: False on processes that only read.

    Attributes:
        values: the entries.
        former_budget: that the run was last given; None for none, or a run that begins.

    Raises:
        TrainingError: the directory holds another run, its record is damaged, or it cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        identity: Mapping[str, Mapping[str, Any]],
        *,
        fresh: Callable[[], Mapping[str, Any]],
        writes: bool = True,
    ) -> None:
        self._path, self._writes = directory / "train.json", writes
        self.former_budget: str | None = None
        if self._path.exists():
            self.values = self._read()
            self._refuse_another(identity)
            self.former_budget = self.values.get("config", {}).get("budget")
            self.values |= identity
            return
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{directory}: cannot be written ({error}); choose another --output") from error
        self.values = {"schema": _SCHEMA, **identity, **fresh()}

    def save(self, **changes: Any) -> None:
        """Sets entries and writes the file."""
        self.values |= changes
        if self._writes:
            write_json(self._path, self.values)

    def _read(self) -> dict[str, Any]:
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
            if not isinstance(values, dict) or values.get("schema") != _SCHEMA:
                raise ValueError(f"it is no record of schema {_SCHEMA}")
        except (OSError, ValueError) as error:
            raise TrainingError(f"{self._path}: cannot be read ({error}); choose another --output") from error
        return values

    def _refuse_another(self, identity: Mapping[str, Mapping[str, Any]]) -> None:
        for name, wanted in identity.items():
            stored = self.values.get(name) or {}
            differing = sorted(k for k in {*wanted, *stored} - _MAY_CHANGE if wanted.get(k) != stored.get(k))
            if differing:
                raise TrainingError(
                    f"{self._path.parent}: holds another run (it differs in {', '.join(differing)}); "
                    "choose another --output or delete that directory"
                )
