"""Several learning rates: a run for each, a choice on dev, and one delivery."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from asr_headroom.errors import TrainingError
from asr_headroom.metrics.significance import Clustering, compare_rates
from asr_headroom.results.store import write_json
from asr_headroom.stages.trials import ABLATION_FILE, TRIALS_SHARE, Trials

if TYPE_CHECKING:
    from asr_headroom.train.loop import TrainingOutcome

__all__ = ["RunRate", "choose_rate", "refuse_choices", "run_rates"]

logger = logging.getLogger(__name__)

_FILE = "rates.json"


class RunRate(Protocol):
    """Runs or resumes one training at a rate; options go to :class:`asr_headroom.train.loop.Training`."""

    def __call__(self, rate: float, **options: Any) -> TrainingOutcome:
        """Its outcome."""
        ...


def run_rates(rates: tuple[float, ...], run: RunRate, root: Path, *, budget_seconds: float | None) -> TrainingOutcome:
    """Tries each rate in an equal part of the budget, chooses on dev, and delivers through the guard.

    Args:
        rates: to try, in this order.
        run: one training.
        root: folder; ``rates/<rate>`` holds each run, ``model`` what is delivered, ``rates.json`` the choice.
        budget_seconds: of everything; None is no limit.

    Raises:
        TrainingError: the folder holds another run, or another list of rates.
    """
    from accelerate import PartialState

    _refuse_others(root, rates)
    is_main = PartialState().is_main_process
    if is_main:
        root.mkdir(parents=True, exist_ok=True)
        write_json(root / _FILE, {"learning_rates": list(rates)})
    by_name = {f"{rate:g}": rate for rate in rates}
    trials = Trials(
        list(by_name),
        lambda name, **options: run(by_name[name], **options),
        root,
        "rates",
        budget_seconds=budget_seconds,
        own_budget_seconds=None if budget_seconds is None else TRIALS_SHARE * budget_seconds / len(rates),
    )
    outcomes: dict[float, TrainingOutcome] = {}
    for number, (name, rate) in enumerate(by_name.items(), start=1):
        logger.info("learning rate %s (%d of %d)", name, number, len(rates))
        outcomes[rate] = trials.train(name)
    best = f"{choose_rate(outcomes):g}"
    tried = {
        f"{rate:g}": {"dev_error_rate": o.best_dev[0], "dev_loss": o.best_dev[1], "best_step": o.best_step}
        for rate, o in outcomes.items()
    }
    for name, found in tried.items():
        chosen = "  chosen" if name == best else ""
        logger.info("learning rate %s  dev error rate %.2f %%%s", name, 100 * found["dev_error_rate"], chosen)
    if is_main:
        write_json(root / _FILE, {"learning_rates": list(rates), "chosen": by_name[best], "tried": tried})
    return trials.deliver(best, others="other learning rates")


def choose_rate(outcomes: Mapping[float, TrainingOutcome]) -> float:
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


def refuse_choices(root: Path) -> None:
    """Raises when a folder holds a choice among learning rates or settings, where a single run is wanted.

    Raises:
        TrainingError: it does.
    """
    for name, what in ((_FILE, "a choice among learning rates"), (ABLATION_FILE, "an ablation")):
        if (root / name).is_file():
            raise TrainingError(f"{root}: holds {what}; choose another --output")


def _refuse_others(root: Path, rates: tuple[float, ...]) -> None:
    for name, what in (("train.json", "a run with a single learning rate"), (ABLATION_FILE, "an ablation")):
        if (root / name).is_file():
            raise TrainingError(f"{root}: holds {what}; choose another --output")
    path = root / _FILE
    if not path.is_file():
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["learning_rates"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: cannot be read ({error}); delete it, finished rates are kept") from error
    if stored != list(rates):
        raise TrainingError(f"{root}: holds a choice among other learning rates ({stored}); choose another --output")
