"""Writing and reading of a run's directory: ``run.json`` and append-only ``predictions.jsonl``.

Writing survives being killed: predictions are appended a batch at a time, each batch closed by a mark, and a
resumed run drops an unfinished batch and goes on. ``run.json`` is replaced whole. Reading is
:func:`load_results`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from asr_headroom.errors import ResultsError
from asr_headroom.metrics.error_rate import ErrorCounts, UtteranceCounts, count_texts
from asr_headroom.results.pairing import pair_results
from asr_headroom.results.schema import (
    Prediction,
    RunInfo,
    prediction_from_json,
    prediction_to_json,
    run_from_json,
)
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import Unit

__all__ = [
    "Results",
    "ResultsWriter",
    "count_finished",
    "load_results",
    "load_run",
    "pair_results",
    "write_json",
    "write_whole",
]

_RUN_FILE = "run.json"
_PREDICTIONS_FILE = "predictions.jsonl"


@dataclass(frozen=True)
class Results:
    """One system on one test set."""

    run: RunInfo
    predictions: Sequence[Prediction]
    path: Path | None = None

    def counts(self, normalizer: Normalizer) -> list[UtteranceCounts]:
        """Counts per utterance under a normaliser: the stored ones where they are its own, else new."""
        if self._is_counted(normalizer):
            return [prediction.counts for prediction in self.predictions]
        texts = self._normalized(normalizer)
        units: tuple[Unit, Unit] = ("word", "character")
        return [UtteranceCounts(*pair) for pair in zip(*(count_texts(*texts, unit) for unit in units), strict=True)]

    def counts_in(self, normalizer: Normalizer, unit: Unit | None = None) -> list[ErrorCounts]:
        """Counts per utterance in one unit, the normaliser's unless another is asked for; half the work."""
        unit = unit or normalizer.unit
        if self._is_counted(normalizer):
            return [prediction.counts.of(unit) for prediction in self.predictions]
        return count_texts(*self._normalized(normalizer), unit)

    def total(self, normalizer: Normalizer, unit: Unit | None = None) -> ErrorCounts:
        """Corpus counts under a normaliser, in its unit unless another is asked for."""
        return ErrorCounts.total(self.counts_in(normalizer, unit))

    def _is_counted(self, normalizer: Normalizer) -> bool:
        return self.run.normalizer.get("hash") == normalizer.hash

    def _normalized(self, normalizer: Normalizer) -> tuple[list[str], list[str]]:
        return (
            [normalizer(prediction.reference) for prediction in self.predictions],
            [normalizer(prediction.hypothesis) for prediction in self.predictions],
        )


