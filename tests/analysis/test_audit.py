"""Each trap in a small example of its own, a clean set that shows none, and the published files."""

import json
import random
import shlex
import subprocess

import jiwer
import pytest

from asr_headroom.analysis.audit import DETECTORS, SEVERITIES, audit
from asr_headroom.cli.main import main
from asr_headroom.errors import ResultsError, UsageError
from asr_headroom.results.readers import read_results
from asr_headroom.text.normalize import get_normalizer

VOCABULARY = (
    "maison jardin rivière montagne voiture chemin lumière fenêtre table chaise livre papier couleur "
    "musique danse théâtre cuisine saison automne printemps matin soirée travail école enfant parent "
    "voisin ville village forêt arbre feuille pierre sable plage bateau voyage départ retour "
    "histoire mémoire question réponse silence bruit regard sourire grande petite vieille jeune blanche "
    "noire douce rapide lente chaude froide belle simple longue courte claire sombre marche "
    "mange parle chante pense trouve cherche donne prend laisse porte ouvre ferme tourne "
    "monte descend tombe"
)
WORDS = VOCABULARY.split(" ")
CHARACTERS = (
    "山水天地人口手足目耳日月火木金土大小上中下左右前多少高低早晚明暗白红花草鱼牛羊犬"
    "父母兄弟子女男友名字心力工作生活学校文章书本"
)


def sentences(number, language="fr", seed=0):
    """Distinct random sentences."""
    draw = random.Random(seed)
    kinds, joint = (WORDS, " ") if language == "fr" else (CHARACTERS, "")
    found = {}
    while len(found) < number:
        found[joint.join(draw.choice(kinds) for _ in range(draw.randint(8, 14)))] = None
    return list(found)


def heard(texts, rate, seed, language="fr"):
    """Each unit is heard as another one, left out or followed by one, independently."""
    draw = random.Random(seed)
    kinds, joint = (WORDS, " ") if language == "fr" else (CHARACTERS, "")
    outputs = []
    for text in texts:
        units = []
        for unit in text.split() if language == "fr" else text:
            kind = draw.choice("ssdi") if draw.random() < rate else "hit"
            units += {"s": [draw.choice(kinds)], "d": [], "i": [unit, draw.choice(kinds)]}.get(kind, [unit])
        outputs.append(joint.join(units))
    return outputs


@pytest.fixture
def write(tmp_path):
    def write(name, references, hypotheses, language="fr", **head):
        rows = [{"ref": ref, "hyp": hyp} for ref, hyp in zip(references, hypotheses, strict=True)]
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"language": language, **head, "predictions": rows}))
        return str(path)

    return write


def look(*paths, **options):
    return audit({str(path): read_results(path) for path in paths}, **options)


def findings(trap, *paths, **options):
    return [finding for finding in look(*paths, **options).findings if finding.trap == trap]


def only(trap, *paths, **options):
    (finding,) = findings(trap, *paths, **options)
    return finding


SAID = sentences(60)
GOOD = heard(SAID, 0.05, 1)


# ---------------------------------------------------------------------- nothing to find


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_set_shows_nothing(write, seed):
    paths = []
    for language in ("fr", "zh"):
        said = sentences(200, language, seed)
        for number, rate in enumerate((0.03, 0.08, 0.2, 0.2)):
            outputs = heard(said, rate, 10 * seed + number, language)
            stated = {"wer": jiwer.wer(said, outputs)} if language == "fr" else {"cer": jiwer.cer(said, outputs)}
            paths.append(write(f"system_{'abcd'[number]}_{language}", said, outputs, language, n=200, **stated))
    found = look(*paths)
    assert found.findings == ()
    assert found.num_tests == 2
    looked = found.not_found + tuple(what for what, _ in found.not_looked_for)
    assert len(looked) == len(DETECTORS)
    assert [what.split()[0] for what, _ in found.not_looked_for] == ["A.5", "A.7,", "B.16", "D.29", "E.2"]


def test_a_perfect_and_an_all_wrong_system_show_nothing(write):
    said = sentences(40)
    found = look(write("right", said, said), write("wrong", said, sentences(40, seed=5)))
    assert found.findings == ()


