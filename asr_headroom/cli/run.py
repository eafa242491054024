"""``asr-headroom run``: a whole matrix from one file."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "execute a recipe: named steps in YAML, each skipped when it is done"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``run``."""
    parser.add_argument("recipe", nargs="?", help="name of a packaged recipe, or path of a .yaml file")
    parser.add_argument("--output", metavar="DIR", help="folder for the steps' folders [runs/NAME]")
    parser.add_argument("--set", metavar="STEP.FIELD=VALUE", action="append", default=[], help="override one setting")
    parser.add_argument("--jobs", type=int, metavar="N", help="steps that run beside each other [the recipe's, else 1]")
    parser.add_argument("--list", action="store_true", help="list the packaged recipes")
    parser.add_argument(
        "--dry-run", action="store_true", help="check the recipe, print its steps with a forecast and stop"
    )


def run(arguments: argparse.Namespace) -> int:
    """Checks and executes a recipe."""
    from asr_headroom.errors import UsageError
    from asr_headroom.recipes.run import load_recipe, recipe_names, run_recipe

    if arguments.list:
        for name in recipe_names():
            print(f"{name:<20} {load_recipe(name).description}")
        return 0
    if not arguments.recipe:
        raise UsageError("name a recipe, or the path of a .yaml file (`asr-headroom run --list` shows what there is)")
    if arguments.dry_run:
        from asr_headroom.recipes.forecast import forecast_step

        recipe = load_recipe(arguments.recipe, arguments.set)
        for step in recipe.steps:
            after = f"  after {', '.join(step.needs)}" if step.needs else ""
            print(f"{step.name:<24} {step.verb:<8} {recipe.fingerprints[step.name]}{after}")
            for line in forecast_step(step):
                print(f"    {line}")
        return 0
    output = Path(arguments.output or Path("runs") / Path(arguments.recipe).stem)
    run_recipe(arguments.recipe, output=output, overrides=arguments.set, jobs=arguments.jobs, say=print)
    return 0
