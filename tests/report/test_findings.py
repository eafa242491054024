import dataclasses

import pytest

from asr_headroom.analysis.causes import split_difference
from asr_headroom.report import findings as room
from asr_headroom.report.changed import list_changes
from asr_headroom.report.findings import find_reasons
from asr_headroom.report.sections.blocks import Grid
from asr_headroom.report.sections.causes import causes_section
from asr_headroom.report.sections.kinds import confusions_section, kind_changes, kinds_section, regressions_section
from asr_headroom.report.sections.matrix import matrix_section
from asr_headroom.report.sections.spread import distribution_section, slices_section
from asr_headroom.report.sections.suspects import suspects_section
from asr_headroom.report.tables import build_tables


def found(runs, **options):
    tables = build_tables(runs, **options)
    return tables, find_reasons(tables, list_changes(tables))


def renamed(results, name, **run):
    return dataclasses.replace(results, run=dataclasses.replace(results.run, name=name, **run))


def test_few_comparisons_are_explained_in_full(base, tuned):
    _, findings = found([base, tuned])
    (explanation,) = findings.explanations
    assert findings.splits == (explanation.difference,)
    assert findings.titles == ("base · lora against base on a test",)
    assert findings.matrices == ()
    assert findings.suspects == ()
    assert findings.audit.num_files == 2


def test_many_comparisons_share_the_split_of_their_base(base, tuned):
    runs = [base, *(renamed(tuned, f"t{i}") for i in range(4))]
    tables, findings = found(runs)
    assert findings.explanations == (None,) * 4
    assert len({id(split.base) for split in findings.splits}) == 1
    alone = split_difference(tables[0].rows[3].pair.base, tables[0].rows[3].pair.system)
    for part, same in zip(findings.splits[2].parts, alone.parts, strict=True):
        assert part.difference == pytest.approx(same.difference, abs=1e-12)
        assert part.comparison.interval == same.comparison.interval


def test_beyond_the_limits_less_is_looked_for(base, tuned, monkeypatch):
    monkeypatch.setattr(room, "MAX_EXPLAINED", 0)
    monkeypatch.setattr(room, "MAX_SPLIT", 1)
    monkeypatch.setattr(room, "MAX_AUDITED", 1)
    _, findings = found([base, tuned, renamed(tuned, "other")])
    assert [split is None for split in findings.splits] == [False, True]
    assert len(findings.named_splits) == 1
    assert findings.audit is None


def test_families_that_agree_against_the_reference_are_shown(base):
    """Two families write the same other word in one sentence."""
    rows = [
        dataclasses.replace(p, hypothesis=p.reference.replace("numéro 7 ", "numéro sept ")) for p in base.predictions
    ]
    systems = [
        dataclasses.replace(renamed(base, name, model={"family": name}, normalizer={"id": "fr"}), predictions=rows)
        for name in ("whisper", "other")
    ]
    _, findings = found(systems)
    section = suspects_section(findings.suspects)
    assert section.blocks[0].cells()[0][0].main == "7 → sept"
    assert "whisper" in section.blocks[0].cells()[0][2].main


def test_every_grid_has_a_cell_for_every_head(base, tuned, bigger):
    tables, findings = found([base, tuned, bigger], base="base")
    sections = [
        causes_section(findings.named_splits), kinds_section(findings.explained),
        regressions_section(findings.explained), confusions_section(findings.explained),
        slices_section(findings.explained), matrix_section(findings.matrices), distribution_section(tables),
    ]  # fmt: skip
    grids = [block for section in sections if section for block in section.blocks if isinstance(block, Grid)]
    assert len(grids) > 5
    for grid in grids:
        assert grid.rows
        assert {len(row) for row in grid.rows} == {len(grid.head)}


def test_kinds_add_up_to_the_difference(base, tuned):
    _, findings = found([base, tuned])
    (explanation,) = findings.explanations
    changes = kind_changes(explanation)
    assert sum(change for _, change in changes) == pytest.approx(explanation.difference.difference)
    assert [abs(change) for _, change in changes] == sorted((abs(change) for _, change in changes), reverse=True)
