"""``asr-headroom data``: validate, split, compare, show and export manifests."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_headroom.data.leak import LeakReport
    from asr_headroom.data.manifest import Manifest, Utterance
    from asr_headroom.data.validate import ValidationReport

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "check, split, compare and export manifests before they cost compute"

_SHOWN_ITEMS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verbs and their flags."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    source_help = "manifest, folder, hub id (org/name:config@split) or profile (fleurs-fr@test)"

    validate = verbs.add_parser("validate", help="list every problem of a manifest with file and line")
    validate.add_argument("source", help=source_help)
    validate.add_argument("--deep", action="store_true", help="decode every recording, not only its header")
    validate.set_defaults(verb_run=_validate)

    split = verbs.add_parser("split", help="train, dev and test that share neither speaker nor sentence")
    split.add_argument("source", help=source_help)
    split.add_argument("--output", required=True, metavar="DIR", help="folder for train, dev and test.jsonl")
    size_help = "fraction of the utterances if below 1, else their number [0.1]"
    split.add_argument("--dev", type=float, default=0.1, metavar="SIZE", help=size_help)
    split.add_argument("--test", type=float, default=0.1, metavar="SIZE", help=size_help)
    split.add_argument("--seed", type=int, default=42, help="of the order in which groups are dealt out [42]")
    split.add_argument("--skip-bad", action="store_true", help="leave out rows that cannot be used")
    split.set_defaults(verb_run=_split)

    leak = verbs.add_parser("leak", help="sentences, speakers and recordings that train and test share")
    leak.add_argument("train", help=source_help)
    leak.add_argument("test", help=source_help)
    leak.add_argument(
        "--similarity", type=float, default=90.0, metavar="PERCENT", help="of near-duplicate sentences [90]"
    )
    leak.add_argument("--skip-bad", action="store_true", help="leave out rows that cannot be used")
    leak.set_defaults(verb_run=_leak)

    show = verbs.add_parser("show", help="first rows, counts, hours, languages, speakers")
    show.add_argument("source", help=source_help)
    show.add_argument("--rows", type=int, default=5, help="to print [5]")
    show.add_argument("--skip-bad", action="store_true", help="leave out rows that cannot be used")
    show.set_defaults(verb_run=_show)

    export = verbs.add_parser("export", help="16 kHz WAV files and a manifest that other programs train on")
    export.add_argument("source", help=source_help)
    export.add_argument("--output", required=True, metavar="DIR", help="folder for manifest.jsonl and audio/")
    export.add_argument("--format", required=True, choices=("qwen3-asr", "nemo", "headroom"), help="of the manifest")
    export.add_argument("--limit", type=int, metavar="N", help="only the first rows")
    export.add_argument("--skip-bad", action="store_true", help="leave out rows that cannot be used")
    export.set_defaults(verb_run=_export)

    for verb in (validate, split, leak, show, export):
        verb.add_argument("--language", metavar="TAG", help="BCP-47 tag of rows that state none")
        verb.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Runs the chosen verb.

    Returns:
        0 clean or done; 1 unusable rows or leaks were found. Warnings alone leave 0.

    Raises:
        AsrHeadroomError: a source cannot be used, or the flags ask for something impossible.
    """
    return arguments.verb_run(arguments)


def _validate(arguments: argparse.Namespace) -> int:
    from asr_headroom.data.validate import validate_manifest

    report = validate_manifest(arguments.source, language=arguments.language, deep=arguments.deep)
    if arguments.json:
        _print_json({**dataclasses.asdict(report), "is_clean": report.is_clean})
    else:
        _print_report(report)
    return 0 if report.is_clean else 1


def _print_report(report: ValidationReport) -> None:
    for problem in report.problems:
        print(f"{problem.where}: {'error' if problem.fatal else 'warning'}: {problem.message}")
    num_warnings = sum(not problem.fatal for problem in report.problems)
    depth = "every segment decoded" if report.is_deep else "headers read; --deep decodes every segment"
    print(
        f"{report.name}: {report.num_rows} rows = {report.num_usable} usable + {report.num_unusable} unusable"
        f", {num_warnings} warnings, {report.hours:.2f} h usable ({depth})"
    )


def _split(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from asr_headroom.data.manifest import write_manifest
    from asr_headroom.data.readers import read_manifest
    from asr_headroom.data.split import split_manifest
    from asr_headroom.errors import DataError

    manifest = read_manifest(arguments.source, language=arguments.language, skip_bad=arguments.skip_bad)
    splits = split_manifest(manifest, dev=arguments.dev, test=arguments.test, seed=arguments.seed)
    num_unknown = sum(utterance.speaker is None for utterance in manifest)
    rows: list[dict[str, Any]] = []
    for name, part in splits._asdict().items():
        path = Path(arguments.output) / f"{name}.jsonl"
        try:
            write_manifest(path, part.utterances)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error}); check --output") from error
        speakers = {utterance.speaker for utterance in part} - {None}
        rows.append({"part": name, "path": str(path), "rows": len(part), "speakers": len(speakers)})
    if arguments.json:
        _print_json({"parts": rows, "seed": arguments.seed, "unknown_speakers": num_unknown})
        return 0
    for row in rows:
        print(f"{row['path']}: {row['rows']} rows, {row['speakers']} speakers")
    if num_unknown:
        print(f"warning: {num_unknown} rows name no speaker; the parts may share theirs")
    if manifest.problems:
        print(f"warning: {len(manifest.problems)} problems in the source, see `asr-headroom data validate`")
    return 0


