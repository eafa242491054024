"""Everybody's prediction files as :class:`Results`: told apart by what is in them, not by their names.

A run's directory; JSON (the study's and kin), JSON lines and tables with the column names that people use; sclite's
trn, STM and CTM; Kaldi's text; two plain files read line by line. Start with :func:`read_results`; the columns are in
:mod:`asr_headroom.results.readers_rows`, the text files in :mod:`asr_headroom.results.readers_text`.

Files without ids get them from the references (:func:`asr_headroom.results.pairing.content_ids`). Nothing is repaired,
nothing dropped in silence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from asr_headroom.errors import ConfigError, ResultsError
from asr_headroom.metrics.error_rate import ErrorCounts, UtteranceCounts
from asr_headroom.results.pairing import content_ids
from asr_headroom.results.readers_json import looks_like_json, read_json
from asr_headroom.results.readers_rows import TEXT_COLUMNS, Entry, Side, fold
from asr_headroom.results.readers_table import is_table, read_table
from asr_headroom.results.readers_text import decode, kaldi_ids, read_kaldi, read_lines, read_words, text_format
from asr_headroom.results.readers_timed import attach_words, words_by_recording
from asr_headroom.results.schema import Prediction, RunInfo
from asr_headroom.results.store import Results, load_results
from asr_headroom.text.detect import guess_language
from asr_headroom.text.languages import language_tag

__all__ = ["read_results", "read_several"]

_LANGUAGE_KEYS = ("language", "lang", "locale", "lang_profile")
_NO_LANGUAGE = ("", "none", "auto", "unknown", "multilingual")
_STANDARD_INPUT = Path("/dev/stdin")
_WRITTEN_NOTHINGS = frozenset({"nan", "NaN", "None", "null", "NULL", "<NA>", "undefined"})
# Counted when they are scored: which normaliser that will be is not known while reading.
_UNCOUNTED = UtteranceCounts(ErrorCounts(), ErrorCounts())


def read_results(
    source: str | Path,
    *,
    reference: str | Path | None = None,
    language: str | None = None,
    intersect: bool = False,
) -> Results:
    """Reads a run's directory, or anybody's file of predictions.

    ``run.data`` of what was not written by this project says how it was read: ``format``, ``ids`` (stated, audio or
    content), ``language_from`` and ``notes``, which a reader of the scores has to know.

    Args:
        source: a run's directory, or a file; ``-`` is standard input.
        reference: file of the references, where ``source`` holds hypotheses alone.
        language: BCP-47 tag or English name; wins over what the file states, and over the guess.
        intersect: with ``reference``: leave out utterances that only one of the two files has, and say so.

    Raises:
        ResultsError: the file cannot be read, is malformed, or does not fit its references; with file and line.
        ConfigError: there is no such language.
    """
    results, is_used = _read(_path(source), reference, language, intersect)
    if reference is not None and not is_used:
        raise ResultsError(f"{source}: holds references already; leave --reference away")
    return results


def read_several(
    sources: Sequence[str | Path],
    *,
    reference: str | Path | None = None,
    language: str | None = None,
    intersect: bool = False,
) -> list[Results]:
    """Reads several as :func:`read_results` does; the references go to those that hold hypotheses alone.

    Raises:
        ResultsError: as there; or references are given, and all sources hold their own.
        ConfigError: there is no such language.
    """
    read = [_read(_path(source), reference, language, intersect) for source in sources]
    if reference is not None and not any(is_used for _, is_used in read):
        raise ResultsError(f"{reference}: all the other files hold references already; leave --reference away")
    return [results for results, _ in read]


def _path(source: str | Path) -> Path:
    return _STANDARD_INPUT if str(source) == "-" else Path(source).expanduser()


def _read(path: Path, reference: str | Path | None, language: str | None, intersect: bool) -> tuple[Results, bool]:
    """The results, and whether the references were needed."""
    run_directory = path.parent if path.name in ("run.json", "predictions.jsonl") else path
    if path.is_dir() or (run_directory != path and (run_directory / "run.json").is_file()):
        results = load_results(run_directory)
        if language is not None:
            run = dataclasses.replace(results.run, language=language_tag(language))
            results = dataclasses.replace(results, run=run)
        return results, False
    if not path.exists():
        raise ResultsError(
            f"{path}: no run.json, because there is no such file or directory; give a run directory that "
            "`asr-headroom bench` wrote, or a file of predictions"
        )
    given = language_tag(language) if language is not None else None
    side = _read_side(path, "hypothesis")
    is_needed = reference is not None and all(entry.reference is None for entry in side.entries)
    if reference is not None and is_needed:
        side = _with_references(side, _path(reference), intersect)
    else:
        _require_both(side)
    return _results(side, path, given), is_needed


# ---------------------------------------------------------------------- one file


def _read_side(path: Path, role: str) -> Side:
    text = decode(path)
    if looks_like_json(text):
        return read_json(path, text, role)
    first = text.split("\n", 1)[0]
    if is_table(first):
        return read_table(path, text, role)
    kind = text_format(text)
    if kind == "ctm":
        return words_by_recording(path, read_words(path, text))
    return read_lines(path, text, kind, role)


def _require_both(side: Side) -> None:
    lacking = [part for part in ("reference", "hypothesis") if all(getattr(e, part) is None for e in side.entries)]
    if "reference" in lacking:
        hint = "give the references with --reference FILE"
        if side.kind == "STM":
            hint = "it usually holds the references: give it with --reference, after the file of the hypotheses (CTM)"
        if side.path.suffix.lower() in (".csv", ".tsv"):
            hint += ", or name the columns in the first line: reference, hypothesis"
        raise ResultsError(f"{side.path}: read as {side.kind}, which holds one text per utterance; {hint}")
    if "hypothesis" in lacking:
        raise ResultsError(
            f"{side.path}: read as {side.kind}, which holds no hypotheses; name their column 'hypothesis'"
        )


# ---------------------------------------------------------------------- two files


def _with_references(hypotheses: Side, reference_path: Path, intersect: bool) -> Side:
    path = hypotheses.path
    if reference_path.is_dir() or not reference_path.exists():
        raise ResultsError(f"{reference_path}: no such file; give the references with --reference FILE")
    if path.samefile(reference_path):
        raise ResultsError(f"{path}: is given for the hypotheses and for the references; give a file of each")
    references = _read_side(reference_path, "reference")
    if all(entry.reference is None for entry in references.entries):
        raise ResultsError(f"{reference_path}: read as {references.kind}, which holds no references")
    if hypotheses.kind == "CTM" and references.kind == "STM":
        return attach_words(hypotheses, references)
    hypotheses, references = _as_kaldi(hypotheses, references)
    for side in (hypotheses, references):
        _name_by_audio(side)
    kind = hypotheses.kind if hypotheses.kind == references.kind else f"{hypotheses.kind} against {references.kind}"
    notes = [*references.notes, *hypotheses.notes]
    named = [all(entry.id is not None for entry in side.entries) for side in (hypotheses, references)]
    if named == [False, False]:
        entries = _by_position(hypotheses, references, notes)
    elif named == [True, True]:
        entries = _by_id(hypotheses, references, intersect, notes)
    else:
        with_ids, without = (path, reference_path) if named[0] else (reference_path, path)
        raise ResultsError(
            f"{with_ids}: names its utterances, but {without} does not; write {without.name} with ids (JSON lines with "
            "id and text, or each line as 'ID TEXT')"
        )
    entries = [entry for entry in entries if not entry.extras.get("ignored")]
    return Side(path, kind, entries, {**references.head, **hypotheses.head}, notes)


def _as_kaldi(hypotheses: Side, references: Side) -> tuple[Side, Side]:
    sides, roles = (hypotheses, references), ("hypothesis", "reference")
    plain = [side.kind.startswith("plain") for side in sides]
    for index in (0, 1):
        # Ids of the other side settle it, where that one is known to have some.
        other = None if plain[1 - index] else {entry.id or "" for entry in sides[1 - index].entries}
        if plain[index] and kaldi_ids(sides[index], roles[index], other) is None:
            return sides
    return (
        read_kaldi(hypotheses, "hypothesis") if plain[0] else hypotheses,
        read_kaldi(references, "reference") if plain[1] else references,
    )


def _by_position(hypotheses: Side, references: Side, notes: list[str]) -> list[Entry]:
    numbers = len(hypotheses.entries), len(references.entries)
    headers = [
        f"{text_entry.where}: {text!r} looks like the name of a column"
        for text_entry in (hypotheses.entries[0], references.entries[0])
        if (text := text_entry.reference or text_entry.hypothesis or "") and fold(text) in TEXT_COLUMNS
    ]
    if numbers[0] != numbers[1]:
        raise ResultsError(
            f"{hypotheses.path}: {numbers[0]} hypotheses for {numbers[1]} references in {references.path}; "
            "line n of one must belong to line n of the other, blank lines count"
            + "".join(f"; {header}, take it out" for header in headers)
        )
    notes += [f"{header}; it is scored as an utterance" for header in headers]
    return [_joined(h, r) for h, r in zip(hypotheses.entries, references.entries, strict=True)]


def _by_id(hypotheses: Side, references: Side, intersect: bool, notes: list[str]) -> list[Entry]:
    of_id = {side.path: _unique(side.entries) for side in (hypotheses, references)}
    heard, said = of_id[hypotheses.path], of_id[references.path]
    only_heard, only_said = [i for i in heard if i not in said], [i for i in said if i not in heard]
    if len(only_heard) == len(heard):
        raise ResultsError(
            f"{hypotheses.path}: none of its {len(heard)} ids (such as '{next(iter(heard))}') is among the "
            f"{len(said)} of {references.path} (such as '{next(iter(said))}'); give the files of one test"
        )
    if (only_heard or only_said) and not intersect:
        raise ResultsError(
            f"{hypotheses.path}: {len(only_said)} references have no hypothesis{_examples(only_said)}, "
            f"{len(only_heard)} hypotheses no reference{_examples(only_heard)}; give an empty hypothesis where nothing "
            "was recognised, or score the shared utterances with --intersect"
        )
    if only_heard or only_said:
        notes.append(
            f"{len(only_said)} references without hypothesis and {len(only_heard)} hypotheses without reference "
            "are left out"
        )
    return [_joined(heard[id_], entry) for id_, entry in said.items() if id_ in heard]


def _unique(entries: Sequence[Entry]) -> dict[str, Entry]:
    by_id: dict[str, Entry] = {}
    for entry in entries:
        assert entry.id is not None
        earlier = by_id.setdefault(entry.id, entry)
        if earlier is not entry:
            raise ResultsError(f"{entry.where}: id '{entry.id}' stands already in {earlier.where}; give each its own")
    return by_id


def _examples(ids: Sequence[str]) -> str:
    return f" ({', '.join(repr(id_) for id_ in ids[:3])}{' …' if len(ids) > 3 else ''})" if ids else ""


def _joined(hypothesis: Entry, reference: Entry) -> Entry:
    joined = dataclasses.replace(hypothesis, reference=reference.reference, extras=reference.extras | hypothesis.extras)
    for name in ("duration", "speaker", "language", "audio"):
        if getattr(joined, name) is None:
            setattr(joined, name, getattr(reference, name))
    return joined


# ---------------------------------------------------------------------- ids, language, results


def _name_by_audio(side: Side) -> bool:
    """Gives entries without id the name of their recording, with the time where several share one."""
    if not side.entries or any(entry.id is not None or entry.audio is None for entry in side.entries):
        return False
    names = [PurePosixPath((entry.audio or "").replace("\\", "/")).name for entry in side.entries]
    recordings = {entry.audio for entry in side.entries}
    if len(set(names)) < len(recordings):
        names = [entry.audio or "" for entry in side.entries]
    for entry, name in zip(side.entries, names, strict=True):
        entry.id = name if not entry.start else f"{name}-{entry.start:.3f}"
    return True


def _results(side: Side, path: Path, given: str | None) -> Results:
    by_audio = _name_by_audio(side)
    named = [entry.id is not None for entry in side.entries]
    if any(named) and not all(named):
        raise ResultsError(
            f"{side.entries[named.index(False)].where}: no id, which other rows have; give each row its own"
        )
    if all(named):
        _unique(side.entries)
    notes = list(side.notes)
    stated_number = side.head.get("n")
    if isinstance(stated_number, int) and stated_number != len(side.entries):
        notes.append(f"{path}: states n = {stated_number} but holds {len(side.entries)} utterances; it may be cut")
    notes += _missing_as_words(side)
    language, origin = _language(side, path, given, notes)
    model = side.head.get("model_id") or side.head.get("model_path") or side.head.get("model")
    run = RunInfo(
        name=path.stem,
        kind="import",
        status="complete",
        language=language,
        model={"id": str(model)} if model else {},
        data={
            "source": str(path),
            "format": side.kind,
            "ids": ("audio" if by_audio else "stated") if all(named) else "content",
            "language_from": origin,
            "notes": notes,
        },
        config={"file": side.head} if side.head else {},
    )
    ids = [entry.id or "" for entry in side.entries]
    if not all(named):
        ids = content_ids(entry.reference or "" for entry in side.entries)
    return Results(run, [_prediction(entry, id_) for entry, id_ in zip(side.entries, ids, strict=True)], path)


def _missing_as_words(side: Side) -> list[str]:
    """A note where a program wrote its word for a missing value in place of a text."""
    found = [e.hypothesis for e in side.entries if e.hypothesis in _WRITTEN_NOTHINGS and e.hypothesis != e.reference]
    if not found:
        return []
    number = f"{len(found)} hypotheses are" if len(found) > 1 else "1 hypothesis is"
    return [f"{side.path}: {number} '{found[0]}', as programs write a missing text; scored as a word, not as empty"]


def _prediction(entry: Entry, id_: str) -> Prediction:
    if entry.reference is None or entry.hypothesis is None:
        lacking = "reference" if entry.reference is None else "hypothesis"
        raise ResultsError(f"{entry.where}: no {lacking}, which other rows have")
    times = {name: value for name in ("start", "end") if (value := getattr(entry, name)) is not None}
    return Prediction(
        id=id_,
        reference=entry.reference,
        hypothesis=entry.hypothesis,
        counts=_UNCOUNTED,
        duration=entry.duration,
        speaker=entry.speaker,
        language=_tag(entry.language),
        truncated=entry.truncated,
        looped=entry.looped,
        audio=entry.audio,
        extras=entry.extras | times,
    )


def _language(side: Side, path: Path, given: str | None, notes: list[str]) -> tuple[str | None, str]:
    """The language of a file and where that is known from."""
    of_rows = {tag for entry in side.entries if (tag := _tag(entry.language))}
    stated = next((tag for key in _LANGUAGE_KEYS if (tag := _tag(side.head.get(key)))), None)
    if given is not None:
        if stated is not None and stated != given:
            notes.append(f"{path}: states the language {stated}; it is scored as {given}, as asked for")
        return given, "asked for"
    if stated is not None:
        return stated, "stated in the file"
    if len(of_rows) > 1:
        notes.append(
            f"{path}: its rows are in {', '.join(sorted(of_rows))}; they are scored together, under one normalizer"
        )
        return None, "several"
    if of_rows:
        return of_rows.pop(), "stated in the rows"
    guess = guess_language(entry.reference or "" for entry in side.entries)
    if guess is None:
        notes.append(f"{path}: states no language, and it cannot be told from the references; give it with --language")
        return None, "unknown"
    return guess, "guessed from the references"


def _tag(value: Any) -> str | None:
    """The tag that a file's word for its language stands for: ``French``, ``fr_fr``, ``fleurs_fr``, ``cv21_zh``."""
    if not isinstance(value, str) or value.strip().casefold() in _NO_LANGUAGE:
        return None
    for name in (value, value.replace("-", "_").rsplit("_", 1)[-1]):
        try:
            return language_tag(name)
        except ConfigError:
            continue
    return None
