"""What makes a number less certain than it looks: of one system, and of two that are compared.

Each caveat is one sentence for the reader of a score; none of them changes a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from asr_headroom.analysis.outputs import OutputCounts
from asr_headroom.results.pairing import has_content_ids
from asr_headroom.results.schema import RunInfo
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import Normalizer, count_alarm
from asr_headroom.text.units import primary_subtag

__all__ = ["SUSPICIOUS_SHARE", "caveat_of_repeats", "caveats_of_pair", "caveats_of_run", "decoding_windows"]

SUSPICIOUS_SHARE = 0.05
"""Share of empty, looping, truncated or foreign outputs above which the harness is suspected before the model."""


def caveats_of_run(results: Results, normalizer: Normalizer, outputs: OutputCounts) -> Iterator[str]:
    """What a reader of one system's score has to know."""
    run, total = results.run, len(results.predictions)
    yield from (str(note) for note in run.data.get("notes", ()))
    if run.status != "complete":
        yield f"'{run.name}' is not finished: {total} predictions so far"
    if run.model.get("language_mismatch"):
        language = run.language or "this language"
        yield f"'{run.name}' was not made for {language}; it is a mismatch baseline, not a competitor"
    stored = run.normalizer
    if stored.get("id") == normalizer.id and stored.get("hash") not in (None, normalizer.hash):
        yield (
            f"'{run.name}' was written with another version of the normalizer {normalizer.id} "
            f"({stored['hash']}, now {normalizer.hash}); its errors were counted anew"
        )
    yield from _caveats_of_outputs(run, normalizer, outputs)
    alarm = count_alarm((prediction.reference for prediction in results.predictions), normalizer)
    if alarm:
        yield alarm


def _caveats_of_outputs(run: RunInfo, normalizer: Normalizer, outputs: OutputCounts) -> Iterator[str]:
    for what, number in (
        ("are empty", outputs.empty),
        ("repeat themselves in a loop", outputs.looped),
        ("were cut at the token limit", outputs.truncated or 0),
        ("are in another script than their references", outputs.wrong_script),
        (f"are in another language than {run.language}", outputs.wrong_language),
    ):
        if number > SUSPICIOUS_SHARE * outputs.total:
            yield (
                f"{100 * number / outputs.total:.0f} % of the outputs of '{run.name}' {what}; suspect the prompt, "
                "the language or the audio before the model"
            )
    converts = any(step.name == "traditional to simplified" for step in normalizer.steps)
    if outputs.script_variant > SUSPICIOUS_SHARE * outputs.total and not converts:
        yield (
            f"{100 * outputs.script_variant / outputs.total:.0f} % of the outputs of '{run.name}' hold traditional "
            f"characters where the references are simplified, which {normalizer.id} counts as errors; "
            "the normalizer zh does not"
        )


def caveats_of_pair(base: Results, system: Results, left_out: int) -> Iterator[str]:
    """What makes two systems less comparable than they look, beside what is odd about each."""
    if left_out:
        yield f"{left_out} utterances that only one of the two has are left out"
    # Of runs of our own it is no accident: training can deliver the base itself.
    are_files = base.run.kind == system.run.kind == "import"
    pairs = zip(base.predictions, system.predictions, strict=True)
    if are_files and all(one.hypothesis == other.hypothesis for one, other in pairs):
        yield "the two hold the same outputs, letter for letter; one file may have been given twice"
    if base.run.decoding_hash != system.run.decoding_hash:
        yield (
            f"the two were decoded differently (decoding hash {base.run.decoding_hash or 'unknown'} and "
            f"{system.run.decoding_hash or 'unknown'}{_differing(base.run, system.run)}); "
            "the difference may come from that"
        )
    windows = decoding_windows(base.run), decoding_windows(system.run)
    if windows[0] != windows[1]:
        shown = " and ".join(", ".join(f"{k} {v}" for k, v in w.items()) or "none stated" for w in windows)
        yield f"the two saw windows of different length ({shown}); errors at window edges differ"
    if _subtag(base.run) != _subtag(system.run):
        yield f"the two were told different languages ({base.run.language} and {system.run.language})"
    prints = [run.data.get("fingerprint") for run in (base.run, system.run)]
    # Files of other tools have no fingerprint, and their pairing has compared every reference.
    if None not in prints and prints[0] != prints[1]:
        yield f"ids and references agree, but the test sets have different fingerprints ({prints[0]} and {prints[1]})"


def caveat_of_repeats(base: Results, system: Results, cluster_by: str) -> str | None:
    """A warning where readings of one sentence were paired by their order, and the interval depends on that."""
    if "sentence" in cluster_by or not (has_content_ids(base) or has_content_ids(system)):
        return None
    repeated = len(base.predictions) - len({prediction.reference for prediction in base.predictions})
    if not repeated:
        return None
    return (
        f"{repeated} utterances repeat a reference and are paired by their order in the files, which the interval by "
        f"{cluster_by} depends on; name the utterances in both files, or use --cluster sentence"
    )


def decoding_windows(run: RunInfo) -> dict[str, Any]:
    """The decoding options that say how much audio the model sees at once, by dotted name."""
    return {name: value for name, value in _flat(run.decoding) if "window" in name}


def _subtag(run: RunInfo) -> str | None:
    return primary_subtag(run.language) if run.language else None


def _differing(base: RunInfo, system: RunInfo) -> str:
    before, after = dict(_flat(base.decoding)), dict(_flat(system.decoding))
    names = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    return "".join(f"; {name} {before.get(name)} and {after.get(name)}" for name in names[:4])


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
