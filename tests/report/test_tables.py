import dataclasses
import json
import random

import pytest

from asr_headroom.errors import ResultsError, UsageError
from asr_headroom.report.tables import build_tables, holm_adjusted, to_json, to_markdown
from asr_headroom.testing.results import make_results


def rename(results, name, **run):
    return dataclasses.replace(results, run=dataclasses.replace(results.run, name=name, **run))


def test_a_tuned_run_is_compared_with_the_run_its_parent_names(base, tuned, bigger):
    (table,) = build_tables([bigger, tuned, base])
    assert [row.name for row in table.rows] == ["bigger", "base · lora", "base"]
    assert [row.pair.base.run.name if row.pair else None for row in table.rows] == [None, "base", None]
    assert table.rows[1].pair.comparison.difference == pytest.approx(-15 / 360)


def test_tests_are_kept_apart(base, tuned, other_test):
    tables = build_tables([other_test, tuned, base])
    assert [(table.data, len(table.rows)) for table in tables] == [("guard", 1), ("a test", 2)]
    assert tables[0].rows[0].pair is None


def test_same_name_and_fingerprint_do_not_hide_other_references(base, tuned):
    texts = [(p.reference + " !!! mot", p.hypothesis) for p in tuned.predictions]
    forged = make_results(texts, name="forged", parent="base")
    tables = build_tables([base, forged])
    assert len(tables) == 2
    assert all(row.pair is None for table in tables for row in table.rows)
    assert "because the parent 'base' is not among these runs" in tables[1].notes[0]


def test_an_unfinished_run_is_compared_with_nothing(base, tuned):
    part = dataclasses.replace(tuned, predictions=tuned.predictions[:10])
    part = rename(part, "part", status="running")
    tables = build_tables([base, part])
    assert [len(table.rows) for table in tables] == [1, 1]
    assert "is not finished" in tables[1].rows[0].score.warnings[0]


def test_two_runs_without_parents_are_compared_first_as_base(base, bigger):
    (table,) = build_tables([base, bigger])
    assert table.rows[1].pair.base.run.name == "base"
    assert "'base' is taken as the base" in table.notes[0]


def test_three_runs_without_parents_are_not_compared(base, bigger):
    (table,) = build_tables([base, bigger, rename(base, "third")])
    assert [row.pair for row in table.rows] == [None] * 3


def test_a_base_can_be_asked_for(base, tuned, bigger):
    (table,) = build_tables([base, tuned, bigger], base="bigger")
    assert [row.pair.base.run.name if row.pair else None for row in table.rows] == ["bigger", "bigger", None]
    with pytest.raises(UsageError, match="no system is called 'biger'; did you mean 'bigger'"):
        build_tables([base, bigger], base="biger")


def test_runs_of_one_name_are_told_apart(base):
    (table,) = build_tables([base, dataclasses.replace(base), rename(base, "x")])
    assert [row.name for row in table.rows] == ["base [1]", "base [2]", "x"]


def test_mixed_normalisers_share_one_and_say_so(base):
    other = make_results([(p.reference, p.hypothesis) for p in base.predictions], name="b", normalizer_id="study-fr")
    (table,) = build_tables([base, other])
    assert table.normalizer.id == "fr"
    assert "different normalizers (fr, study-fr); all are shown under fr" in table.notes[0]


def test_nothing_to_show():
    with pytest.raises(UsageError, match="no results to show"):
        build_tables([])
    with pytest.raises(ResultsError, match="holds no predictions"):
        build_tables([make_results([])])


def test_holm_by_hand_and_never_below_raw():
    assert holm_adjusted([]) == []
    assert holm_adjusted([0.2]) == [0.2]
    assert holm_adjusted([0.01, 0.02, 0.04]) == pytest.approx([0.03, 0.04, 0.04])
    assert holm_adjusted([0.9, 0.8]) == [1.0, 1.0]
    values = [random.Random(1).random() for _ in range(9)]
    adjusted = holm_adjusted(values)
    assert all(a >= v for a, v in zip(adjusted, values, strict=True))
    assert sorted(range(9), key=values.__getitem__) == sorted(range(9), key=lambda i: (adjusted[i], values[i]))


