import io
import json

import pytest

from asr_headroom.cli.main import main
from asr_headroom.text.normalize import get_normalizer, normalizer_ids


def run(capsys, *words):
    code = main(["normalize", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_each_argument_is_a_text(capsys):
    code, out, _ = run(capsys, "--language", "French", "Le CŒUR !", "Été")
    first, second = out.split("\n\n")
    assert code == 0
    assert first.splitlines()[0].split(maxsplit=1) == ["raw", "Le CŒUR !"]
    assert first.splitlines()[-1].endswith("le coeur")
    assert second.splitlines()[-1].endswith("été")


def test_json_holds_every_step(capsys):
    code, out, _ = run(capsys, "--normalizer", "fr-digits", "--json", "Trente pour cent !", "22 h 00")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["normalized"] for row in rows] == ["30 pour cent", "22 heures"]
    assert [row["units"] for row in rows] == [3, 2]
    assert rows[0]["hash"] == get_normalizer("fr-digits").hash
    assert rows[0]["steps"][-1] == {"step": "numbers in digits", "text": "30 pour cent"}
    assert rows[0]["text"] == "Trente pour cent !"


def test_a_file_is_read_line_by_line(capsys, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\ufeffÉté !\n\nL’hiver\r\n", encoding="utf-8")
    code, out, _ = run(capsys, "--language", "fr", "--json", "--file", str(path))
    assert code == 0
    assert [json.loads(line)["normalized"] for line in out.splitlines()] == ["été", "", "l'hiver"]


def test_standard_input(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("二零二四年\n".encode())))
    code, out, _ = run(capsys, "--normalizer", "zh-digits", "--json")
    assert code == 0
    assert json.loads(out)["normalized"] == "2024年"


def test_alarm_when_words_appear(capsys):
    code, _, err = run(capsys, "--language", "en", "They can't, won't and don't", "mustn't")
    assert code == 0
    assert "changes the number of reference words by +66.7 % (6 to 10)" in err


def test_no_alarm_for_punctuation_alone(capsys):
    assert run(capsys, "--language", "fr", "« oui » !", "— non ; si …")[2] == ""


def test_list_as_text_and_json(capsys):
    _, text, _ = run(capsys, "--list")
    _, lines, _ = run(capsys, "--list", "--json")
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [row["id"] for row in rows] == [line.split()[0] for line in text.splitlines()] == normalizer_ids()
    assert all(row["description"] and row["hash"] == get_normalizer(row["id"]).hash for row in rows)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--language", "Frensh", "x"], 2, "unknown language 'Frensh'; did you mean 'french'?"),
        (["--normalizer", "fr-digit", "x"], 2, "did you mean 'fr-digits'?"),
        (["--file", "missing.txt"], 1, "'missing.txt' cannot be read"),
        (["--file", "missing.txt", "x"], 2, "give texts or --file, not both"),
    ],
)
def test_mistakes_end_in_one_message(capsys, words, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    got, _, err = run(capsys, *words)
    assert got == code
    assert message in err
    assert "Traceback" not in err


def test_a_line_that_is_not_utf8_is_named(capsys, tmp_path):
    path = tmp_path / "latin1.txt"
    path.write_bytes(b"bon\n\xe9t\xe9\n")
    code, _, err = run(capsys, "--file", str(path))
    assert code == 1
    assert f"{path}:2: not UTF-8" in err
