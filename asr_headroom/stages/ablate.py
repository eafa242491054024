"""``ablate``: many settings of one training, a choice on dev inside one budget, and one delivery through the guard.

Read :func:`ablate` first. ``ablation.json`` holds what was tried, decided and spent, ``settings/<name>`` each training.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from asr_headroom.config import to_mapping
from asr_headroom.errors import ConfigError, DivergedError
from asr_headroom.stages.ablation_record import AblationRecord
from asr_headroom.stages.grid import Grid, read_grid
from asr_headroom.stages.race import Leg, Rules, Rung, Standing, race_cost, run_race
from asr_headroom.stages.train import SettingRunner, TrainStageConfig, budget_seconds
from asr_headroom.stages.trials import TRIALS_SHARE, Trials
from asr_headroom.train.guard import EvaluationSet

if TYPE_CHECKING:
    from asr_headroom.train.loop import TrainingOutcome

__all__ = ["AblateConfig", "ablate", "forecast_lines", "race_settings", "training_config"]

logger = logging.getLogger(__name__)

_ENTRY_SHARE = 0.1
"""Of a setting's time, that loading it and evaluating the base is taken to cost, before any was measured."""
_DECIDES_TARGETS = ("model", "target_form", "vocabulary", "vocabulary_normalizer")
"""Fields under which dev has other target units, over which losses are means."""
_MAY_CHANGE = {"budget", "dataloader_num_workers", "logging_steps", "output"}
"""Of one command to the next that goes on with the same ablation."""


@dataclass(frozen=True, kw_only=True)
class AblateConfig(TrainStageConfig):
    """Try settings of a training."""

    grid: dict[str, Any]
    """Values to try by field, as lora.rank=8,32; every combination is a setting."""

    mode: Literal["race", "grid"] = "race"
    """race: the worse settings stop early; grid: each trains to its end."""

    rungs: tuple[float, ...] = (0.25,)
    """Race: shares of a setting's steps at which the worse stop."""

    keep: float = 1 / 6
    """Race: share of the settings that goes on from a rung, at most."""

    output: str = "runs/ablate"
    """Folder of the ablation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.grid:
            raise ConfigError(
                "the grid is empty; give for example --grid lora.rank=8,32 --grid learning_rate=1e-4,1e-3"
            )
        if 1.0 in self.rungs:
            raise ConfigError("rungs holds 1.0, the end, which is always one; leave it out")
        _ = self.rules
        read_grid(self.grid, training_config(self))  # a recipe is checked before anything runs

    @property
    def rules(self) -> Rules:
        """Of the race; a grid is one with no rung but the end."""
        return Rules(rungs=(*self.rungs, 1.0) if self.mode == "race" else (1.0,), keep=self.keep)


def ablate(config: AblateConfig) -> Path:
    """Runs or resumes the ablation; returns the folder of the model that is delivered.

    Raises:
        AsrHeadroomError: grid, data, model, budget or disk do not allow it; the message says which and what to do.
    """
    base = training_config(config)
    grid = read_grid(config.grid, base)
    root = Path(config.output)
    record = AblationRecord(
        root,
        config={key: value for key, value in to_mapping(config).items() if key not in _MAY_CHANGE},
        settings={setting.name: setting.values for setting in grid.settings},
        rules=config.rules,
        merged=grid.merged,
    )
    if record.is_done():
        return root / "model"
    run = SettingRunner()
    run.setup(grid.settings[0].config)
    if not record.rungs:
        run.check([setting.config for setting in grid.settings])
    by_name = {setting.name: setting for setting in grid.settings}
    budget = budget_seconds(config)
    cost = race_cost(len(by_name), config.rules)
    parts = cost + _ENTRY_SHARE * (len(by_name) - cost)
    trials = Trials(
        list(by_name),
        lambda name, **options: run(by_name[name].config, **options),
        root,
        "settings",
        budget_seconds=budget,
        own_budget_seconds=None if budget is None else TRIALS_SHARE * budget / parts,
    )
    for line in forecast_lines(config, grid):
        logger.info("%s", line)
    race_settings(config.rules, record, trials, run.dev(base))
    chosen = record.choose()
    outcome = trials.deliver(chosen, others="other settings")
    record.finish(trials, alpha=outcome.alpha, because=outcome.delivered_because)
    return root / "model"


def training_config(config: AblateConfig) -> TrainStageConfig:
    """What all settings share."""
    return TrainStageConfig(**{spec.name: getattr(config, spec.name) for spec in fields(TrainStageConfig)})


def forecast_lines(config: AblateConfig, grid: Grid) -> list[str]:
    """What is going to be tried, and what it may cost in whole trainings."""
    settings = len(grid.settings)
    cost = race_cost(settings, config.rules)
    lines = [f"{settings} settings over {', '.join(grid.settings[0].values)}"]
    if grid.merged:
        lines.append(f"{grid.merged} further combinations are left out: they would be one of these again")
    if config.mode == "race":
        lines.append(
            f"race over {', '.join(f'{100 * share:g} %' for share in config.rules.rungs)} of the steps: at most the "
            f"steps of {cost:.3g} whole trainings out of {settings} ({cost / settings:.0%})"
        )
    return lines


class _Trials(Protocol):
    """What a race needs of :class:`asr_headroom.stages.trials.Trials`."""

    names: tuple[str, ...]
    own_budget_seconds: float | None

    @property
    def seconds_left(self) -> float: ...
    def train(self, name: str, *, stop_at: float) -> TrainingOutcome: ...
    def discard(self, name: str) -> None: ...
    def minutes(self, name: str) -> float: ...


def race_settings(rules: Rules, record: AblationRecord, trials: _Trials, dev: EvaluationSet) -> None:
    """Trains and decides, rung by rung, and writes every leg and every decision down.

    Args:
        rules: of the race.
        record: what was done before stands, and is not done again.
        trials: the trainings.
        dev: utterances in the order in which they are taken.
    """

    def run_leg(setting: str, share: float) -> Leg:
        if (known := record.leg(setting, share)) is not None:
            return known
        logger.info("setting %s to %g %%: %s", setting, 100 * share, record.describe(setting))
        try:
            leg = replace(
                _leg(trials.train(setting, stop_at=share), trials.own_budget_seconds),
                loss_over=_targets(record.settings[setting]),
            )
        except DivergedError as error:
            leg = Leg(failure=str(error), step=error.step, total_steps=error.total_steps)
        record.add_leg(setting, share, leg)
        record.book(trials)
        return leg

    def clusters(count: int) -> np.ndarray:
        found = dev.first(count)
        record.say_dev(found)
        return found.clustering.labels

    for name in record.dropped():  # killed before their weights were gone
        trials.discard(name)
    for rung in run_race(
        trials.names,
        run_leg,
        rules,
        clusters=clusters,
        seconds_left=lambda: trials.seconds_left,
        decided=tuple(record.rungs),
    ):
        record.add_rung(rung)
        for standing in rung.standings:
            logger.info("%s", _said(rung, standing, record))
        for name in record.dropped():
            trials.discard(name)


def _targets(values: Mapping[str, Any]) -> str:
    """What of a setting's own values decides which targets it learns, in words."""
    return ", ".join(f"{name}={values[name]}" for name in _DECIDES_TARGETS if name in values)


