"""``asr-headroom models list``: the families that run here, what they can do, and what does not run here and why."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import json
from pathlib import Path
from typing import Any

from asr_headroom.errors import ModelError, did_you_mean

SUMMARY = "list the model families: hub ids, languages, licences, abilities"

_ABILITIES = {
    "can_sample": "samples",
    "can_nbest": "n-best lists",
    "beam_search": "beam search",
    "batch_exact": "exact in batches",
    "free_language": "language optional",
    "timestamps": "timestamps",
    "batch_norm": "batch norm frozen",
    "checkpointing": "checkpointing",
    "spectrogram_spans": "spans on log-mels",
}
_INTRODUCTION = """\
# Models

Written by `asr-headroom models list --markdown`; a test holds it up to date. Every family below loads from a hub id or
a local folder in one environment, transcribes, and trains (full, LoRA, scratch). Each declaration is proven by the
conformance suite on a tiny model with random weights.
"""
_COMMANDS = """\
## Commands

```sh
asr-headroom models list                 # all families
asr-headroom models list whisper         # one, with its checkpoints
asr-headroom models list --language yue  # the checkpoints that can be told a language
asr-headroom models list --json
```
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``models``."""
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = verbs.add_parser("list", help="families, hub ids, languages, licences, abilities")
    listing.add_argument("family", nargs="?", help="one family, with all its checkpoints")
    listing.add_argument("--language", metavar="TAG", help="only checkpoints that can be told this language")
    form = listing.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for machines")
    form.add_argument("--markdown", action="store_true", help="as docs/models.md")


def run(arguments: argparse.Namespace) -> int:
    """Prints the catalogue."""
    rows = _rows(arguments.family, arguments.language)
    if arguments.json:
        print(json.dumps({"families": rows, "elsewhere": _elsewhere()}, ensure_ascii=False, indent=2))
    elif arguments.markdown:
        print(_markdown([row for row in rows if row["abilities"]]), end="")
    else:
        print(_text(rows, details=bool(arguments.family or arguments.language)))
    return 0


def _rows(family: str | None, language: str | None) -> list[dict[str, Any]]:
    """One row per family of the catalogue, then one per family that another package brings."""
    from asr_headroom.models.catalogue import catalogue
    from asr_headroom.models.registry import family_names

    entries = {entry.family: entry for entry in catalogue()}
    strangers = [name for name in family_names() if name not in entries]
    if family is not None and family not in (*entries, *strangers):
        known = sorted([*entries, *strangers])
        raise ModelError(
            f"unknown model family '{family}'{did_you_mean(family, known)} (`asr-headroom models list` shows all)"
        )
    rows = []
    for entry in entries.values():
        row = _row(entry, language)
        if family in (None, entry.family) and (row["checkpoints"] or language is None):
            rows.append(row)
    if language is None:
        rows += [_outside(name) for name in strangers if family in (None, name)]
    return rows


def _row(entry: Any, language: str | None) -> dict[str, Any]:
    from asr_headroom.models.architecture import known_architectures
    from asr_headroom.models.dimensions import published_parameters
    from asr_headroom.text.units import primary_subtag

    counted = {name: shape.parameters for name, shape in known_architectures().items()} | dict(published_parameters())
    row = dataclasses.asdict(entry)
    row["checkpoints"] = []
    for checkpoint in entry.checkpoints:
        languages = entry.languages if checkpoint.languages is None else checkpoint.languages
        if language is not None and primary_subtag(language) not in languages:
            continue
        row["checkpoints"].append(
            dataclasses.asdict(checkpoint)
            | {"languages": languages, "parameters": counted.get(checkpoint.model_id, checkpoint.parameters)}
        )
    return row


def _outside(family: str) -> dict[str, Any]:
    """A family of another package, of which nothing is known before it is loaded."""
    unknown: dict[str, Any] = {"abilities": {}, "checkpoints": [], "languages": (), "notes": (), "extra": ""}
    return {"family": family, "title": "a family of another package", "architecture": "see there"} | unknown


def _elsewhere() -> list[dict[str, Any]]:
    from asr_headroom.models.catalogue import elsewhere

    return [dataclasses.asdict(entry) for entry in elsewhere()]


def _text(rows: list[dict[str, Any]], *, details: bool) -> str:
    lines = []
    for row in rows:
        abilities = ", ".join(name for key, name in _ABILITIES.items() if row["abilities"].get(key))
        lines.append(f"{row['family']:<16} {row['title']}: {row['architecture']}")
        if abilities:
            lines.append(f"{'':<16} {_languages(row['languages'])}; {abilities}; install: {_install(row)}")
        shown = row["checkpoints"] if details else row["checkpoints"][:3]
        for checkpoint in shown:
            facts = [_size(checkpoint["parameters"]), checkpoint["licence"], checkpoint["note"]]
            if checkpoint["languages"] != row["languages"]:
                facts.append(_languages(checkpoint["languages"]))
            lines.append(f"{'':<18} {checkpoint['model_id']:<48} {'  '.join(fact for fact in facts if fact)}")
        hidden = len(row["checkpoints"]) - len(shown)
        if hidden:
            lines.append(f"{'':<18} and {hidden} more: asr-headroom models list {row['family']}")
        lines += [f"{'':<16} {note}" for note in row["notes"] if details]
        lines.append("")
    if not details:
        lines.append(
            "Not runnable here; bench (--predictions), score, compare and report read files of their predictions:"
        )
        lines += [f"  {entry['title']} ({', '.join(entry['model_ids'])}): {entry['reason']}" for entry in _elsewhere()]
    return "\n".join(lines) if rows else "no checkpoint in the catalogue can be told that language"


def _markdown(rows: list[dict[str, Any]]) -> str:
    lines = [_INTRODUCTION, "| family | | languages | " + " | ".join(_ABILITIES.values()) + " | install |"]
    lines.append("|---|---|---|" + "---|" * (len(_ABILITIES) + 1))
    for row in rows:
        marks = " | ".join("yes" if row["abilities"][key] else "–" for key in _ABILITIES)
        cells = [f"`{row['family']}`", f"{row['title']}: {row['architecture']}", _languages(row["languages"])]
        lines.append(f"| {' | '.join(cells)} | {marks} | `{_install(row)}` |")
    lines += [
        "",
        "## Checkpoints",
        "",
        "| family | hub id | weights | licence | languages | |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        for checkpoint in row["checkpoints"]:
            cells = [f"`{row['family']}`", f"`{checkpoint['model_id']}`", _size(checkpoint["parameters"])]
            cells += [checkpoint["licence"], _languages(checkpoint["languages"]), checkpoint["note"]]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Weights are counted in the real class, built without them from dimensions that are known "
        "(`asr_headroom/models/dimensions.py` says from where); where none stand, none are known here. Licences are "
        "noted as the publishers' pages state them and were not read again for this table: read the page before you "
        "ship anything.",
        "",
    ]
    notes = [f"* `{row['family']}`: {note}" for row in rows for note in row["notes"]]
    lines += ["## What to know", "", *notes, ""]
    lines += [
        "## Not runnable here",
        "",
        "`bench --predictions`, `score`, `compare` and `report` read files of their predictions.",
        "",
    ]
    lines += [
        f"* **{entry['title']}** ({', '.join(f'`{model_id}`' for model_id in entry['model_ids'])}): {entry['reason']}."
        for entry in _elsewhere()
    ]
    lines += ["", "## What is proven of each family", ""]
    lines += ["Checks of `asr_headroom.testing.conformance`; one that does not apply is skipped with its reason.", ""]
    lines += [f"* {name}: {text}" for name, text in _checks()]
    return "\n".join(lines) + "\n\n" + _COMMANDS


def _checks() -> list[tuple[str, str]]:
    """Name and first line of each check, read from the source: importing it would need pytest and torch."""
    import asr_headroom

    folder = Path(asr_headroom.__file__).parent / "testing" / "conformance"
    found = []
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                text = (ast.get_docstring(node) or "").splitlines()[0]
                found.append((node.name.removeprefix("test_").replace("_", " "), text))
    return found


def _languages(languages: Any) -> str:
    if not languages:
        return "of each checkpoint"
    return ", ".join(languages) if len(languages) <= 4 else f"{len(languages)} languages"


def _size(parameters: int | None) -> str:
    if parameters is None:
        return ""
    return f"{parameters / 1e9:.2f} B" if parameters >= 1e9 else f"{parameters / 1e6:.0f} M"


def _install(row: dict[str, Any]) -> str:
    return f"pip install 'asr-headroom[{row['extra']}]'"
