"""train and bench from the command line over tiny audio language models: two utterances to zero errors."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from asr_headroom.cli.main import main
from asr_headroom.data.manifest import write_manifest
from asr_headroom.results.store import load_results
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_granite_speech, tiny_qwen3_asr

MAKERS = {"qwen3-asr": tiny_qwen3_asr, "granite-speech": tiny_granite_speech}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Manifest of two utterances."""
    folder = tmp_path_factory.mktemp("two")
    speech = []
    for text in ("abc", "cab"):
        utterance = tone_utterance(text, speaker=text)
        (folder / f"{text}.wav").write_bytes(utterance.audio)
        speech.append(replace(utterance, audio=folder / f"{text}.wav"))
    write_manifest(folder / "two.jsonl", speech)
    return folder / "two.jsonl"


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("family", MAKERS)
def test_two_utterances_are_learnt_and_benched_without_errors(tmp_path, two, family, method):
    """The best step itself is benched: of two sentences no guard can say that they are more than luck."""
    MAKERS[family]().save_pretrained(tmp_path / "base")
    train = [
        "train", "--model", str(tmp_path / "base"), "--train", str(two), "--dev", str(two), "--method", method,
        "--output", str(tmp_path / "run"), "--learning-rate", "5e-3", "--set", "lora.dropout=0",
        "--max-steps", "80", "--eval-steps", "40", "--per-device-train-batch-size", "2",
    ]  # fmt: skip
    assert main(train) == 0
    facts = json.loads((tmp_path / "run/model/headroom.json").read_text())
    assert facts["family"] == family
    best = json.loads((tmp_path / "run/train.json").read_text())["best"]["step"]
    trained = tmp_path / f"run/checkpoints/step-{best:08d}"
    assert (trained / "adapter_config.json").exists() is (method == "lora")
    output = ["--output", str(tmp_path / "bench"), "--max-new-tokens", "12"]
    assert main(["bench", "--models", str(tmp_path / "base"), str(trained), "--data", str(two), *output]) == 0
    rates = {}
    for path in tmp_path.glob("bench/*/*/run.json"):
        results = load_results(path.parent)
        assert results.run.model["family"] == family
        rates[results.run.name] = [prediction.hypothesis for prediction in results.predictions]
        assert [prediction.reference for prediction in results.predictions] == ["abc", "cab"]
    assert rates.pop(trained.name) == ["abc", "cab"]
    assert rates.pop("base") != ["abc", "cab"]
