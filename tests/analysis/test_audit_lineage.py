import pytest

from asr_headroom.analysis.audit_lineage import find_bases
from asr_headroom.testing.results import make_results

TEXTS = [("oui", "oui")]


def system(name, *, parent=None, model=None, head=None, kind="import"):
    return make_results(
        TEXTS, name=name, kind=kind, parent=parent, model=model or {}, config={"file": head} if head else {}
    )


def bases(*systems):
    return find_bases({f"somewhere/{results.run.name}.json": results for results in systems})


def named(found):
    return {tuned.split("/")[-1][:-5]: base.split("/")[-1][:-5] for tuned, base in found.items()}


@pytest.mark.parametrize(
    ("base", "tuned"),
    [
        ("baseline_small", "lora_small_v2"),
        ("granite_2b_base_fr", "granite_2b_full_fr"),
        ("base", "finetuned"),
        ("whisper-small", "whisper-small-lora"),
        ("qwen_zeroshot_zh", "qwen_full_zh_3ep"),
    ],
)
def test_by_name(base, tuned):
    assert named(bases(system(tuned), system(base), system("something_else"))) == {tuned: base}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "b"),
        ("tiny", "small"),
        ("baseline_tiny", "lora_small"),
        ("lora", "a"),
        ("baseline_small", "scratch_small"),
    ],
)
def test_no_claim_is_made_of_unrelated_names(one, other):
    assert bases(system(one), system(other)) == {}


def test_by_model_and_adapter():
    model = {"id": "hub/whisper"}
    plain, tuned = system("x", model=model), system("y", model=model, head={"adapter": "out/adapter"})
    assert named(bases(plain, tuned)) == {"y": "x"}
    assert named(bases(system("x", model=model), system("y", model=model, head={"adapter": None}))) == {}
    other = system("z", model={"id": "hub/other"}, head={"adapter": "out/adapter"})
    assert named(bases(plain, other)) == {}


def test_a_name_says_more_than_a_model():
    model = {"id": "hub/whisper"}
    systems = [system("bench_run", model=model), system("baseline", model=model)]
    assert named(bases(*systems, system("lora", model=model, head={"adapter": "a"}))) == {"lora": "baseline"}


def test_a_stated_parent_is_believed():
    parts = [system("whisper", kind="bench"), system("baseline_x"), system("lora_x", parent="whisper", kind="bench")]
    assert named(bases(*parts)) == {"lora_x": "whisper"}
    assert named(bases(*parts[1:])) == {}, "the parent is not there, and no other is taken for it"