def test_a_real_gain_is_no_finding(write):
    base, tuned = write("base", SAID, heard(SAID, 0.4, 1)), write("lora", SAID, heard(SAID, 0.05, 2))
    found = look(base, tuned)
    assert found.findings == ()
    assert any(what.startswith("A.5") for what in found.not_found)


# ---------------------------------------------------------------------- A


def test_a1_script_mix(write):
    said = ["我们说话时用汉语" + text for text in sentences(60, "zh")]
    base = write("baseline", said, [text.replace("我们说话时用汉语", "我們說話時用漢語") for text in said], "zh")
    tuned = write("lora", said, heard(said, 0.03, 1, "zh"), "zh")
    finding = only("A.1", base, tuned)
    assert finding.severity == "severe"
    assert finding.files == (base,)
    # Five characters of each sentence differ in script alone: 們 說 話 時 漢 語 without 用.
    assert finding.size == pytest.approx(100 * 6 * 60 / sum(map(len, said)))
    assert "60 of 60 outputs" in finding.message
    assert "points" in finding.message, "the difference to the tuned system changes with it"
    assert not findings("A.1", base, tuned, normalizer=get_normalizer("zh"))


def test_a2_loops_carry_the_total(write):
    outputs = [*GOOD[:-1], GOOD[-1] + " et puis" * 100]
    finding = only("A.2", write("a", SAID, outputs))
    length = len(" ".join(SAID).split())
    beyond = jiwer.process_words(SAID[-1], outputs[-1])
    errors = beyond.substitutions + beyond.deletions + beyond.insertions
    assert finding.size == pytest.approx(100 * (errors - len(SAID[-1].split())) / length)
    assert f"1 of 60 utterances holds {errors} of " in finding.message


def test_a3_duplicate_sentences(write):
    said = [text for text in SAID for _ in range(2)]
    finding = only("A.3", write("a", said, [text for text in heard(SAID, 0.2, 3) for _ in range(2)]))
    assert (finding.size, finding.unit) == (60, "utterances")
    # Two readings with the same errors are one observation: the interval is the square root of two as wide.
    assert "1.42 times as wide" in finding.message
    assert not findings("A.3", write("b", SAID, GOOD))


def test_a4_words_of_one_sentence_err_together(write):
    outputs = [text if index % 4 else " ".join("xyz" for _ in text.split()) for index, text in enumerate(SAID)]
    finding = only("A.4", write("a", SAID, outputs))
    # All words of a sentence of about eleven are right or wrong together: the square root of eleven.
    assert 2.5 < float(finding.message.rsplit("too narrow, ")[1].split()[0]) < 4.5


def test_a5_a_difference_that_the_test_cannot_show(write):
    base, tuned = write("baseline_x", SAID, GOOD), write("lora_x", SAID, heard(SAID, 0.055, 9))
    finding = only("A.5", base, tuned)
    rates = [jiwer.wer(SAID, outputs) for outputs in (GOOD, heard(SAID, 0.055, 9))]
    assert finding.size == pytest.approx(100 * abs(rates[0] - rates[1]))
    assert finding.command.startswith(f"asr-headroom compare {base} {tuned} ")
    other = write("another", SAID, heard(SAID, 0.055, 9))
    assert not findings("A.5", base, other), "nobody claims that one was made from the other"
    assert findings("A.5", base, other, base=base)


def cased(texts):
    return [text.capitalize() + "." for text in texts]


def test_a6_different_normalizers(write):
    outputs = cased(GOOD)
    raw, clean = jiwer.wer(SAID, outputs), jiwer.wer(SAID, GOOD)
    one = write("one", SAID, outputs, wer=raw)
    two = write("two", SAID, cased(heard(SAID, 0.1, 7)), wer=jiwer.wer(SAID, heard(SAID, 0.1, 7)))
    three = write("three", SAID, outputs, wer=clean)
    finding = only("A.6", two, three, one)
    assert finding.files == (one,)
    assert finding.size == pytest.approx(100 * (raw - clean))
    assert "one with raw" in finding.message
    assert not findings("A.6", two, three)
    lower = write("lower", SAID, GOOD, wer=clean)
    assert not findings("A.6", lower, one), "raw gives both rates"
    assert "the one asked for" in only("A.6", one, normalizer=get_normalizer("fr")).message


