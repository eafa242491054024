import argparse
import json

import pytest

from asr_headroom.cli import report
from asr_headroom.errors import ResultsError, UsageError
from asr_headroom.testing.results import make_results, write_results

SENTENCES = [f"phrase numéro {i} avec des mots" for i in range(20)]


def run(*words):
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    return report.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def runs(tmp_path):
    base = make_results([(s, s.rsplit(" ", 1)[0]) for s in SENTENCES], name="base")
    tuned = make_results([(s, s) for s in SENTENCES], name="tuned", parent="base")
    return [write_results(tmp_path / result.run.name, result) for result in (base, tuned)]


def test_a_page_is_written_and_named(runs, tmp_path, capsys):
    page = tmp_path / "deep" / "page.html"
    assert run(*runs, "--output", page, "--title", "Ours & theirs") == 0
    assert "<title>Ours &amp; theirs</title>" in page.read_text(encoding="utf-8")
    out = capsys.readouterr().out.splitlines()
    assert out[0] == str(page)
    assert out[1].startswith("0 recordings embedded, 0 left out, 0 could not be read; ")
    assert list(page.parent.iterdir()) == [page]


def test_tables_and_figures_on_request(runs, tmp_path, capsys):
    run(
        *runs,
        "--output",
        tmp_path / "p.html",
        "--tables",
        tmp_path / "t.md",
        "--figures",
        tmp_path / "f",
        "--json",
    )
    written = json.loads(capsys.readouterr().out)
    assert written["bytes"] == (tmp_path / "p.html").stat().st_size
    assert {path.rsplit("/", 1)[1] for path in written["files"]} == {
        "p.html", "t.md", "difference.svg", "difference.png", "difference.csv",
    }  # fmt: skip
    assert "| tuned |" in (tmp_path / "t.md").read_text(encoding="utf-8")
    assert written["tests"][0]["rows"][1]["comparison"]["verdict"] == "better"
    run(*runs, "--output", tmp_path / "p.html", "--tables", tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text())[0]["n"] == 20


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max-clips", "-1"], "max_clips is -1"),
        (["--tables", "t.csv"], "must end in .md or .json"),
        (["--base", "bas"], "did you mean 'base'"),
        (["--normalizer", "french"], "unknown normalizer 'french'"),
        (["--cluster", "speaker"], "name no speaker"),
    ],
)
def test_impossible_flags(runs, tmp_path, flags, message):
    with pytest.raises(UsageError, match=message):
        run(*runs, "--output", tmp_path / "p.html", *flags)
    assert not (tmp_path / "p.html").exists()


def test_output_may_be_a_folder(runs, tmp_path):
    run(*runs, "--output", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"index.html", "tables.md", "tables.json", "difference.svg"} <= names


def test_output_must_be_writable(runs, tmp_path):
    (tmp_path / "page.html").mkdir()
    with pytest.raises(UsageError, match="is a directory; give the name of a file"):
        run(*runs, "--output", tmp_path / "page.html")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResultsError, match="cannot be written"):
        run(*runs, "--output", tmp_path / "file" / "p.html")
