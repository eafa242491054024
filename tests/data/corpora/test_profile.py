from __future__ import annotations

import numpy as np
import pytest

from asr_headroom.data.corpora.profile import filter_fault, load, subsample
from asr_headroom.data.corpora.registry import PROFILES, load_profile
from asr_headroom.data.readers import read_manifest
from asr_headroom.errors import DataError


@pytest.mark.parametrize(
    ("text", "duration", "reason"),
    [
        ("oui", 3.0, None),
        ("ok", 30.0, None),
        (" a ", 3.0, "1 characters"),
        ("", 3.0, "0 characters"),
        ("\n\t ", 3.0, "0 characters"),
        ("oui", 30.01, "30.01 s"),
    ],
)
def test_filter(text, duration, reason):
    fault = filter_fault(text, duration)
    assert fault is None if reason is None else reason in fault


def test_subsample_is_the_study_s_permutation():
    # The study: rng = default_rng(42); rng.permutation(675)[:500]; the split itself where n >= size.
    expected = np.random.Generator(np.random.PCG64(42)).permutation(675)[:500].tolist()
    assert subsample(range(675), 500) == expected
    assert len(set(expected)) == 500
    assert subsample(range(675), 675) == list(range(675))
    assert subsample(range(10), 500) == list(range(10))


def test_sizes_are_those_of_the_study():
    assert PROFILES["fleurs-fr"].sizes == {"train": 3193, "dev": 289, "test": 500}
    assert PROFILES["cv21-zh"].sizes == {"train": 4000, "dev": 300, "test": 500}


@pytest.fixture
def fleurs(tmp_path, make_data_set):
    """Four rows as FLEURS has them: one too short, one too long, and a sentence read twice."""
    columns = {
        "id": [11, 11, 12, 13],
        "transcription": ["le chat", "le chat", " x", "une longue phrase"],
        "raw_transcription": ["Le chat.", "Le chat.", "X", "Une longue phrase."],
        "language": ["French"] * 4,
        "num_samples": [4000] * 4,
    }
    make_data_set(columns, [0.5, 1.0, 1.0, 30.5], rate=8000).to_parquet(tmp_path / "x.parquet")
    return tmp_path / "x.parquet"


def test_a_profile_filters_and_says_what_it_left_out(fleurs):
    manifest = load_profile("fleurs-fr", "test", root=fleurs)
    assert [u.text for u in manifest] == ["le chat", "le chat"]
    assert [u.language for u in manifest] == ["fr", "fr"]
    assert [u.duration for u in manifest] == [0.5, 1.0]
    assert [u.id for u in manifest] == ["tone-0", "tone-1"]
    assert [u.extras["original_id"] for u in manifest] == [11, 11]
    fatal = [p for p in manifest.problems if p.fatal]
    assert len(manifest) + len(fatal) == 4
    assert [p.where for p in fatal] == ["fleurs-fr@test row 2", "fleurs-fr@test row 3"]
    assert "fewer than 2" in fatal[0].message
    assert "30.50 s, more than 30.0 s" in fatal[1].message
    (note,) = [p for p in manifest.problems if not p.fatal]
    assert "2 rows after the filter where the study had 675" in note.message


def test_subsampling_comes_after_the_filter(tmp_path, make_data_set):
    texts = ["x" if i % 7 == 0 else f"phrase {i}" for i in range(420)]
    make_data_set({"sentence": texts}, [0.05] * 420, rate=8000).to_parquet(tmp_path / "x.parquet")
    filtered = [text for text in texts if len(text) >= 2]
    chosen = [filtered[i] for i in np.random.default_rng(42).permutation(len(filtered))[:300]]
    assert [u.text for u in load_profile("cv21-zh", "dev", root=tmp_path / "x.parquet")] == chosen
    assert [u.text for u in load_profile("cv21-zh", "dev100", root=tmp_path / "x.parquet")] == chosen[:100]


def test_a_root_may_hold_configurations_and_splits(tmp_path, make_data_set):
    data_set = make_data_set({"transcription": ["le chat", "deux mots"]}, [0.1, 0.2])
    folder = tmp_path / "fleurs" / "fr_fr"
    folder.mkdir(parents=True)
    data_set.select([0]).to_parquet(folder / "train-00000-of-00001.parquet")
    data_set.to_parquet(folder / "validation-00000-of-00001.parquet")
    assert [u.text for u in load_profile("fleurs-fr", "dev", root=tmp_path / "fleurs")] == [
        "le chat",
        "deux mots",
    ]


def test_cut_audio_is_a_problem_of_its_row(tmp_path, make_data_set):
    import datasets

    rows = make_data_set({"sentence": ["你好", "你们好"]}, [0.5, 0.5]).cast_column(
        "audio", datasets.Audio(decode=False)
    )
    cells = rows[:]["audio"]
    cells[1]["bytes"] = cells[1]["bytes"][:1000]
    datasets.Dataset.from_dict({"sentence": rows[:]["sentence"], "audio": cells}).to_parquet(tmp_path / "y.parquet")
    manifest = load_profile("cv21-zh", "test", root=tmp_path / "y.parquet")
    assert [u.text for u in manifest] == ["你好"]
    assert "truncated" in manifest.problems[0].message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("fleurs-de@test", "unknown profile 'fleurs-de'; did you mean 'fleurs-fr'"),
        ("fleurs-fr@tests", "unknown split'?.*did you mean 'test'"),
        ("fleurs-fr@validation", "there are: train, dev, test, dev100"),
    ],
)
def test_unknown_names_are_suggested(source, message):
    with pytest.raises(DataError, match=message):
        read_manifest(source)


def test_a_root_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        load_profile("fleurs-fr", "test", root=tmp_path / "none")


def test_sources_name_profiles(monkeypatch, fleurs):
    from asr_headroom.data.corpora import registry

    monkeypatch.setattr(registry, "load", lambda profile, split, _, language: load(profile, split, fleurs, language))
    manifest = read_manifest("fleurs-fr@test", limit=1)
    assert [u.text for u in manifest] == ["le chat"]