def test_a6_references_cleaned_before(write):
    said = [text.replace("e", "é").upper() for text in SAID]
    finding = only("A.6", write("a", said, said), write("b", said, said), write("c", [t.lower() for t in said], said))
    assert finding.title == "References of one test written differently"
    assert finding.size == 60


def test_a6_stated_rate_that_the_rows_do_not_give(write):
    finding = only("A.6", write("a", SAID, GOOD, wer=0.0123))
    assert finding.title == "Stated rate cannot be recomputed"
    assert finding.size == pytest.approx(100 * abs(jiwer.wer(SAID, GOOD) - 0.0123))


def test_a6_placeholder_in_place_of_empty_texts(write):
    outputs = ["", *GOOD[1:]]
    stated = jiwer.cer(SAID, ["<empty>", *GOOD[1:]])
    finding = only("A.6", write("a", SAID, outputs, cer=stated))
    assert finding.title == "A placeholder scored in place of empty texts"
    assert finding.size == pytest.approx(100 * abs(stated - jiwer.cer(SAID, outputs)))
    assert finding.command.endswith("--empty-as '<empty>'")


def test_a7_and_d28_one_model_with_two_results(write):
    again = [*heard(SAID[:5], 0.3, 4), *GOOD[5:]]
    one = write("one", SAID, GOOD, model_id="hub/whisper", backend="a")
    two = write("two", SAID, again, model_id="hub/whisper", backend="a")
    finding = only("A.7", one, two)
    assert finding.size == pytest.approx(100 * abs(jiwer.wer(SAID, again) - jiwer.wer(SAID, GOOD)))
    three = write("three", SAID, again, model_id="hub/whisper", backend="b")
    assert only("D.28", one, three).files == (one, three)
    assert not findings("A.7", one, three)
    assert not findings("A.7", one, write("copy", SAID, GOOD, model_id="hub/whisper"))


def test_a8_unequal_sets(write):
    whole, part = write("whole", SAID, GOOD), write("part", SAID[5:], GOOD[5:])
    finding = only("A.8", whole, part)
    assert (finding.severity, finding.size) == ("severe", 5)
    assert "55 shared, 5 only in the first, 0 only in the second" in finding.message
    assert finding.command.endswith("--intersect")


def test_a8_other_utterances_of_one_language_are_a_note(write):
    other = sentences(60, seed=8)
    finding = only("A.8", write("a", SAID, GOOD), write("b", other, heard(other, 0.05, 1)))
    assert finding.severity == "note"
    assert "share no utterance" in finding.message
    zh = sentences(60, "zh")
    assert not findings("A.8", write("a", SAID, GOOD), write("c", zh, heard(zh, 0.05, 1, "zh"), "zh"))


def test_a8_names_of_utterances_do_not_matter_unless_all_files_have_the_same(write, tmp_path):
    rows = [
        json.dumps({"id": f"u{i}", "text": s, "pred_text": h}) for i, (s, h) in enumerate(zip(SAID, GOOD, strict=True))
    ]
    named = tmp_path / "named.jsonl"
    named.write_text("\n".join(rows))
    assert not findings("A.8", write("a", SAID, GOOD), named)
    renamed = tmp_path / "renamed.jsonl"
    renamed.write_text("\n".join(rows).replace('"u', '"clip-'))
    assert not findings("A.8", named, renamed)
    (tmp_path / "fewer.jsonl").write_text("\n".join(rows[3:]))
    assert only("A.8", named, tmp_path / "fewer.jsonl").size == 3


def test_a8_rows_missing_from_a_file(write):
    finding = only("A.8", write("a", SAID, GOOD, n=65))
    assert finding.size == 5
    assert "states n = 65 and holds 60" in finding.message


