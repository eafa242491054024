"""What train learns from: sources, shares, replay, marks and augmentation, in the run and in its record."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from asr_headroom.audio.augment import AugmentConfig, NoiseConfig, RoomConfig
from asr_headroom.audio.spans import SpecConfig
from asr_headroom.config import from_mapping
from asr_headroom.data.nonspeech import nonspeech_utterances
from asr_headroom.errors import AudioError, ConfigError, DataError, TrainingError
from asr_headroom.models.registry import load_model
from asr_headroom.stages.train import SettingRunner, TrainStageConfig, train
from asr_headroom.stages.training_data import (
    check_augmentation,
    load_sources,
    make_augmentation,
    make_mixture,
    usable_data,
    with_nonspeech,
)
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.config import GuardConfig

AUGMENT = AugmentConfig(
    speed=(0.9, 1.1), noise=NoiseConfig(probability=0.5), rooms=RoomConfig(probability=0.3),
    spec=SpecConfig(probability=0.8),
)  # fmt: skip


def config(tiny_model, tones, tmp_path, **changes):
    settings = {
        "model": str(tiny_model), "train": (str(tones),), "dev": str(tones), "output": str(tmp_path / "run"),
        "method": "full", "learning_rate": 1e-3, "max_steps": 4, "eval_steps": 4, "window": "fit",
        "per_device_train_batch_size": 4, "eval_utterances": 2, "guard": GuardConfig(enabled=False),
    }  # fmt: skip
    return TrainStageConfig(**(settings | changes))


def facts(tmp_path):
    return json.loads((tmp_path / "run/train.json").read_text())["facts"]


def weights(folder):
    return load_model(str(folder)).module.state_dict()


def other_manifest(tones, folder, texts):
    """A manifest of the first recordings with other transcripts."""
    folder.mkdir()
    rows = [json.loads(line) for line in Path(tones).read_text().splitlines()][: len(texts)]
    for row, text in zip(rows, texts, strict=True):
        row |= {"audio": str(Path(tones).parent / row["audio"]), "text": text}
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "test.jsonl")


def test_an_augmented_run_resumes_to_the_bit_and_differs_from_a_clean_one(tiny_model, tones, tmp_path):
    def outcome(name, *stops, **changes):
        own = config(tiny_model, tones, tmp_path, output=str(tmp_path / name), **changes)
        for stop in stops:
            SettingRunner()(own, directory=tmp_path / name, stop_at=stop, deliver=stop == 1.0)
        return weights(tmp_path / name / "model")

    whole, resumed = outcome("a", 1.0, augment=AUGMENT), outcome("b", 0.5, 1.0, augment=AUGMENT)
    clean = outcome("c", 1.0)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert any(not torch.equal(whole[name], clean[name]) for name in whole)


def test_a_run_is_not_resumed_under_another_augmentation(tiny_model, tones, tmp_path):
    train(config(tiny_model, tones, tmp_path, augment=AUGMENT))
    assert facts(tmp_path)["augment"]["noise"]["probability"] == 0.5
    with pytest.raises(TrainingError, match="differs in augment"):
        train(config(tiny_model, tones, tmp_path, augment=replace(AUGMENT, speed=())))


def test_sources_weights_and_replay_stand_in_the_record(tiny_model, tones, tmp_path, caplog):
    second = other_manifest(tones, tmp_path / "second", ["ab"])
    replay = other_manifest(tones, tmp_path / "base", ["cd", "ef", "fe"])
    changes = {"train": (str(tones), second), "train_weights": (0.5, 0.5), "replay": replay, "replay_share": 0.25}
    with caplog.at_level(logging.INFO):
        train(config(tiny_model, tones, tmp_path, **changes))
    stored = facts(tmp_path)
    # Nine training utterances in an epoch, five and four; three more are a quarter of twelve.
    assert stored["mixture"] == {"quotas": [5, 4, 3], "repetitions": [5 / 8, 4.0, 1.0]}
    data = stored["train_data"]
    assert data["used"] == 12
    assert [(source["source"], source["used"]) for source in data["sources"]] == [
        (str(tones), 8),
        (second, 1),
        (replay, 3),
    ]
    assert [source.get("replay", False) for source in data["sources"]] == [False, False, True]
    assert f"{second}: 1 utterances, 33.3 % of an epoch, each 4.00 times" in caplog.text


def test_sources_without_weights_are_one_set(tiny_model, tones, tmp_path):
    second = other_manifest(tones, tmp_path / "second", ["ab", "ba"])
    train(config(tiny_model, tones, tmp_path, train=(str(tones), second)))
    assert "mixture" not in facts(tmp_path)
    record = json.loads((tmp_path / "run/train.json").read_text())
    assert record["plan"]["steps_per_epoch"] == 3  # ten utterances, four a step


def test_a_small_source_that_is_repeated_often_is_a_warning(tiny_model, tones, tmp_path, caplog):
    second = other_manifest(tones, tmp_path / "second", ["ab"])
    own = config(tiny_model, tones, tmp_path, train=(str(tones), second), train_weights=(1, 2))
    make_mixture(own, (8, 1), has_replay=False)
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "1 utterances, 66.7 % of an epoch, each 6.00 times" in record.message


def test_silence_and_noise_are_a_source_of_their_own_before_replay(tiny_model, tones, tmp_path):
    """Eight utterances and two: a share of a fifth of what is learnt are two clips, whatever replay adds."""
    replay = other_manifest(tones, tmp_path / "replay", ["ad", "da", "dd"])
    own = config(tiny_model, tones, tmp_path, train=(str(tones),), replay=replay, nonspeech_share=0.2, seed=3)
    sources = with_nonspeech(own, load_model(str(tiny_model), window="fit"), load_sources(own))
    assert [source.name for source in sources] == [str(tones), "silence and noise", replay]
    clips = sources[1].loaded.manifest
    assert [(clip.text, clip.language) for clip in clips] == [("", "en")] * 2
    guarded = {clip.audio for clip in nonspeech_utterances(language="en")}
    assert not guarded & {clip.audio for clip in clips}, "what is trained on guards nothing"
    mixture = make_mixture(own, (8, 2, 3), has_replay=True)
    assert mixture.quotas == (8, 2, 2)
    weighted = config(tiny_model, tones, tmp_path, train=("a", "b"), train_weights=(1, 3), nonspeech_share=0.2)
    assert make_mixture(weighted, (40, 40, 20), has_replay=False).quotas == (20, 60, 20)


def test_silence_and_noise_are_learnt_and_no_sentence_of_dev(tiny_model, tones, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    train(config(tiny_model, tones, tmp_path, nonspeech_share=0.2))
    assert "2 clips of silence and noise" in caplog.text
    data = facts(tmp_path)["train_data"]
    assert [source["used"] for source in data["sources"]] == [8, 2]
    record = json.loads((tmp_path / "run/train.json").read_text())
    assert record["plan"]["steps_per_epoch"] == 3  # ten utterances, four a step


def test_one_source_may_be_given_as_it_is(tiny_model, tones, tmp_path):
    assert config(tiny_model, tones, tmp_path, train="a b").train == ("a b",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": ()}, "train is empty"),
        ({"train_weights": (1.0, 2.0)}, "1 training sources and 2 train_weights"),
        ({"train_weights": (0.0,)}, "train_weights is"),
        ({"train": ("a", "b", "a")}, "train names a twice"),
        ({"train": ("a", "b"), "replay": "b"}, "replay and train both name 'b'"),
        ({"replay_share": 1.0}, r"replay_share is 1\.0"),
        ({"nonspeech_share": 1.0}, r"nonspeech_share is 1\.0"),
        ({"replay": "adults", "guard_data": ("zh", "adults")}, "both name 'adults'; what is trained on guards nothing"),
    ],
)
def test_what_cannot_be_mixed_is_refused(tiny_model, tones, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        config(tiny_model, tones, tmp_path, **changes)


def test_stray_marks_are_told_with_a_remedy_and_cleaned(tiny_model, tones, tmp_path, caplog):
    source = other_manifest(tones, tmp_path / "fr", ["«\u202fabc\u202f»", "bad", "d2f"])
    model = tiny_whisper(window="fit")
    caplog.set_level(logging.INFO)
    for form, expected in (("as-is", "«\u202fabc\u202f»"), ("clean", "abc")):
        caplog.clear()
        data = usable_data(
            model, load_sources(config(tiny_model, source, tmp_path, train=source)), form, writes_as_told=True
        )
        assert data.utterances[0].text == expected
        told = "1 of 3 transcripts hold guillemets, and the model will learn to write them; --target-form clean" in (
            caplog.text
        )
        assert told == (form == "as-is")
        assert "1 of 3 transcripts hold digits in a word" in caplog.text
    assert data.facts["stray_marks"] == {"digits in a word": 1}


def test_recordings_without_a_probability_are_said_to_have_no_use(tmp_path, caplog):
    check_augmentation(AugmentConfig(noise=NoiseConfig(recordings=str(tmp_path))))
    assert "augment.noise.recordings have no use while augment.noise.probability is 0" in caplog.text


def test_a_room_that_is_no_audio_is_found_out_before_anything_is_loaded(tmp_path):
    (tmp_path / "hall.wav").write_bytes(b"no audio")
    with pytest.raises(AudioError, match=r"hall\.wav: not audio"):
        check_augmentation(AugmentConfig(rooms=RoomConfig(probability=0.1, recordings=str(tmp_path))))


def test_recordings_that_are_not_there_are_found_out_before_anything_is_loaded(tmp_path):
    noise = AugmentConfig(noise=NoiseConfig(probability=0.5, recordings=str(tmp_path / "gone")))
    with pytest.raises(DataError, match=r"augment\.noise\.recordings is .*gone', which is no folder"):
        make_augmentation(noise, seed=0)
    (tmp_path / "empty").mkdir()
    rooms = AugmentConfig(rooms=RoomConfig(probability=0.5, recordings=str(tmp_path / "empty")))
    with pytest.raises(DataError, match="holds no recording"):
        make_augmentation(rooms, seed=0)
    assert make_augmentation(AugmentConfig(), seed=0) is None


def test_files_name_one_source_or_several_and_nest_their_augmentation():
    values = {"model": "m", "dev": "d", "augment": {"spec": {"probability": 0.5}, "speed": [0.9, 1.1]}}
    one = from_mapping(TrainStageConfig, values | {"train": "a.jsonl"})
    assert one.train == ("a.jsonl",)
    assert one.augment == AugmentConfig(spec=SpecConfig(probability=0.5), speed=(0.9, 1.1))
    several = from_mapping(TrainStageConfig, values | {"train": ["a", "b"], "train_weights": [1, 3]})
    assert (several.train, several.train_weights) == (("a", "b"), (1.0, 3.0))


def test_replay_under_another_name_is_still_the_guard_set(tiny_model, tones, tmp_path):
    copy = tmp_path / "copy" / "replayed.jsonl"
    copy.parent.mkdir()
    copy.write_text(Path(other_manifest(tones, tmp_path / "guard", ["cd", "ef"])).read_text())
    guard = str(tmp_path / "guard" / "test.jsonl")
    with pytest.raises(DataError, match=r"replayed\.jsonl' holds what dev or a guard set does"):
        train(config(tiny_model, tones, tmp_path, guard_data=(guard,), replay=str(copy)))


def test_sentences_of_a_guard_set_that_are_trained_on_are_counted_and_said(tiny_model, tones, tmp_path, caplog):
    guard = other_manifest(tones, tmp_path / "guard", ["abc", "ef", "cab"])
    train(config(tiny_model, tones, tmp_path, guard_data=(guard,), guard=GuardConfig(points=1)))
    assert facts(tmp_path)["guard_data"][0]["sentences_in_train"] == 2
    assert "2 of 3 guard (" in caplog.text
