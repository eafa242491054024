"""What the steps of a recipe would take: ``run --dry-run``."""

from __future__ import annotations

from typing import Any

from asr_headroom.config import from_mapping
from asr_headroom.errors import DataError, ModelError
from asr_headroom.recipes.run import Step, resolve_package
from asr_headroom.recipes.steps import STEP_KINDS
from asr_headroom.stages.ablate import AblateConfig, forecast_lines, training_config
from asr_headroom.stages.bench import BenchConfig
from asr_headroom.stages.grid import read_grid
from asr_headroom.stages.rl import RlStageConfig
from asr_headroom.stages.train import TrainStageConfig

__all__ = ["forecast_step"]


def forecast_step(step: Step) -> list[str]:
    """Minutes and memory of a step that trains or decodes, for the terminal; why not, where that cannot be known.

    Raises:
        TrainingError: the step's budget does not hold a training step.
    """
    kind = STEP_KINDS[step.verb].config_type
    if kind is AblateConfig:
        ablation = from_mapping(AblateConfig, {**resolve_package(step.settings), "output": "output"}, where=step.name)
        return forecast_lines(ablation, read_grid(ablation.grid, training_config(ablation)))
    if kind not in (BenchConfig, TrainStageConfig, RlStageConfig):
        return []
    config: Any = from_mapping(kind, {**resolve_package(step.settings), "output": "output"}, where=step.name)
    if isinstance(config, BenchConfig):
        return [_decoding(config, model_id) for model_id in config.models]
    if step.needs and any("${" in name for name in (config.model, *config.train)):
        return [f"no forecast: model or data come from {', '.join(step.needs)}"]
    from asr_headroom.stages.forecast import forecast_training
    from asr_headroom.stages.rl_forecast import forecast_rl

    try:
        return (forecast_rl(config) if isinstance(config, RlStageConfig) else forecast_training(config)).lines()
    except (ModelError, DataError) as error:
        return [f"no forecast: {error}"]


def _decoding(config: BenchConfig, model_id: str) -> str:
    from asr_headroom.stages.forecast_bench import forecast_decoding

    if "${" in model_id or any("${" in source for source in config.data):
        return f"{model_id}: no forecast: model or data come from an earlier step"
    try:
        return forecast_decoding(config, model_id).line()
    except (ModelError, DataError) as error:
        return f"{model_id}: no forecast: {error}"