def test_a9_digits(write):
    said = [f"{text} trente pour cent" for text in SAID]
    finding = only("A.9", write("a", said, [f"{text} 30 %" for text in GOOD]))
    assert finding.size == pytest.approx(100 * 3 * 60 / len(" ".join(said).split()), rel=0.05)
    assert not findings("A.9", write("b", said, [f"{text} trente pour cent" for text in GOOD]))


def test_a10_runs_of_quotation_marks(write):
    said = ["il dit «\xa0oui\xa0» " + text for text in SAID]
    fine = write("fine", said, said)
    finding = only("A.10", fine)
    assert (finding.severity, finding.size, finding.unit) == ("note", 60, "utterances")
    marks = write("marks", said, ["«»«»»»»»»»»", *said[1:]])
    finding = only("A.10", fine, marks)
    assert (finding.severity, finding.files, finding.unit) == ("warning", (marks,), "points")
    lost = len(get_normalizer("fr")(said[0]).split())
    assert finding.size == pytest.approx(100 * lost / sum(len(get_normalizer("fr")(text).split()) for text in said))
    assert "nothing but marks in 1" in finding.message


def test_a11_duplicates_among_the_worst(write):
    said = [text for text in sentences(100) for _ in range(3)]
    finding = only("A.11", write("a", said, [text for text in heard(said[::3], 0.3, 1) for _ in range(3)]))
    # The three readings of a sentence are equally wrong, so the worst hundred are 34 sentences.
    assert finding.size == 66


def test_a12_mean_of_rates(write):
    said = [*SAID[:30], *(f"mot {text}" for text in SAID[30:])]
    outputs = [text.split()[0] if index % 3 == 0 else text for index, text in enumerate(said)]
    mean = sum(jiwer.wer(ref, hyp) for ref, hyp in zip(said, outputs, strict=True)) / len(said)
    finding = only("A.12", write("a", said, outputs, wer=mean))
    assert finding.size == pytest.approx(100 * abs(mean - jiwer.wer(said, outputs)))
    assert not findings("A.12", write("b", said, outputs, wer=jiwer.wer(said, outputs)))


# ---------------------------------------------------------------------- B and D


def test_b16_an_update_that_was_not_applied(write):
    base, tuned = write("baseline", SAID, GOOD), write("lora", SAID, GOOD)
    found = look(base, tuned)
    assert [finding.trap for finding in found.findings] == ["B.16"]
    assert found.findings[0].size == 60


def test_d29_wall_times(write):
    facts = {"model_id": "hub/whisper"}
    one, two = (write(name, SAID, GOOD, wall_seconds=s, **facts) for name, s in (("one", 10), ("two", 25)))
    finding = only("D.29", one, two)
    assert (finding.size, finding.unit, finding.severity) == (2.5, "times", "note")


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("", "empty"),
        ("le le le le le le le le le le le le", "looping"),
        ("这是另外一种语言的句子", "language or script"),
    ],
)
def test_d30_broken_outputs(write, output, kind):
    many = write("many", SAID, [*[output] * 4, *GOOD[4:]])
    finding = only("D.30", many)
    assert (finding.severity, finding.size) == ("severe", 4)
    assert f"4 {kind}" in finding.message or f"4 in another {kind}" in finding.message
    assert not findings("D.30", write("few", SAID, [*[output] * 2, *GOOD[2:]]))


@pytest.mark.parametrize("left", ["<|endoftext|>", "</s>", "assistant\n", "language French<asr_text>"])
def test_d31_leftovers_of_prompts(write, left):
    outputs = [left + GOOD[0], *GOOD[1:]]
    assert only("D.31", write("a", SAID, outputs)).size == 1
    said = [left + SAID[0], *SAID[1:]]
    assert not findings("D.31", write("b", said, outputs)), "it was said"


def test_d31_letters_stripped(write):
    said = [
        f"{word} {text}" for word, text in zip(["ainsi", "tout", "nous", "il", "sa", "dans"] * 10, SAID, strict=True)
    ]
    finding = only("D.31", write("a", said, [text.lstrip("assistant\n") for text in said]))  # noqa: B005
    assert finding.title == "First letters stripped from outputs"
    assert not findings("D.31", write("b", said, said))


