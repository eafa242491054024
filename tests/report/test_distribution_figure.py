import csv
import dataclasses

from asr_headroom.analysis.distribution import distribution
from asr_headroom.report.distribution_figure import distribution_figure
from asr_headroom.report.tables import build_tables
from asr_headroom.testing.results import make_results


def test_plotted_shares_are_the_counts_of_the_distribution(base, tuned):
    (table,) = build_tables([base, tuned])
    rows = list(csv.DictReader(distribution_figure(table).csv().splitlines()))
    for row in table.rows:
        spread = distribution([count.words for count in row.results.counts(table.normalizer)])
        own = [r for r in rows if r["system"] == row.name]
        assert len(own) == spread.num_utterances
        perfect = max(float(r["share_at_most"]) for r in own if float(r["utterance_wer"]) == 0)
        assert round(perfect * len(own)) == spread.perfect
        below = [r for r in own if float(r["utterance_wer"]) < 0.25]
        assert len(below) == spread.below[2]


def test_every_system_has_a_line_and_its_name(base, tuned):
    svg = distribution_figure(build_tables([base, tuned])[0]).svg()
    assert ">base<" in svg
    assert ">base · lora<" in svg


def test_utterances_without_reference_have_no_rate():
    results = make_results([("un", "un"), ("", "deux"), ("trois", "x")], language="fr")
    rows = list(csv.DictReader(distribution_figure(build_tables([results])[0]).csv().splitlines()))
    assert [(r["utterance_wer"], r["share_at_most"]) for r in rows] == [("0.0", "0.5"), ("1.0", "1.0")]


def test_of_too_many_systems_the_best_are_drawn(base, tuned):
    worse = [dataclasses.replace(base, run=dataclasses.replace(base.run, name=f"s{i}")) for i in range(12)]
    (table,) = build_tables([*worse, tuned])
    figure = distribution_figure(table)
    drawn = {row[0] for row in figure.rows}
    assert len(drawn) == 12
    assert tuned.run.name in drawn
    assert "The 12 systems with the lowest rates; 1 are not shown." in figure.caption
