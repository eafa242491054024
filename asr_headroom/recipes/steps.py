"""The verbs a recipe can use: what configures each, what runs it, and what it has to say when it is done already."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_headroom.analysis.scoring import compare_results
from asr_headroom.errors import ConfigError
from asr_headroom.lab.speech import SpeechRecipe, write_corpus
from asr_headroom.metrics.significance import CLUSTER_CHOICES, ClusterBy
from asr_headroom.report.ablation_text import ablation_lines
from asr_headroom.report.tables import to_markdown
from asr_headroom.report.verdict import comparison_json, verdict_line
from asr_headroom.results.store import Results, load_results, write_json
from asr_headroom.stages.ablate import AblateConfig, ablate
from asr_headroom.stages.bench import BenchConfig, bench_models
from asr_headroom.stages.bench_summary import write_summary
from asr_headroom.stages.report import ReportConfig, find_runs, report
from asr_headroom.stages.rl import RlStageConfig, rl
from asr_headroom.stages.train import TrainStageConfig, train
from asr_headroom.stages.trials import ABLATION_FILE
from asr_headroom.text.normalize import get_normalizer

__all__ = ["STEP_KINDS", "CompareStep", "SpeechStep", "StepKind"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class StepKind:
    """One verb.

    Attributes:
        config_type: dataclass of its settings; has a field ``output``, the step's folder.
        execute: does the work.
        repeat: says again what a finished step had to say, without doing the work.
    """

    config_type: type
    execute: Callable[[Any, Say], None]
    repeat: Callable[[Any, Say], None]


@dataclass(frozen=True, kw_only=True)
class SpeechStep(SpeechRecipe):
    """Synthesise a corpus of the laboratory."""

    output: str = ""
    """Folder of the corpus."""


@dataclass(frozen=True, kw_only=True)
class CompareStep:
    """Judge one run against another."""

    base: str
    """Run directory, or a folder that holds exactly one."""

    system: str
    """Run directory, or a folder that holds exactly one."""

    normalizer: str | None = None
    """Normaliser of both; the base's own otherwise."""

    cluster: ClusterBy = "auto"
    """What the interval resamples as a whole."""

    intersect: bool = False
    """Compare the shared utterances of sets that differ."""

    output: str = ""
    """Folder for compare.json."""

    def __post_init__(self) -> None:
        if self.cluster not in CLUSTER_CHOICES:
            raise ConfigError(f"cluster is {self.cluster!r}; choose from {', '.join(CLUSTER_CHOICES)}")


def _write_speech(config: SpeechStep, say: Say) -> None:
    recipe = SpeechRecipe(**{spec.name: getattr(config, spec.name) for spec in dataclasses.fields(SpeechRecipe)})
    write_corpus(Path(config.output), recipe)


def _bench(config: BenchConfig, say: Say) -> None:
    outcome = bench_models(config)
    if outcome.results:
        say(to_markdown(write_summary(outcome.results, config.output).tables))
    failure = outcome.failure()
    if failure is not None:
        raise failure


def _train(config: TrainStageConfig, say: Say) -> None:
    train(config)


def _ablate(config: AblateConfig, say: Say) -> None:
    ablate(config)  # where it is done, nothing but its record is read
    facts = json.loads((Path(config.output) / ABLATION_FILE).read_text(encoding="utf-8"))
    for line in ablation_lines(facts):
        say(line)


def _rl(config: RlStageConfig, say: Say) -> None:
    rl(config)


def _compare(config: CompareStep, say: Say) -> None:
    pair = compare_results(
        _only_run(config.base),
        _only_run(config.system),
        normalizer=get_normalizer(config.normalizer) if config.normalizer else None,
        cluster=config.cluster,
        intersect=config.intersect,
    )
    line = verdict_line(pair)
    Path(config.output).mkdir(parents=True, exist_ok=True)
    write_json(Path(config.output) / "compare.json", comparison_json(pair) | {"verdict": line})
    say(line)


def _repeat_compare(config: CompareStep, say: Say) -> None:
    try:
        say(json.loads((Path(config.output) / "compare.json").read_text(encoding="utf-8"))["verdict"])
    except (OSError, ValueError, KeyError, TypeError):
        _compare(config, say)  # cheap, and the file is whole again


def _report(config: ReportConfig, say: Say) -> None:
    written = report(config)
    say(to_markdown(written.tables))
    say(f"Page: {written.page_path}")


def _only_run(folder: str) -> Results:
    runs = find_runs(folder)
    if len(runs) > 1:
        raise ConfigError(f"{folder}: holds {len(runs)} runs; name one of them: {', '.join(map(str, runs))}")
    return load_results(runs[0])


def _nothing(config: Any, say: Say) -> None:
    pass


STEP_KINDS = {
    "speech": StepKind(SpeechStep, _write_speech, _nothing),
    "bench": StepKind(BenchConfig, _bench, _bench),
    "train": StepKind(TrainStageConfig, _train, _nothing),
    "ablate": StepKind(AblateConfig, _ablate, _ablate),
    "rl": StepKind(RlStageConfig, _rl, _nothing),
    "compare": StepKind(CompareStep, _compare, _repeat_compare),
    "report": StepKind(ReportConfig, _report, _report),
}
