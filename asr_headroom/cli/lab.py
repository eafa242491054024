"""``asr-headroom lab``: the whole story on synthetic speech, offline; and the parts it is made of."""

from __future__ import annotations

import argparse
from pathlib import Path

from asr_headroom.cli.options import add_config_arguments, config_from_arguments, print_settings

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "the whole story in minutes, offline, on synthetic speech"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the laboratory and its two verbs."""
    from asr_headroom.lab.settings import PretrainConfig
    from asr_headroom.lab.speech import SpeechRecipe

    parser.add_argument("--output", metavar="DIR", default="runs/lab", help="folder of the results [runs/lab]")
    parser.add_argument(
        "--set",
        metavar="STEP.FIELD=VALUE",
        action="append",
        default=[],
        help="override one setting of the recipe",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="steps that run beside each other [2]")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")

    speech = verbs.add_parser("speech", help="write a corpus of synthetic speech with its manifest")
    add_config_arguments(speech, SpeechRecipe)
    speech.add_argument("--output", required=True, metavar="DIR", help="folder for audio and manifest.jsonl")

    pretrain = verbs.add_parser("pretrain", help="make the base model again, or another one")
    add_config_arguments(pretrain, PretrainConfig)
    pretrain.add_argument("--output", required=True, metavar="DIR", help="folder for model/ and curve.json")


def run(arguments: argparse.Namespace) -> int:
    """Runs the recipe of the laboratory, or the chosen verb.

    Raises:
        AsrHeadroomError: a setting is impossible, or a package is missing.
    """
    if arguments.verb == "speech":
        return _speech(arguments)
    return _pretrain(arguments) if arguments.verb == "pretrain" else _recipe(arguments)


def _recipe(arguments: argparse.Namespace) -> int:
    from asr_headroom.recipes.run import run_recipe

    run_recipe("lab", output=Path(arguments.output), overrides=arguments.set, jobs=arguments.jobs, say=print)
    return 0


def _speech(arguments: argparse.Namespace) -> int:
    from asr_headroom.lab.settings import base_path
    from asr_headroom.lab.speech import SpeechRecipe, write_corpus

    recipe = config_from_arguments(arguments, SpeechRecipe)
    if arguments.dry_run:
        return print_settings(recipe)
    manifest = write_corpus(Path(arguments.output), recipe)
    print(f"{recipe.count} utterances: {manifest}")
    print(f"next: asr-headroom bench --models {base_path()} --data {manifest}")
    return 0


def _pretrain(arguments: argparse.Namespace) -> int:
    from asr_headroom.lab.settings import PretrainConfig

    config = config_from_arguments(arguments, PretrainConfig)
    if arguments.dry_run:
        return print_settings(config)
    from asr_headroom.lab.pretrain import pretrain

    model = pretrain(config, Path(arguments.output))
    print(f"model: {model}")
    print(f"measured: {Path(arguments.output) / 'curve.json'}")
    return 0
