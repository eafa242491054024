import dataclasses
import json
import shutil

import pytest

from asr_headroom.errors import ResultsError
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.results.schema import RunInfo
from asr_headroom.results.store import ResultsWriter, load_results, pair_results, write_json
from asr_headroom.testing.results import make_results, write_results
from asr_headroom.text.normalize import get_normalizer

TEXTS = [("un chat noir", "un chien"), ("l'été", "l'été"), ("", ""), ("deux", "")]
RUN = RunInfo(name="x", model={"id": "m"}, seed=1)


def predictions(number):
    return list(make_results([(f"phrase {i} été", f"phrase {i}") for i in range(number)]).predictions)


def test_what_is_written_is_read(tmp_path):
    results = make_results(TEXTS, language="fr", seed=3, minutes={"train": 1.5}, parent="base")
    read = load_results(write_results(tmp_path / "deep" / "run", results))
    assert read.run == results.run
    assert list(read.predictions) == list(results.predictions)


def test_counts_are_those_of_the_normaliser(tmp_path):
    results = make_results([("Le CŒUR", "le cœur")])
    assert results.total(get_normalizer("fr")) == ErrorCounts(hits=2)
    assert results.total(get_normalizer("fr"), "character") == ErrorCounts(hits=8)
    assert results.total(get_normalizer("study-zh")) == ErrorCounts(hits=1, substitutions=5)


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\x0b", "\x1c", "\r", "\u00a0"])
def test_a_transcript_may_hold_any_line_separator(tmp_path, mark):
    results = make_results([(f"un{mark}chat", f"un{mark}chien"), ("deux", "deux")])
    directory = write_results(tmp_path / "run", results)
    assert [p.reference for p in load_results(directory).predictions] == [f"un{mark}chat", "deux"]
    with ResultsWriter(directory, results.run) as writer:
        assert writer.finished_ids == {"u0000", "u0001"}


def test_killed_at_any_byte_of_the_last_batch_resumes_without_loss_or_doubling(tmp_path):
    rows = predictions(7)
    whole = tmp_path / "whole"
    with ResultsWriter(whole, RUN) as writer:
        writer.append(rows[:3])
        first = (whole / "predictions.jsonl").stat().st_size
        writer.append(rows[3:])
    content = (whole / "predictions.jsonl").read_bytes()
    for size in range(first, len(content) + 1):
        directory = tmp_path / "cut"
        shutil.copytree(whole, directory)
        (directory / "predictions.jsonl").write_bytes(content[:size])
        with ResultsWriter(directory, RUN) as writer:
            expected = {row.id for row in rows} if size == len(content) else {row.id for row in rows[:3]}
            assert writer.finished_ids == expected, size
            writer.append([row for row in rows if row.id not in writer.finished_ids])
        assert list(load_results(directory).predictions) == rows
        shutil.rmtree(directory)


def test_a_run_killed_before_its_first_batch_starts_again(tmp_path):
    with ResultsWriter(tmp_path, RUN):
        pass
    (tmp_path / "predictions.jsonl").write_bytes(b'{"id": "u0000", "ref')
    with ResultsWriter(tmp_path, RUN) as writer:
        assert writer.finished_ids == set()
        writer.append(predictions(1))
    assert len(load_results(tmp_path).predictions) == 1


def test_a_tail_of_zero_bytes_is_dropped(tmp_path):
    with ResultsWriter(tmp_path, RUN) as writer:
        writer.append(predictions(2))
    with (tmp_path / "predictions.jsonl").open("ab") as file:
        file.write(b"\0" * 100)
    with ResultsWriter(tmp_path, RUN) as writer:
        assert len(writer.finished_ids) == 2


@pytest.mark.parametrize("line", ["garbage", "[1, 2]", '{"id": 7}', "{}"])
def test_damage_before_finished_batches_is_refused_and_nothing_is_cut(tmp_path, line):
    with ResultsWriter(tmp_path, RUN) as writer:
        writer.append(predictions(2)[:1])
        writer.append(predictions(2)[1:])
    path = tmp_path / "predictions.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, lines[1]]) + "\n")
    before = path.read_bytes()
    with pytest.raises(ResultsError, match=r"predictions.jsonl:2: damaged in the middle"):
        ResultsWriter(tmp_path, RUN)
    assert path.read_bytes() == before


