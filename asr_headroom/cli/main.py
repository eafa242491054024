"""Parses the first word and hands the rest to that verb's file. Start here to see what the command can do."""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

import asr_headroom
from asr_headroom.errors import AsrHeadroomError, did_you_mean

__all__ = ["VERBS", "main"]

VERBS = (
    "bench",
    "train",
    "rl",
    "ablate",
    "score",
    "compare",
    "analyze",
    "audit",
    "report",
    "data",
    "doctor",
    "normalize",
    "models",
    "run",
    "lab",
)
"""In the order of the work; each is a module of this package with SUMMARY, add_arguments and run."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 done, 1 failed, 2 wrong usage, 130 or 143 stopped by a signal."""
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character, or a transcript with half a surrogate pair, must not end the run.
        sys.stdout.reconfigure(errors="backslashreplace")
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"asr-headroom {asr_headroom.__version__}")
        return 0
    verb, *rest = words
    if verb not in VERBS:
        return _fail(f"unknown command '{verb}'{did_you_mean(verb, VERBS)} (`asr-headroom --help` lists them)", 2)
    module = importlib.import_module(f"asr_headroom.cli.{verb}")
    parser = _Parser(
        prog=f"asr-headroom {verb}",
        description=module.SUMMARY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbosity = parser.add_mutually_exclusive_group()
    verbosity.add_argument("--quiet", action="store_true", help="only warnings and results")
    verbosity.add_argument("--verbose", action="store_true", help="also what the libraries log")
    module.add_arguments(parser)
    try:
        arguments = parser.parse_args(rest)
    except SystemExit as stop:
        return int(stop.code or 0)
    _configure_logging(quiet=arguments.quiet, verbose=arguments.verbose)
    try:
        return module.run(arguments)
    except AsrHeadroomError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped; run the same command again and it goes on from here", 130)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # A disk that fills up or a folder that may not be written can show up anywhere; it is never a bug of ours.
        if arguments.verbose:
            traceback.print_exc()
        return _fail(f"{error}; check the path, its permissions and the space on the disk", 1)


class _Parser(argparse.ArgumentParser):
    """A parser that suggests the flag that was meant."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: -"):
            flag = message.split()[2].split("=", 1)[0]
            known = flag in self._option_string_actions
            message += "; put it before the verb" if known else did_you_mean(flag, self._option_string_actions)
        super().error(message)


def _overview() -> str:
    modules = {verb: importlib.import_module(f"asr_headroom.cli.{verb}") for verb in VERBS}
    lines = [f"  {verb:<10} {module.SUMMARY}" for verb, module in modules.items()]
    return "\n".join(
        [
            "usage: asr-headroom COMMAND …",
            "",
            "Will fine-tuning this speech recogniser pay, and what did it buy?",
            "",
            *lines,
            "",
            "`asr-headroom COMMAND --help` shows its flags. New? `asr-headroom lab` tells the whole story offline.",
        ]
    )


def _configure_logging(*, quiet: bool, verbose: bool) -> None:
    # Set before transformers is imported: its progress bars and advice would drown ours.
    if not verbose:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
    # Of the processes of one training the first speaks for all.
    other = os.environ.get("RANK", "0") != "0"
    logging.getLogger("asr_headroom").setLevel(logging.ERROR if other else logging.WARNING if quiet else logging.INFO)
    root = logging.getLogger()
    root.handlers = [handler]
    # The hub's client has a handler of its own; each of its retries would be said twice.
    logging.getLogger("huggingface_hub").propagate = False
    root.setLevel(logging.INFO if verbose else logging.ERROR)


def _fail(message: str, exit_code: int) -> int:
    print(f"asr-headroom: {message}", file=sys.stderr)
    return exit_code
