"""Every recipe of the package loads, says offline what it takes, and sets published values beside runs that it has."""

from __future__ import annotations

from pathlib import Path

import pytest

import asr_headroom
from asr_headroom.config import from_mapping
from asr_headroom.models.catalogue import catalogue
from asr_headroom.recipes.forecast import forecast_step
from asr_headroom.recipes.run import load_recipe, recipe_names, resolve_package
from asr_headroom.recipes.steps import STEP_KINDS
from asr_headroom.report.published import load_published
from asr_headroom.stages.model_facts import default_name
from asr_headroom.stages.train import TrainStageConfig

NAMES = recipe_names()
UNKNOWN_SIZE = {"bofenghuang/asr-wav2vec2-ctc-french"}
"""Whose vocabulary is not published here; decoding it is not forecast, and the dry run says what is missing."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """A device of a known speed: measuring it takes a second for each model."""
    from asr_headroom.train.forecast import Work

    speed = Work(matmul=1e12, attention=1e12, pointwise=1e10, dropout=1e10)
    monkeypatch.setattr("asr_headroom.train.forecast.measure_speed", lambda *a, **k: speed)
    monkeypatch.setattr("asr_headroom.train.forecast_network.measure_speed", lambda *a, **k: speed)


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_and_forecasts_offline(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    for step in recipe.steps:
        lines = forecast_step(step)
        if step.verb in ("train", "rl") and not step.needs:
            text = "\n".join(lines)
            assert "training: about" in text, text
            assert "memory: about" in text
        for line in lines if step.verb == "bench" and not step.needs else ():
            model_id = line.partition(":")[0]
            assert ("GB of weights" in line) != (model_id in UNKNOWN_SIZE), line


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("study", "headroom"))])
def test_its_models_are_in_the_catalogue_and_its_published_values_have_a_run(name):
    known = {checkpoint.model_id for family in catalogue() for checkpoint in family.checkpoints}
    models: set[str] = set()
    published = None
    for step in load_recipe(name).steps:
        settings = resolve_package(step.settings)
        config = from_mapping(STEP_KINDS[step.verb].config_type, {**settings, "output": "x"}, where=step.name)
        if isinstance(config, TrainStageConfig):
            assert config.model in known or "${" in config.model
        models |= set(getattr(config, "models", ()))
        published = getattr(config, "published", None) or published
    assert {model for model in models if "${" not in model} <= known
    if published is None:
        return
    runs = {default_name(model.replace("${", "").replace("}", "")) for model in models} | models
    for value in load_published(published):
        # SenseVoice and Canary-Qwen run elsewhere: their rows wait for files of predictions.
        assert value.model in runs or value.model in {"FunAudioLLM/SenseVoiceSmall", "nvidia/canary-qwen-2.5b"}


def test_every_published_file_is_used():
    folder = Path(asr_headroom.__file__).parent / "recipes" / "published"
    text = "".join((folder.parent / f"{name}.yaml").read_text() for name in NAMES)
    assert all(f"published/{path.name}" in text for path in folder.glob("*.yaml"))


def test_the_low_rank_updates_of_the_study_have_the_sizes_that_it_states():
    """SPEC: tiny 1,179,648, small 7,077,888, medium 18,874,368, turbo 13,107,200."""
    sizes = {"study-tiny-lora-fr": "1,179,648", "study-small-lora-fr": "7,077,888"}
    sizes |= {"study-medium-lora-fr": "18,874,368", "study-turbo-lora-fr": "13,107,200"}
    for name, size in sizes.items():
        (step,) = (step for step in load_recipe(name).steps if step.verb == "train")
        assert f"{size} of them trained" in forecast_step(step)[0]
