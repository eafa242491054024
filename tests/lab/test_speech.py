import hashlib
import itertools
import json

import numpy as np
import pytest
import soundfile

from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import ConfigError, DataError
from asr_headroom.lab.lexicon import split_of_text
from asr_headroom.lab.speech import SAMPLING_RATE, VOICES, SpeechRecipe, render, shards, write_corpus

pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")


def md5(recipe, processes):
    digest = hashlib.md5(usedforsecurity=False)
    for sentence in itertools.chain.from_iterable(render(shards(recipe), processes=processes)):
        digest.update(sentence.samples.tobytes() + sentence.text.encode())
    return digest.hexdigest()


def test_samples_depend_neither_on_the_number_of_processes_nor_on_the_run():
    recipe = SpeechRecipe(language="fr", count=220)
    assert md5(recipe, 1) == md5(recipe, 2)


def test_a_longer_corpus_begins_with_the_shorter_one():
    short = [s for shard in render(shards(SpeechRecipe(count=100))) for s in shard]
    long = [s for shard in render(shards(SpeechRecipe(count=130))) for s in shard]
    assert (len(short), len(long)) == (100, 130)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(short, long, strict=False))


def test_what_a_recipe_promises_holds():
    recipe = SpeechRecipe(language="zh", split="test", count=60, max_duration=2.5, seed=3)
    sentences = [s for shard in render(shards(recipe)) for s in shard]
    assert {split_of_text(s.text) for s in sentences} == {"test"}
    assert {s.voice for s in sentences} <= set(VOICES["test"])
    assert max(s.duration for s in sentences) <= 2.5
    assert all(s.samples.dtype == np.int16 and 0.25 < np.abs(s.samples).max() / 32767 < 0.95 for s in sentences)
    for sentence in sentences:
        onsets = [event.onset for event in sentence.events if event.name.strip("_:|")]
        assert min(onsets) >= -0.1
        assert max(onsets) <= sentence.duration


def test_noise_is_as_loud_as_asked():
    """Clean and noisy versions of one recipe differ by noise at the stated ratio."""
    quiet = SpeechRecipe(count=5, reverberant_share=0.0, snr=(60.0, 60.0))
    noisy = SpeechRecipe(count=5, reverberant_share=0.0, snr=(10.0, 10.0))
    for clean, dirty in zip(*(next(render(shards(recipe))) for recipe in (quiet, noisy)), strict=True):
        assert clean.text == dirty.text
        a, b = clean.samples.astype(float), dirty.samples.astype(float)
        scale = (a @ b) / (a @ a)
        ratio = 10 * np.log10(np.mean((scale * a) ** 2) / np.mean((b - scale * a) ** 2))
        assert ratio == pytest.approx(10, abs=1)


def test_voices_of_the_splits_are_disjoint():
    names = [voice for voices in VOICES.values() for voice in voices]
    assert len(names) == len(set(names))
    assert "zac" not in names


def test_corpus_on_disk(tmp_path):
    recipe = SpeechRecipe(language="fr", split="dev", count=12)
    manifest = write_corpus(tmp_path / "fr", recipe)
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len({row["id"] for row in rows}) == 12
    digest = hashlib.md5(usedforsecurity=False)
    for row in rows:
        samples, rate = soundfile.read(manifest.parent / row["audio"], dtype="int16")
        assert rate == SAMPLING_RATE
        assert row["duration"] == pytest.approx(len(samples) / rate)
        assert row["language"] == "fr"
        assert row["speaker"] in VOICES["dev"]
        digest.update(samples.tobytes())
    assert json.loads((manifest.parent / "recipe.json").read_text())["md5"] == digest.hexdigest()
    first = Utterance(id="0", audio=manifest.parent / rows[0]["audio"], text="")
    assert len(first.samples(SAMPLING_RATE)) == round(rows[0]["duration"] * SAMPLING_RATE)


def test_corpus_is_made_once_and_never_overwritten(tmp_path):
    recipe = SpeechRecipe(count=3)
    manifest = write_corpus(tmp_path, recipe)
    audio = next((tmp_path / "audio").iterdir())
    audio.unlink()
    assert write_corpus(tmp_path, recipe) == manifest
    assert not audio.exists()
    with pytest.raises(DataError, match="another recipe"):
        write_corpus(tmp_path, SpeechRecipe(count=3, seed=1))


def test_interrupted_corpus_is_finished(tmp_path):
    recipe = SpeechRecipe(count=3)
    write_corpus(tmp_path / "whole", recipe)
    write_corpus(tmp_path / "broken", recipe)
    (tmp_path / "broken" / "recipe.json").unlink()
    next((tmp_path / "broken" / "audio").iterdir()).unlink()
    write_corpus(tmp_path / "broken", recipe)
    records = [(tmp_path / name / "recipe.json").read_text() for name in ("whole", "broken")]
    assert records[0] == records[1]


def test_impossible_recipe_lists_all_problems():
    with pytest.raises(ConfigError) as caught:
        SpeechRecipe(language="xx", count=0, rate=(3, 2), snr=(1.0,))
    for part in ("language is 'xx'", "count is 0", "rate is [3, 2]", "snr is [1.0]"):
        assert part in str(caught.value)