class ResultsWriter:
    """Creates or resumes a run's directory; a context manager that closes the file.

    Args:
        directory: of the run; created with its parents.
        run: what is run. To resume, it must equal the stored one in model, data, decoding, normaliser and
            seed.

    Raises:
        ResultsError: the directory holds another run, or cannot be written.
    """

    _IDENTITY = ("model", "data", "decoding", "normalizer", "language", "seed")

    def __init__(self, directory: Path, run: RunInfo) -> None:
        self.directory = directory
        self.run = run
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self.finished_ids = _drop_unfinished_batch(directory / _PREDICTIONS_FILE)
            stored = load_run(directory) if (directory / _RUN_FILE).exists() else None
            if stored is not None and self._differs_in(stored) is None:
                self.run = dataclasses.replace(
                    run, minutes=stored.minutes, status=stored.status, measured=stored.measured
                )
            elif stored is not None and self.finished_ids:
                self._refuse(stored)
            # A run that stopped before its first prediction, over a wrong flag say, holds nothing to protect.
            self._write_run()
            self._file = (directory / _PREDICTIONS_FILE).open("a", encoding="utf-8")
        except OSError as error:
            raise ResultsError(
                f"{directory}: results cannot be written ({error}); check the disk and --output"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # append has made sure of all it accepted; what the disk refused then, it refuses once more here.
        with contextlib.suppress(OSError):
            self._file.close()

    def append(self, predictions: Sequence[Prediction]) -> None:
        """Writes one batch, whole or not at all; it is on disk when this returns.

        Raises:
            ResultsError: the disk refuses.
        """
        if not predictions:
            return
        lines = [json.dumps(prediction_to_json(p), ensure_ascii=False) for p in predictions]
        # The last line of a batch carries its size: a file that ends without one was cut, and the cut batch
        # is redone.
        lines[-1] = lines[-1][:-1] + f', "batch": {len(lines)}}}'
        try:
            self._file.write("\n".join(lines) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise ResultsError(
                f"{self.directory}: predictions cannot be written ({error}); free some space and run the "
                "same command again, it goes on where it stopped"
            ) from error

    def add_minutes(self, stage: str, minutes: float) -> None:
        """Adds to the ledger and writes it; whoever is killed later has spent it all the same."""
        ledger = dict(self.run.minutes)
        ledger[stage] = ledger.get(stage, 0.0) + minutes
        self.run = dataclasses.replace(self.run, minutes=ledger)
        self._write_run()

    def measure(self, **records: dict[str, Any]) -> None:
        """Writes what was seen while it ran; replaces what stood there under these names."""
        self.run = dataclasses.replace(self.run, measured={**self.run.measured, **records})
        self._write_run()

    def finish(self) -> None:
        """Marks the run complete."""
        self.run = dataclasses.replace(self.run, status="complete")
        self._write_run()

    def _write_run(self) -> None:
        try:
            write_json(self.directory / _RUN_FILE, dataclasses.asdict(self.run))
        except OSError as error:
            raise ResultsError(
                f"{self.directory / _RUN_FILE}: cannot be written ({error}); free some space and run the same "
                "command again, it goes on where it stopped"
            ) from error

    def _differs_in(self, stored: RunInfo) -> str | None:
        """The first part of its identity in which a stored run is another one; None when it is this one."""
        wanted = json.loads(json.dumps({name: getattr(self.run, name) for name in self._IDENTITY}, default=str))
        return next((name for name in self._IDENTITY if wanted[name] != getattr(stored, name)), None)

    def _refuse(self, stored: RunInfo) -> None:
        name = self._differs_in(stored) or ""
        there, here = getattr(stored, name), getattr(self.run, name)
        if isinstance(there, dict) and isinstance(here, dict):
            # Through JSON, as it was stored: a tuple there has become a list.
            here = json.loads(json.dumps(here, default=str))
            keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
            there, here = ({key: side.get(key) for key in keys} for side in (there, here))
        raise ResultsError(
            f"{self.directory}: holds another run (its {name} is {there!r}, this one's is {here!r}); "
            "choose another --output or delete that directory"
        )


def load_run(directory: Path) -> RunInfo:
    """What a directory's ``run.json`` says, whatever the state of its predictions.

    Raises:
        ResultsError: the file is missing or damaged, or its schema is unknown.
    """
    path = directory / _RUN_FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        below = sorted(str(found.parent) for depth in ("*", "*/*") for found in directory.glob(f"{depth}/{_RUN_FILE}"))
        if below:
            hint = f"give one of the runs in it: {', '.join(below[:5])}{' …' if len(below) > 5 else ''}"
        elif (directory / "train.json").is_file():
            hint = f"a training has no test results; `asr-headroom bench --models {directory / 'model'}` makes them"
        else:
            hint = "give a run directory that `asr-headroom bench` wrote, OUTPUT/MODEL/TESTSET"
        raise ResultsError(f"{directory}: no {_RUN_FILE}; {hint}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: cannot be read ({error})") from error
    return run_from_json(plain, str(path))


def count_finished(directory: Path) -> int:
    """Utterances whose predictions a resumed run would keep; 0 where there is no run.

    Raises:
        ResultsError: the predictions are damaged in the middle.
    """
    return len(_finished_batches(directory / _PREDICTIONS_FILE)[0])


def load_results(directory: str | Path) -> Results:
    """A run's directory as :class:`Results`, in the order in which it was written.

    Raises:
        ResultsError: the directory is not a run, its schema is unknown, a line is malformed, or an id occurs
            twice.
    """
    directory = Path(directory)
    run = load_run(directory)
    path = directory / _PREDICTIONS_FILE
    predictions: list[Prediction] = []
    seen: dict[str, int] = {}
    for number, plain in _read_lines(path):
        where = f"{path}:{number}"
        plain.pop("batch", None)
        prediction = prediction_from_json(plain, where)
        if prediction.id in seen:
            raise ResultsError(f"{where}: id '{prediction.id}' stands already in line {seen[prediction.id]}")
        seen[prediction.id] = number
        predictions.append(prediction)
    return Results(run, predictions, directory)


def write_json(path: Path, value: Any) -> None:
    """A JSON file that is replaced whole; see :func:`write_whole`.

    Raises:
        OSError: the disk refuses.
    """
    write_whole(path, json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n")


def write_whole(path: Path, text: str) -> None:
    """A text file that is replaced whole: a reader, or a killed writer, never sees half of it.

    Raises:
        OSError: the disk refuses; what was there before stays.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            # A transcript may hold half a surrogate pair, which UTF-8 cannot write.
            file.write(text.encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _read_lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        # Only "\n" ends a line: a transcript may hold U+2028 or U+0085, at which str.splitlines would cut it.
        *lines, rest = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ResultsError(
            f"{path}: cannot be read ({error.strerror or error}); give a directory that `asr-headroom bench` wrote"
        ) from error
    if rest:
        raise ResultsError(
            f"{path}:{len(lines) + 1}: the last line is cut off; the run was interrupted, "
            "run the same command again to finish it"
        )
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            plain = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ResultsError(f"{path}:{number}: not JSON ({error})") from error
        if not isinstance(plain, dict):
            raise ResultsError(f"{path}:{number}: holds a {type(plain).__name__} where an object is needed")
        rows.append((number, plain))
    return rows


def _drop_unfinished_batch(path: Path) -> set[str]:
    """Cuts the file after its last complete batch and returns the ids before the cut.

    Raises:
        ResultsError: see :func:`_finished_batches`.
    """
    ids, size = _finished_batches(path)
    if path.exists():
        with path.open("rb+") as file:
            file.truncate(size)
    return ids


def _finished_batches(path: Path) -> tuple[set[str], int]:
    """The ids of complete batches, and the byte at which the last of them ends.

    Raises:
        ResultsError: something is wrong before the last complete batch; cutting there would lose finished
            work.
    """
    if not path.exists():
        return set(), 0
    ids: set[str] = set()
    pending: list[str] = []
    wrong: int | None = None
    complete = position = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            position += len(line)
            plain = _parse_or_none(line)
            if plain is None:
                wrong = wrong or number
                continue
            pending.append(plain["id"])
            if "batch" in plain:
                if wrong or plain["batch"] != len(pending):
                    raise ResultsError(
                        f"{path}:{wrong or number}: damaged in the middle, finished batches follow; "
                        "repair that line, or delete the file to start again"
                    )
                ids.update(pending)
                pending = []
                complete = position
    return ids, complete


def _parse_or_none(line: bytes) -> dict[str, Any] | None:
    """A whole line of predictions, or None when it was cut or is something else."""
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return plain if line.endswith(b"\n") and isinstance(plain, dict) and isinstance(plain.get("id"), str) else None
