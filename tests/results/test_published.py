"""The published study's files, read and scored: every stored number must come out again. Needs the shared folder."""

import json
from pathlib import Path

import pytest

from asr_headroom.analysis.scoring import compare_results, score_results
from asr_headroom.results.readers import read_results
from asr_headroom.text.normalize import get_normalizer, mark_empty

pytestmark = pytest.mark.shared

# Which published row belongs to which file: the source names it, or model and variant do.
_BENCH = {
    "openai/whisper-tiny": "tiny", "openai/whisper-base": "base", "openai/whisper-small": "small",
    "openai/whisper-medium": "medium", "openai/whisper-large-v2": "largev2", "openai/whisper-large-v3": "largev3",
    "openai/whisper-large-v3-turbo": "turbo", "bofenghuang/whisper-large-v3-french-distil-dec4": "distilfr",
    "nvidia/parakeet-tdt-0.6b-v3": "parakeet_tdt", "nvidia/canary-qwen-2.5b": "canary_qwen",
    "mistralai/Voxtral-Small-24B-2507": "voxtral_small4bit", "FunAudioLLM/SenseVoiceSmall": "sensevoice",
}  # fmt: skip
_VARIANTS = {"baseline": "baseline", "lora": "lora", "full": "full", "from": "scratch", "zero-shot": "ref"}
_WITH_EMPTY_TEXTS = 5


def _file_of_row(row):
    language, variant = row["language"], row["variant"].split()[0]
    if row["track"] == "asr_bench":
        return f"bench/{_BENCH.get(row['model'], 'missing')}_{language}.json"
    if row["track"].startswith("whisper"):
        size = row["model"].rsplit("-", 1)[-1]
        name = f"{_VARIANTS[variant]}_{size}" + ("_v2" if "LR3e-5" in row["variant"] else "")
        if variant == "zero-shot":
            name = "ref_whisper_fr_distil" if "distil" in row["model"] else "missing"
        return f"whisper_{language}/{name}{'_zh' if language == 'zh' and size == 'tiny' else ''}.json"
    if row["track"] == "qwen3-asr" and variant in ("baseline", "lora", "full"):
        size = row["model"].rsplit("-", 1)[-1].replace(".", "p").lower()
        return f"qwen3_asr/qwen3_{size}_{variant.replace('baseline', 'base')}_{language}_dev100.json"
    if row["track"] == "granite":
        return f"granite/granite_speech_2b_{variant.replace('baseline', 'base')}_{language}_dev100.json"
    return "missing"


def _study(results):
    return get_normalizer(f"study-{results.run.language}")


@pytest.fixture(scope="module")
def published(shared):
    folder = Path(shared) / "published/predictions"
    return {str(path.relative_to(folder)): read_results(path) for path in sorted(folder.rglob("*.json"))}


def test_every_file_states_what_we_find(published):
    """WER of all, CER of those without empty texts; the others under the study's placeholder, and only under it."""
    assert len(published) == 44
    other_under_placeholder = 0
    for name, results in published.items():
        stated, plain = results.run.config["file"], _study(results)
        marked = mark_empty(plain, "<empty>")
        assert results.run.language == ("fr" if "_fr" in name else "zh")
        assert len(results.predictions) == stated["n"]
        if stated.get("wer") is not None:
            assert results.total(plain, "word").error_rate == pytest.approx(stated["wer"], abs=1e-9), name
        cers = [results.total(normalizer, "character").error_rate for normalizer in (plain, marked)]
        assert cers[1] == pytest.approx(stated["cer"], abs=1e-9), name
        if stated.get("mer") is not None:
            assert results.total(marked).match_error_rate == pytest.approx(stated["mer"], abs=1e-9), name
        other_under_placeholder += cers[0] != pytest.approx(stated["cer"], abs=1e-9)
    assert other_under_placeholder == _WITH_EMPTY_TEXTS


def test_every_published_row_that_belongs_to_a_file(published, shared):
    rows = json.loads((Path(shared) / "published/results.json").read_text(encoding="utf-8"))["rows"]
    found = 0
    for row in rows:
        results = published.get(_file_of_row(row)) if row.get("value_exact") is not None else None
        if results is None or row["metric"] not in ("WER", "CER", "MER"):
            continue
        marked = mark_empty(_study(results), "<empty>")
        counts = results.total(marked, "word" if row["metric"] == "WER" else "character")
        rate = counts.match_error_rate if row["metric"] == "MER" else counts.error_rate
        assert rate == pytest.approx(row["value_exact"], abs=1e-9), row
        found += 1
    assert found == 73


@pytest.mark.parametrize(
    ("base", "system", "points", "p"),
    [
        ("baseline_small", "full_small", 0.71, 0.06),
        ("baseline_turbo", "lora_turbo", 0.36, 0.11),
        ("baseline_tiny", "lora_tiny", 0.13, 0.98),
        ("lora_small", "lora_small_v2", -0.04, 0.93),
        ("baseline_small", "lora_small", 1.65, 0.001),
    ],
)
def test_known_pairs(published, base, system, points, p):
    results = [published[f"whisper_fr/{name}.json"] for name in (base, system)]
    pair = compare_results(*results, normalizer=get_normalizer("study-fr"))
    assert round(100 * pair.comparison.difference, 2) == points
    # Of ten thousand resamples a p near 1 has a standard error of 0.01 itself, and so had the published one.
    assert pair.comparison.p_value == pytest.approx(p, abs=0.02)
    assert (pair.comparison.num_clusters, pair.comparison.cluster_by) == (296, "sentence")
    assert pair.paired_by == "reference text"


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("baseline_tiny_zh", 59.4, 47.2),
        ("baseline_small", 33.5, 21.4),
        ("baseline_medium", 28.7, 17.9),
        ("lora_small", 23.2, 23.2),
        ("lora_medium", 13.2, 13.2),
    ],
)
def test_script_is_shown_beside_the_rate(published, name, before, after):
    score = score_results(published[f"whisper_zh/{name}.json"], normalizer=get_normalizer("study-zh"))
    assert 100 * score.cer == pytest.approx(before, abs=0.05)
    assert score.other[0] == "zh"
    assert 100 * score.other[1] == pytest.approx(after, abs=0.1)
    said = any("traditional characters" in warning for warning in score.warnings)
    assert said == (after < before - 1)


@pytest.mark.parametrize(
    ("name", "number"),
    [("granite_speech_2b_base_fr_dev100", 63), ("granite_speech_2b_full_fr_dev100", 25)],
)
def test_empty_outputs_accuse_the_harness(published, name, number):
    score = score_results(published[f"granite/{name}.json"], normalizer=get_normalizer("study-fr"))
    assert score.outputs.empty == number
    assert f"{number} % of the outputs of '{name}' are empty" in " / ".join(score.warnings)
