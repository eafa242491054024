"""``asr-headroom doctor``: which transcripts of some training data are probably wrong."""

from __future__ import annotations

import argparse
import json

SUMMARY = "find wrong transcripts in training data, each judged by a model that did not train on it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``doctor``."""
    from asr_headroom.cli.options import add_config_arguments
    from asr_headroom.stages.doctor import DoctorConfig

    parser.add_argument("data", nargs="?", default=argparse.SUPPRESS, help="manifest, folder, hub id or profile")
    add_config_arguments(parser, DoctorConfig, positional=("data",))
    parser.add_argument("--json", action="store_true", help="print the suspects as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Examines the data, then prints the suspects and where everything is."""
    from asr_headroom.analysis.label_doctor import verdict_to_json
    from asr_headroom.cli.options import config_from_arguments, print_settings
    from asr_headroom.report.doctor_page import doctor_lines
    from asr_headroom.stages.doctor import DoctorConfig, doctor

    config = config_from_arguments(arguments, DoctorConfig)
    if arguments.dry_run:
        return print_settings(config)
    found = doctor(config)
    diagnosis = found.diagnosis
    if arguments.json:
        suspects = [verdict_to_json(verdict, diagnosis.pool) for verdict in diagnosis.suspects]
        print(json.dumps(suspects, ensure_ascii=False, indent=1))
        return 0
    print("\n".join(doctor_lines(diagnosis)))
    print(f"\nAll verdicts: {found.directory}/verdicts.jsonl")
    if config.write_clean:
        print(f"Without what is more likely wrong than right: {found.directory}/clean.jsonl (left out: removed.jsonl)")
    print(f"Next: listen with {found.directory}/page.html")
    return 0
