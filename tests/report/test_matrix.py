import itertools
import random

import pytest

from asr_headroom.analysis.scoring import compare_results
from asr_headroom.errors import ResultsError, UsageError
from asr_headroom.report.matrix import build_matrix, maximal_ties
from asr_headroom.report.matrix_text import matrix_json, matrix_markdown, matrix_text, matrix_verdict, tie_letters
from asr_headroom.testing.results import make_results

SENTENCES = [f"la phrase numéro {i} a quelques mots de plus" for i in range(60)]


def system(name, share, seed=0):
    """Drops the last word of a random share of the sentences."""
    rng = random.Random(f"{name} {seed}")
    texts = [(s, s.rsplit(" ", 1)[0] if rng.random() < share else s) for s in SENTENCES]
    return make_results(texts, name=name, language="fr")


@pytest.fixture
def four():
    """Two alike, one much worse, one in which everything is wrong; the best is not the first."""
    return [system("bad", 0.95), system("good", 0.10), system("alike", 0.12), system("worse", 0.6)]


def test_every_pair_has_the_numbers_of_a_comparison_of_two(four):
    matrix = build_matrix(four)
    by_name = {one.run.name: one for one in four}
    assert [(p.better, p.worse) for p in matrix.pairs] == list(itertools.combinations(range(4), 2))
    for pair in matrix.pairs:
        alone = compare_results(by_name[matrix.names[pair.better]], by_name[matrix.names[pair.worse]]).comparison
        assert pair.comparison.difference == pytest.approx(alone.difference, abs=1e-12)
        assert pair.comparison.interval.low == pytest.approx(alone.interval.low, abs=2e-3)
        assert pair.comparison.difference >= 0


def test_order_given_does_not_matter(four):
    forwards, backwards = build_matrix(four), build_matrix(four[::-1])
    assert forwards.names == backwards.names
    assert matrix_text(forwards) == matrix_text(backwards)


def test_groups_and_verdict(four):
    matrix = build_matrix(four)
    assert set(matrix.names[:2]) == {"good", "alike"}
    assert matrix.names[2:] == ("worse", "bad")
    assert matrix.ties == ((0, 1), (2,), (3,))
    assert tie_letters(matrix) == ["a", "a", "b", "c"]
    assert matrix_verdict(matrix).startswith(f"cannot tell which is best: {matrix.names[0]} has the lowest WER")
    assert matrix_verdict(matrix).endswith(f"cannot be told from {matrix.names[1]}, and is better than the other 2")
    assert matrix_verdict(build_matrix([four[0], four[1], four[3]])).endswith("; better than all 2 others")


def test_holm_over_all_pairs_and_not_each_alone():
    """A pair that is told apart alone need not be among many."""
    systems = [system("a", 0.1), system("b", 0.25), *(system(f"c{i}", 0.17, i) for i in range(6))]
    alone = build_matrix(systems[:2]).pairs[0]
    matrix = build_matrix(systems)
    same = matrix.pair(matrix.names.index("a"), matrix.names.index("b"))
    assert alone.holm_p == alone.comparison.p_value
    assert same.holm_p > alone.holm_p
    # Holm's first step multiplies the smallest of 28 by 28.
    smallest = min(matrix.pairs, key=lambda p: p.comparison.p_value)
    assert smallest.holm_p == pytest.approx(min(1, 28 * smallest.comparison.p_value))


def test_ties_are_the_maximal_cliques_found_by_trying_all_groups():
    rng = random.Random(1)
    for number in range(1, 8):
        pairs = list(itertools.combinations(range(number), 2))
        apart = {pair for pair in pairs if rng.random() < 0.5}
        free = [
            set(group)
            for size in range(1, number + 1)
            for group in itertools.combinations(range(number), size)
            if not apart & set(itertools.combinations(group, 2))
        ]
        maximal = sorted(tuple(sorted(g)) for g in free if not any(g < other for other in free))
        assert list(maximal_ties(number, apart)) == maximal


def test_text_markdown_and_json_say_the_same(four):
    matrix = build_matrix(four)
    text, markdown, plain = matrix_text(matrix), matrix_markdown(matrix), matrix_json(matrix)
    assert text.splitlines()[0] == matrix_verdict(matrix) == plain["verdict"]
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert [s["name"] for s in plain["systems"]] == list(matrix.names)
    assert plain["ties"] == [list(matrix.names[:2]), ["worse"], ["bad"]]
    assert len(plain["pairs"]) == 6
    first = plain["pairs"][0]
    assert not first["told_apart"]
    assert f"({100 * first['difference']:+.2f})" in text or "(0.00)" in text
    assert all(p["ci_low"] <= p["difference"] <= p["ci_high"] for p in plain["pairs"])


def test_unequal_sets_are_refused_or_intersected(four):
    short = make_results([(p.reference, p.hypothesis) for p in four[1].predictions][:50], name="short", language="fr")
    with pytest.raises(ResultsError, match=r"50 shared, 10 only in"):
        build_matrix([*four, short])
    matrix = build_matrix([*four, short], intersect=True)
    assert matrix.left_out == 10
    assert {score.num_utterances for score in matrix.scores} == {50}
    assert "10 utterances that not all systems have are left out" in matrix_text(matrix)


def test_too_few_clusters_give_no_verdict():
    def few(name, wrong):
        return make_results([(s, "x" if wrong else s) for s in SENTENCES[:4]], name=name, language="fr")

    matrix = build_matrix([few("wrong", True), few("right", False)])
    assert matrix_verdict(matrix).startswith("cannot tell which is best: 4 clusters are too few")
    assert matrix_json(matrix)["pairs"][0]["holm_p"] is None
    assert tie_letters(matrix) == ["", ""]


def test_format_alone_is_named():
    """A ligature is one letter to our profile and two to the study's: no difference in hearing."""
    references = [f"le cœur numéro {i} est là" for i in range(40)]
    same = make_results([(r, r) for r in references], name="ligatures", language="fr")
    spelled = make_results([(r, r.replace("œ", "oe")) for r in references], name="letters", language="fr")
    matrix = build_matrix([same, spelled])
    assert matrix.changed_by_format == ((0, 1),)
    assert "is another one, which is format and not hearing: " in matrix_text(matrix)


def test_one_system_is_no_matrix(four):
    with pytest.raises(UsageError, match="1 system to compare"):
        build_matrix(four[:1])
