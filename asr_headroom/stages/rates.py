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

if TYPE_CHECKING:
    from asr_headroom.train.loop import TrainingOutcome

__all__ = ["RATES_SHARE", "RunOne", "choose_rate", "refuse_rates", "run_rates"]

logger = logging.getLogger(__name__)

RATES_SHARE = 0.85
"""Of a budget, for trying the rates; the rest is for the guard."""
_FILE = "rates.json"


class RunOne(Protocol):
    """Runs or resumes one training at a rate; options go to :class:`asr_headroom.train.loop.Training`."""

    def __call__(self, rate: float, **options: Any) -> TrainingOutcome:
        """Its outcome."""
        ...


def run_rates(rates: tuple[float, ...], run: RunOne, root: Path, *, budget_seconds: float | None) -> TrainingOutcome:
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
    share = None if budget_seconds is None else RATES_SHARE * budget_seconds / len(rates)
    outcomes: dict[float, TrainingOutcome] = {}
    for number, rate in enumerate(rates, start=1):
        logger.info("learning rate %g (%d of %d)", rate, number, len(rates))
        outcomes[rate] = run(
            rate,
            directory=root / "rates" / f"{rate:g}",
            model_directory=root / "model",
            budget_seconds=share,
            guard_budget_seconds=budget_seconds,
            # The same dev utterances for all, or they could not be compared.
            sizes=next(iter(outcomes.values())).sizes if outcomes else None,
            deliver=False,
        )
    best = choose_rate(outcomes)
    tried = {
        f"{rate:g}": {"dev_error_rate": o.best_dev[0], "dev_loss": o.best_dev[1], "best_step": o.best_step}
        for rate, o in outcomes.items()
    }
    for name, found in tried.items():
        chosen = "  chosen" if name == f"{best:g}" else ""
        logger.info("learning rate %s  dev error rate %.2f %%%s", name, 100 * found["dev_error_rate"], chosen)
    if is_main:
        write_json(root / _FILE, {"learning_rates": list(rates), "chosen": best, "tried": tried})
    elsewhere = sum(sum(o.minutes.values()) for rate, o in outcomes.items() if rate != best)
    return run(
        best,
        directory=root / "rates" / f"{best:g}",
        model_directory=root / "model",
        budget_seconds=None if budget_seconds is None else budget_seconds - 60 * elsewhere,
        minutes_elsewhere={"other learning rates": round(elsewhere, 4)},
    )


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


def refuse_rates(root: Path) -> None:
    """Raises when a folder holds a choice among learning rates, where a single run is wanted.

    Raises:
        TrainingError: it does.
    """
    if (root / _FILE).is_file():
        raise TrainingError(f"{root}: holds a choice among learning rates; choose another --output")


def _refuse_others(root: Path, rates: tuple[float, ...]) -> None:
    if (root / "train.json").is_file():
        raise TrainingError(f"{root}: holds a run with a single learning rate; choose another --output")
    path = root / _FILE
    if not path.is_file():
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["learning_rates"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: cannot be read ({error}); delete it, finished rates are kept") from error
    if stored != list(rates):
        raise TrainingError(f"{root}: holds a choice among other learning rates ({stored}); choose another --output")