def test_a_line_taken_out_of_a_batch_is_noticed(tmp_path):
    with ResultsWriter(tmp_path, RUN) as writer:
        writer.append(predictions(3))
    path = tmp_path / "predictions.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[1:]) + "\n")
    with pytest.raises(ResultsError, match=r"predictions.jsonl:2: damaged in the middle"):
        ResultsWriter(tmp_path, RUN)


def test_an_empty_batch_writes_nothing(tmp_path):
    with ResultsWriter(tmp_path, RUN) as writer:
        writer.append([])
    assert (tmp_path / "predictions.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    "other",
    [
        {"model": {"id": "other"}},
        {"data": {"fingerprint": "other"}},
        {"decoding": {"beam_size": 5}},
        {"normalizer": {"id": "zh"}},
        {"language": "zh"},
        {"seed": 2},
    ],
)
def test_writer_refuses_a_directory_of_another_run(tmp_path, other):
    with ResultsWriter(tmp_path, RUN) as writer:
        writer.append(predictions(1))
    with pytest.raises(ResultsError, match=f"holds another run \\(its {next(iter(other))} is"):
        ResultsWriter(tmp_path, dataclasses.replace(RUN, **other))
    assert load_results(tmp_path).run.data == RUN.data


def test_a_refusal_shows_only_what_differs(tmp_path):
    run = dataclasses.replace(RUN, decoding={"beam_size": 1, "window": "full"})
    with ResultsWriter(tmp_path, run) as writer:
        writer.append(predictions(1))
    other = dataclasses.replace(run, decoding={"beam_size": 1, "window": "fit"})
    with pytest.raises(ResultsError, match=r"its decoding is \{'window': 'full'\}, this one's is \{'window': 'fit'\}"):
        ResultsWriter(tmp_path, other)


def test_a_folder_of_runs_names_them(tmp_path):
    with ResultsWriter(tmp_path / "base" / "small" / "test", RUN) as writer:
        writer.append(predictions(1))
    for folder in (tmp_path / "base", tmp_path / "base" / "small"):
        with pytest.raises(ResultsError, match=r"give one of the runs in it: .*small.test$"):
            load_results(folder)


def test_the_folder_of_a_training_is_told_from_a_run(tmp_path):
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(ResultsError, match="a training has no test results; `asr-headroom bench --models "):
        load_results(tmp_path)


def test_a_run_that_never_predicted_anything_gives_way_to_another(tmp_path):
    with ResultsWriter(tmp_path, RUN) as writer:
        writer.add_minutes("load", 1.0)
    with ResultsWriter(tmp_path, dataclasses.replace(RUN, language="zh")) as writer:
        writer.append(predictions(1))
    run = load_results(tmp_path).run
    assert (run.language, run.minutes) == ("zh", {})


def test_resuming_keeps_the_ledger_and_the_status(tmp_path):
    with ResultsWriter(tmp_path, RUN) as writer:
        writer.add_minutes("transcribe", 1.5)
    with ResultsWriter(tmp_path, RUN) as writer:
        writer.add_minutes("transcribe", 0.5)
        writer.add_minutes("load", 0.25)
        writer.finish()
    run = load_results(tmp_path).run
    assert run.minutes == {"transcribe": 2.0, "load": 0.25}
    assert run.status == "complete"


def test_an_unwritable_place_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResultsError, match="results cannot be written"):
        ResultsWriter(tmp_path / "file" / "run", RUN)


def damage_run(directory, content):
    (directory / "run.json").write_bytes(content)


def damage_predictions(directory, content):
    (directory / "predictions.jsonl").write_bytes(content)


GOOD_LINE = b'{"id": "u1", "reference": "a", "hypothesis": "a", "words": [1,0,0,0], "characters": [1,0,0,0]}\n'


