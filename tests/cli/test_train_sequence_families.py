"""train and bench from the command line over transducers and encoder-decoders: two sentences to zero errors."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from asr_headroom.cli.main import main
from asr_headroom.data.manifest import write_manifest
from asr_headroom.results.store import load_results
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import (
    tiny_canary,
    tiny_cohere_asr,
    tiny_moonshine,
    tiny_parakeet_rnnt,
    tiny_parakeet_tdt,
)

MAKERS = {
    "parakeet-tdt": tiny_parakeet_tdt,
    "parakeet-rnnt": tiny_parakeet_rnnt,
    "moonshine": tiny_moonshine,
    "canary": tiny_canary,
    "cohere-asr": tiny_cohere_asr,
}
WIDE = {"moonshine", "canary", "cohere-asr"}
"""With a head that is frozen and random, updates of attention need more room."""

TEXTS = ("abc", "xyz")
"""Different from the first letter on: models that know one letter then know the rest."""

SETTINGS = {
    ("parakeet-tdt", "full"): ("1e-2", "60"),
    ("parakeet-tdt", "lora"): ("1e-2", "100"),
    ("parakeet-rnnt", "full"): ("1e-2", "100"),
    ("parakeet-rnnt", "lora"): ("5e-3", "140"),
    ("moonshine", "full"): ("3e-3", "80"),
    ("moonshine", "lora"): ("5e-3", "100"),
    ("canary", "full"): ("1e-2", "100"),
    ("canary", "lora"): ("5e-3", "160"),
    ("cohere-asr", "full"): ("3e-3", "120"),
    ("cohere-asr", "lora"): ("5e-3", "80"),
}
"""Learning rate and steps at most; the best evaluation is delivered."""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Manifest of two sentences."""
    folder = tmp_path_factory.mktemp("two")
    speech = []
    for text in TEXTS:
        path = folder / f"{text}.wav"
        path.write_bytes(tone_utterance(text).audio)
        speech.append(replace(tone_utterance(text, speaker=text), audio=path))
    write_manifest(folder / "two.jsonl", speech)
    return folder / "two.jsonl"


@pytest.mark.parametrize(("family", "method"), SETTINGS)
def test_two_sentences_are_learnt_and_benched_without_errors(tmp_path, two, family, method):
    room = {"width": 64} if method == "lora" and family in WIDE else {}
    MAKERS[family](**room).save_pretrained(tmp_path / "base")
    rate, steps = SETTINGS[family, method]
    train = [
        "train", "--model", str(tmp_path / "base"), "--train", str(two), "--dev", str(two), "--method", method,
        "--output", str(tmp_path / "run"), "--learning-rate", rate, "--max-steps", steps, "--eval-steps", "20",
        "--lr-scheduler-type", "constant", "--set", "guard.enabled=false",
    ]  # fmt: skip
    assert main(train) == 0
    facts = json.loads((tmp_path / "run/model/headroom.json").read_text())
    assert facts["family"] == family
    models = [str(tmp_path / "base"), str(tmp_path / "run/model")]
    output = ["--output", str(tmp_path / "bench"), "--max-new-tokens", "12"]
    assert main(["bench", "--models", *models, "--data", str(two), *output]) == 0
    (results,) = [load_results(path.parent) for path in tmp_path.glob("bench/run/*/run.json")]
    assert [prediction.hypothesis for prediction in results.predictions] == list(TEXTS)
    assert results.run.model["family"] == family
    assert results.run.parent == "base"
