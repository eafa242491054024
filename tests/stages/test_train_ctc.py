"""train from the command line: CTC models, their own heads and fresh ones, learn two utterances to zero errors."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

from asr_headroom.cli.main import main
from asr_headroom.data.manifest import write_manifest
from asr_headroom.errors import ConfigError, DataError, ModelError
from asr_headroom.models.lora import merge_lora
from asr_headroom.models.registry import load_model
from asr_headroom.models.vocabulary import Vocabulary, read_vocabulary
from asr_headroom.stages.forecast import forecast_training
from asr_headroom.stages.train import TrainStageConfig
from asr_headroom.testing.conformance import FamilyChecks
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny.mel_ctc import tiny_mel_ctc
from asr_headroom.testing.tiny.parakeet_tdt import tiny_parakeet_tdt
from asr_headroom.testing.tiny.wav2vec2_ctc import tiny_wav2vec2_ctc
from asr_headroom.testing.tiny.whisper import tiny_whisper

TEXTS = ("abc", "cab")


def manifest(folder, *texts):
    """Path of a manifest of tones; transcripts are written as sentences."""
    (folder / "audio").mkdir(parents=True)
    rows = []
    for index, text in enumerate(texts):
        utterance = tone_utterance(text, id=f"u{index}", speaker=f"s{index}")
        path = folder / "audio" / f"{index}.wav"
        path.write_bytes(utterance.audio)
        rows.append(replace(utterance, audio=path, text=f"{text.capitalize()}."))
    write_manifest(folder / "all.jsonl", rows)
    return folder / "all.jsonl"


def headless(folder):
    """A wav2vec 2.0 as pre-training leaves it: no tokenizer, no head, a quantiser."""
    model = tiny_wav2vec2_ctc(layers=1)
    config = Wav2Vec2Config(
        **{name: value for name, value in model.module.config.to_dict().items() if name != "architectures"}
    )
    Wav2Vec2ForPreTraining(config).save_pretrained(folder)
    model.processor.feature_extractor.save_pretrained(folder)


MAKERS = {
    "xlsr": lambda folder: tiny_wav2vec2_ctc().save_pretrained(folder),
    "parakeet": lambda folder: tiny_mel_ctc().save_pretrained(folder),
    "headless": headless,
    "whisper": lambda folder: tiny_whisper(layers=2).save_pretrained(folder),
}


def train(model, data, output, *options):
    """Exit code of ``asr-headroom train`` with settings that learn quickly."""
    arguments = {
        "--model": model, "--train": data, "--dev": data, "--output": output, "--max-steps": 150,
        "--eval-steps": 30, "--window": "fit", "--per-device-train-batch-size": 2,
        "--lr-scheduler-type": "constant",
    }  # fmt: skip
    return main(["train", *(str(part) for pair in arguments.items() for part in pair), *options])


def heard_before(make, steps):
    """A model that knows these tones in other orders, so that low-rank updates have something to build on."""
    model = make()
    checks = FamilyChecks()
    checks.train(model, checks.speech("bca", "acb", "bac"), steps)
    return model


def history(run):
    """Evaluations of a run."""
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", MAKERS)
def test_full_training_learns_two_utterances_to_zero_errors(tmp_path, name):
    MAKERS[name](tmp_path / "base")
    data = manifest(tmp_path / "data", *TEXTS)
    fresh = ["--vocabulary", "from-data"] if name in ("headless", "whisper") else []
    options = ["--learning-rate", "3e-3", "--method", "full", "--set", "guard.enabled=false"]
    assert train(tmp_path / "base", data, tmp_path / "run", *fresh, *options) == 0
    assert min(row["dev_error_rate"] for row in history(tmp_path / "run")) == 0
    model = load_model(str(tmp_path / "run/model"))
    assert [h.text for h in model.transcribe([tone_utterance(text) for text in TEXTS])] == list(TEXTS)
    if fresh:
        assert read_vocabulary(tmp_path / "run/model")[0] == Vocabulary(("a", "b", "c"), "basic")
        assert model.card.family == ("wav2vec2-ctc" if name == "headless" else "whisper-ctc")


@pytest.mark.parametrize(("make", "steps"), [(tiny_wav2vec2_ctc, 60), (tiny_mel_ctc, 30)])
def test_lora_learns_two_utterances_to_zero_errors(tmp_path, make, steps):
    heard_before(make, steps).save_pretrained(tmp_path / "base")
    data = manifest(tmp_path / "data", *TEXTS)
    options = ["--learning-rate", "3e-3", "--method", "lora", "--max-steps", "90", "--set", "guard.enabled=false"]
    assert train(tmp_path / "base", data, tmp_path / "run", *options) == 0
    assert min(row["dev_error_rate"] for row in history(tmp_path / "run")) == 0
    assert history(tmp_path / "run")[0]["dev_error_rate"] > 0
    model = load_model(str(tmp_path / "run/model"))
    assert [h.text for h in model.transcribe([tone_utterance(text) for text in TEXTS])] == list(TEXTS)


@pytest.mark.parametrize("name", ["headless", "whisper"])
def test_lora_with_a_fresh_head_saves_the_head_with_the_updates(tmp_path, name):
    MAKERS[name](tmp_path / "base")
    data = manifest(tmp_path / "data", *TEXTS)
    options = ["--vocabulary", "from-data", "--method", "lora", "--learning-rate", "3e-3", "--max-steps", "20"]
    assert train(tmp_path / "base", data, tmp_path / "run", *options, "--eval-steps", "20") == 0
    first, last = history(tmp_path / "run")
    assert last["dev_loss"] < 0.5 * first["dev_loss"]
    model = load_model(str(tmp_path / "run/model"), window="fit")
    assert model.card.family == ("wav2vec2-ctc" if name == "headless" else "whisper-ctc")
    assert (tmp_path / "run/model/adapter_config.json").is_file()
    speech = [tone_utterance(text) for text in TEXTS]
    with torch.no_grad():
        loss = model.loss(model.collate(speech))
    assert loss.nats.item() / loss.num_targets == pytest.approx(last["dev_loss"], rel=1e-4)
    merged = merge_lora(model)
    merged.save_pretrained(tmp_path / "merged")
    assert load_model(str(tmp_path / "merged"), window="fit").transcribe(speech) == model.transcribe(speech)


def test_unknown_characters_of_dev_are_counted_and_said(tmp_path, capsys):
    MAKERS["whisper"](tmp_path / "base")
    data, dev = manifest(tmp_path / "data", *TEXTS), manifest(tmp_path / "dev", "add", "abba")
    arguments = ["--vocabulary", "from-data", "--dev", str(dev), "--max-steps", "1", "--eval-steps", "1"]
    assert train(tmp_path / "base", data, tmp_path / "run", *arguments, "--method", "full") == 0
    assert "dev transcripts hold 2 characters that the training transcripts lack" in capsys.readouterr().err
    facts = json.loads((tmp_path / "run/train.json").read_text())["facts"]["vocabulary"]
    assert facts == {"normalizer": "basic", "characters": 3, "unknown_in_dev": {"d": 2}}


def test_letters_that_a_checkpoint_cannot_write_leave_the_utterance_out(tmp_path):
    MAKERS["xlsr"](tmp_path / "base")
    data = manifest(tmp_path / "data", "abc", "cab")
    data.write_text(data.read_text().replace("Cab.", "Cäb."))
    arguments = ["--max-steps", "1", "--eval-steps", "1", "--method", "full", "--set", "guard.enabled=false"]
    assert train(tmp_path / "base", data, tmp_path / "run", *arguments) == 0
    facts = json.loads((tmp_path / "run/train.json").read_text())["facts"]["train_data"]
    assert facts["unusable"] == {"letters that the model cannot write": 1}
    assert facts["used"] == 1


def test_a_checkpoint_without_a_head_names_the_flag(tmp_path):
    headless(tmp_path / "base")
    with pytest.raises(ModelError, match=r"Wav2Vec2ForPreTraining\) has no CTC head; .* --vocabulary from-data"):
        load_model(str(tmp_path / "base"))


def test_a_tied_head_cannot_be_replaced(tmp_path):
    tiny_mel_ctc("granite").save_pretrained(tmp_path / "base")
    with pytest.raises(ModelError, match="granite_speech5_ctc"):
        load_model(str(tmp_path / "base"), vocabulary=Vocabulary(("a",), "basic"))


def test_a_vocabulary_normalizer_without_a_fresh_head_is_refused():
    with pytest.raises(ConfigError, match="--vocabulary from-data"):
        TrainStageConfig(model="m", train="t", dev="d", vocabulary_normalizer="fr")


def test_the_default_rate_is_that_of_a_fresh_head():
    settings = {"model": "m", "train": "t", "dev": "d", "method": "full"}
    assert TrainStageConfig(**settings).peak_learning_rate == 1e-5
    assert TrainStageConfig(**settings, vocabulary="from-data").peak_learning_rate == 3e-4
    assert TrainStageConfig(**settings, vocabulary="from-data", learning_rate=1e-6).peak_learning_rate == 1e-6


@pytest.mark.parametrize(
    ("texts", "normalizer", "message"), [([" . "], "basic", "no character"), (["a|b"], "raw", "'|'")]
)
def test_vocabularies_that_cannot_be_are_refused(texts, normalizer, message):
    with pytest.raises(DataError) as caught:
        Vocabulary.from_texts(texts, normalizer)
    assert message in str(caught.value)


@pytest.mark.parametrize("make", [tiny_wav2vec2_ctc, tiny_parakeet_tdt])
def test_steps_of_nothing_but_silence_have_no_token_and_are_learnt_all_the_same(tmp_path, make):
    """A mean over no token divides by nothing: these families write none where Whisper writes its end token."""
    make().save_pretrained(tmp_path / "model")
    data = manifest(tmp_path / "data", *TEXTS)
    data.write_text(data.read_text().replace("Abc.", "abc").replace("Cab.", "cab"))
    options = ["--nonspeech-share", "0.5", "--per-device-train-batch-size", "1", "--max-steps", "4", "--method", "full"]
    assert train(tmp_path / "model", data, tmp_path / "run", *options, "--set", "guard.enabled=false") == 0
    rows = [row["dev_loss"] for row in history(tmp_path / "run")]
    assert len(rows) == 2
    assert rows[0] != rows[1]


def test_a_dry_run_of_a_fresh_head_knows_no_letter_of_a_profile_beside_silence_either(tmp_path):
    tiny_wav2vec2_ctc().save_pretrained(tmp_path)
    asked = {"model": str(tmp_path), "train": "fleurs-fr@train", "dev": "fleurs-fr@dev", "vocabulary": "from-data"}
    plain, silent = (
        forecast_training(TrainStageConfig(**asked, nonspeech_share=share, num_train_epochs=1)) for share in (0.0, 0.5)
    )
    assert silent.parameters == plain.parameters
    assert silent.utterances == plain.utterances + 1000  # at most so many clips are made