@pytest.mark.parametrize(
    ("damage", "content", "message"),
    [
        (damage_run, b"", r"run\.json: cannot be read"),
        (damage_run, b"{", r"run\.json: cannot be read"),
        (damage_run, b"\xff\xfe", r"run\.json: cannot be read"),
        (damage_run, b"[]", r"run\.json: its schema is None"),
        (damage_run, b'"run"', r"run\.json: its schema is None"),
        (damage_run, b"{}", r"run\.json: its schema is None"),
        (damage_run, b'{"schema": "other/1"}', r"run\.json: its schema is 'other/1'"),
        (damage_run, b'{"schema": "asr-headroom/results/1"}', r"run\.json: .*'name'"),
        (
            damage_run,
            b'{"schema": "asr-headroom/results/1", "name": "x", "model": 3}',
            r"run\.json: .*'model' is 3",
        ),
        (damage_predictions, b"\n", r"jsonl:1: not JSON"),
        (damage_predictions, b"x\n", r"jsonl:1: not JSON"),
        (damage_predictions, GOOD_LINE + b"\xff\n", r"jsonl:2: not JSON"),
        (damage_predictions, GOOD_LINE + b"[]\n", r"jsonl:2: holds a list"),
        (damage_predictions, GOOD_LINE + b"null\n", r"jsonl:2: holds a NoneType"),
        (damage_predictions, GOOD_LINE + b"3\n", r"jsonl:2: holds a int"),
        (damage_predictions, GOOD_LINE + b"{}\n", r"jsonl:2: 'words' is missing"),
        (damage_predictions, GOOD_LINE * 2, r"jsonl:2: id 'u1' stands already in line 1"),
        (
            damage_predictions,
            GOOD_LINE + GOOD_LINE[:-1],
            r"jsonl:2: the last line is cut off.* run the same command",
        ),
        (damage_predictions, GOOD_LINE + b'{"id', r"jsonl:2: the last line is cut off"),
        (damage_predictions, GOOD_LINE.replace(b'"a"', b"null", 1), r"jsonl:1: 'reference' is None"),
        (damage_predictions, GOOD_LINE.replace(b"[1,0,0,0]", b"[1]", 1), r"jsonl:1: 'words' is \[1\]"),
        (damage_predictions, GOOD_LINE.replace(b'"id"', b'"key"'), r"jsonl:1: .*'key'"),
    ],
)
def test_malformed_run_directories(tmp_path, damage, content, message):
    write_results(tmp_path, make_results(TEXTS))
    damage(tmp_path, content)
    with pytest.raises(ResultsError, match=message) as caught:
        load_results(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ResultsError, match=r"no run\.json; give a run directory that"):
        load_results(tmp_path / "nowhere")
    write_results(tmp_path, make_results(TEXTS))
    (tmp_path / "predictions.jsonl").unlink()
    with pytest.raises(ResultsError, match=r"predictions\.jsonl: cannot be read \(No such file"):
        load_results(tmp_path)


def test_pairing_keeps_the_order_of_the_base():
    base = make_results(TEXTS, name="base")
    system = make_results(TEXTS, name="system")
    system = dataclasses.replace(system, predictions=system.predictions[::-1])
    a, b = pair_results(base, system)
    assert [p.id for p in a.predictions] == [p.id for p in b.predictions] == [p.id for p in base.predictions]


def test_pairing_refuses_other_utterances_unless_told():
    base = make_results(TEXTS, name="base")
    part = dataclasses.replace(base, predictions=base.predictions[1:])
    with pytest.raises(ResultsError, match="3 shared, 1 only in the first, 0 only in the second"):
        pair_results(base, part)
    with pytest.raises(ResultsError, match="3 shared, 0 only in the first, 1 only in the second"):
        pair_results(part, base)
    a, b = pair_results(base, part, intersect=True)
    assert len(a.predictions) == len(b.predictions) == 3


def test_pairing_refuses_other_references_even_when_told():
    base = make_results(TEXTS, name="base")
    other = make_results([("un chat gris", "un chat"), *TEXTS[1:]], name="other")
    for intersect in (False, True):
        with pytest.raises(ResultsError, match="utterance 'u0000' has two references: 'un chat noir' in 'base'"):
            pair_results(base, other, intersect=intersect)


def test_pairing_refuses_tests_that_share_nothing():
    base = make_results(TEXTS)
    other = dataclasses.replace(base, predictions=[dataclasses.replace(p, id="x" + p.id) for p in base.predictions])
    for intersect in (False, True):
        with pytest.raises(ResultsError, match="share no utterance"):
            pair_results(base, other, intersect=intersect)


def test_json_is_replaced_whole(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="Circular"):
        write_json(path, loop)
    assert json.loads(path.read_text()) == {"a": 1}
