"""``bench``: models on test sets, one resumable run directory for each pair."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from asr_headroom.budget import Budget, parse_budget
from asr_headroom.config import fingerprint, to_mapping
from asr_headroom.errors import BudgetError, ConfigError, ModelError
from asr_headroom.evaluate.transcribe import refuse_long_utterances, transcribe_manifest
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.protocols import Recognizer
from asr_headroom.models.quantization import Quantization
from asr_headroom.models.registry import load_model
from asr_headroom.provenance import collect_provenance
from asr_headroom.results.schema import RunInfo
from asr_headroom.results.store import Results, ResultsWriter, count_finished, load_results, load_run
from asr_headroom.stages.data import Loaded, load_data
from asr_headroom.stopping import StopRequests
from asr_headroom.text.normalize import Normalizer, get_normalizer, normalizer_for_language
from asr_headroom.text.units import primary_subtag

__all__ = ["BenchConfig", "bench", "default_name", "read_model_facts"]

logger = logging.getLogger(__name__)

_STAGES = ("load", "transcribe")
"""Of the ledger: what bench itself spends; the stages of training stand there too."""


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Measure models on test sets."""

    models: tuple[str, ...]
    """Hub ids, local folders, or folders written by train."""

    data: tuple[str, ...]
    """Test sets: manifests, folders, hub ids, profiles."""

    output: str = "runs/bench"
    """Folder for one run directory per model and test set."""

    language: str | None = None
    """BCP-47 tag for rows that name none; decoding is told each row's language."""

    normalizer: str | None = None
    """Normaliser of the scores; the language's default otherwise."""

    window: Literal["full", "fit"] = "full"
    """Whisper: full decodes in the 30 s window it was trained with; fit in the seconds that hold the recording."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the weights; half precision is faster on a GPU and changes some outputs."""

    quantization: Quantization = "none"
    """8bit or 4bit pack the weights of large models as they are read, by bitsandbytes; outputs change a little."""

    batch_size: int = 16
    """Utterances decoded together, at most."""

    beam_size: int = 1
    """1 is greedy."""

    max_new_tokens: int = 225
    """Tokens at which a hypothesis is cut, and marked."""

    max_duration: float | None = None
    """Seconds; longer utterances are left out and counted. Without it they are refused."""

    budget: str | None = None
    """Time for the whole command and what earlier sessions spent in its runs: 45m, 1h30m; 2gpu-h is 2 h on one GPU."""

    limit: int | None = None
    """Only the first utterances of each test set."""

    skip_bad: bool = False
    """Leave out rows that cannot be used, counted, instead of refusing the manifest."""

    streaming: bool = False
    """Read hub data sets row by row without downloading the rest; needs limit."""

    name: str | None = None
    """Name in tables; only with one model."""

    def __post_init__(self) -> None:
        problems = []
        if not self.models or not self.data:
            problems.append("bench needs at least one model and one test set")
        if self.name and len(self.models) != 1:
            problems.append(f"name is for one model, there are {len(self.models)}; leave it out")
        for field in ("batch_size", "beam_size", "max_new_tokens"):
            if getattr(self, field) < 1:
                problems.append(f"{field} is {getattr(self, field)}; it must be at least 1")
        if self.limit is not None and self.limit < 1:
            problems.append(f"limit is {self.limit}; it must be at least 1")
        if self.max_duration is not None and not self.max_duration > 0:
            problems.append(f"max_duration is {self.max_duration}; it must be above 0 s")
        try:
            if self.budget is not None:
                parse_budget(self.budget)
        except ConfigError as error:
            problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))


class _Task(NamedTuple):
    """One model on one test set, and the directory of its run."""

    model_id: str
    source: str
    loaded: Loaded
    directory: Path


