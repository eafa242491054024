"""``rollouts.jsonl``: the hypotheses of every step with their errors and rewards, and the step's means.

Metrics without the texts that they were counted on cannot be checked. One line per step; a resumed run replaces the
lines from where it goes on, so that the file is that of a run never stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_headroom.errors import TrainingError
from asr_headroom.results.store import write_whole
from asr_headroom.rl.rollout import Group

__all__ = ["RolloutRecord"]


class RolloutRecord:
    """The record of one run.

    Args:
        path: of the file; made when first written to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next: int | None = None

    def write(self, step: int, means: Mapping[str, tuple[float, float]], groups: Sequence[tuple[str, Group]]) -> None:
        """The line of a step; those of this step and of later ones, from before, are dropped.

        Args:
            step: its number.
            means: sums with their counts, by name.
            groups: the hypotheses of each utterance, of all processes.

        Raises:
            TrainingError: the disk refuses.
        """
        row = {
            "step": step,
            "watched": {name: total / count for name, (total, count) in means.items()},
            "utterances": [_group_row(key, group) for key, group in groups],
        }
        try:
            if self._next != step:
                self._drop_from(step)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        except OSError as error:
            raise TrainingError(
                f"{self._path}: cannot be written ({error}); free some space and run the same command again"
            ) from error
        self._next = step + 1

    def _drop_from(self, step: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Not splitlines: a hypothesis may hold a line separator of Unicode's, which JSON leaves as it is.
        lines = self._path.read_text(encoding="utf-8").split("\n") if self._path.exists() else []
        kept = [line for line in lines if (number := _step_of(line)) is not None and number < step]
        write_whole(self._path, "".join(line + "\n" for line in kept))


def _group_row(key: str, group: Group) -> dict[str, Any]:
    rows = zip(group.hypotheses, group.multiplicity, group.errors, group.rewards, strict=True)
    return {
        "id": key,
        "reference_length": group.reference_length,
        "hypotheses": [
            {"text": h.text, "times": times, "errors": errors, "reward": reward, "truncated": h.truncated}
            for h, times, errors, reward in rows
        ],
    }


def _step_of(line: str) -> int | None:
    """None of a line that a kill cut short."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return None
