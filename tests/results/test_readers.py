import csv
import hashlib
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.analysis.scoring import compare_results, score_results
from asr_headroom.errors import ConfigError, ResultsError
from asr_headroom.results.pairing import content_ids, pair_results
from asr_headroom.results.readers import read_results, read_several
from asr_headroom.testing.results import make_results, write_results
from asr_headroom.text.normalize import get_normalizer

PAIRS = [("Le chat dort, dit-elle.", "le chat dort dit elle"), ("", "merci"), ("Il fait beau \u2028 ici", "")]
ROWS = [{"ref": r, "hyp": h} for r, h in PAIRS]
NAMED = [{"id": f"u{i}", "ref": r, "hyp": h} for i, (r, h) in enumerate(PAIRS)]


def texts(results):
    return [(p.reference, p.hypothesis) for p in results.predictions]


def ids(results):
    return [p.id for p in results.predictions]


@pytest.fixture
def write(tmp_path):
    def write(content, name="p"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def lines(rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n"


def table(rows, delimiter):
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def columns(rows, names):
    return json.dumps({new: [row[old] for row in rows] for old, new in names.items()})


ONE_FILE = {
    "the study": json.dumps({"model_id": "m", "n": 3, "wer": 0.5, "predictions": ROWS}),
    "the study, indented": json.dumps({"predictions": ROWS, "tag": "x"}, indent=2),
    "another name of the list": json.dumps({"info": [1, 2], "outcome": ROWS}),
    "a list": json.dumps(ROWS),
    "JSON lines": lines(ROWS),
    "lines with a blank one": lines(ROWS[:1]) + "\n" + lines(ROWS[1:]),
    "columns": columns(ROWS, {"ref": "references", "hyp": "predictions"}),
    "by id": json.dumps({row["id"]: {"ref": row["ref"], "hyp": row["hyp"]} for row in NAMED}),
    "by id, inside": json.dumps({"utts": {row["id"]: {"ref": row["ref"], "hyp": row["hyp"]} for row in NAMED}}),
    "commas": table(ROWS, ","),
    "semicolons": table(NAMED, ";"),
    "tabs": table(NAMED, "\t"),
    "bars": table(ROWS, "|"),
    "a mark": b"\xef\xbb\xbf" + lines(ROWS).encode(),
    "UTF-16": lines(ROWS).encode("utf-16"),
    "UTF-32": json.dumps(ROWS).encode("utf-32"),
    "Windows line ends": lines(NAMED).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("case", ONE_FILE)
def test_one_file(case, write):
    results = read_results(write(ONE_FILE[case]))
    assert texts(results) == PAIRS
    assert results.run.kind == "import"
    assert results.run.status == "complete"
    if results.run.data["ids"] == "stated":
        assert ids(results) == ["u0", "u1", "u2"]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "id_"),
    [
        ("text", "pred_text", "audio_filepath"),
        ("reference", "hypothesis", "utt_id"),
        ("ref", "hyp", "id"),
        ("sentence", "prediction", "path"),
        ("target", "output", "index"),
        ("label", "predicted", "key"),
        ("ground_truth", "transcription", "file"),
        ("Reference", "Text", "ID"),
        ("transcript", "ASR output", "Utterance-ID"),
        ("gold", "decoded_text", "segment_id"),
    ],
)
@pytest.mark.parametrize("form", ["json", "csv"])
def test_names_of_columns(reference, hypothesis, id_, form, write):
    rows = [{id_: name, reference: r, hypothesis: h, "wer": 0.5} for name, (r, h) in zip("abc", PAIRS, strict=True)]
    results = read_results(write(lines(rows) if form == "json" else table(rows, ",")))
    assert texts(results) == PAIRS
    assert ids(results) == ["a", "b", "c"]


def test_whatever_else_a_row_says_is_kept(write):
    row = {
        "audio_filepath": "/data/a/001.wav",
        "text": "le chat",
        "pred_text": "le chat",
        "duration": 2.5,
        "speaker": "s1",
        "lang": "fr",
        "snr": 12,
        "truncated": True,
    }
    (prediction,) = read_results(write(json.dumps([row]))).predictions
    assert (prediction.id, prediction.audio, prediction.duration) == ("001.wav", "/data/a/001.wav", 2.5)
    assert (prediction.speaker, prediction.language, prediction.truncated) == ("s1", "fr", True)
    assert prediction.extras == {"snr": 12}


def test_segments_of_one_recording_are_told_apart(write):
    rows = [{"audio_filepath": "a.wav", "offset": t, "duration": 2, "text": "un", "pred_text": "un"} for t in (0, 2)]
    results = read_results(write(lines(rows)))
    assert ids(results) == ["a.wav", "a.wav-2.000"]
    assert results.predictions[1].extras == {"start": 2.0}
    assert results.run.data["ids"] == "audio"


def test_recordings_of_one_name_keep_their_folders(write):
    rows = [{"audio": f"s{i}/001.wav", "ref": "un", "hyp": "un"} for i in (1, 2)]
    assert ids(read_results(write(lines(rows)))) == ["s1/001.wav", "s2/001.wav"]


def test_ids_from_content(write):
    rows = [{"ref": text, "hyp": "x"} for text in ("a", "b", "a")]
    results = read_results(write(json.dumps(rows)))
    digest = hashlib.sha1(b"a").hexdigest()[:10]
    assert ids(results) == [f"{digest}-1", f"{hashlib.sha1(b'b').hexdigest()[:10]}-1", f"{digest}-2"]
    assert results.run.data["ids"] == "content"


TWO_FILES = {
    "trn": ("{text} ({id})", "{text} ({id})"),
    "trn, ids first seen elsewhere": ("{text}\t({id})", "{text} ({id})"),
    "Kaldi": ("{id} {text}", "{id} {text}"),
    "Kaldi with tabs": ("{id}\t{text}", "{id} {text}"),
    "trn against Kaldi": ("{text} ({id})", "{id} {text}"),
    "JSON lines against trn": ('{{"id": "{id}", "pred_text": "{text}"}}', "{text} ({id})"),
    "Kaldi against JSON lines": ("{id} {text}", '{{"id": "{id}", "text": "{text}"}}'),
    "plain": ("{text}", "{text}"),
    "plain against JSON lines": ("{text}", '{{"text": "{text}"}}'),
}


@pytest.mark.parametrize("case", TWO_FILES)
def test_two_files(case, write):
    spoken = [("spk_1", "le chat dort", "le chat"), ("spk_2", "un", ""), ("spk_3", "il fait beau", "il fait chaud")]
    hypothesis, reference = TWO_FILES[case]
    paths = [
        write("\n".join(form.format(id=id_, text=text) for id_, text in pairs) + "\n", name)
        for form, pairs, name in (
            (hypothesis, [(id_, h) for id_, _, h in spoken], "hyp"),
            (reference, [(id_, r) for id_, r, _ in spoken], "ref"),
        )
    ]
    results = read_results(paths[0], reference=paths[1])
    assert texts(results) == [(r, h) for _, r, h in spoken]
    if "plain" not in case:
        assert ids(results) == ["spk_1", "spk_2", "spk_3"]
    assert results.run.name == "hyp"


def test_the_order_of_two_files_with_ids_may_differ(write):
    results = read_results(write("b (2)\na (1)\n", "h"), reference=write("A (1)\nB (2)\n", "r"))
    assert texts(results) == [("A", "a"), ("B", "b")]


def test_blank_lines_are_utterances(write):
    # 60 % of words wrong; dropping the blank lines would shift the rest and make it 100 %.
    references = write("un deux\ntrois\nquatre cinq\n", "r")
    results = read_results(write("un deux\n\nquatre six\n", "h"), reference=references)
    assert texts(results) == [("un deux", "un deux"), ("trois", ""), ("quatre cinq", "quatre six")]
    assert results.total(get_normalizer("fr")).errors == 2
    assert texts(read_results(write("\n\na\n", "h"), reference=write("a\nb\nc\n", "r")))[2] == ("c", "a")


@pytest.mark.parametrize(
    ("hypothesis", "reference"),
    [
        ("chat noir\nchien blanc\n", "chat noir\nchien blond\n"),
        ("7 chats\nil a 3 ans\n", "7 chats\nil a 3 ans\n"),
        ("2019年\n2020年\n", "2019年\n2020年\n"),
    ],
)
def test_plain_text_is_not_taken_for_ids(hypothesis, reference, write):
    results = read_results(write(hypothesis, "h"), reference=write(reference, "r"))
    assert texts(results) == list(zip(reference.splitlines(), hypothesis.splitlines(), strict=True))


STM = """;; a comment
rec A spk1 0.00 2.00 <o,f0> le chat dort
rec A spk2 2.50 4.00 <o,f0> il fait beau
rec A spk1 4.00 5.00 <o,f0> IGNORE_TIME_SEGMENT_IN_SCORING
rec A spk1 6.00 7.00 <o,f0>
"""


def ctm(*words):
    return "".join(f"rec A {begin} 0.2 {word} 0.9\n" for begin, word in words)


def test_words_go_to_the_segment_of_their_midpoint(write):
    words = ctm((0.1, "le"), (0.5, "chat"), (1.95, "dors"), (2.45, "il"), (3, "fait"), (4.2, "bruit"), (5.5, "euh"))
    results = read_results(write(words, "h"), reference=write(STM, "r"))
    # "dors" has its midpoint at 2.05 s and lies between segments, as "euh" does; "bruit" is not to be scored.
    assert texts(results) == [("le chat dort", "le chat"), ("il fait beau", "il fait"), ("", ""), ("", "dors euh")]
    assert [p.speaker for p in results.predictions] == ["spk1", "spk2", "spk1", "inter_segment_gap"]
    assert results.predictions[1].duration == 1.5
    notes = " / ".join(results.run.data["notes"])
    assert "2 words lie between segments" in notes
    assert "1 segments are marked ignore_time_segment_in_scoring" in notes
    assert "1 words in segments that are not to be scored" in notes


def test_systems_with_and_without_words_in_gaps_are_compared(write):
    reference = write(STM, "r")
    base = read_results(write(ctm((0.1, "le"), (5.5, "euh")), "a"), reference=reference)
    system = read_results(write(ctm((0.1, "le"), (0.5, "chat")), "b"), reference=reference)
    for pair in (pair_results(base, system), pair_results(system, base)):
        assert ids(pair[0]) == ids(pair[1])
        assert len(ids(pair[0])) == 4


def test_a_ctm_by_utterance_needs_no_times(write):
    words = "u1 1 0.5 0.2 chat\nu1 1 0.0 0.2 le\nu2 1 0 0.1 un\n"
    results = read_results(write(words, "h"), reference=write("le chat (u1)\nun (u2)\n", "r"))
    assert texts(results) == [("le chat", "le chat"), ("un", "un")]


def test_alternatives_are_said_not_resolved(write):
    results = read_results(write("un deux (a)\n", "h"), reference=write("{ un / 1 } deux (a)\n", "r"))
    assert "1 texts hold alternatives" in results.run.data["notes"][0]


def test_a_run_is_a_run(tmp_path):
    written = write_results(tmp_path / "run", make_results([("un", "un")], language="fr"))
    for source in (written, written / "run.json", written / "predictions.jsonl"):
        assert read_results(source).run.kind == "bench"
    assert read_results(written, language="German").run.language == "de"


def test_predictions_without_their_run_are_rows(tmp_path, write):
    written = write_results(tmp_path / "run", make_results([("un", "un"), ("deux", "trois")]))
    content = (written / "predictions.jsonl").read_bytes()
    results = read_results(write(content, "predictions.jsonl"))
    assert (ids(results), texts(results)) == (["u0000", "u0001"], [("un", "un"), ("deux", "trois")])


@pytest.mark.parametrize(
    ("head", "row", "flag", "language", "origin"),
    [
        ({"language": "French"}, {}, None, "fr", "stated in the file"),
        ({"lang_profile": "fleurs_fr"}, {}, None, "fr", "stated in the file"),
        ({"lang_profile": "cv21_zh"}, {}, None, "zh", "stated in the file"),
        ({"language": "de_de"}, {}, None, "de-DE", "stated in the file"),
        ({"language": "auto"}, {"lang": "it"}, None, "it", "stated in the rows"),
        ({"language": "fr"}, {}, "en", "en", "asked for"),
        ({}, {}, None, "fr", "guessed from the references"),
        ({}, {"ref": "xyz"}, None, None, "unknown"),
    ],
)
def test_language(head, row, flag, language, origin, write):
    rows = [{"ref": "le chat est sur la table et il dort", "hyp": "le chat"} | row]
    results = read_results(write(json.dumps({**head, "predictions": rows})), language=flag)
    assert (results.run.language, results.run.data["language_from"]) == (language, origin)
    assert bool(results.run.data["notes"]) == (flag is not None or language is None)


def test_rows_in_several_languages_are_said(write):
    rows = [{"ref": "le chat", "hyp": "le chat", "lang": "fr"}, {"ref": "the cat", "hyp": "the cat", "lang": "en"}]
    results = read_results(write(lines(rows)))
    assert results.run.language is None
    assert "its rows are in en, fr" in results.run.data["notes"][0]


def test_no_such_language(write):
    with pytest.raises(ConfigError, match="Klingon"):
        read_results(write(lines(ROWS)), language="Klingon")


def test_a_file_that_states_more_than_it_holds(write):
    results = read_results(write(json.dumps({"n": 500, "predictions": ROWS})))
    assert any("states n = 500 but holds 3" in warning for warning in score_results(results).warnings)


def test_shared_utterances_of_two_files_on_request(write):
    paths = write("a (1)\nb (2)\n", "h"), write("a (2)\nc (3)\n", "r")
    with pytest.raises(ResultsError, match="--intersect"):
        read_results(paths[0], reference=paths[1])
    results = read_results(paths[0], reference=paths[1], intersect=True)
    assert texts(results) == [("a", "b")]
    assert (
        "1 references without hypothesis and 1 hypotheses without reference are left out" in results.run.data["notes"]
    )


def test_a_run_and_a_file_without_ids_are_paired_by_what_was_said(write):
    spoken = [(f"phrase {i % 4}", f"phrase {i % 3}") for i in range(8)]
    run = make_results(spoken, language="fr")
    file = read_results(write(json.dumps([{"ref": r, "hyp": r} for r, _ in spoken])), language="fr")
    for base, system in ((run, file), (file, run)):
        pair = compare_results(base, system)
        assert pair.paired_by == "reference text"
        assert pair.comparison.num_utterances == 8
        assert pair.left_out == 0
    assert compare_results(run, file).comparison.difference == -compare_results(file, run).comparison.difference


ANY_TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\x00"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=1, max_size=6))
@pytest.mark.parametrize("form", ["list", "lines", "columns", "commas", "tabs"])
def test_no_text_is_lost_or_changed(form, pairs, tmp_path_factory):
    rows = [{"id": str(i), "ref": r, "hyp": h} for i, (r, h) in enumerate(pairs)]
    content = {
        "list": lambda: json.dumps(rows),
        "lines": lambda: lines(rows),
        "columns": lambda: columns(rows, {"id": "id", "ref": "ref", "hyp": "hyp"}),
        "commas": lambda: table(rows, ","),
        "tabs": lambda: table(rows, "\t"),
    }[form]()
    path = tmp_path_factory.getbasetemp() / f"any-{form}"
    path.write_bytes(content.encode())
    assert texts(read_results(path)) == pairs


@settings(max_examples=60, deadline=None)
@given(spoken=st.lists(ANY_TEXT, max_size=8))
def test_content_ids_are_unique(spoken):
    found = content_ids(spoken)
    assert len(set(found)) == len(found) == len(spoken)


def test_a_trn_may_have_spaces_in_its_ids(write):
    references = write("le chat dort (locuteur 1, phrase 1)\nil fait beau (locuteur 1, phrase 2)\n", "ref.trn")
    hypotheses = write("il fait beau (locuteur 1, phrase 2)\nle chat dors (locuteur 1, phrase 1)\n", "hyp.trn")
    results = read_results(hypotheses, reference=references)
    assert ids(results) == ["locuteur 1, phrase 1", "locuteur 1, phrase 2"]
    assert texts(results) == [("le chat dort", "le chat dors"), ("il fait beau", "il fait beau")]


def test_asides_at_the_ends_of_lines_are_no_ids(write):
    asides = "bonjour (rires du public)\nau revoir (rires du public)\n"
    results = read_results(write("bonjour\nau revoir\n", "hyp"), reference=write(asides, "ref"))
    assert texts(results)[0] == ("bonjour (rires du public)", "bonjour")


def test_references_go_to_those_of_several_that_have_none(write, tmp_path):
    references = write("".join(f"{r} (u{i})\n" for i, (r, _) in enumerate(PAIRS)).replace("\u2028 ", ""), "ref.trn")
    hypotheses = write("".join(f"{h} (u{i})\n" for i, (_, h) in enumerate(PAIRS)), "hyp.trn")
    own = write(lines([row | {"ref": row["ref"].replace("\u2028 ", "")} for row in NAMED]), "own.jsonl")
    both = read_several([own, hypotheses], reference=references)
    assert texts(both[0]) == texts(both[1])
    base, system = pair_results(*both)
    assert ids(base) == ids(system) == ["u0", "u1", "u2"]
    with pytest.raises(ResultsError, match="hold references already"):
        read_several([own, own], reference=references)


def test_a_header_in_both_plain_files_is_said(write):
    results = read_results(write("text\nun chat\n", "hyp"), reference=write("text\nun chat\n", "ref"))
    assert len(results.predictions) == 2
    assert sum("'text' looks like the name of a column" in note for note in results.run.data["notes"]) == 2


def test_a_programs_word_for_a_missing_text_is_said(write):
    rows = [{"ref": "un chat", "hyp": "nan"}, {"ref": "nan", "hyp": "nan"}, {"ref": "Nan", "hyp": "non"}]
    notes = read_results(write(lines(rows)), language="fr").run.data["notes"]
    assert [note.split(": ", 1)[1][:22] for note in notes] == ["1 hypothesis is 'nan',"]
    assert read_results(write(lines(ROWS)), language="fr").run.data["notes"] == []


def test_standard_input_is_a_file(write, monkeypatch, tmp_path):
    monkeypatch.setattr("asr_headroom.results.readers._STANDARD_INPUT", write(lines(ROWS)))
    assert texts(read_results("-")) == PAIRS
