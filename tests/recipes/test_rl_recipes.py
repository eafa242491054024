"""The recipes of reinforcement learning run on tiny stand-ins, with the settings that they ship."""

from __future__ import annotations

import dataclasses
import json

import pytest

from asr_headroom.config import from_mapping
from asr_headroom.data.manifest import write_manifest
from asr_headroom.recipes.run import load_recipe
from asr_headroom.stages.rl import RlStageConfig, rl
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_qwen3_asr

RECIPES = ("study-rl-qwen3-asr-fr", "study-rl-qwen3-asr-zh", "headroom-rl-keywords-fr", "headroom-rl-mixed")
STEPS = [(recipe, step.name) for recipe in RECIPES for step in load_recipe(recipe).steps if step.verb == "rl"]


def stand_in(folder, language):
    speech = []
    for text in ("abc", "cab", "bad", "dada"):
        utterance = tone_utterance(text, language=language, id=f"{language}-{text}")
        path = folder / f"{utterance.id}.wav"
        path.write_bytes(utterance.audio)
        speech.append(dataclasses.replace(utterance, audio=path))
    write_manifest(folder / f"{language}.jsonl", speech)
    return str(folder / f"{language}.jsonl")


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """A tiny model, and a few utterances in each language."""
    folder = tmp_path_factory.mktemp("stand-ins")
    tiny_qwen3_asr().save_pretrained(folder / "tiny")
    return {language: stand_in(folder, language) for language in ("fr", "zh")} | {"init": str(folder / "tiny")}


def test_there_are_as_many_steps_as_are_said():
    assert len(STEPS) == 8 + 2


@pytest.mark.parametrize(("recipe", "name"), STEPS)
def test_it_runs_on_tiny_stand_ins(tmp_path, stand_ins, recipe, name):
    (step,) = (step for step in load_recipe(recipe).steps if step.name == name)

    def local(source):
        return stand_ins["fr" if "fr" in source.partition("@")[0] else "zh"]

    settings = dict(step.settings)
    sources = settings["train"] if isinstance(settings["train"], list) else [settings["train"]]
    settings |= {
        "init": stand_ins["init"],
        "train": [local(source) for source in sources],
        "dev": local(settings["dev"]),
        "max_steps": 2,
        "eval_steps": 2,
        "max_new_tokens": 4,
        "eval_utterances": 2,
        "output": str(tmp_path / "run"),
        "guard_data": [],
        "guard": {"enabled": False},
    }
    delivered = rl(from_mapping(RlStageConfig, settings, where=name))
    assert (delivered / "headroom.json").is_file()
    rows = [json.loads(line) for line in (tmp_path / "run/rollouts.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1]
    draws = sum(hypothesis["times"] for hypothesis in rows[0]["utterances"][0]["hypotheses"])
    assert draws == settings["num_rollouts"]


def test_the_studys_matrix_is_whole():
    """Two sizes, two languages, two algorithms; the lists, temperatures and clips of SPEC 2.5."""
    found = {}
    for language in ("fr", "zh"):
        for step in load_recipe(f"study-rl-qwen3-asr-{language}").steps:
            if step.verb == "rl":
                config = from_mapping(RlStageConfig, {**step.settings, "output": "x"}, where=step.name)
                found[config.init, language, config.algorithm] = config
    assert len(found) == 8
    for (init, _, algorithm), config in found.items():
        small = "0.6B" in init
        assert (config.num_rollouts, config.peak_learning_rate) == ((4, 5e-6) if small else (2, 2e-6))
        assert (config.num_train_epochs, config.warmup_ratio, config.top_p) == (0.5, 0.05, 0.95)
        if algorithm == "gspo":
            assert (config.temperature, config.top_k, config.clip, config.sync_steps) == (0.7, 50, (3e-4, 4e-4), 32)
            assert (config.reward.format, config.policy_kl, config.cross_entropy) == (0.1, 0.0, 0.0)
        else:
            assert (config.temperature, config.top_k, config.cross_entropy) == (0.9, 0, 0.01)
