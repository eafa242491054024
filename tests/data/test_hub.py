from __future__ import annotations

import pickle

import pytest

from asr_headroom.audio.waveform import StoredAudio
from asr_headroom.data.hub import DatasetSource, open_dataset, open_stream, parse_hub_source, stream_rows
from asr_headroom.data.readers import read_manifest
from asr_headroom.data.readers_rows import RowCollector
from asr_headroom.errors import AudioError, DataError

SECONDS = [0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("google/fleurs", ("google/fleurs", None, None)),
        ("google/fleurs:fr_fr", ("google/fleurs", "fr_fr", None)),
        ("google/fleurs@test", ("google/fleurs", None, "test")),
        ("google/fleurs:fr_fr@test", ("google/fleurs", "fr_fr", "test")),
        ("a-b/c.d-e_f:1.0@dev", ("a-b/c.d-e_f", "1.0", "dev")),
    ],
)
def test_hub_ids(source, parts):
    parsed = parse_hub_source(source)
    assert (parsed.location, parsed.config, parsed.split) == parts
    assert str(parsed) == source


@pytest.mark.parametrize("source", ["fleurs", "a/b/c", "a/b@", "a/b:", "a/b@c@d", "a/b@test:fr", "/a/b", "a b/c", ""])
def test_other_spellings_are_no_hub_ids(source):
    assert parse_hub_source(source) is None


@pytest.fixture
def columns():
    return {"id": ["u1", "u2", "u3"], "text": ["un", "deux", "trois"], "speaker": ["a", "a", "b"]}


@pytest.fixture(params=["parquet", "saved", "saved with splits", "parquet folder"])
def stored(request, tmp_path, make_data_set, columns):
    """The same data set in each way in which one lies on a disk."""
    import datasets

    data_set = make_data_set(columns, SECONDS)
    if request.param == "parquet":
        data_set.to_parquet(tmp_path / "x.parquet")
        return str(tmp_path / "x.parquet")
    if request.param == "saved":
        data_set.save_to_disk(tmp_path / "saved")
        return str(tmp_path / "saved")
    if request.param == "saved with splits":
        datasets.DatasetDict({"train": data_set.select([0]), "test": data_set}).save_to_disk(tmp_path / "saved")
        return f"{tmp_path / 'saved'}@test"
    (tmp_path / "data").mkdir()
    data_set.select([0]).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    data_set.to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    return f"{tmp_path / 'data'}@test"


def test_local_data_sets(stored, columns):
    manifest = read_manifest(stored, language="fr")
    assert [u.id for u in manifest] == columns["id"]
    assert [u.text for u in manifest] == columns["text"]
    assert [u.speaker for u in manifest] == columns["speaker"]
    assert {u.language for u in manifest} == {"fr"}
    assert [len(u.samples(8000)) / 8000 for u in manifest] == SECONDS
    assert [u.origin for u in manifest] == [f"{stored} row {i}" for i in range(3)]
    assert isinstance(manifest[0].audio, StoredAudio)
    assert len(read_manifest(stored, limit=2)) == 2


def test_audio_survives_a_worker_process(make_data_set, columns, tmp_path):
    make_data_set(columns, SECONDS).save_to_disk(tmp_path / "saved")
    utterance = read_manifest(tmp_path / "saved")[2]
    assert len(pickle.loads(pickle.dumps(utterance)).samples(16_000)) == 24_000


def test_times_of_a_longer_recording_cut_nothing(make_data_set, tmp_path):
    columns = {
        "text": ["a", "b", "c"],
        "start": [5.0, 6.0, 7.0],
        "end": [5.5, 7.0, 8.5],
        "end_time": [1.0] * 3,
    }
    make_data_set(columns, SECONDS).to_parquet(tmp_path / "x.parquet")
    manifest = read_manifest(tmp_path / "x.parquet")
    assert [u.samples(16_000).size / 16_000 for u in manifest] == SECONDS
    assert manifest[0].extras == {"original_start": 5.0, "original_end": 5.5, "end_time": 1.0}


def test_ids_that_repeat_are_replaced(make_data_set, tmp_path):
    make_data_set({"id": [7, 7, 8], "transcription": ["a", "a", "b"]}, SECONDS).to_parquet(tmp_path / "x.parquet")
    manifest = read_manifest(tmp_path / "x.parquet")
    assert [u.id for u in manifest] == ["tone-0", "tone-1", "tone-2"]
    assert [u.extras["original_id"] for u in manifest] == [7, 7, 8]


