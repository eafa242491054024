import dataclasses
import json

import pytest

from asr_headroom.report.damage import aim_of_test, damage_markdown, gain_and_damage
from asr_headroom.report.tables import build_tables, to_json, to_markdown


def changed(results, *, model=None, **run):
    model = {**results.run.model, **(model or {})}
    return dataclasses.replace(results, run=dataclasses.replace(results.run, model=model, **run))


def elsewhere(results, name="elsewhere test", language="zh-CN"):
    return changed(results, data={"name": name, "fingerprint": "2"}, language=language)


def test_one_test_without_guard_needs_no_table(base, tuned):
    assert gain_and_damage(build_tables([base, tuned])) is None
    assert "Gain and damage" not in to_markdown(build_tables([base, tuned]))


def test_systems_that_were_not_fine_tuned_have_no_row(base, bigger):
    tables = build_tables([base, bigger, elsewhere(base), elsewhere(bigger)], base="base")
    assert [len([row for row in table.rows if row.pair]) for table in tables] == [1, 1]
    assert gain_and_damage(tables) is None


def test_each_test_has_a_column_and_the_numbers_are_those_of_the_tables(base, tuned):
    tables = build_tables([base, tuned, elsewhere(tuned), elsewhere(base)])
    damage = gain_and_damage(tables)
    assert damage.heads == (("a test", ""), ("elsewhere test", ""))
    assert not damage.guarded
    (row,) = damage.rows
    assert (row.name, row.base, row.delivered) == ("base · lora", "base", "")
    for cell in row.tests:
        assert (cell.main, cell.verdict, cell.below) == ("−4.17", "better", "WER 5.56 → 1.39 %, better")
        assert cell.small.startswith("−")
    assert "silence" not in damage_markdown(damage)


def test_a_system_missing_on_one_test_leaves_its_cell_empty(base, tuned):
    second = changed(tuned, name="second")
    tables = build_tables([base, tuned, second, elsewhere(base), elsewhere(tuned)])
    assert [[cell.main for cell in row.tests] for row in gain_and_damage(tables).rows] == [
        ["−4.17", "−4.17"],
        ["−4.17", ""],
    ]


def test_guard_facts_add_silence_and_what_was_delivered(base, tuned, guard):
    damage = gain_and_damage(build_tables([base, changed(tuned, model={"guard": guard(0.5)})]))
    assert damage.guarded
    (row,) = damage.rows
    assert (row.delivered, row.reason) == ("half way from the base (0.5)", "it is the best")
    # 6.5 - 12 = -5.5 words per minute, give or take 3: clearly fewer.
    assert (row.nonspeech.main, row.nonspeech.verdict) == ("12.0 → 6.5", "better")
    assert row.nonspeech.below == "words per minute, better"
    (worse,) = gain_and_damage(build_tables([base, changed(tuned, model={"guard": guard(1.0)})])).rows
    assert (worse.nonspeech.main, worse.nonspeech.verdict) == ("12.0 → 20.0", "worse")


def test_silence_that_stays_silent_is_no_open_question(base, tuned, guard):
    facts = guard(0.5)
    facts["sets"][2] |= {key: [0.0] * 3 for key in ("rates", "differences", "ci_low", "ci_high")}
    (row,) = gain_and_damage(build_tables([base, changed(tuned, model={"guard": facts})])).rows
    assert (row.nonspeech.main, row.nonspeech.below) == ("0.0 → 0.0", "words per minute, no change")


def test_a_guarded_system_without_its_base_still_tells_what_was_delivered(tuned, guard):
    damage = gain_and_damage(build_tables([changed(tuned, model={"guard": guard()})]))
    assert damage.heads == ()
    assert [row.delivered for row in damage.rows] == ["half way from the base (0.5)"]


@pytest.mark.parametrize(
    ("name", "language", "aim"),
    [
        ("a test", "fr", "target"),
        ("a/test", "fr-CA", "target"),
        ("read books test", "fr", "same language"),
        ("a test", "zh-CN", "other language"),
        ("a test", None, "target"),
        ("read books test", None, None),
    ],
)
def test_how_a_test_stands_to_the_training(base, tuned, guard, name, language, aim):
    run = changed(tuned, model={"guard": guard()}).run
    (table,) = build_tables([elsewhere(base, name, language)])
    assert aim_of_test(run, table) == aim


def test_without_guard_only_the_name_of_the_dev_set_tells(base, tuned):
    tables = build_tables([base, elsewhere(base)])
    assert [aim_of_test(tuned.run, table) for table in tables] == [None, None]
    named = changed(tuned, model={"dev": "a-validation"}).run
    assert [aim_of_test(named, table) for table in tables] == ["target", None]


def test_what_all_systems_share_stands_in_the_head_and_else_in_the_cell(base, tuned, guard):
    french = changed(tuned, model={"guard": guard()})
    runs = [base, french, elsewhere(base), elsewhere(french)]
    damage = gain_and_damage(build_tables(runs))
    assert damage.heads == (("a test", "target"), ("elsewhere test", "other language"))
    assert {cell.aim for row in damage.rows for cell in row.tests} == {""}
    chinese = changed(tuned, name="chinese", model={"guard": guard(language="zh")})
    damage = gain_and_damage(build_tables([*runs, chinese, elsewhere(chinese)]))
    assert damage.heads == (("a test", ""), ("elsewhere test", ""))
    assert [[cell.aim for cell in row.tests] for row in damage.rows] == [
        ["target", "other language"],
        ["other language", "same language"],
    ]


def test_markdown_and_json_carry_it(base, tuned, guard):
    hostile = changed(tuned, name="a|b <script>", model={"guard": guard(1.0, reason="x|y")})
    tables = build_tables([base, hostile])
    text = to_markdown(tables)
    rows = [line for line in text[text.index("### Gain and damage") :].splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert {line.replace("\\|", "").count("|") for line in rows} == {5}
    assert "a\\|b &lt;script>" in rows[2]
    assert "- a\\|b &lt;script>: delivered fully fine-tuned (1): x\\|y" in text
    plain = json.loads(json.dumps(to_json(tables)))
    assert plain[0]["rows"][1]["guard"] == guard(1.0, reason="x|y")
    assert plain[0]["rows"][1]["comparison"]["delivered"] == {"alpha": 1.0, "reason": "x|y"}
    assert plain[0]["rows"][0]["guard"] is None
