"""Everything that can go wrong because of the input, as one tree.

::

    AsrHeadroomError             reaches the terminal as one message, never as a traceback
    ├── UsageError               the command line or a config asks for something impossible (exit 2)
    │   └── ConfigError          a field has a wrong name, type or value
    ├── DataError                a manifest, a transcript or a split is not usable
    │   └── AudioError           a recording cannot be decoded
    ├── ModelError               a model cannot be found, loaded or used for what was asked
    │   └── MissingDependencyError   an optional package is not installed
    ├── TrainingError            training cannot go on, or cannot be resumed
    │   └── DivergedError        the loss is no longer a number
    ├── ResultsError             results cannot be read, or cannot be compared
    ├── BudgetError              the budget is used up before the work is done; what is done is kept
    ├── Stopped                  somebody asked to stop; what is done is kept (exit 130 or 143)
    └── ShapeError               arrays whose shapes do not belong together

Anything else that is raised is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AsrHeadroomError",
    "AudioError",
    "BudgetError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "MissingDependencyError",
    "ModelError",
    "ResultsError",
    "ShapeError",
    "Stopped",
    "TrainingError",
    "UsageError",
    "did_you_mean",
]


class AsrHeadroomError(Exception):
    """Base of all errors that the user can act on."""

    exit_code = 1


class UsageError(AsrHeadroomError):
    """The command line or a config asks for something impossible."""

    exit_code = 2


class ConfigError(UsageError):
    """A field has a wrong name, type or value."""


class DataError(AsrHeadroomError):
    """A manifest, a transcript or a split is not usable."""


class AudioError(DataError):
    """A recording cannot be decoded."""


class ModelError(AsrHeadroomError):
    """A model cannot be found, loaded or used for what was asked."""


class MissingDependencyError(ModelError):
    """An optional package is not installed; the message names the install command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package '{package}'; install it with: pip install 'asr-headroom[{extra}]'")


class TrainingError(AsrHeadroomError):
    """Training cannot go on, or cannot be resumed."""


class DivergedError(TrainingError):
    """The loss is no longer a number: these settings do not work, others may."""

    def __init__(self, message: str, *, step: int = 0, total_steps: int = 0) -> None:
        super().__init__(message)
        self.step, self.total_steps = step, total_steps


class ResultsError(AsrHeadroomError):
    """Results cannot be read, or cannot be compared."""


class BudgetError(AsrHeadroomError):
    """The budget is used up before the work is done; what is done is kept, and a larger one goes on from there."""


class Stopped(AsrHeadroomError):
    """A signal asked to stop and the work stopped at a safe point; the same command goes on from there."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[type[Stopped], tuple[str, int]]:
        return type(self), (str(self), self.exit_code - 128)


class ShapeError(AsrHeadroomError, ValueError):
    """Arrays whose shapes do not belong together."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion to append to an error about an unknown name; empty when nothing is close.

    >>> did_you_mean("wisper", ["whisper", "qwen3-asr"])
    "; did you mean 'whisper'?"
    """
    match = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{match[0]}'?" if match else ""
