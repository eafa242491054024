"""``asr-headroom rl``: reinforcement learning inside a budget."""

from __future__ import annotations

import argparse
import os

SUMMARY = "let a recogniser learn from the errors of its own hypotheses (MWER, GSPO …), inside a budget, resumable"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``rl``."""
    from asr_headroom.cli.options import add_config_arguments
    from asr_headroom.stages.rl import RlStageConfig

    add_config_arguments(parser, RlStageConfig)


def run(arguments: argparse.Namespace) -> int:
    """Trains, then says where the model is and how to judge it."""
    from asr_headroom.cli.options import config_from_arguments, print_settings
    from asr_headroom.stages.rl import RlStageConfig, rl

    config = config_from_arguments(arguments, RlStageConfig)
    if arguments.dry_run:
        from asr_headroom.stages.rl_forecast import forecast_rl

        print_settings(config)
        print("\n".join(f"# {line}" for line in forecast_rl(config).lines()))
        return 0
    directory = rl(config)
    if os.environ.get("RANK", "0") != "0":  # the first process speaks for all
        return 0
    print(directory)
    language = f" --language {config.language}" if config.language else ""
    models = f"{config.init} {directory}"
    print(f"Next: asr-headroom bench --models {models} --data TEST{language} --window {config.window}")
    return 0
