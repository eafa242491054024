from __future__ import annotations

import pytest

from asr_headroom.analysis.measured import notes_of_run, read_memory, read_speed
from asr_headroom.report.bench_figure import bench_figure
from asr_headroom.report.figures import all_figures
from asr_headroom.report.page import build_page
from asr_headroom.report.tables import build_tables, to_markdown
from asr_headroom.results.schema import RunInfo
from asr_headroom.testing.results import make_results

TEXTS = [
    (f"la phrase numéro {i} a des mots", f"la phrase numéro {i} a des maux" if i % 3 else "rien") for i in range(30)
]


def speed(seconds=5.0, **changes):
    return {
        "seconds": seconds, "audio_seconds": 100.0, "utterances": 32, "batches": 4, "batch_size": 8, "device": "cpu",
        "threads": 1,
    } | changes  # fmt: skip


def system(name, **measured):
    return make_results(TEXTS, name=name, language="fr", model={"parameters": 1_000_000}, measured=measured)


def test_speed_and_memory_are_read():
    run = RunInfo(name="x", measured={"speed": speed(), "memory": {"peak_bytes": 2_500_000_000, "of": "process"}})
    found = read_speed(run)
    assert (found.real_time_factor, found.rows, found.setting) == (0.05, 8.0, (8, "cpu", 1))
    assert read_memory(run).peak_bytes == 2_500_000_000
    assert notes_of_run(run) == []


@pytest.mark.parametrize(
    "record", [{}, {"speed": {}}, {"speed": "fast"}, {"speed": speed(audio_seconds=0)}, {"speed": speed(batches=None)}]
)
def test_what_was_not_measured_is_none(record):
    assert read_speed(RunInfo(name="x", measured=record)) is None


def test_what_must_be_known_is_said():
    measured = {
        "speed": speed(batches=32),
        "memory": {"peak_bytes": 1, "since": "start of the process"},
        "nbest": {"asked": 5, "reason": "it cannot"},
    }
    notes = " ".join(notes_of_run(RunInfo(name="x", measured=measured)))
    assert "1.0 utterances at a time, not 8" in notes
    assert "no oracle: it cannot" in notes
    assert "earlier models included" in notes
    (note,) = notes_of_run(RunInfo(name="x", measured={"batch": {"asked": 16, "fits": 4}}))
    assert "batches of 16 did not fit in memory; decoded 4 at a time" in note


def test_speeds_share_a_column_and_name_their_settings_where_these_differ():
    alike = to_markdown(build_tables([system("a", speed=speed()), system("b", speed=speed(2.0)), system("c")]))
    assert "| 0.05 |" in alike
    assert "batches of up to 8 on 1 CPU thread" in alike
    mixed = to_markdown(build_tables([system("a", speed=speed()), system("b", speed=speed(2.0, batch_size=1))]))
    assert "| 0.05 (8, 1 CPU thread) |" in mixed
    assert "| 0.02 (1, 1 CPU thread) |" in mixed
    assert "different settings are not comparable" in mixed


def test_a_bench_of_unrelated_models_has_no_columns_of_a_comparison():
    runs = [system(name, speed=speed()) for name in "abc"]
    text = to_markdown(build_tables(runs))
    assert "verdict" not in text
    assert "trained" not in text


def test_the_plot_holds_everyone_with_an_interval():
    memory = {"peak_bytes": 2_500_000_000, "of": "process"}
    (table,) = build_tables(
        [system("fast", speed=speed(1.0), memory=memory), system("slow", speed=speed(9.0)), system("file")]
    )
    figure = bench_figure(table)
    assert [row[0] for row in figure.rows] == ["fast", "slow", "file"]
    assert [row[3] for row in figure.rows] == [0.01, 0.09, None]
    assert "Not timed here, at the right: file" in figure.caption
    svg = figure.svg()
    assert all(name in svg for name in ("fast (1.00 M)", "slow (1.00 M)", "file (1.00 M)", "not timed"))
    assert figure.png().startswith(b"\x89PNG")
    low, rate, high = (figure.rows[0][figure.columns.index(name)] for name in ("ci_low", "wer", "ci_high"))
    assert low < rate < high


def test_without_speeds_there_is_no_plot():
    (table,) = build_tables([system("a"), system("b")])
    assert bench_figure(table) is None
    assert not any(stem.startswith("bench") for stem, _ in all_figures([table]))


def test_the_page_shows_both():
    html = build_page([system("fast", speed=speed(1.0)), system("slow", speed=speed(9.0))], title="t", max_clips=0)
    assert "real-time factor" in html
    assert "speed against error rate" in html
