"""Settings of ``bench``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from asr_headroom.budget import parse_budget
from asr_headroom.errors import ConfigError
from asr_headroom.models.quantization import Quantization

__all__ = ["BenchConfig"]


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Measure models on test sets."""

    models: tuple[str, ...] = ()
    """Hub ids, local folders, or folders written by train."""

    predictions: tuple[str, ...] = ()
    """Also show what other tools heard: files of predictions or run directories, as PATH or NAME=PATH."""

    data: tuple[str, ...]
    """Test sets: manifests, folders, hub ids, profiles."""

    output: str = "runs/bench"
    """Folder for one run directory per model and test set."""

    language: str | None = None
    """BCP-47 tag for rows that name none; decoding is told each row's language."""

    normalizer: str | None = None
    """Normaliser of the scores; the language's default otherwise."""

    window: Literal["full", "fit"] = "full"
    """Whisper: full decodes in the 30 s window it was trained with; fit in the seconds that hold the recording."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the weights; half precision is faster on a GPU and changes some outputs."""

    quantization: Quantization = "none"
    """8bit or 4bit pack the weights of large models as they are read, by bitsandbytes; outputs change a little."""

    batch_size: int = 16
    """Utterances decoded together, at most."""

    beam_size: int = 1
    """1 is greedy."""

    nbest: int | None = None
    """Also list so many hypotheses for each utterance: the best of each list would be the oracle's error rate."""

    max_new_tokens: int = 225
    """Tokens at which a hypothesis is cut, and marked."""

    max_duration: float | None = None
    """Seconds; longer utterances are left out and counted. Without it they are refused."""

    budget: str | None = None
    """Time for the whole command and what earlier sessions spent in its runs: 45m, 1h30m; 2gpu-h is 2 h on one GPU."""

    limit: int | None = None
    """Only the first utterances of each test set."""

    skip_bad: bool = False
    """Leave out rows that cannot be used, counted, instead of refusing the manifest."""

    streaming: bool = False
    """Read hub data sets row by row without downloading the rest; needs limit."""

    name: str | None = None
    """Name in tables; only with one model."""

    def __post_init__(self) -> None:
        problems = []
        if not (self.models or self.predictions) or not self.data:
            problems.append("bench needs a test set, and at least one model or file of predictions")
        if self.name and len(self.models) != 1:
            problems.append(f"name is for one model, there are {len(self.models)}; leave it out")
        for field in ("batch_size", "beam_size", "max_new_tokens"):
            if getattr(self, field) < 1:
                problems.append(f"{field} is {getattr(self, field)}; it must be at least 1")
        if self.nbest is not None and self.nbest < 2:
            problems.append(f"nbest is {self.nbest}; it must be at least 2")
        if self.limit is not None and self.limit < 1:
            problems.append(f"limit is {self.limit}; it must be at least 1")
        if self.max_duration is not None and not self.max_duration > 0:
            problems.append(f"max_duration is {self.max_duration}; it must be above 0 s")
        try:
            if self.budget is not None:
                parse_budget(self.budget)
        except ConfigError as error:
            problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))