def bench(config: BenchConfig, *, clock: Callable[[], float] = time.monotonic) -> list[Results]:
    """Transcribes each test set with each model; complete pairs are read, not repeated.

    Args:
        config: what to measure.
        clock: for the budget and the minutes.

    Raises:
        BudgetError: the budget ended before the work did; what is transcribed is kept.
        Stopped: a signal asked to stop; what is transcribed is kept.
        AsrHeadroomError: data or a model cannot be used; results written before stay.
    """
    if config.normalizer:
        get_normalizer(config.normalizer)
    begin = clock()
    sets = [(source, _load_set(source, config)) for source in config.data]
    tasks = [[_task(model_id, *pair, config) for pair in sets] for model_id in config.models]
    used = sum(_seconds_spent(task) for group in tasks for task in group)
    seconds = parse_budget(config.budget) if config.budget else None
    budget = Budget(seconds, used=used + clock() - begin, clock=clock)
    results: list[Results] = []
    for group in tasks:
        model: Recognizer | None = None
        for task in group:
            if _is_complete(task, config):
                logger.info("%s: complete already", task.directory)
            else:
                try:
                    model, load_seconds = (model, 0.0) if model else _load(task, config, budget, clock)
                    _run_one(model, task, config, load_seconds=load_seconds, budget=budget, clock=clock)
                except BudgetError as error:
                    raise _out_of_budget(error, task, results) from error
            results.append(load_results(task.directory))
    return results


def _load_set(source: str, config: BenchConfig) -> Loaded:
    return load_data(
        source,
        language=config.language,
        limit=config.limit,
        max_duration=config.max_duration,
        skip_bad=config.skip_bad,
        streaming=config.streaming,
    )


def _task(model_id: str, source: str, loaded: Loaded, config: BenchConfig) -> _Task:
    name = config.name or default_name(model_id)
    return _Task(model_id, source, loaded, Path(config.output) / _slug(name) / _slug(loaded.manifest.name))


def _seconds_spent(task: _Task) -> float:
    """What earlier sessions spent in the run's directory."""
    if not (task.directory / "run.json").is_file():
        return 0.0
    minutes = load_run(task.directory).minutes
    return 60 * sum(minutes.get(stage, 0.0) for stage in _STAGES)


def _load(task: _Task, config: BenchConfig, budget: Budget, clock: Callable[[], float]) -> tuple[Recognizer, float]:
    """The model, and the seconds that loading it took."""
    if budget.remaining <= 0:
        done, total = count_finished(task.directory), len(task.loaded.manifest)
        raise BudgetError(f"the budget is used up with {done} of {total} utterances transcribed (nothing is left)")
    begin = clock()
    model = load_model(
        task.model_id, window=config.window, dtype=config.dtype, quantization=config.quantization, device="auto"
    )
    return model, clock() - begin


def _out_of_budget(error: BudgetError, task: _Task, results: Sequence[Results]) -> BudgetError:
    complete = ", ".join(str(result.path) for result in results) or "none"
    return BudgetError(
        f"{task.directory}: {error}; complete runs: {complete}; the same command with a larger --budget goes on"
    )


def _run_one(
    model: Recognizer,
    task: _Task,
    config: BenchConfig,
    *,
    load_seconds: float,
    budget: Budget,
    clock: Callable[[], float],
) -> None:
    manifest = task.loaded.manifest
    language = _common_language(task.loaded)
    normalizer = get_normalizer(config.normalizer) if config.normalizer else normalizer_for_language(language)
    options = DecodingOptions(beam_size=config.beam_size, max_new_tokens=config.max_new_tokens)
    run = _describe(model, task, config, options, normalizer)
    logger.info("%s on %s: %d utterances, window %s", run.name, manifest.name, len(manifest), config.window)
    refuse_long_utterances(model, manifest)
    with ResultsWriter(task.directory, run) as writer, StopRequests() as stops:
        if load_seconds:
            writer.add_minutes("load", load_seconds / 60)
        transcribe_manifest(
            model,
            manifest,
            options,
            normalizer=normalizer,
            batch_size=config.batch_size,
            writer=writer,
            budget=budget,
            stops=stops,
            clock=clock,
        )
        writer.finish()
        if stops.requested:
            raise stops.stopped(f"stopped with {task.directory} complete; the same command goes on")