def _leak(arguments: argparse.Namespace) -> int:
    from asr_headroom.data.leak import find_leaks
    from asr_headroom.data.readers import read_manifest

    train, test = (
        read_manifest(source, language=arguments.language, skip_bad=arguments.skip_bad)
        for source in (arguments.train, arguments.test)
    )
    report = find_leaks(train, test, language=arguments.language, min_similarity=arguments.similarity)
    if arguments.json:
        _print_json({**dataclasses.asdict(report), "is_clean": report.is_clean})
    else:
        _print_leaks(report)
    return 0 if report.is_clean else 1


def _print_leaks(report: LeakReport) -> None:
    shared = (("sentence", report.sentences), ("speaker", report.speakers), ("recording", report.recordings))
    for name, items in shared:
        for item in items[:_SHOWN_ITEMS]:
            counts = f"train {len(item.train_ids)}, test {len(item.test_ids)} utterances"
            print(f"{name} in both: {item.value} ({counts})")
        _print_rest(items, name)
    for near in report.near_duplicates[:_SHOWN_ITEMS]:
        print(f"{near.similarity:.0f} % alike: test '{near.test_sentence}' and train '{near.train_sentence}'")
    _print_rest(report.near_duplicates, "near-duplicate")
    for name in report.unreadable[:_SHOWN_ITEMS]:
        print(f"recording not compared, it cannot be read: {name}")
    _print_rest(report.unreadable, "unreadable recording")
    print(
        f"{len(report.leaked_ids)} of {report.num_test} test utterances leak from {report.num_train} of train"
        f" ({len(report.sentences)} sentences, {len(report.near_duplicates)} near-duplicates, "
        f"{len(report.recordings)} recordings); {len(report.speakers)} speakers shared"
    )


def _print_rest(items: tuple[Any, ...], name: str) -> None:
    if len(items) > _SHOWN_ITEMS:
        print(f"and {len(items) - _SHOWN_ITEMS} more {name}s (all with --json)")


def _show(arguments: argparse.Namespace) -> int:
    from asr_headroom.data.readers import read_manifest

    manifest = read_manifest(arguments.source, language=arguments.language, skip_bad=arguments.skip_bad)
    summary = _summary(manifest)
    first = manifest.utterances[: max(arguments.rows, 0)]
    if arguments.json:
        _print_json({**summary, "first": [_row(utterance) for utterance in first]})
        return 0
    for utterance in first:
        row = _row(utterance)
        print(f"{row['id']}  {row['language'] or '-'}  {row['speaker'] or '-'}  {row['audio']}")
        print(f"    {row['text']}")
    hours = f"{summary['hours']:.2f} h" if not summary["rows_without_duration"] else "hours not stated"
    languages = ", ".join(f"{tag} {count}" for tag, count in summary["languages"].items())
    speakers = f"{summary['speakers']} speakers"
    print(f"{manifest.name}: {summary['rows']} rows, {hours}, {speakers}, languages: {languages}")
    if manifest.problems:
        print(f"{len(manifest.problems)} problems; `asr-headroom data validate {manifest.name}` lists them")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from asr_headroom.data.export import export_manifest
    from asr_headroom.data.readers import read_manifest

    manifest = read_manifest(
        arguments.source, language=arguments.language, skip_bad=arguments.skip_bad, limit=arguments.limit
    )
    exported = export_manifest(manifest, arguments.output, format=arguments.format)
    if arguments.json:
        _print_json({**dataclasses.asdict(exported), "path": str(exported.path)})
        return 0
    print(
        f"{exported.path}: {exported.num_utterances} rows, {exported.seconds / 3600:.2f} h, format {arguments.format}"
    )
    if exported.renamed and arguments.format == "qwen3-asr":
        print(f"warning: {exported.renamed} ids are no file names; read back, these rows are called like their files")
    if exported.clipped:
        print(f"warning: {exported.clipped} recordings were louder than full scale and are clipped there")
    return 0


def _summary(manifest: Manifest) -> dict[str, Any]:
    languages = Counter(utterance.language or "unknown" for utterance in manifest)
    speakers = {utterance.speaker for utterance in manifest} - {None}
    durations = [_stated_duration(utterance) for utterance in manifest]
    return {
        "name": manifest.name,
        "rows": len(manifest),
        "problems": len(manifest.problems),
        "hours": sum(duration for duration in durations if duration is not None) / 3600,
        "rows_without_duration": durations.count(None),
        "languages": dict(languages.most_common()),
        "speakers": len(speakers),
        "fingerprint": manifest.fingerprint(),
    }


def _stated_duration(utterance: Utterance) -> float | None:
    if utterance.duration is not None or utterance.end is None:
        return utterance.duration
    return utterance.end - utterance.start


def _row(utterance: Utterance) -> dict[str, Any]:
    from asr_headroom.audio.waveform import describe_source

    return {
        "id": utterance.id,
        "audio": describe_source(utterance.audio),
        "text": utterance.text,
        "language": utterance.language,
        "speaker": utterance.speaker,
        "duration": utterance.duration,
    }


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))
