"""``history.jsonl``: one line for each evaluation of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asr_headroom.errors import TrainingError
from asr_headroom.results.store import write_whole

__all__ = ["History"]


class History:
    """The evaluations of one run, replaced whole on disk.

    Args:
        path: of the file.

    Attributes:
        rows: each with ``step``, ``dev_loss``, ``dev_error_rate`` and the counts ``dev``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: list[dict[str, Any]] = []

    @property
    def steps(self) -> list[int]:
        """At which the model was evaluated, ascending."""
        return [row["step"] for row in self.rows]

    def read(self, last_step: int) -> None:
        """Takes up what was written up to a step; what lies beyond the last checkpoint is done again.

        Raises:
            TrainingError: the file is damaged.
        """
        try:
            lines = self._path.read_text().splitlines() if self._path.exists() else []
            self.rows = [row for row in map(json.loads, lines) if row["step"] <= last_step]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{self._path}: cannot be read ({error}); delete it, the training goes on without"
            ) from error

    def write(self) -> None:
        """Replaces the file."""
        write_whole(self._path, "".join(json.dumps(row) + "\n" for row in self.rows))