def _describe(
    model: Recognizer, task: _Task, config: BenchConfig, options: DecodingOptions, normalizer: Normalizer
) -> RunInfo:
    """What is about to be run, as its directory will say."""
    model_id, language = task.model_id, _common_language(task.loaded)
    decoding = to_mapping(options) | model.decoding_state() | {"batch_size": config.batch_size}
    facts = read_model_facts(model_id)
    name = config.name or default_name(model_id)
    if facts.get("window") not in (None, config.window):
        logger.warning(
            "%s was trained with --window %s and is decoded here with --window %s; its outputs may suffer",
            name,
            facts["window"],
            config.window,
        )
    return RunInfo(
        name=name,
        language=language,
        model={
            "id": model_id,
            "weights": _hash_weights(model_id),
            "family": model.card.family,
            "parameters": model.card.parameters,
            "trainable_parameters": facts.get("trainable_parameters"),
            "method": facts.get("method"),
            "base": facts.get("base"),
            "best_step": facts.get("best_step"),
            "language_mismatch": _mismatch(model, language),
        }
        | ({"guard": facts["guard"]} if facts.get("guard") else {}),
        data=task.loaded.facts() | {"source": task.source},
        decoding=decoding,
        decoding_hash=fingerprint(decoding),
        normalizer={"id": normalizer.id, "version": normalizer.version, "hash": normalizer.hash},
        config=to_mapping(config),
        parent=default_name(facts["base"]) if facts.get("base") else None,
        minutes={f"train {stage}": minutes for stage, minutes in facts.get("minutes", {}).items()},
        provenance=collect_provenance(),
    )


def default_name(model_id: str) -> str:
    """How a model is called in tables.

    >>> default_name("openai/whisper-small"), default_name("runs/small-lora/model")
    ('whisper-small', 'small-lora')
    """
    parts = [part for part in re.split(r"[/\\]", model_id) if part not in ("", ".", "..")]
    return parts[-2] if len(parts) > 1 and parts[-1] == "model" else parts[-1]


def read_model_facts(model_id: str) -> dict[str, Any]:
    """What ``train`` wrote beside a model's weights; empty for a model from elsewhere.

    Raises:
        ModelError: the file is damaged.
    """
    path = Path(model_id) / "headroom.json"
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: cannot be read ({error}); delete it to bench the model without its history"
        ) from error
    if not isinstance(facts, dict):
        raise ModelError(f"{path}: holds a {type(facts).__name__}; delete it to bench the model without its history")
    return facts


def _is_complete(task: _Task, config: BenchConfig) -> bool:
    """Whether the directory holds exactly this run, finished: no need to load the model."""
    if not (task.directory / "run.json").is_file():
        return False
    # Not the predictions: those of a run that was killed may end in the middle of a line.
    run = load_run(task.directory)
    model_id, loaded = task.model_id, task.loaded
    same = run.model.get("id") == model_id and run.data.get("fingerprint") == loaded.manifest.fingerprint()
    same = same and run.language == _common_language(loaded) and run.model.get("weights") == _hash_weights(model_id)
    settings = ("window", "dtype", "batch_size", "beam_size", "max_new_tokens", "normalizer")
    same = same and run.config.get("quantization", "none") == config.quantization  # runs of before have none
    wanted = to_mapping(config)
    return run.status == "complete" and same and all(run.config.get(name) == wanted[name] for name in settings)


def _hash_weights(model_id: str) -> str | None:
    """Sixteen hexadecimal digits over a local folder's weights, so that a model trained anew is another model."""
    files = sorted(path for path in Path(model_id).glob("*") if path.suffix in (".safetensors", ".bin"))
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16] if files else None


def _common_language(loaded: Loaded) -> str | None:
    languages = {utterance.language for utterance in loaded.manifest}
    return languages.pop() if len(languages) == 1 else None


def _mismatch(model: Recognizer, language: str | None) -> bool:
    """True where the model was never meant for the language: a baseline row, not a competitor."""
    known = model.card.languages
    return bool(language and known and primary_subtag(language) not in known)


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "unnamed"