def test_d32_outputs_cut(write):
    outputs = [" ".join(text.split()[:6]) if len(text.split()) > 12 else text for text in SAID]
    finding = only("D.32", write("a", SAID, outputs))
    assert finding.size == sum(len(text.split()) > 12 for text in SAID)
    assert not findings("D.32", write("b", SAID, [" ".join(text.split()[2:]) for text in SAID])), (
        "the beginning is lost"
    )


# ---------------------------------------------------------------------- as a whole


def test_the_worst_comes_first_and_files_are_named_once(write):
    said = [text for text in SAID for _ in range(2)]
    a, b = (write(name, said, [*[""] * 20, *said[20:]]) for name in "ab")
    found = look(a, b)
    ranks = [SEVERITIES.index(finding.severity) for finding in found.findings]
    assert ranks == sorted(ranks)
    assert found.findings[0].trap == "D.30"
    for finding in found.findings:
        assert finding.files == (a, b)
        assert len(finding.sizes) == 2
        assert finding.size == max(finding.sizes)


def test_the_order_of_rows_and_of_files_does_not_matter(write):
    pairs = list(zip(SAID, heard(SAID, 0.055, 9), strict=True))
    base, tuned = write("base_x", SAID, GOOD), write("lora_x", *zip(*pairs, strict=True))
    shuffled = write("lora_x", *zip(*random.Random(1).sample(pairs, len(pairs)), strict=True))
    assert look(base, tuned) == look(base, shuffled)
    assert {f.message for f in look(tuned, base).findings} == {f.message for f in look(base, tuned).findings}


def test_nothing_to_audit_is_an_error(write, tmp_path):
    with pytest.raises(ResultsError, match="no files to audit"):
        audit({})
    with pytest.raises(UsageError, match="--base other is none of the files"):
        look(write("a", SAID, GOOD), base="other")


@pytest.mark.shared
def test_the_published_files(shared):
    """TRAPS A.1 to A.5, A.7 to A.11 and D.29 to D.31 as they are known to be there, and what is not there."""
    paths = sorted((shared / "published" / "predictions").glob("*/*.json"))
    found = look(*paths)
    by_trap = {}
    for finding in found.findings:
        by_trap.setdefault(finding.trap, []).append(finding)
    assert set(by_trap) == {"A.1", "A.2", "A.3", "A.4", "A.5", "A.6", "A.7", "A.8", "A.9", "A.10", "A.11",
                            "D.29", "D.30", "D.31", "E.2"}  # fmt: skip

    def stems(finding):
        return {path.rsplit("/", 1)[1].removesuffix(".json") for path in finding.files}

    script = by_trap["A.1"][0]
    assert {"baseline_tiny_zh", "baseline_small", "baseline_medium"} < stems(script)
    assert not {"lora_tiny_zh", "lora_small", "lora_medium"} & stems(script)
    assert "whisper_zh/lora_small against whisper_zh/baseline_small −10.30 → +1.77 points" in script.message
    assert any("2 of 500 utterances hold 411 of 1,763 errors" in finding.message for finding in by_trap["A.2"])
    assert {finding.size for finding in by_trap["A.3"]} == {204, 22}
    (fr,) = (finding for finding in by_trap["A.5"] if "296 clusters" in finding.message)
    assert stems(fr) == {"baseline_small", "full_small", "baseline_turbo", "lora_turbo", "baseline_tiny", "lora_tiny"}
    assert len(by_trap["A.8"]) == 2
    assert all("share no utterance" in finding.message for finding in by_trap["A.8"])
    assert {"full_small", "lora_small"} == stems(by_trap["A.10"][0])
    (broken,) = by_trap["D.30"]
    assert stems(broken) == {
        "canary_qwen_fr", "granite_speech_2b_base_fr_dev100", "granite_speech_2b_base_zh_dev100",
        "granite_speech_2b_full_fr_dev100", "granite_speech_2b_lora_zh_dev100",
    }  # fmt: skip
    (placeholder,) = by_trap["A.6"]
    assert len(placeholder.files) == 5, "the five files with empty texts"


# ---------------------------------------------------------------------- E


