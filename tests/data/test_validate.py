from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_headroom.data import validate
from asr_headroom.data.manifest import Utterance
from asr_headroom.data.validate import HeaderCache, check_text, check_utterance, validate_manifest


def findings(utterance: Utterance, *, deep: bool = False) -> list[tuple[str, bool]]:
    return [(finding.kind, finding.fatal) for finding in check_utterance(utterance, HeaderCache(), deep=deep)[0]]


def spoken(path: Path, **values) -> Utterance:
    return Utterance(**{"id": "x", "audio": path, "text": "un chat", **values})


def write(path: Path, samples: np.ndarray, **options) -> Path:
    soundfile.write(path, samples, 16_000, **options)
    return path


def noise(seconds: float, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(0).standard_normal(round(seconds * 16_000)).clip(-3, 3)


def test_a_good_row_has_no_findings(corpus):
    assert findings(spoken(corpus / "a.wav", duration=1.0), deep=True) == []
    assert check_utterance(spoken(corpus / "c.wav", start=0.5), HeaderCache())[1] == 2.5


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"duration": 1.09}, []),
        ({"duration": 1.11}, [("duration", True)]),
        ({"duration": 0.85}, [("duration", True)]),
        ({"end": 1.05}, []),
        ({"end": 1.2}, [("end", True)]),
        ({"start": 1.0}, [("end", True)]),
        ({"start": 0.5, "end": 0.9, "duration": 0.4}, []),
        ({"start": 0.5, "end": 0.9, "duration": 1.0}, [("duration", True)]),
        ({"text": "x" * 35}, []),
        ({"text": "x" * 36}, [("rate", False)]),
        ({"text": "x" * 20, "end": 0.5}, [("rate", False)]),
    ],
)
def test_times_are_compared_with_the_header(corpus, values, found):
    assert findings(spoken(corpus / "a.wav", **values)) == found


def test_long_recordings_are_pointed_at(tmp_path):
    path = write(tmp_path / "a.flac", noise(30.5))
    assert findings(spoken(path)) == [("long", False)]
    assert findings(spoken(path, end=29.0)) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("« Oui »", "U+00AB, U+00BB"),
        ("Oui\u00a0!", "U+00A0"),
        ("Oui\u202f!", "U+202F"),
        ("a\u2009b", "U+2009"),
        ("a\tb\n", "U+0009, U+000A"),
        ("a\x07b", "U+0007"),
        ("a\u200bb", "U+200B"),
        ("\ufeffa", "U+FEFF"),
    ],
)
def test_odd_characters_are_named(text, named):
    (finding,) = check_text(text)
    assert named in finding.message
    assert not finding.fatal


@pytest.mark.parametrize("text", ["L’été, c'est “ici” — non ?", "你好，世界。", "می‌خواهم", "क्‍ष", "", "Straße 7½ €"])
def test_ordinary_characters_pass(text):
    assert list(check_text(text)) == []


def test_headers_suffice_for_missing_empty_and_cut_wav(tmp_path, corpus):
    (tmp_path / "zero.wav").touch()
    (tmp_path / "text.wav").write_text("hello", encoding="utf-8")
    (tmp_path / "cut.wav").write_bytes((corpus / "c.wav").read_bytes()[:40_000])
    for name in ("zero.wav", "text.wav", "cut.wav", "none.wav", "x" * 300, "a.wav/b.wav"):
        assert findings(spoken(tmp_path / name)) == [("audio", True)], name


def test_deep_finds_what_headers_cannot_show(tmp_path):
    whole = write(tmp_path / "whole.flac", noise(2.0))
    cut = tmp_path / "cut.flac"
    cut.write_bytes(whole.read_bytes()[:30_000])
    broken = noise(1.0)
    broken[100] = np.nan
    paths = {
        "cut": cut,
        "nan": write(tmp_path / "nan.wav", broken, subtype="FLOAT"),
        "clipped": write(tmp_path / "clipped.wav", np.clip(noise(1.0, 0.9), -1, 1)),
        "silent": write(tmp_path / "silent.wav", noise(1.0, 0.0005), subtype="FLOAT"),
        "zero": write(tmp_path / "zeros.wav", np.zeros(16_000)),
        "quiet": write(tmp_path / "quiet.wav", noise(1.0, 0.01), subtype="FLOAT"),
    }
    assert {name: findings(spoken(path)) for name, path in paths.items()} == {name: [] for name in paths}
    assert {name: findings(spoken(path), deep=True) for name, path in paths.items()} == {
        "cut": [("audio", True)],
        "nan": [("audio", True)],
        "clipped": [("clipping", False)],
        "silent": [("silence", False)],
        "zero": [("silence", False)],
        "quiet": [],
    }


