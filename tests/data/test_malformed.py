"""Malformed manifests: each gives an error of ours, or a problem with its line; counts always add up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from asr_headroom.data.readers import read_manifest, scan_manifest
from asr_headroom.data.validate import validate_manifest
from asr_headroom.errors import AsrHeadroomError, DataError

GOOD = {"id": "good", "audio": "a.wav", "text": "un chat"}


def row(**changes: object) -> str:
    values = {**GOOD, "id": "bad", **changes}
    return json.dumps({name: value for name, value in values.items() if value is not ...})


@dataclass(frozen=True)
class Case:
    """A file with one good first row (unless ``whole``) and what is said about ``line``."""

    name: str
    content: str | bytes
    message: str
    line: int = 2
    file: str = "m.jsonl"
    rows: int = 2


def jsonl(name: str, line: str | bytes, message: str) -> Case:
    bad = line if isinstance(line, bytes) else line.encode()
    return Case(name, json.dumps(GOOD).encode() + b"\n" + bad + b"\n", message)


def table(name: str, lines: str | bytes, message: str, file: str = "m.csv", line: int = 3) -> Case:
    content = lines if isinstance(lines, bytes) else lines.encode()
    return Case(name, b"id,audio,text,duration\ng,a.wav,un,\n" + content, message, line, file)


ROWS = [
    jsonl("not json", "{broken", "not JSON at column 2"),
    jsonl("cut json", '{"id": "x", "audio": "a.wa', "not JSON at column"),
    jsonl("a list", "[1, 2]", "holds a list where an object is needed"),
    jsonl("a number", "17", "holds a int"),
    jsonl("null", "null", "holds a NoneType"),
    jsonl("a string", '"a.wav"', "holds a str"),
    jsonl("latin-1", '{"id": "x", "audio": "a.wav", "text": "été"}'.encode("latin-1"), "not UTF-8 at byte"),
    jsonl("lone surrogate", '{"id": "x", "audio": "a.wav", "text": "\\ud83d"}', "text is not valid UTF-8"),
    jsonl("deep nesting", '{"x": ' + "[" * 100_000, "not JSON that can be read"),
    jsonl("no audio", row(audio=...), "no audio column (looked for: audio, "),
    jsonl("audio null", row(audio=None), "audio is None; write the path of a file"),
    jsonl("audio number", row(audio=3), "audio is 3"),
    jsonl("audio empty", row(audio=""), "audio is empty"),
    jsonl("audio list", row(audio=["a.wav"]), "audio is ['a.wav']"),
    jsonl("audio object without path", row(audio={"start_time": 0}), "audio is None"),
    jsonl("audio address", row(audio="https://example.org/a.wav"), "download it"),
    jsonl("audio with nul", row(audio="a\0.wav"), "cannot hold NUL"),
    jsonl("no text", row(text=...), "no text column (looked for: text, sentence"),
    jsonl("text null", row(text=None), "text is None; write a string"),
    jsonl("text number", row(text=12), "text is 12"),
    jsonl("text list", row(text=["a"]), "text is ['a']"),
    jsonl("speaker list", row(speaker=["s"]), "speaker is ['s']; write a string"),
    jsonl("id true", row(id=True), "id is True; write a string"),
    jsonl("duration string", row(duration="3.2"), "duration is '3.2'; write seconds as a number"),
    jsonl("duration true", row(duration=True), "duration is True"),
    jsonl("duration nan", row().replace("}", ', "duration": NaN}'), "duration is nan"),
    jsonl("duration infinite", row().replace("}", ', "duration": Infinity}'), "duration is inf"),
    jsonl("duration huge", row(duration=10**400), "write seconds as a number"),
    jsonl("duration negative", row(duration=-1), "duration is -1; seconds cannot be negative"),
    jsonl("duration zero", row(duration=0), "duration is 0; a segment must last"),
    jsonl("start negative", row(start=-0.5), "start is -0.5; seconds cannot be negative"),
    jsonl("end before start", row(start=2.0, end=1.0), "end 1.00 s is not after start 2.00 s"),
    jsonl("end is start", row(start=1.0, end=1.0), "end 1.00 s is not after start 1.00 s"),
    jsonl("two faults", row(audio=None, start=-1), "start is -1; seconds cannot be negative"),
    jsonl("doubled id", json.dumps(GOOD), "id 'good' stands already in"),
    table("too few fields", "x,a.wav\n", "has 2 fields where the header has 4"),
    table("too many fields", "x,a.wav,un,1.0,extra\n", "has 5 fields where the header has 4"),
    table("duration text", "x,a.wav,un,long\n", "duration is 'long'"),
    table("no path", "x,,un,\n", "audio is empty"),
    table("latin-1 table", "x,a.wav,été,\n".encode("latin-1"), "text is not valid UTF-8"),
    table("open quote", 'x,a.wav,"' + "word " * 40_000, "not a row of the table"),
    table("quote to the end", 'x,a.wav,"un,1.0\ny,a.wav,deux,1.0\n', "unexpected end of data"),
    table("letters after a quote", 'x,a.wav,"un" chat,1.0\n', "expected after"),
    Case(
        "quote to the end of a tsv",
        'audio\ttext\na.wav\tun\nb.wav\t"deux\nc.wav\ttrois\n',
        "unexpected end of data",
        3,
        "m.tsv",
    ),
    table("doubled id in table", "g,a.wav,un,\n", "id 'g' stands already in"),
    Case("array not closed", json.dumps([GOOD])[:-1] + ",\n" + row(), "array is not closed", 2, "m.json", 3),
    Case("array broken", "[" + json.dumps(GOOD) + ",\n{broken]", "not JSON from here on", 2, "m.json"),
    Case("array of numbers", "[" + json.dumps(GOOD) + ",\n5]", "holds a int", 2, "m.json"),
]


def write(case: Case, folder: Path) -> Path:
    path = folder / case.file
    path.write_bytes(case.content if isinstance(case.content, bytes) else case.content.encode())
    return path


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_a_bad_row_is_named_with_its_line(corpus, case):
    path = write(case, corpus)
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    assert f"{path}:{case.line}: " in str(caught.value)
    assert case.message in str(caught.value)

    manifest = read_manifest(path, skip_bad=True)
    fatal = [problem for problem in manifest.problems if problem.fatal]
    assert manifest[0].text in ("un chat", "un")
    assert [problem.where for problem in fatal] == [f"{path}:{case.line}"]
    assert len(manifest) + len(fatal) == case.rows


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_validation_counts_add_up(corpus, case):
    path = write(case, corpus)
    report = validate_manifest(path)
    assert report.num_rows == report.num_usable + report.num_unusable == case.rows
    assert report.num_unusable == len({p.where for p in report.problems if p.fatal})
    assert sum(report.kinds.values()) == len(report.problems)
    assert not report.is_clean


WHOLE = {
    "empty.jsonl": (b"", "holds no rows"),
    "blank.jsonl": (b"\n\n\n", "holds no rows"),
    "array.json": (b"[]", "holds no rows"),
    "empty.csv": (b"", "no header"),
    "header.csv": (b"audio,text\n", "holds no rows"),
    "nocolumns.csv": (b"sound,words\na.wav,un\n", "no audio column"),
    "notext.csv": (b"audio,words\na.wav,un\n", "no text column"),
    "noaudio.tsv": (b"sound\ttext\na.wav\tun\n", "no audio column"),
    "doubled.csv": (b"audio,text,text\na.wav,un,un\n", "'text' occur twice"),
    "utf16.jsonl": ('{"audio": "a.wav", "text": "un"}\n'.encode("utf-16"), "UTF-16"),
    "utf16.csv": ("audio,text\na.wav,un\n".encode("utf-16"), "UTF-16"),
    "binary.csv": (bytes(range(256)), "binary"),
    "latin.json": ('[{"audio": "a.wav", "text": "été"}]'.encode("latin-1"), "not UTF-8"),
    "prose.txt": (b"once upon a time\n", "not a manifest"),
    "cut.parquet": (b"PAR1 and then nothing", "cannot be loaded"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_no_manifest_is_refused(tmp_path, data_set_cache, name):
    content, message = WHOLE[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    report = validate_manifest(path)
    assert (report.num_rows, report.num_usable, report.num_unusable) == (0, 0, 0)
    assert any(message in str(problem) for problem in report.problems)
    assert not report.is_clean


def test_an_audio_file_is_no_manifest(corpus):
    with pytest.raises(DataError, match="binary, not a manifest"):
        read_manifest(corpus / "a.wav")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no metadata.csv"),
        ({"notes.md": "hello"}, "no metadata.csv"),
        ({"train.tsv": "x", "dev.tsv": "x"}, r"give one of: \S+dev\.tsv, \S+train\.tsv"),
        ({"wav.scp": "u1 a.wav\n"}, "no file named text"),
        ({"text": "u1 un\n"}, "no wav.scp"),
        ({"wav.scp": "u1 sox a.wav -t wav - |\n", "text": "u1 un\n"}, "pipe command"),
        ({"wav.scp": "u1 a.wav\n", "text": "u1 un\nu2 deux\n"}, "'u2' of utterance 'u2' is not in wav.scp"),
        ({"wav.scp": "u1 a.wav\nu2 b.wav\n", "text": "u1 un\n"}, "'u2' has no transcript"),
        ({"wav.scp": "u1 a.wav\n", "text": "u1 un\nu1 deux\n"}, "id 'u1' stands already in"),
        (
            {"wav.scp": "u1 a.wav\n", "text": "u1 un\n", "segments": "u1 r\n"},
            "no line 'id recording start end'",
        ),
        ({"wav.scp": "r a.wav\n", "text": "u1 un\n", "segments": "u1 r 0 x\n"}, "end is 'x'"),
        ({"metadata.csv": "path,words\na.wav,un\n"}, "no text column"),
        ({"a.wav": "", "b.wav": "", "a.txt": "un"}, "no transcript beside it; write b.txt"),
    ],
)
def test_malformed_folders(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        read_manifest(tmp_path)
    report = validate_manifest(tmp_path)
    assert report.num_rows == report.num_usable + report.num_unusable
    assert not report.is_clean


@pytest.mark.parametrize(
    "source",
    [
        "x" * 5000,
        "~nobody-of-that-name/m.jsonl",
        "missing.jsonl",
        "missing/",
        "/nowhere/m.jsonl",
        "a/b/c",
        "fleurs",
        "a/b@",
        "@test",
        "data/train.tsv",
        "",
        ":",
        "x@y@z",
    ],
)
def test_sources_that_are_nothing(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if source == "":
        source = "empty name/"
    with pytest.raises(AsrHeadroomError, match=r"no such file or folder|cannot be loaded"):
        read_manifest(source)


def test_skipping_every_row_is_refused(corpus, write_rows):
    path = write_rows(corpus / "m.jsonl", "broken", "broken")
    with pytest.raises(DataError, match="2 of 2 rows cannot be used"):
        read_manifest(path, skip_bad=True)
    assert len(scan_manifest(path).problems) == 2
