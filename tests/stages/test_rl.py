"""The verb from end to end: from merged low-rank updates, on the training loop, refusing what cannot work."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re

import pytest
import torch

from asr_headroom.cli.main import main
from asr_headroom.config import field_descriptions
from asr_headroom.data.manifest import write_manifest
from asr_headroom.errors import ConfigError
from asr_headroom.models.decoding import Hypothesis
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.models.quantization import is_quantized
from asr_headroom.models.registry import load_model
from asr_headroom.rl.config import RewardConfig
from asr_headroom.stages.rl import RlStageConfig, make_reward, rl
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train import methods
from asr_headroom.train.config import GuardConfig
from asr_headroom.train.methods import apply_method


@pytest.fixture
def data(tmp_path):
    speech = []
    for text in ("abc", "cab", "bad", "cabbage"):
        utterance = tone_utterance(text)
        (tmp_path / f"{text}.wav").write_bytes(utterance.audio)
        speech.append(dataclasses.replace(utterance, audio=tmp_path / f"{text}.wav"))
    write_manifest(tmp_path / "speech.jsonl", speech)
    tiny_whisper().save_pretrained(tmp_path / "tiny")
    return str(tmp_path / "speech.jsonl")


def words(init, data, output, *more):
    return ["rl", "--init", str(init), "--train", data, "--dev", data, "--window", "fit", "--learning-rate", "1e-2",
            "--max-new-tokens", "6", "--max-steps", "2", "--eval-steps", "2", "--set", "guard.enabled=false",
            "--output", str(output), *more]  # fmt: skip


@pytest.mark.parametrize("algorithm", ["mwer", "gspo"])
def test_updates_of_low_rank_are_merged_and_the_new_ones_name_the_merged_base(tmp_path, data, algorithm, capsys):
    model = load_model(str(tmp_path / "tiny"), window="fit")
    tuned = attach_lora(model, LoraConfig(rank=2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in tuned.module.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape, generator=generator)
    tuned.save_pretrained(tmp_path / "sft")
    output = tmp_path / "rl"
    command = words(tmp_path / "sft", data, output, "--algorithm", algorithm)
    assert main(command) == 0
    assert main(command) == 0  # done before
    out = capsys.readouterr().out
    assert f"bench --models {tmp_path / 'sft'} {output / 'model'}" in out
    facts = json.loads((output / "model/headroom.json").read_text())
    assert facts["base"] == str(tmp_path / "sft")
    assert facts["rl"]["algorithm"] == algorithm
    adapter = json.loads((output / "model/adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str((output / "init").resolve())
    # Loaded again, the base of the new updates is the tuned model and not the one under it.
    speech = [tone_utterance("abc")]
    expected = load_model(str(tmp_path / "sft"), window="fit")
    merged = load_model(str(output / "init"), window="fit")
    with torch.no_grad():
        batch = expected.collate(speech)
        torch.testing.assert_close(merged.loss(batch).nats, expected.loss(batch).nats, atol=1e-4, rtol=1e-5)
    rows = [json.loads(line) for line in (output / "rollouts.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1]
    assert {"reward", "error", "oracle", "unique", "tied", "entropy"} <= rows[0]["watched"].keys()


def test_minutes_go_by_the_clock_that_is_given(tmp_path, data):
    ticks = itertools.count()
    config = RlStageConfig(
        init=str(tmp_path / "tiny"), train=(data,), dev=data, output=str(tmp_path / "rl"), window="fit", max_steps=1,
        max_new_tokens=6, guard=GuardConfig(enabled=False),
    )  # fmt: skip
    rl(config, clock=lambda: 3600.0 * next(ticks))
    assert sum(json.loads((tmp_path / "rl/train.json").read_text())["minutes"].values()) > 600


def test_another_start_in_the_same_folder_is_refused(tmp_path, data, capsys):
    for name in ("one", "two"):
        attach_lora(load_model(str(tmp_path / "tiny")), LoraConfig(rank=2)).save_pretrained(tmp_path / name)
    assert main(words(tmp_path / "one", data, tmp_path / "rl")) == 0
    assert main(words(tmp_path / "two", data, tmp_path / "rl")) == 1
    assert "choose another --output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": ""}, "once, as --init"),
        ({"model": "b"}, "once, as --init"),
        ({"vocabulary": "from-data"}, "no hypotheses"),
        ({"label_smoothing": 0.1}, "cross_entropy"),
        ({"kl": 0.1}, "policy_kl"),
        ({"method": "full", "policy_kl": 0.1}, "method lora"),
        ({"nbest": "beam", "algorithm": "gspo"}, "not drawn"),
        ({"learning_rate": -1.0}, "learning_rate"),
    ],
    ids=str,
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        RlStageConfig(**{"init": "a", "train": "t", "dev": "d"} | changes)


def test_rates_are_lower_than_in_supervised_training():
    config = RlStageConfig(init="a", train="t", dev="d")
    assert config.model == "a"
    assert config.peak_learning_rate == 5e-6
    assert RlStageConfig(init="a", train="t", dev="d", method="full").peak_learning_rate == 1e-6
    assert "lora 5e-6, full 1e-6" in field_descriptions(RlStageConfig)["learning_rate"]


def test_keywords_go_through_each_languages_normaliser(tmp_path):
    (tmp_path / "keywords.txt").write_text("Paris\n北京\n")
    reward = RewardConfig(keywords=str(tmp_path / "keywords.txt"), keyword_weight=3.0)
    config = RlStageConfig(init="a", train="t", dev="d", reward=reward)
    speech = [
        dataclasses.replace(tone_utterance("a"), text=text, language=language)
        for text, language in (("je vais à Paris", "fr"), ("我在北京", "zh"))
    ]
    judge = make_reward(config, speech).judge
    assert judge(speech[0], [Hypothesis(text="je vais à Pari")])[0].reward == pytest.approx(-3 / 6)
    assert judge(speech[1], [Hypothesis(text="我在背京")])[0].reward == pytest.approx(-3 / 8)


def test_weights_of_languages_that_are_not_there_are_refused(tmp_path, data, capsys):
    assert main(words(tmp_path / "tiny", data, tmp_path / "rl", "--set", "language_weights=[fr=2]")) == 2
    assert "weighs fr, which the training data does not have; it has en" in capsys.readouterr().err


def test_encodings_behind_a_frozen_encoder_are_kept_and_change_nothing(tmp_path, data, capsys):
    for name, size in (("kept", "1.0"), ("anew", "0.0")):
        more = ["--set", "freeze=[encoder]", "--set", f"keep_encodings_gb={size}", "--max-steps", "3"]
        more += ["--logging-steps", "1"]
        assert main(words(tmp_path / "tiny", data, tmp_path / name, *more)) == 0
    said = capsys.readouterr().err
    assert "encodings of 4 utterances would take up to" in said
    assert re.search(r"loss -?\d+\.\d+  reward", said)  # expected errors are no nats
    rows = [[json.loads(line) for line in (tmp_path / name / "rollouts.jsonl").read_text().splitlines()]
            for name in ("kept", "anew")]  # fmt: skip
    assert [row["utterances"] for row in rows[0]] == [row["utterances"] for row in rows[1]]


def test_packed_weights_are_asked_for_as_in_train(tmp_path, data, monkeypatch):
    pytest.importorskip("bitsandbytes")
    found = []

    def watched(model, config):
        found.append(is_quantized(model.module))
        return apply_method(model, config)

    monkeypatch.setattr(methods, "apply_method", watched)
    assert main(words(tmp_path / "tiny", data, tmp_path / "rl", "--quantization", "4bit", "--max-steps", "1")) == 0
    assert found == [True]


def test_a_dry_run_from_updates_of_low_rank_forecasts_what_they_are_merged_into(tmp_path, data, capsys):
    attach_lora(load_model(str(tmp_path / "tiny")), LoraConfig(rank=2)).save_pretrained(tmp_path / "sft")
    said = []
    for start in ("tiny", "sft"):
        assert main(words(tmp_path / start, data, tmp_path / "rl", "--dry-run")) == 0
        lines = capsys.readouterr().out.splitlines()
        said.append([line for line in lines if line.startswith(("# model", "# data"))])
    assert said[0] == said[1]
    assert len(said[0]) == 2
    assert not (tmp_path / "rl").exists()


def test_the_folder_of_a_run_is_no_model_and_the_message_names_the_one_in_it(tmp_path, data, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "tiny").rename(tmp_path / "run/model")
    assert main(words(tmp_path / "run", data, tmp_path / "rl")) == 1
    assert f"give '{tmp_path}/run/model', which a training left there" in capsys.readouterr().err


def test_a_run_with_other_keywords_is_another_run(tmp_path, data, capsys):
    (tmp_path / "keywords.txt").write_text("abc\n")
    command = words(tmp_path / "tiny", data, tmp_path / "rl", "--set", f"reward.keywords={tmp_path}/keywords.txt")
    assert main(command) == 0
    (tmp_path / "keywords.txt").write_text("cab\n")
    assert main(command) == 1
    assert "holds another run" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=str)
def test_keywords_that_are_not_there_are_told_before_anything_is_read(more, tmp_path, capsys):
    start = ["rl", "--init", "none", "--train", "none", "--dev", "none", "--set", "reward.keywords=none.txt"]
    assert main([*start, *more]) == 2
    assert "reward.keywords is 'none.txt', which is no file" in capsys.readouterr().err
    (tmp_path / "empty.txt").write_text("\n")
    assert main([*start[:-1], f"reward.keywords={tmp_path}/empty.txt", *more]) == 2
    assert "which is empty; write one word per line" in capsys.readouterr().err