def test_a_cut_opus_file_is_pointed_at(tmp_path):
    path = write(tmp_path / "a.opus", noise(4.0), format="OGG", subtype="OPUS")
    assert findings(spoken(path)) == []
    encoded = path.read_bytes()
    path.write_bytes(encoded[: len(encoded) * 6 // 10])
    assert findings(spoken(path)) == [("open", False)]
    assert findings(spoken(path, duration=4.0)) == [("duration", True), ("open", False)]


def test_all_problems_of_a_manifest_in_order(corpus, write_rows):
    path = write_rows(
        corpus / "m.jsonl",
        {"id": "1", "audio": "a.wav", "text": "un", "duration": 1.0},
        {"id": "2", "audio": "none.wav", "text": "« deux »"},
        "broken",
        {"id": "1", "audio": "b.wav", "text": "encore un"},
        {"id": "5", "audio": "b.wav", "text": "cinq", "duration": 5.0},
        {"id": "6", "audio": "b.wav", "text": ""},
        {"id": "7", "audio": "c.wav", "text": "sept", "end": 9.0},
        *({"id": str(i), "audio": "a.wav", "text": "bien"} for i in range(8, 12)),
        {"id": "12", "audio": "a.wav", "text": "douze\u00a0"},
    )
    report = validate_manifest(path)
    lines = [(int(p.where.rsplit(":", 1)[1]), p.fatal) for p in report.problems]
    assert lines == [
        (2, False),
        (2, True),
        (3, True),
        (4, True),
        (5, True),
        (6, False),
        (7, True),
        (12, False),
    ]
    assert (report.num_rows, report.num_usable, report.num_unusable) == (12, 7, 5)
    assert report.kinds == {"row": 2, "note": 1, "characters": 2, "audio": 1, "duration": 1, "end": 1}
    assert report.hours == pytest.approx((1 + 2 + 4 + 1) / 3600)
    assert not report.is_clean
    assert not report.is_deep


def test_limit_reads_the_first_rows(corpus, write_rows):
    path = write_rows(corpus / "m.jsonl", *({"id": str(i), "audio": "a.wav", "text": "x"} for i in range(9)))
    assert validate_manifest(path, limit=4).num_rows == 4


def test_headers_are_read_once_per_state_of_a_file(corpus, monkeypatch):
    read = []
    original = validate.read_info
    monkeypatch.setattr(validate, "read_info", lambda source: read.append(source) or original(source))
    headers = HeaderCache(capacity=2)
    for name in ("a", "a", "b", "a", "c", "a", "b"):
        headers.read(corpus / f"{name}.wav")
    assert [path.stem for path in read] == ["a", "b", "c", "b"]
    os.utime(corpus / "b.wav", ns=(1, 1))
    headers.read(corpus / "b.wav")
    assert len(read) == 5


@pytest.mark.shared
@pytest.mark.parametrize("name", ["fr_librivox/test", "zh_words/test", "fixtures/all"])
def test_shared_recordings_are_usable(shared, name):
    path = shared / "speech" / f"{name}.jsonl"
    report = validate_manifest(path, deep=name == "fixtures/all")
    stated = [json.loads(line)["duration"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert report.is_clean
    assert report.num_usable == len(stated)
    assert report.hours * 3600 == pytest.approx(sum(stated), abs=0.01 * len(stated))


_MEASURE = """
import resource, sys, time
from asr_headroom.data.readers import read_manifest
from asr_headroom.data.validate import validate_manifest
begin = time.perf_counter(); rows = len(read_manifest(sys.argv[1])); read = time.perf_counter() - begin
begin = time.perf_counter(); report = validate_manifest(sys.argv[1]); checked = time.perf_counter() - begin
print(rows, report.num_usable, read, checked, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_hundred_thousand_rows_stay_small(corpus, write_rows):
    rows = ({"id": str(i), "audio": "a.wav", "text": f"phrase numéro {i}", "speaker": "s"} for i in range(100_000))
    path = write_rows(corpus / "m.jsonl", *rows)
    command = [sys.executable, "-c", _MEASURE, str(path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert output[:2] == ["100000", "100000"]
    assert int(output[4]) * 1024 < 1.5e9
