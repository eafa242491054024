"""Settings of ``doctor``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from asr_headroom.budget import parse_budget
from asr_headroom.errors import ConfigError
from asr_headroom.text.targets import TargetForm
from asr_headroom.train.config import TrainConfig

__all__ = ["DoctorConfig", "DoctorTraining"]


@dataclass(frozen=True, kw_only=True)
class DoctorTraining(TrainConfig):
    """How each fold's model is fine-tuned: enough to know the corpus, no more."""

    learning_rate: float | None = 1e-3
    """Peak rate of AdamW; 1e-3 suits low-rank updates, for --set training.method=full take 1e-5 to 1e-4."""

    num_train_epochs: float = 3.0
    """Passes over the other folds; the ceiling when a budget is given."""


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Find wrong transcripts."""

    data: str
    """Training data: manifest, folder, hub id or profile."""

    models: tuple[str, ...] = ()
    """Hub ids or local folders of the models that judge."""

    predictions: tuple[str, ...] = ()
    """Files of predictions on the same data, by other systems: further judges."""

    output: str = "runs/doctor"
    """Folder for scores, verdicts and the page."""

    fit: bool = True
    """Fine-tune each model on the other folds first, so that it knows the corpus and not the clip; --no-fit takes the
    models as they are."""

    folds: int = 3
    """Parts of the data, by speaker; each is judged by a model trained on the others."""

    budget: str | None = None
    """Time for training and scoring, over all sessions: 30m, 2h."""

    false_alarms: float = 0.05
    """Share of the right transcripts that may be called suspect."""

    write_clean: bool = False
    """Also write clean.jsonl, without what is more likely wrong than right, and removed.jsonl with the rest."""

    language: str | None = None
    """BCP-47 tag for rows that name none."""

    normalizer: str | None = None
    """Text clean-up before anything is compared; the language's default otherwise."""

    target_form: TargetForm = "as-is"
    """Written form that the models write: as-is, lower, or sentence (capital first letter and full stop)."""

    window: Literal["full", "fit"] = "full"
    """Whisper: full hears the 30 s window; fit the seconds that hold the recording, which is much faster."""

    batch_size: int = 16
    """Clips scored together, at most."""

    limit: int | None = None
    """Only the first utterances."""

    skip_bad: bool = False
    """Leave out rows that cannot be used, counted, instead of refusing the manifest."""

    seed: int = 0
    """Of folds, wrong transcripts made on purpose, and training."""

    max_clips: int = 100
    """Recordings embedded in the page, at most."""

    training: DoctorTraining = field(default_factory=DoctorTraining)
    """How each fold's model is fine-tuned."""

    def __post_init__(self) -> None:
        problems = []
        if not self.models and not self.predictions:
            problems.append("the label doctor needs somebody's opinion; give --models, --predictions, or both")
        if self.folds < 2:
            problems.append(f"folds is {self.folds}; it must be at least 2 (or use --no-fit)")
        if self.batch_size < 1:
            problems.append(f"batch_size is {self.batch_size}; it must be at least 1")
        if not 0 < self.false_alarms <= 0.5:
            problems.append(f"false_alarms is {self.false_alarms}; it must be above 0 and at most 0.5")
        if self.training.learning_rates:
            problems.append("training.learning_rates would train every fold several times; give one learning_rate")
        if self.training.method == "scratch":
            problems.append("training.method scratch knows nothing to judge by; use lora or full")
        try:
            if self.budget is not None:
                parse_budget(self.budget)
        except ConfigError as error:
            problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))