def _leg(outcome: TrainingOutcome, budget_seconds: float | None) -> Leg:
    """At a pause as it stands, at the end as it would be delivered.

    Args:
        outcome: of the training.
        budget_seconds: of the training, which cuts its plan short where that was too bold.
    """
    is_over = outcome.reason != "paused"
    (error_rate, loss), counts = (
        (outcome.best_dev, outcome.best_counts) if is_over else (outcome.last_dev, outcome.last_counts)
    )
    if not math.isfinite(loss):
        return Leg(
            failure=f"step {outcome.stopped_at}: the dev loss is {loss}",
            step=outcome.stopped_at,
            total_steps=outcome.plan.total_steps,
        )
    plan = outcome.plan
    seconds = min(plan.seconds or 0.0, budget_seconds or math.inf)
    return Leg(
        step=outcome.stopped_at,
        total_steps=plan.total_steps,
        error_rate=error_rate,
        loss=loss,
        errors=[errors for errors, _ in counts],
        lengths=[length for _, length in counts],
        is_over=is_over,
        entry_seconds=plan.spent_seconds,
        work_seconds=max(0.0, seconds - plan.spent_seconds),
    )


def _said(rung: Rung, standing: Standing, record: AblationRecord) -> str:
    rate = "" if standing.error_rate is None else f"  dev error rate {100 * standing.error_rate:.2f} %"
    return (
        f"{100 * rung.share:g} %  {standing.setting}{rate}  {standing.decision}  ({record.describe(standing.setting)})"
    )