def test_holm_counts_the_comparisons_of_all_tables(base, tuned):
    def elsewhere(results):
        return rename(results, results.run.name, data={"name": "second", "fingerprint": "2"})

    tables = build_tables([base, tuned, elsewhere(base), elsewhere(tuned)])
    for table in tables:
        assert table.rows[1].holm_p == pytest.approx(2 * table.rows[1].pair.comparison.p_value)


def test_what_is_too_small_for_a_verdict_takes_no_part_in_the_correction(base, tuned):
    single = [make_results([("un", h)], name=n, data={"name": "tiny"}) for n, h in (("a", "x"), ("b", "un"))]
    tables = build_tables([base, tuned, *single])
    assert tables[1].rows[1].pair.comparison.p_value < 0.001
    assert tables[1].rows[1].holm_p is None
    assert tables[0].rows[1].holm_p == tables[0].rows[1].pair.comparison.p_value


def test_markdown_holds_every_row_in_as_many_cells(base, tuned):
    hostile = rename(base, "a|b <script>\nx")
    text = to_markdown(build_tables([base, tuned, hostile]))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert {line.replace("\\|", "").count("|") for line in rows} == {10}
    assert "a\\|b &lt;script> x" in text
    assert "| base · lora | 1.00 M | 50.0 k | 1.39 % (" in text
    assert "p < 0.001 | better |" in text


def test_json_holds_what_the_table_shows(base, tuned):
    (table,) = json.loads(json.dumps(to_json(build_tables([base, tuned])), allow_nan=False))
    assert (table["data"], table["fingerprint"], table["n"], table["unit"]) == (
        "a test",
        "0123456789ab",
        40,
        "word",
    )
    first, second = table["rows"]
    assert first["comparison"] is None
    assert second["comparison"]["difference"] == pytest.approx(second["wer"] - first["wer"])
    assert (second["method"], second["trainable_parameters"]) == ("lora", 50_000)
    assert second["minutes"] == {"train steps": 3.0, "transcribe": 0.5}


def test_nonsense_sizes_are_left_blank(base):
    odd = rename(base, "odd", model={"parameters": "many", "trainable_parameters": -3})
    (table,) = build_tables([odd])
    assert table.rows[0].parameters is None
    assert table.rows[0].trainable_parameters is None
    assert "| odd | – | – |" in to_markdown([table])


def test_what_makes_a_row_doubtful_stands_under_its_table():
    mismatch = make_results([("un", "deux")] * 4, name="english-only", language="fr", model={"language_mismatch": True})
    assert "- 'english-only' was not made for fr; it is a mismatch baseline, not a competitor" in to_markdown(
        build_tables([mismatch])
    )


def decoded(results, window):
    run = dataclasses.replace(results.run, decoding={"window": window}, decoding_hash=window)
    return dataclasses.replace(results, run=run)


def test_a_base_in_two_windows_is_named_by_them_and_compared_in_the_childs(base, tuned):
    (table,) = build_tables([decoded(base, "full"), decoded(base, "fit"), decoded(tuned, "fit")])
    assert [row.name for row in table.rows[:2]] == ["base [window full]", "base [window fit]"]
    assert table.rows[2].pair.base.run.name == "base [window fit]"


def test_a_difference_comes_with_its_population_and_its_warnings(base, tuned):
    text = to_markdown(build_tables([decoded(base, "full"), decoded(tuned, "fit")]))
    (table,) = build_tables([decoded(base, "full"), decoded(tuned, "fit")])
    pair = table.rows[1].pair
    assert f"- differences hold for {pair.comparison.population}" in text
    assert "the two were decoded differently" in text
    assert "decoded differently" not in to_markdown(build_tables([decoded(base, "fit"), decoded(tuned, "fit")]))
