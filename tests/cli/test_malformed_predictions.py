"""Malformed prediction files and impossible options: a clear error each, no traceback, no silent drop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr_headroom.cli.main import main
from asr_headroom.testing.results import make_results, write_results

ROW = '{"id": "u1", "ref": "le chat dort", "hyp": "le chat dors"}'
PLAIN = "le chat dort\nil fait beau\n"


def rows(*plain: object) -> str:
    return "\n".join(json.dumps(row) for row in plain) + "\n"


def good(**changes: object) -> dict[str, object]:
    return {"id": "u1", "ref": "le chat dort", "hyp": "le chat dors"} | changes


def without(name: str) -> dict[str, object]:
    row = good(id="u2")
    del row[name]
    return row


# One file for `score`: its name, its content, and what the error must say.
FILES: dict[str, tuple[str, str | bytes, tuple[str, ...]]] = {
    "empty": ("p.json", "", ("p.json: is empty", "one text per utterance")),
    "only white space": ("p.txt", " \n\n ", ("is empty",)),
    "only a mark": ("p.json", b"\xef\xbb\xbf", ("is empty",)),
    "only a UTF-16 mark": ("p.json", b"\xff\xfe", ("is empty",)),
    "binary": ("p.bin", bytes(range(256)) * 4, ("is not text", "zero bytes")),
    "a picture": ("p.json", b"\x89PNG\r\n\x1a\n" + bytes(50), ("is not text",)),
    "UTF-16 without a mark": ("p.json", ROW.encode("utf-16-le"), ("is not text", "save it as UTF-8")),
    "Latin-1": ("p.jsonl", (ROW + "\n" + ROW.replace("chat", "été")).encode("latin-1"), ("p.jsonl:2: is not UTF-8",)),
    "cut UTF-16": ("p.json", b"\xff\xfe" + ROW.encode("utf-16-le")[:-1], ("is not UTF-16",)),
    "cut JSON": ("p.json", '{"predictions": [' + ROW, ("p.json:1: not JSON", "may be cut")),
    "cut JSON in line 3": ("p.json", '{"predictions": [\n' + ROW + ",\n{", ("p.json:3: not JSON",)),
    "cut JSON lines": ("p.jsonl", ROW + '\n{"id": "u2", "ref', ("p.jsonl:2: not JSON",)),
    "bad first line": ("p.jsonl", '{"x}\n' + ROW, ("p.jsonl:1: not JSON",)),
    "a comma too many": ("p.json", "[" + ROW + ",]", ("p.json:1: not JSON",)),
    "single quotes": ("p.json", ROW.replace('"', "'"), ("p.json:1: not JSON",)),
    "JSON after JSON": ("p.json", "[" + ROW + "] []", ("p.json:1: not JSON",)),
    "nested too deep": ("p.json", "[" * 100_000, ("nested too deep",)),
    "a huge number": ("p.json", '{"n": ' + "9" * 5000 + "}", ("not JSON that can be used",)),
    "a number alone": ("p.json", "42", ("give the references with --reference",)),
    "a list of numbers": ("p.json", "[1, 2]", ("p.json", "--reference")),
    "a list of lists": ("p.json", '[["a", "b"]]', ("row 1: holds a list where an object is needed",)),
    "an empty list": ("p.json", "[]", ("holds no rows",)),
    "an empty object": ("p.json", "{}", ("no list of utterances in it (there are: nothing)",)),
    "empty predictions": ("p.json", '{"predictions": []}', ("'predictions' is empty",)),
    "predictions are null": ("p.json", '{"predictions": null}', ("'predictions' is empty",)),
    "predictions are a number": ("p.json", '{"predictions": 5}', ("no list of utterances",)),
    "no predictions": ("p.json", '{"wer": 0.1, "model": "m"}', ("no list of utterances", "'wer', 'model'")),
    "a null among rows": ("p.json", "[" + ROW + ", null]", ("row 2: holds null",)),
    "a string among lines": ("p.jsonl", ROW + '\n"text"\n', ("p.jsonl:2: holds a string",)),
    "null hypothesis": ("p.jsonl", rows(good(hyp=None), good(id="u2")), ("p.jsonl:1: 'hyp' is null", "write ''")),
    "null reference": ("p.jsonl", rows(good(), good(id="u2", ref=None)), ("p.jsonl:2: 'ref' is null",)),
    "number as hypothesis": ("p.jsonl", rows(good(), good(id="u2", hyp=42)), ("p.jsonl:2: 'hyp' is 42, a number",)),
    "NaN as hypothesis": ("p.jsonl", rows(good(), good(id="u2", hyp=float("nan"))), ("'hyp' is nan, not a number",)),
    "true as hypothesis": ("p.jsonl", rows(good(), good(id="u2", hyp=True)), ("'hyp' is True, true or false",)),
    "n-best as hypothesis": ("p.jsonl", rows(good(), good(id="u2", hyp=["a", "b"])), ("the best of them",)),
    "object as hypothesis": ("p.jsonl", rows(good(), good(id="u2", hyp={"text": "a"})), ("an object; write a string",)),
    "missing hypothesis": ("p.jsonl", rows(good(), without("hyp")), ("p.jsonl:2: no 'hyp', which other rows have",)),
    "missing reference": ("p.jsonl", rows(good(), without("ref")), ("p.jsonl:2: no 'ref', which other rows have",)),
    "missing id": ("p.jsonl", rows(good(), without("id")), ("p.jsonl:2: no id, which other rows have",)),
    "the first id is missing": ("p.jsonl", rows(without("id"), good()), ("p.jsonl:1: no id",)),
    "doubled id": ("p.jsonl", rows(good(), good()), ("p.jsonl:2: id 'u1' stands already in", "p.jsonl:1")),
    "doubled number": ("p.json", json.dumps([good(id=7), good(id="7")]), ("row 2: id '7' stands already",)),
    "id is a list": ("p.jsonl", rows(good(), good(id=[1])), ("p.jsonl:2: 'id' is [1]",)),
    "id is a fraction": ("p.jsonl", rows(good(), good(id=1.5)), ("'id' is 1.5",)),
    "id is true": ("p.jsonl", rows(good(), good(id=True)), ("'id' is True",)),
    "doubled key": ("p.json", '[{"ref": "a", "hyp": "b", "hyp": "c"}]', ("the key 'hyp' occurs twice",)),
    "doubled top key": ("p.json", '{"n": 1, "n": 2, "predictions": [' + ROW + "]}", ("the key 'n' occurs twice",)),
    "keys that differ in capitals": ("p.json", '[{"ref": "a", "hyp": "b", "HYP": "c"}]', ("differ in capitals",)),
    "half a surrogate": ("p.jsonl", rows(good(), good(id="u2", hyp="a\ud800")), ("half a surrogate pair",)),
    "half a surrogate in an id": ("p.jsonl", rows(good(), good(id="\ud800")), ("p.jsonl:2: 'id' holds half",)),
    "two references": ("p.jsonl", rows(good(reference="x"), good()), ("'ref' and 'reference' could each be",)),
    "two hypotheses": ("p.jsonl", rows(good(pred_text="x"), good()), ("'hyp' and 'pred_text' could each be",)),
    "text and transcript": ("p.jsonl", rows({"text": "a", "transcript": "b"}, {}), ("name them 'reference' and",)),
    "one hypothesis, two others": (
        "p.jsonl", rows({"text": "a", "sentence": "b", "hyp": "c"}, {}), ("could each be the reference",)
    ),
    "hypotheses alone": ("p.jsonl", rows({"id": 1, "hyp": "a"}, {"id": 2, "hyp": "b"}), ("--reference FILE",)),
    "references alone": ("p.jsonl", rows({"ref": "a", "id": 1}, {"ref": "b", "id": 2}), ("holds no hypotheses",)),
    "no text at all": ("p.jsonl", rows({"id": 1, "wer": 0.1}, {"id": 2}), ("no text in it (there are: 'id', 'wer')",)),
    "negative duration": ("p.jsonl", rows(good(duration=-1), good(id="u2")), ("p.jsonl:1: 'duration' is -1",)),
    "duration in words": ("p.jsonl", rows(good(duration="2 s"), good(id="u2")), ("'duration' is '2 s'",)),
    "endless duration": ("p.jsonl", rows(good(duration=float("inf")), good(id="u2")), ("'duration' is inf",)),
    "columns of different length": ("p.json", '{"refs": ["a", "b"], "hyps": ["a"]}', ("'refs' 2, 'hyps' 1",)),
    "columns with a number": ("p.json", '{"refs": ["a", "b"], "hyps": ["a", 3]}', ("row 2: 'hyps' is 3",)),
    "entries that are numbers": ("p.json", '{"u1": {"ref": "a", "hyp": "b"}, "u2": 3}', ("no list of utterances",)),
    "table without rows": ("p.csv", "ref,hyp\n", ("a header and no rows",)),
    "table without header": ("p.csv", "le chat,le chat\nun,un\n", ("--reference FILE", "name the columns")),
    "row with a field too many": ("p.csv", "id,ref,hyp\n1,a,b\n2,a,b,c\n", ("p.csv:3: has 4 fields", "header has 3")),
    "row with a field too few": ("p.tsv", "id\tref\thyp\n1\ta\tb\n2\ta\n", ("p.tsv:3: has 2 fields",)),
    "quote never closed": ("p.csv", 'id,ref,hyp\n1,"a,b\n2,a,b\n', ("not a row of the table",)),
    "column twice": ("p.csv", "id,ref,hyp,hyp\n1,a,b,c\n", ("p.csv:1: the columns 'hyp' occur twice",)),
    "table with two references": ("p.csv", "ref,reference,hyp\na,b,c\n", ("could each be the reference",)),
    "table with a doubled id": ("p.csv", "id,ref,hyp\n1,a,b\n1,c,d\n", ("p.csv:3: id '1' stands already",)),
    "table with a missing id": ("p.csv", "id,ref,hyp\n1,a,b\n,c,d\n", ("p.csv:3: no id",)),
    "trn alone": ("p.trn", "le chat (a-1)\nil fait (a-2)\n", ("read as sclite trn", "--reference FILE")),
    "STM alone": ("p.stm", "rec A spk 0.0 1.0 <o> le chat\n", ("read as STM", "give it with --reference")),
    "CTM alone": ("p.ctm", "rec A 0.0 0.5 chat\n", ("read as CTM", "--reference FILE")),
    "plain text alone": ("p.txt", PLAIN, ("read as plain text, line by line", "--reference FILE")),
}  # fmt: skip

# Two files for `score HYPOTHESES --reference REFERENCES`, and what the error must say.
PAIRS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "a line too few": ("le chat dort\n", PLAIN, ("1 hypotheses for 2 references", "blank lines count")),
    "a blank line too many": (PLAIN + "\n", PLAIN, ("3 hypotheses for 2 references",)),
    "empty hypotheses": ("", PLAIN, ("hyp: is empty",)),
    "empty references": (PLAIN, "\n\n", ("ref: is empty",)),
    "trn, one missing": ("a (u1)\n", "a (u1)\nb (u2)\n", ("1 references have no hypothesis ('u2')", "--intersect")),
    "trn, one too many": ("a (u1)\nb (u2)\n", "a (u1)\n", ("1 hypotheses no reference",)),
    "trn, other test": ("a (u1)\n", "a (x1)\n", ("none of its 1 ids (such as 'u1') is among the 1",)),
    "trn, doubled": ("a (u1)\nb (u1)\n", "a (u1)\nb (u2)\n", ("hyp:2: id 'u1' stands already in", "hyp:1")),
    "trn, doubled reference": ("a (u1)\n", "a (u1)\nb (u1)\n", ("ref:2: id 'u1' stands already",)),
    "trn against plain": ("a (u1)\nb (u2)\n", PLAIN, ("names its utterances, but", "does not")),
    "plain against trn": (PLAIN, "a (u1)\nb (u2)\n", ("names its utterances, but", "does not")),
    "Kaldi, one missing": ("utt_1 a\n", "utt_1 a\nutt_2 b c\n", ("1 references have no hypothesis ('utt_2')",)),
    "Kaldi, other test": ("x_1 a b\nx_2 c d\n", "y_1 a b\ny_2 c d\n", ("none of its 2 ids",)),
    "JSON with references": (ROW, PLAIN, ("holds references already; leave --reference away",)),
    "references without text": ("a (u1)\n", '{"id": "u1", "wer": 1}\n{"id": "u2"}', ("ref:1: no text in it",)),
    "STM that ends before it begins": ("rec A 0.1 0.2 a\n", "rec A spk 2.0 1.0 a b\n", ("ref:1: ends at 1 s before",)),
    "CTM of another recording": ("other A 0.1 0.2 a\n", "rec A spk 0.0 1.0 a\n", ("'other' channel 'A' is not in",)),
    "CTM of another channel": ("rec B 0.1 0.2 a\n", "rec A spk 0.0 1.0 a\n", ("name recordings and channels alike",)),
    "CTM with alternatives": ("rec A * * <ALT_BEGIN>\nrec A 0 1 a\n", "rec A spk 0 1 a\n", ("hyp",)),
    "CTM with alternatives and times": ("rec A 0 0 <ALT_BEGIN>\n", "rec A spk 0 1 a\n", ("states alternatives",)),
    "CTM with two words": ("rec A 0 1 a b c d e f\n", "rec A spk 0 2 a\n", ("a CTM has one word per line",)),
    "a header in one of two": ("hypothesis\n" + PLAIN, PLAIN, ("hyp:1: 'hypothesis' looks", "take it out")),
    "doubled segment": ("rec A 0 1 a\n", "rec A s 0 1 a\nrec A s 0 1 a\n", ("ref:2: id", "stands already")),
}  # fmt: skip


def check(words: list[object], *messages: str, capsys, code: int = 1) -> str:
    found = main([str(word) for word in words])
    captured = capsys.readouterr()
    assert found == code, captured.out + captured.err
    assert "Traceback" not in captured.err
    assert not captured.out
    for message in messages:
        assert message in captured.err
    return captured.err


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("case", FILES)
def test_one_file(case, tmp_path, capsys):
    name, content, messages = FILES[case]
    path = write(tmp_path / name, content)
    said = check(["score", path], *messages, capsys=capsys)
    assert name in said


@pytest.mark.parametrize("case", PAIRS)
def test_two_files(case, tmp_path, capsys):
    hypotheses, references, messages = PAIRS[case]
    paths = write(tmp_path / "hyp", hypotheses), write(tmp_path / "ref", references)
    check(["score", paths[0], "--reference", paths[1]], *messages, capsys=capsys)


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    sentences = [f"phrase numéro {i} avec des mots" for i in range(8)]
    texts = [(s, s.replace("mots", "maux")) for s in sentences]
    other = [(s + " ici", s) for s in sentences]
    found = {
        "run": write_results(tmp_path / "run", make_results(texts, name="run", language="fr")),
        "trn": write(tmp_path / "a.trn", "".join(f"{h} (u{i})\n" for i, (_, h) in enumerate(texts))),
        "keywords": write(tmp_path / "k.txt", "mots\nnuméro 3\n"),
        "odd keywords": write(tmp_path / "o.txt", "mots\n«»\n"),
        "other keywords": write(tmp_path / "x.txt", "girafe\n"),
        "no keywords": write(tmp_path / "n.txt", "# nothing\n\n"),
    }
    for name, pairs in (("good", texts), ("short", texts[:5]), ("other", other)):
        lines = [json.dumps({"ref": r, "hyp": h}) for r, h in pairs]
        found[name] = write(tmp_path / f"{name}.jsonl", "\n".join(lines))
    found["silence"] = write(tmp_path / "silence.jsonl", rows(good(ref=""), good(id="u2", ref=" … ")))
    with_ids = [json.dumps({"id": f"u{i:04}", "ref": r, "hyp": h}) for i, (r, h) in enumerate(other)]
    found["ids"] = write(tmp_path / "ids.jsonl", "\n".join(with_ids))
    renamed = [json.dumps({"id": f"x{i}", "ref": r, "hyp": h}) for i, (r, h) in enumerate(texts)]
    found["renamed"] = write(tmp_path / "renamed.jsonl", "\n".join(renamed))
    found["folder"] = tmp_path
    return found


# Words of a command, {names} of files in it, its exit code, and what it must say.
COMMANDS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "no such file": ("score {folder}/nothing.json", 1, ("nothing.json: no run.json", "no such file")),
    "a folder that is no run": ("score {folder}", 1, ("no run.json; give one of the runs in it",)),
    "a run with references": ("score {run} --reference {trn}", 1, ("leave --reference away",)),
    "no such reference": ("score {trn} --reference {folder}/nothing", 1, ("nothing: no such file",)),
    "a folder as reference": ("score {trn} --reference {run}", 1, ("run: no such file",)),
    "no such language": ("score {good} --language Frensh", 2, ("'Frensh'", "did you mean 'french'")),
    "no language of a run": ("score {run} --language Klingon", 2, ("'Klingon'",)),
    "no such normaliser": ("score {good} --normalizer study-fx", 2, ("did you mean 'study-fr'",)),
    "a blank placeholder": ("score {good} --empty-as=", 2, ("placeholder for empty texts is itself empty",)),
    "nothing was said": ("score {silence}", 2, ("references are empty after normalising",)),
    "no such cluster": ("score {good} --cluster session", 2, ("invalid choice: 'session'",)),
    "speakers that are not known": ("score {good} --cluster speaker", 2, ("8 of 8 utterances name no speaker",)),
    "no keyword file": ("score {good} --keywords {folder}/no.txt", 1, ("no.txt: cannot be read",)),
    "a keyword of marks": ("score {good} --keywords {odd_keywords}", 2, ("o.txt:2: of the keyword '«»'",)),
    "no keyword in it": ("score {good} --keywords {no_keywords}", 2, ("n.txt: holds no keyword",)),
    "keywords never said": ("score {good} --keywords {other_keywords}", 2, ("none of the 1 keywords occurs",)),
    "a negative weight": ("score {good} --keywords {keywords} --keyword-weight -1", 2, ("weight of a keyword is -1",)),
    "a weight in words": ("score {good} --keyword-weight much", 2, ("invalid float value",)),
    "compare with nothing": ("compare {good} {folder}/nothing", 1, ("nothing: no run.json",)),
    "compare one": ("compare {good}", 2, ("required: SYSTEM",)),
    "fewer utterances": (
        "compare {good} {short}", 1, ("5 shared, 3 only in the first, 0 only in the second", "--intersect")
    ),
    "more utterances": ("compare {short} {good}", 1, ("5 shared, 0 only in the first, 3 only in the second",)),
    "other sentences": ("compare {good} {other}", 1, ("share no utterance", "the second has")),
    "other sentences, intersected": ("compare {good} {other} --intersect", 1, ("share no utterance",)),
    "same ids, other sentences": ("compare {renamed} {ids}", 1, ("share no utterance", "'x0'", "'u0000'")),
    "a run and other sentences": ("compare {run} {other}", 1, ("share no utterance",)),
    "other references of one id": ("compare {run} {ids}", 1, ("has two references",)),
    "compare keywords never said": ("compare {run} {good} --keywords {other_keywords}", 2, ("none of the 1 keywords",)),
    "compare by unknown speakers": ("compare {run} {good} --cluster speaker", 2, ("name no speaker",)),
    "compare a trn alone": ("compare {good} {trn}", 1, ("read as sclite trn", "--reference FILE")),
    "a file as its own references": ("score {trn} --reference {trn}", 1, ("give a file of each",)),
    "a weight without keywords": ("score {good} --keyword-weight 3", 2, ("--keywords FILE; give that too",)),
    "compare with a weight alone": ("compare {good} {good} --keyword-weight 3", 2, ("give that too",)),
    "a flag mistyped": ("score {good} --normaliser fr", 2, ("did you mean '--normalizer'",)),
    "compare one file": ("compare {good}", 2, ("arguments are required: SYSTEM\n",)),
    "compare with references twice": ("compare {good} {good} --reference {trn}", 1, ("hold references already",)),
}  # fmt: skip


@pytest.mark.parametrize("case", COMMANDS)
def test_options(case, files, capsys):
    command, code, messages = COMMANDS[case]
    places = {name.replace(" ", "_"): str(path) for name, path in files.items()}
    check([word.format(**places) for word in command.split()], *messages, capsys=capsys, code=code)


def test_there_are_enough_of_them():
    assert len(FILES) + len(PAIRS) + len(COMMANDS) >= 120
