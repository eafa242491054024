"""``asr-headroom train``: fine-tune a model inside a budget."""

from __future__ import annotations

import argparse
import contextlib
import os

SUMMARY = "fine-tune a model inside a budget (LoRA, full, scratch), resumable; the best step on dev is kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``train``."""
    from asr_headroom.cli.options import add_config_arguments
    from asr_headroom.stages.train import TrainStageConfig

    add_config_arguments(parser, TrainStageConfig)


def run(arguments: argparse.Namespace) -> int:
    """Trains, then says where the model is and how to judge it."""
    from asr_headroom.cli.options import config_from_arguments, print_settings
    from asr_headroom.stages.train import TrainStageConfig, train

    config = config_from_arguments(arguments, TrainStageConfig)
    if arguments.dry_run:
        from asr_headroom.stages.forecast import forecast_training

        print_settings(config)
        print("\n".join(f"# {line}" for line in forecast_training(config).lines()))
        return 0
    directory = train(config)
    if os.environ.get("RANK", "0") != "0":  # the first process speaks for all
        return 0
    print(directory)
    language = f" --language {config.language}" if config.language else ""
    # An encoder with a fresh head has nothing to be compared with before training.
    models = directory if config.vocabulary == "from-data" else f"{config.model} {directory}"
    packed = "" if config.quantization == "none" else f" --quantization {config.quantization}"
    print(f"Next: asr-headroom bench --models {models} --data TEST{language} --window {config.window}{packed}")
    _print_snippet(str(directory))
    return 0


def _print_snippet(directory: str) -> None:
    """How to open the model without this package, for the families that are ours to describe."""
    from asr_headroom.errors import ModelError
    from asr_headroom.models.snippets import loading_snippet

    with contextlib.suppress(ModelError):
        print("In Python:\n\n    " + loading_snippet(directory).replace("\n", "\n    ").replace("    \n", "\n"))
