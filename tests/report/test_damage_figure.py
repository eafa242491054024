import csv
import dataclasses

import pytest

from asr_headroom.report.damage_figure import damage_figure
from asr_headroom.report.tables import build_tables


def moved(results, name):
    run = dataclasses.replace(results.run, data={"name": name, "fingerprint": name})
    return dataclasses.replace(results, run=run)


def trained_on(results, dev):
    return dataclasses.replace(results, run=dataclasses.replace(results.run, model={**results.run.model, "dev": dev}))


def worse(results):
    """As good as the base on nothing: every second word of every sentence is lost."""
    rows = [dataclasses.replace(p, hypothesis=" ".join(p.reference.split()[::2])) for p in results.predictions]
    run = dataclasses.replace(results.run, normalizer={"id": "fr"})
    return dataclasses.replace(results, run=run, predictions=rows)


def test_gain_and_damage_are_the_differences_of_the_tables(base, tuned):
    tables = build_tables([base, tuned, moved(base, "far"), moved(worse(tuned), "far")])
    (row,) = csv.DictReader(damage_figure(tables).csv().splitlines())
    gain, damage = (table.rows[1].pair.comparison for table in tables)
    assert (row["system"], row["target"], row["other"]) == ("base · lora", "a test", "far")
    assert float(row["gain"]) == pytest.approx(gain.difference)
    assert float(row["damage"]) == pytest.approx(damage.difference)
    assert float(row["gain"]) < 0 < float(row["damage"])
    assert float(row["damage_ci_low"]) == pytest.approx(damage.interval.low)


def test_the_test_that_was_trained_for_is_the_gain_wherever_it_stands(base, tuned):
    far = [trained_on(tuned, "home dev"), moved(trained_on(worse(tuned), "home dev"), "home test")]
    tables = build_tables([base, far[0], moved(base, "home test"), far[1]])
    (row,) = csv.DictReader(damage_figure(tables).csv().splitlines())
    assert (row["target"], row["other"]) == ("home test", "a test")


def test_one_test_has_no_damage(base, tuned):
    assert damage_figure(build_tables([base, tuned])) is None


def test_both_axes_say_which_side_is_better(base, tuned):
    svg = damage_figure(build_tables([base, tuned, moved(base, "far"), moved(tuned, "far")])).svg()
    assert "points on a test, left is better" in svg
    assert "points on far, down is better" in svg
    assert ">base · lora<" in svg
