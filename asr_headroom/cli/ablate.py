"""``asr-headroom ablate``: which setting of a training is best on dev, inside one budget."""

from __future__ import annotations

import argparse
import os

SUMMARY = (
    "try a grid of training settings as a race on dev inside one budget, resumable; the best goes through the guard"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``ablate``: those of ``train`` and its own."""
    from asr_headroom.cli.options import add_config_arguments
    from asr_headroom.stages.ablate import AblateConfig

    add_config_arguments(parser, AblateConfig, positional=("grid", "learning_rates"))
    parser.add_argument(
        "--grid",
        dest="axes",
        metavar="FIELD=VALUE,VALUE",
        action="append",
        default=[],
        help="a field and the values to try; repeat it for more fields, every combination is a setting",
    )


def run(arguments: argparse.Namespace) -> int:
    """Races, then shows how the choice came about and how to judge it."""
    import json
    from pathlib import Path

    from asr_headroom.cli.options import config_from_arguments, print_settings
    from asr_headroom.errors import ConfigError
    from asr_headroom.report.ablation_text import ablation_lines
    from asr_headroom.stages.ablate import AblateConfig, ablate, forecast_lines, training_config
    from asr_headroom.stages.grid import read_grid
    from asr_headroom.stages.trials import ABLATION_FILE

    given: set[str] = set()
    for axis in arguments.axes:
        name, separator, values = axis.partition("=")
        if name in given:
            raise ConfigError(f"--grid {name} is given twice; name all its values in one, {name}=value,value")
        given.add(name)
        if not separator or not values:
            raise ConfigError(f"--grid {axis}: write --grid field=value,value, for example --grid lora.rank=8,32")
        arguments.set.append(f"grid.{name}=[{values}]")
    config = config_from_arguments(arguments, AblateConfig)
    grid = read_grid(config.grid, training_config(config))
    if arguments.dry_run:
        print_settings(config)
        for line in forecast_lines(config, grid):
            print(f"# {line}")
        for setting in grid.settings:
            print(f"# {setting.name}  " + "  ".join(f"{name}={value}" for name, value in setting.values.items()))
        return 0
    directory = ablate(config)
    facts = json.loads((Path(config.output) / ABLATION_FILE).read_text(encoding="utf-8"))
    if os.environ.get("RANK", "0") != "0":  # the first process speaks for all
        return 0
    print("\n".join(ablation_lines(facts)))
    print(directory)
    chosen = next(setting.config for setting in grid.settings if setting.name == facts["chosen"])
    language = f" --language {config.language}" if config.language else ""
    packed = "" if chosen.quantization == "none" else f" --quantization {chosen.quantization}"
    models = directory if chosen.vocabulary == "from-data" else f"{chosen.model} {directory}"
    print(f"Next: asr-headroom bench --models {models} --data TEST{language} --window {chosen.window}{packed}")
    return 0