def test_a_missing_text_column_names_the_others(make_data_set, tmp_path):
    make_data_set({"words": ["a", "b", "c"]}, SECONDS).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"no text column .*there are: words, audio"):
        read_manifest(tmp_path / "x.parquet")


def test_a_missing_audio_column_names_the_others(tmp_path, data_set_cache):
    import datasets

    datasets.Dataset.from_dict({"text": ["a"], "sound": [1]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"no audio column \(there are: text, sound\)"):
        read_manifest(tmp_path / "x.parquet")


def test_paths_in_a_column_of_strings(corpus, data_set_cache):
    import datasets

    datasets.Dataset.from_dict({"audio": ["a.wav", "b.wav"], "text": ["x", "y"]}).to_parquet(corpus / "x.parquet")
    assert [u.audio for u in read_manifest(corpus / "x.parquet")] == [corpus / "a.wav", corpus / "b.wav"]


def test_a_row_without_bytes_reads_its_path(corpus, data_set_cache):
    import datasets

    cells = [
        {"bytes": None, "path": str(corpus / "a.wav")},
        {"bytes": None, "path": str(corpus / "none.wav")},
    ]
    data_set = datasets.Dataset.from_dict({"audio": cells, "text": ["x", "y"]})
    data_set.save_to_disk(corpus / "saved")
    first, second = read_manifest(corpus / "saved")
    assert first.samples(16_000).shape == (16_000,)
    with pytest.raises(AudioError, match=r"none\.wav"):
        second.samples(16_000)


def test_several_splits_must_be_named(make_data_set, columns, tmp_path):
    import datasets

    data_set = make_data_set(columns, SECONDS)
    datasets.DatasetDict({"train": data_set, "test": data_set}).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="has the splits train, test; name one"):
        read_manifest(tmp_path / "saved")
    with pytest.raises(DataError, match="no split 'tset'; did you mean 'test'"):
        read_manifest(f"{tmp_path / 'saved'}@tset")


def test_a_stream_gives_the_same_rows(make_data_set, columns, tmp_path):
    make_data_set(columns, SECONDS).to_parquet(tmp_path / "x.parquet")
    source = DatasetSource(str(tmp_path / "x.parquet"), is_local=True)
    collector = RowCollector(tmp_path)
    collector.add_all(stream_rows(open_stream(source), "x"), limit=2)
    assert [u.text for u in collector.utterances] == ["un", "deux"]
    assert [len(u.samples(16_000)) / 16_000 for u in collector.utterances] == SECONDS[:2]
    assert all(isinstance(u.audio, bytes) for u in collector.utterances)


def test_a_stream_needs_a_limit():
    with pytest.raises(DataError, match="say how many rows with limit"):
        read_manifest("org/name@test", streaming=True)


def test_a_hub_that_cannot_be_reached_is_a_data_error(data_set_cache):
    with pytest.raises(DataError, match=r"org/name:fr@test: cannot be loaded \(there is no local path"):
        open_dataset(DatasetSource("org/name", "fr", "test"))


def test_old_script_corpora_are_read_from_their_parquet_branch(monkeypatch, make_data_set, columns):
    import datasets

    asked = []

    def load_dataset(location, *, streaming, split, name=None, data_dir=None, revision=None):
        asked.append((location, name, data_dir, split, revision))
        if revision is None:
            raise RuntimeError("Dataset scripts are no longer supported, but found fleurs.py")
        return make_data_set(columns, SECONDS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(read_manifest("google/fleurs:fr_fr@test")) == 3
    assert asked == [
        ("google/fleurs", "fr_fr", None, "test", None),
        ("google/fleurs", None, "fr_fr", "test", "refs/convert/parquet"),
    ]


def test_the_layout_of_the_parquet_branch(make_data_set, columns, tmp_path):
    data_set = make_data_set(columns, SECONDS)
    for config, rows in (("fr_fr", [0, 1]), ("de_de", [2])):
        for split in ("train", "validation", "test"):
            folder = tmp_path / "branch" / config / split
            folder.mkdir(parents=True)
            data_set.select(rows).to_parquet(folder / "0000.parquet")
    opened = open_dataset(DatasetSource(str(tmp_path / "branch"), "fr_fr", "validation", is_local=True))
    assert opened["id"][:] == ["u1", "u2"]
