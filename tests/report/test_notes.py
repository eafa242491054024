import dataclasses

import pytest

from asr_headroom.report.notes import ledger, provenance
from asr_headroom.report.tables import build_tables, to_markdown, trained_once

TRAINING = {"train load": 0.25, "train setup": 0.0, "train train": 3.0, "train guard": 1.0, "train save": 0.01}


def on(results, test, minutes, **run):
    run = dataclasses.replace(results.run, data={"name": test, "fingerprint": test}, minutes=minutes, **run)
    return dataclasses.replace(results, run=run)


def test_the_minutes_of_one_training_are_counted_once(base, tuned):
    tables = build_tables(
        [
            on(base, "near", {"transcribe": 0.5}),
            on(tuned, "near", {**TRAINING, "transcribe": 0.5}),
            on(tuned, "far", {**TRAINING, "transcribe": 0.75}),
        ]
    )
    assert trained_once(tables)
    assert to_markdown(tables).endswith("they were spent once.\n")
    first, second = ledger(tables)
    assert (first["name"], first["total"]) == ("base", "0.5")
    assert (second["name"], second["test"]) == ("base · lora", "near, far")
    # 0.25 + 3 + 1 + 0.01 of training and 0.5 + 0.75 of transcribing.
    assert float(second["total"]) == pytest.approx(5.51, abs=0.05)
    assert [(stage["name"], stage["minutes"]) for stage in second["stages"]] == [
        ("train load", "0.2"),
        ("train steps", "3.0"),
        ("train guard", "1.0"),
        ("train save", "<0.1"),
        ("transcribe near", "0.5"),
        ("transcribe far", "0.8"),
    ]
    assert sum(float(stage["share"]) for stage in second["stages"]) == pytest.approx(100, abs=0.05)


def test_two_trainings_of_one_name_are_two(base, tuned):
    again = on(tuned, "far", {**TRAINING, "train train": 4.0})
    rows = ledger(build_tables([on(tuned, "near", TRAINING), again]))
    assert [row["total"] for row in rows] == ["4.3", "5.3"]


def test_a_training_on_one_test_needs_no_note(base, tuned):
    tables = build_tables([on(base, "near", {}), on(tuned, "near", TRAINING)])
    assert not trained_once(tables)
    assert "spent once" not in to_markdown(tables)


def test_provenance_tells_the_guards_reason_and_not_its_numbers(tuned, guard):
    run = dataclasses.replace(tuned.run, model={**tuned.run.model, "guard": guard(0.5)})
    (table,) = build_tables([dataclasses.replace(tuned, run=run)])
    facts = dict(provenance(table, table.rows[0])["facts"])
    assert facts["model guard"] == "delivered half way from the base (0.5): it is the best"
    assert not any("differences" in text for text in facts.values())
