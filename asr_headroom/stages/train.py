"""``train``: fine-tune one model on one manifest, select on dev, let the guard choose what is delivered.

Read :func:`train` first. With several learning rates each has a run of its own below ``rates/``; the best on dev goes
on to the guard.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from asr_headroom.budget import Ledger, parse_budget
from asr_headroom.data.manifest import Utterance
from asr_headroom.data.nonspeech import nonspeech_utterances
from asr_headroom.errors import ConfigError, DataError, ModelError, TrainingError
from asr_headroom.evaluate.transcribe import count_utterances, refuse_long_utterances
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.metrics.significance import Clustering, compare_rates
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.protocols import Recognizer, Trainable
from asr_headroom.models.registry import load_model
from asr_headroom.results.store import write_json
from asr_headroom.stages.data import Loaded, load_data
from asr_headroom.text.normalize import Normalizer, get_normalizer, normalizer_for_language
from asr_headroom.text.targets import TargetForm, write_target
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.guard import EvaluationSet, Measure, Role

__all__ = ["TrainStageConfig", "budget_seconds", "train"]

if TYPE_CHECKING:
    from asr_headroom.train.loop import TrainingOutcome

logger = logging.getLogger(__name__)

_NONSPEECH_SECONDS = 8.0
"""Longest generated clip."""
_RATES_SHARE = 0.85
"""Of a budget, for trying several learning rates; the rest is for the guard and for loading."""
_RATES_FILE = "rates.json"


@dataclass(frozen=True, kw_only=True)
class TrainStageConfig(TrainConfig):
    """Fine-tune a model."""

    model: str
    """Hub id or local folder of the model to start from."""

    train: str
    """Training data: manifest, folder, hub id or profile."""

    dev: str
    """Dev data; selects the best step and what is delivered, and is never trained on."""

    guard_data: tuple[str, ...] = ()
    """Dev data of other languages or domains that must not get worse; generated silence and noise come with them."""

    output: str = "runs/train"
    """Folder of this run."""

    language: str | None = None
    """BCP-47 tag for rows that name none."""

    normalizer: str | None = None
    """Normaliser of the dev scores; the language's default otherwise."""

    window: Literal["full", "fit"] = "full"
    """Whisper: the window in training and on dev; use the same in bench."""

    target_form: TargetForm = "as-is"
    """Written form to learn: as-is, lower, or sentence (capital first letter and full stop)."""

    max_duration: float | None = None
    """Seconds; longer dev utterances are left out and counted."""

    limit: int | None = None
    """Only the first utterances of the training data."""

    skip_bad: bool = False
    """Leave out rows that cannot be used, counted, instead of refusing the manifest."""

    streaming: bool = False
    """Read hub data sets row by row without downloading the rest; needs limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit is {self.limit}; it must be at least 1")
        if self.max_duration is not None and not self.max_duration > 0:
            raise ConfigError(f"max_duration is {self.max_duration}; it must be above 0 s")


def train(config: TrainStageConfig) -> Path:
    """Runs or resumes the training; returns the folder of the model that is delivered.

    Raises:
        AsrHeadroomError: data, model, budget or disk do not allow it; the message says which and what to do.
    """
    ledger = Ledger()
    with ledger.stage("load"):
        setup = _load(config)
    outcome = _run(config, setup, ledger) if not config.learning_rates else _run_rates(config, setup, ledger)
    assert outcome.model_directory is not None
    logger.info(
        "%s after %d of %d steps, best step %d, %s delivered: %s",
        outcome.reason,
        outcome.stopped_at,
        outcome.plan.total_steps,
        outcome.best_step,
        f"point {outcome.alpha:g}" if outcome.alpha else "the base is",
        outcome.model_directory,
    )
    return outcome.model_directory


@dataclass(frozen=True)
class _Setup:
    """What all runs of one command share."""

    model: Trainable
    train_data: list[Utterance]
    dev: EvaluationSet
    dev_targets: list[Utterance]
    guard_sets: list[EvaluationSet]
    facts: dict[str, Any]


def _load(config: TrainStageConfig) -> _Setup:
    """Reads and checks everything before the first minute is spent."""
    if config.normalizer:
        get_normalizer(config.normalizer)
    reading: dict[str, Any] = {"language": config.language, "skip_bad": config.skip_bad, "streaming": config.streaming}
    few = config.eval_utterances + config.guard.utterances if config.streaming else None
    train_data = load_data(config.train, limit=config.limit, **reading)
    dev_data, *guard_data = (
        load_data(source, max_duration=config.max_duration, limit=few, **reading)
        for source in (config.dev, *config.guard_data)
    )
    model = _load_model(config)
    for loaded in (dev_data, *guard_data):
        refuse_long_utterances(model, loaded.manifest)
    usable, left_out = _usable(model, train_data.manifest, config.target_form)
    shuffled = _evaluation_set(dev_data, "target", config)
    dev = shuffled.first(config.eval_utterances)
    facts = {
        "family": model.card.family,
        "base": config.model,
        "train_data": train_data.facts() | {"source": config.train, "unusable": left_out, "used": len(usable)},
        "dev_data": dev_data.facts()
        | {
            "source": config.dev,
            "used": len(dev.utterances),
            "sentences_in_train": _shared_sentences(usable, dev.utterances, dev.normalizer),
        },
        "guard_data": [
            loaded.facts() | {"source": source} for source, loaded in zip(config.guard_data, guard_data, strict=True)
        ],
        "window": config.window,
        "target_form": config.target_form,
        "normalizer": dev.normalizer.id,
    }
    return _Setup(
        model=model,
        train_data=usable,
        dev=dev,
        dev_targets=[replace(u, text=write_target(u.text, config.target_form)) for u in dev.utterances],
        guard_sets=_guard_sets(model, shuffled, guard_data, config),
        facts=facts,
    )


def _run(config: TrainStageConfig, setup: _Setup, ledger: Ledger, **options: Any) -> TrainingOutcome:
    """One training. ``options`` go to :class:`asr_headroom.train.loop.Training`; ``model`` replaces the one loaded."""
    from asr_headroom.train.loop import Training
    from asr_headroom.train.methods import apply_method

    with ledger.stage("load"):
        model = apply_method(options.pop("model", setup.model), config)
    defaults = {"directory": Path(config.output), "budget_seconds": budget_seconds(config)}
    return Training(
        model,
        setup.train_data,
        setup.dev,
        _train_config(config),
        measure=_measure(config),
        dev_targets=setup.dev_targets,
        guard_sets=setup.guard_sets,
        facts=setup.facts | {"learning_rate": config.peak_learning_rate},
        ledger=ledger,
        **defaults | options,
    ).run()


def _run_rates(config: TrainStageConfig, setup: _Setup, ledger: Ledger) -> TrainingOutcome:
    """A run for each learning rate, in equal parts of the budget; the best on dev goes to the guard."""
    root, budget = Path(config.output), budget_seconds(config)
    _refuse_other_rates(root, config)
    share = None if budget is None else _RATES_SHARE * budget / len(config.learning_rates)
    outcomes: dict[float, TrainingOutcome] = {}
    for rate in config.learning_rates:
        own = replace(config, learning_rate=rate, learning_rates=())
        shared: dict[str, Any] = {"directory": root / "rates" / f"{rate:g}", "model_directory": root / "model"}
        logger.info("learning rate %g (%d of %d)", rate, len(outcomes) + 1, len(config.learning_rates))
        if outcomes:
            ledger = Ledger()
            with ledger.stage("load"):
                shared["model"] = _load_model(config)
        trial = {"budget_seconds": share, "guard_budget_seconds": budget, "deliver": False}
        outcomes[rate] = _run(own, setup, ledger, **shared, **trial)
    best = _choose_rate(outcomes)
    tried = {
        f"{rate:g}": {"dev_error_rate": o.best_dev[0], "dev_loss": o.best_dev[1], "best_step": o.best_step}
        for rate, o in outcomes.items()
    }
    for name, found in tried.items():
        chosen = "  chosen" if name == f"{best:g}" else ""
        logger.info("learning rate %s  dev error rate %.2f %%%s", name, 100 * found["dev_error_rate"], chosen)
    write_json(root / _RATES_FILE, {"learning_rates": list(config.learning_rates), "chosen": best, "tried": tried})
    elsewhere = sum(sum(o.minutes.values()) for rate, o in outcomes.items() if rate != best)
    return _run(
        replace(config, learning_rate=best, learning_rates=()),
        setup,
        Ledger(),
        model=_load_model(config),
        directory=root / "rates" / f"{best:g}",
        model_directory=root / "model",
        budget_seconds=None if budget is None else budget - 60 * elsewhere,
        minutes_elsewhere={"other learning rates": round(elsewhere, 4)},
    )


def _choose_rate(outcomes: Mapping[float, TrainingOutcome]) -> float:
    """The lowest rate within one standard error of the best on dev, paired: a lower one moves the model less.

    The one-standard-error rule (Breiman et al., 1984, section 3.4.3).
    """
    best = min(outcomes, key=lambda rate: (outcomes[rate].best_dev, rate))
    errors, lengths = np.array(outcomes[best].best_counts, dtype=np.float64).T
    each = Clustering(labels=np.arange(len(errors)), by="utterance", population="new utterances")
    for rate in sorted(outcomes):
        compared = compare_rates(errors, np.array(outcomes[rate].best_counts)[:, 0], lengths, each)
        if compared.difference <= compared.standard_error:
            return rate
    return best


def _refuse_other_rates(root: Path, config: TrainStageConfig) -> None:
    """What is delivered depends on all rates tried, so a directory belongs to one list of them."""
    path = root / _RATES_FILE
    if not path.is_file():
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["learning_rates"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: cannot be read ({error}); delete it, finished rates are kept") from error
    if stored != list(config.learning_rates):
        raise TrainingError(f"{root}: holds a choice among other learning rates ({stored}); choose another --output")


def _load_model(config: TrainStageConfig) -> Trainable:
    random_init: dict[str, Any] = {"random_init": True, "seed": config.seed} if config.method == "scratch" else {}
    model = load_model(config.model, window=config.window, **random_init)
    if not isinstance(model, Trainable):
        raise ModelError(f"'{config.model}' ({model.card.family}) can be benched but not trained here")
    return model


def _evaluation_set(loaded: Loaded, role: Role, config: TrainStageConfig) -> EvaluationSet:
    """All utterances in a fixed random order, so that the first of them are a fair sample."""
    utterances = loaded.manifest.utterances
    order = np.random.default_rng(config.seed).permutation(len(utterances))
    language = utterances[0].language
    given = config.normalizer if role == "target" else None
    normalizer = get_normalizer(given) if given else normalizer_for_language(language)
    return EvaluationSet(
        name=loaded.manifest.name, role=role, utterances=[utterances[i] for i in order], normalizer=normalizer
    )


def _guard_sets(
    model: Recognizer, dev: EvaluationSet, guard_data: Sequence[Loaded], config: TrainStageConfig
) -> list[EvaluationSet]:
    """Dev, the guard data, silence and noise. Of dev, utterances that do not choose the step come first."""
    count = config.eval_utterances
    nonspeech = nonspeech_utterances(
        model.card.sampling_rate,
        language=dev.utterances[0].language,
        max_duration=min(_NONSPEECH_SECONDS, model.card.max_duration or math.inf),
    )
    return [
        replace(dev, utterances=[*dev.utterances[count:], *dev.utterances[:count]]),
        *(_evaluation_set(loaded, "guard", config) for loaded in guard_data),
        replace(dev, name="silence and noise", role="nonspeech", utterances=nonspeech),
    ]


def _measure(config: TrainStageConfig) -> Measure:
    def measure(model: Recognizer, eval_set: EvaluationSet) -> list[ErrorCounts]:
        return count_utterances(
            model,
            eval_set.utterances,
            DecodingOptions(),
            normalizer=eval_set.normalizer,
            batch_size=config.per_device_train_batch_size,
        )

    return measure


def _usable(
    model: Trainable, utterances: Sequence[Utterance], form: TargetForm
) -> tuple[list[Utterance], dict[str, int]]:
    """Utterances the model can learn from, in the form wanted, and how many were left out, by reason."""
    usable, reasons = [], Counter[str]()
    first = ""
    for utterance in utterances:
        utterance = replace(utterance, text=write_target(utterance.text, form))
        reason = model.check_target(utterance)
        if reason is None:
            usable.append(utterance)
            continue
        kind = "too long for the model"
        first = first or f"{utterance.origin}: '{utterance.id}' {reason}"
        reasons[kind] += 1
    for reason, count in reasons.items():
        logger.warning("%d of %d training utterances left out, %s: %s", count, len(utterances), reason, first)
    if form == "as-is" and usable and all(utterance.text.isupper() for utterance in usable):
        logger.warning(
            "all %d transcripts are in upper case, and the model will learn to write that way; "
            "--target-form sentence rewrites them",
            len(usable),
        )
    if not usable:
        raise DataError(f"none of the {len(utterances)} training utterances can be used, for example {first}")
    return usable, dict(reasons)


def _shared_sentences(train_data: Sequence[Utterance], dev: Sequence[Utterance], normalizer: Normalizer) -> int:
    """How many dev utterances have a sentence that is trained on, with a warning: they flatter the selection."""
    learnt = {normalizer(utterance.text) for utterance in train_data}
    shared = sum(normalizer(utterance.text) in learnt for utterance in dev)
    if shared:
        logger.warning(
            "%d of %d dev utterances have a sentence that is trained on; the dev error rate flatters the model "
            "(`asr-headroom data leak` lists them)",
            shared,
            len(dev),
        )
    return shared


def _train_config(config: TrainStageConfig) -> TrainConfig:
    return TrainConfig(**{spec.name: getattr(config, spec.name) for spec in fields(TrainConfig)})


def budget_seconds(config: TrainStageConfig) -> float | None:
    """Wall-clock seconds of the budget; gpu-hours are shared by the processes of a distributed run."""
    if config.budget is None:
        return None
    if "gpu-" not in config.budget:
        return parse_budget(config.budget)
    from accelerate import PartialState

    return parse_budget(config.budget, num_gpus=PartialState().num_processes)
