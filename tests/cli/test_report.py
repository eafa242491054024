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
        "distribution-1.svg", "distribution-1.png", "distribution-1.csv",
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


def write_predictions(path, every):
    rows = [{"text": s, "pred_text": s if i % every else s.rsplit(" ", 1)[0]} for i, s in enumerate(SENTENCES)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_files_of_predictions_are_reported_like_runs(tmp_path, capsys):
    files = [write_predictions(tmp_path / f"{name}.jsonl", n) for name, n in (("a", 1), ("b", 5), ("c", 4))]
    assert run(*files, "--language", "fr", "--output", tmp_path / "p.html") == 0
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "Cannot tell which is best: b has the lowest WER" in page
    assert "b is better than a" in page
    assert "the first, &#39;a&#39;, is taken as the base of all" in page


def test_published_values_and_a_model_card(runs, tmp_path, capsys):
    published = tmp_path / "published.yaml"
    published.write_text("- {model: tuned, metric: WER, value: 0.0 %, source: their table 2}\n", encoding="utf-8")
    out = tmp_path / "out"
    card = tmp_path / "README.md"
    assert run(*runs, "--output", out, "--published", published, "--model-card", card, "--license", "mit") == 0
    assert "their table 2" in (out / "index.html").read_text(encoding="utf-8")
    assert "| tuned | a test | WER (" in (out / "tables.md").read_text(encoding="utf-8")
    assert "license: mit" in card.read_text(encoding="utf-8")
    assert str(card) in capsys.readouterr().out.splitlines()


def test_a_card_says_the_budget_that_the_model_was_trained_with(runs, tmp_path, capsys):
    folder = tmp_path / "training"
    folder.mkdir()
    (folder / "train.json").write_text(json.dumps({"config": {"budget": "45m", "learning_rate": 0.0001}}))
    result = make_results(
        [(s, s) for s in SENTENCES], name="mine", parent="base", model={"id": str(folder / "model"), "method": "lora"}
    )
    mine = write_results(tmp_path / "mine", result)
    assert run(runs[0], mine, "--output", tmp_path / "p.html", "--model-card", tmp_path / "card.md") == 0
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "- budget: 45m" in card
    assert "- learning rate: 0.0001" in card


@pytest.mark.parametrize("price", ["0", "-1", "nan"])
def test_a_price_is_above_zero(runs, tmp_path, price):
    with pytest.raises(UsageError, match="price_per_hour"):
        run(*runs, "--output", tmp_path / "p.html", "--price-per-hour", price)
