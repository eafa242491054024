import json

import pytest

from asr_headroom.errors import ConfigError
from asr_headroom.metrics.significance import Interval
from asr_headroom.report.published import Beside, Published, load_published, set_beside
from asr_headroom.report.sections.published import published_markdown, published_section
from asr_headroom.report.tables import build_tables


def write(tmp_path, text):
    path = tmp_path / "published.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def one(tmp_path, **row):
    row = {"model": "base", "metric": "WER", "value": 0.1} | row
    return load_published(write(tmp_path, json.dumps([row])))[0]


@pytest.mark.parametrize(
    ("value", "unit", "fraction", "digits"),
    [
        (0.1386, "", 0.1386, 4),
        ("13.86 %", "", 0.1386, 4),
        ("13.86%", "", 0.1386, 4),
        (13.9, "percent", 0.139, 3),
        (1.25, "", 1.25, 2),
        ("12", "%", 0.12, 2),
        (0, "", 0.0, 0),
    ],
)
def test_values_are_fractions_however_they_were_printed(tmp_path, value, unit, fraction, digits):
    row = one(tmp_path, value=value, unit=unit)
    assert row.value == pytest.approx(fraction, abs=1e-12)
    assert row.digits == digits


def test_yaml_and_json_say_the_same(tmp_path):
    yaml = "rows:\n- {model: base, metric: wer, value: 13.86 %, test: a test, n: 40, source: table 3}\n"
    expected = (Published(model="base", metric="WER", value=0.1386, digits=4, test="a test", n=40, source="table 3"),)
    assert load_published(write(tmp_path, yaml)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no list"),
        ("rows: []", "holds no list"),
        ("[1]", "row 1: is 1"),
        ("[{metric: WER}]", "row 1: model and value missing"),
        ("[{model: a, metric: WRE, value: 0.1}]", "did you mean 'WER'"),
        ("[{model: a, metric: WER, value: lots}]", "value is 'lots'"),
        ("[{model: a, metric: WER, value: true}]", "value is True"),
        ("[{model: a, metric: WER, value: 13.86}]", "write '13.86 %' or a fraction"),
        ("[{model: a, metric: WER, value: 0.1, normalizer: nope}]", "unknown normalizer 'nope'"),
        ("{", "cannot be read"),
        ("[{model: a, metric: WER, value: .nan}]", "value is nan"),
    ],
)
def test_malformed_files_are_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=r"published\.yaml") as caught:
        load_published(write(tmp_path, text))
    assert message in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_published(tmp_path / "none.yaml")


def test_obtained_beside_published(tmp_path, base, tuned):
    tables = build_tables([base, tuned])
    exact = base.total(tables[0].normalizer).error_rate
    score = tables[0].rows[0].score
    beside = set_beside(tables, [one(tmp_path, value=round(exact, 4)), one(tmp_path, model="base · lora", value=0.9)])
    assert beside[0].obtained == pytest.approx(exact, abs=1e-12)
    assert beside[0].interval.low == pytest.approx(score.estimate.interval.low, abs=2e-3)
    assert beside[0].same_digits
    assert beside[0].inside
    assert not beside[1].same_digits
    assert not beside[1].inside
    assert beside[1].name == "base · lora"


def test_every_measure_is_of_its_own_counts(tmp_path, base):
    tables = build_tables([base])
    words, characters = (base.total(tables[0].normalizer, unit) for unit in ("word", "character"))
    found = {metric: set_beside(tables, [one(tmp_path, metric=metric)])[0].obtained for metric in ("WER", "CER", "MER")}
    assert found["WER"] == pytest.approx(words.error_rate)
    assert found["CER"] == pytest.approx(characters.error_rate)
    assert found["MER"] == pytest.approx(words.match_error_rate)


def test_a_model_id_means_the_base_and_not_what_was_made_of_it(tmp_path, base, tuned):
    found = set_beside(build_tables([base, tuned]), [one(tmp_path, model="hub/base"), one(tmp_path, model="tuned")])
    assert [b.name for b in found] == ["base", None]


def test_what_is_not_here_is_said(tmp_path, base):
    tables = build_tables([base])
    beside = set_beside(tables, [one(tmp_path, model="whisper-huge"), one(tmp_path, n=500), one(tmp_path, test="x")])
    assert [b.name for b in beside] == [None, "base", None]
    text = published_markdown(beside)
    assert "published, but not among these systems: whisper-huge, base" in text
    assert "base: published over 500 utterances, obtained over 40" in text


def test_same_digits_is_rounding_and_nothing_more():
    value = Published(model="a", metric="WER", value=0.1386, digits=4)
    near = Beside(published=value, name="a", obtained=0.13855277, interval=Interval(0.12, 0.15))
    far = Beside(published=value, name="a", obtained=0.13854, interval=Interval(0.1386001, 0.15))
    assert near.same_digits
    assert not far.same_digits
    assert near.inside
    assert not far.inside


def test_section_and_markdown(tmp_path, base):
    beside = set_beside(build_tables([base]), [one(tmp_path, value=0.1234, source="table 3", normalizer="study-fr")])
    section = published_section(beside)
    assert section.takeaway.startswith("0 of 1 value agree")
    row = section.blocks[0].cells()[0]
    assert [row[0].main, row[2].main, row[2].small, row[-1].main] == ["base", "WER", "study-fr", "table 3"]
    assert published_section([]) is None
    assert published_markdown([]) == ""
    rows = [line for line in published_markdown(beside).splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1


@pytest.mark.shared
def test_the_study_recomputes(shared, tmp_path):
    """Every published WER of three systems agrees to the digit with what their predictions give."""
    from asr_headroom.results.readers import read_results

    published = json.loads((shared / "published" / "results.json").read_text(encoding="utf-8"))["rows"]
    names = {"preds/baseline_small": "baseline_small", "preds/full_small": "full_small"}
    rows = [
        row | {"model": name, "normalizer": "study-fr"}
        for row in published
        for ending, name in names.items()
        if row["track"] == "whisper-fr" and row["metric"] in ("WER", "CER") and row["source"].endswith(ending)
    ]
    assert rows
    folder = shared / "published" / "predictions" / "whisper_fr"
    tables = build_tables([read_results(folder / f"{name}.json") for name in names.values()])
    beside = set_beside(tables, load_published(write(tmp_path, json.dumps(rows))))
    assert all(b.same_digits and b.inside for b in beside)