def test_e1_outputs_beside_other_references(write):
    shifted = write("shifted", SAID, [*GOOD[1:], GOOD[0]])
    found = only("E.1", shifted)
    assert found.severity == "severe"
    assert found.size >= 28  # every other one of sixty is looked at
    swapped = write("swapped", SAID, [GOOD[1], GOOD[0], *GOOD[2:]])
    assert only("E.1", swapped).size == 2
    assert not findings("E.1", write("good", SAID, GOOD))


def test_e1_two_readings_of_one_sentence_are_no_other_utterance(write):
    twice = [text for text in SAID for _ in range(2)]
    assert not findings("E.1", write("twice", twice, heard(twice, 0.7, 3)))


def test_e2_families_that_agree_against_the_reference(write):
    def outputs(seed):
        own = heard(SAID, 0.05, seed)
        return ["zut " + text if number < 6 else text for number, text in enumerate(own)]

    paths = [
        write("one", SAID, outputs(1), model_id="openai/whisper-small"),
        write("two", SAID, outputs(2), model_id="nvidia/parakeet-tdt"),
    ]
    found = only("E.2", *paths)
    length = sum(len(text.split()) for text in SAID)
    assert found.severity == "note"
    assert found.size == pytest.approx(100 * 6 / length, rel=0.2)
    assert "'zut' for nothing" in found.message
    clean = [
        write("three", SAID, heard(SAID, 0.2, 3), model_id="openai/whisper-small"),
        write("four", SAID, heard(SAID, 0.2, 4), model_id="nvidia/parakeet-tdt"),
    ]
    assert not findings("E.2", *clean)
    alone = write("five", SAID, outputs(5), model_id="openai/whisper-large")
    assert any(what.startswith("E.2") for what, _ in look(paths[0], alone).not_looked_for)


# ---------------------------------------------------------------------- commands


def test_commands_run_where_ids_differ(tmp_path):
    paths = []
    for name, prefix in (("base", "u"), ("lora", "x")):
        path = tmp_path / f"{name}.jsonl"
        outputs = heard(SAID, 0.1, len(paths))
        rows = [
            {"id": f"{prefix}{i}", "text": r, "pred_text": h}
            for i, (r, h) in enumerate(zip(SAID, outputs, strict=True))
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths.append(str(path))
    (found,) = [one for one in look(*paths, base=paths[0]).findings if one.trap == "A.5"]
    assert found.command.startswith("asr-headroom audit ")
    assert main(shlex.split(found.command)[1:]) == 0


def test_commands_say_how_the_files_were_read(write):
    path = write("broken", SAID, [""] * 20 + GOOD[20:])
    found = only("D.30", path, flags=["--language", "fr"])
    assert found.command.endswith(" --language fr")
    assert main(shlex.split(found.command)[1:]) == 0


@pytest.mark.parametrize("ascii_only", [True, False])
def test_marks_are_found_where_the_file_holds_them(tmp_path, ascii_only):
    rows = [{"ref": text, "hyp": text} for text in SAID]
    rows[3]["hyp"] += " ««»»"
    path = tmp_path / "marks.json"
    path.write_text(json.dumps({"predictions": rows}, ensure_ascii=ascii_only, indent=1), encoding="utf-8")
    found = only("A.10", str(path))
    shown = subprocess.run(shlex.split(found.command), capture_output=True, check=True).stdout.decode()
    assert len(shown.splitlines()) == 1
    assert ("««»»" in shown) is not ascii_only


def test_a7_a_tuned_system_that_states_its_base_is_another_model(write):
    base = write("baseline_small", SAID, heard(SAID, 0.3, 1), model_id="openai/whisper-small")
    tuned = write("lora_small", SAID, heard(SAID, 0.1, 2), model_id="openai/whisper-small")
    assert not findings("A.7", base, tuned)
    again = write("baseline_small_again", SAID, heard(SAID, 0.3, 5), model_id="openai/whisper-small")
    assert only("A.7", base, again)


def test_a2_one_word_too_many_carries_nothing(write):
    assert not findings("A.2", write("one", ["", *SAID], ["oui", *SAID]))
