"""``bench``: models on test sets, one resumable run directory for each pair; beside them other people's predictions.

A model that cannot be used loses only its own row: the others are benched, and the failure is told at the end. Start
with :func:`bench_models`; :mod:`asr_headroom.stages.bench_files` makes rows of prediction files.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from asr_headroom.budget import Budget, parse_budget
from asr_headroom.config import fingerprint, to_mapping
from asr_headroom.errors import AsrHeadroomError, BudgetError, ConfigError, ModelError, Stopped
from asr_headroom.evaluate.decode import why_no_nbest
from asr_headroom.evaluate.transcribe import refuse_long_utterances, transcribe_manifest
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.languages import known_code
from asr_headroom.models.out_of_memory import is_out_of_memory, release_memory
from asr_headroom.models.protocols import Recognizer
from asr_headroom.models.registry import load_model
from asr_headroom.provenance import collect_provenance
from asr_headroom.results.schema import RunInfo
from asr_headroom.results.store import Results, ResultsWriter, count_finished, load_results, load_run
from asr_headroom.stages.bench_config import BenchConfig
from asr_headroom.stages.bench_files import common_language, directory_name, read_file_rows, split_source
from asr_headroom.stages.data import Loaded, load_data
from asr_headroom.stages.model_facts import default_name, hash_weights, read_model_facts
from asr_headroom.stopping import StopRequests
from asr_headroom.text.normalize import Normalizer, get_normalizer, normalizer_for_language

__all__ = ["BenchConfig", "BenchOutcome", "Failure", "bench", "bench_models"]

logger = logging.getLogger(__name__)

_STAGES = ("load", "transcribe")
"""Of the ledger: what bench itself spends; the stages of training stand there too."""


class _Task(NamedTuple):
    """One model on one test set, and the directory of its run."""

    model_id: str
    source: str
    loaded: Loaded
    directory: Path


class Failure(NamedTuple):
    """What could not be benched, and why."""

    name: str
    error: AsrHeadroomError


@dataclass(frozen=True, kw_only=True)
class BenchOutcome:
    """What a bench left behind.

    Attributes:
        results: complete runs, models first, in the order asked for.
        failures: models that could not be used, one entry for each test set they miss.
    """

    results: list[Results]
    failures: list[Failure]

    def failure(self) -> AsrHeadroomError | None:
        """What to raise at the end; None where nothing failed."""
        if not self.failures:
            return None
        if not self.results and len({id(error) for _, error in self.failures}) == 1:
            return self.failures[0].error
        told = "\n".join(f"  {name}: {error}" for name, error in self.failures)
        total = len(self.failures) + len(self.results)
        return ModelError(f"{len(self.failures)} of {total} rows are missing; the others are complete\n{told}")


def bench(config: BenchConfig, *, clock: Callable[[], float] = time.monotonic) -> list[Results]:
    """As :func:`bench_models`, for callers to whom part of the work is a failure.

    Raises:
        AsrHeadroomError: as there, or a model could not be used; results of the others stay.
    """
    outcome = bench_models(config, clock=clock)
    error = outcome.failure()
    if error is not None:
        raise error
    return outcome.results


def bench_models(config: BenchConfig, *, clock: Callable[[], float] = time.monotonic) -> BenchOutcome:
    """Transcribes each test set with each model; complete pairs are read, not repeated.

    Args:
        config: what to measure.
        clock: for the budget and the minutes.

    Raises:
        BudgetError: the budget ended before the work did; what is transcribed is kept.
        Stopped: a signal asked to stop; what is transcribed is kept.
        AsrHeadroomError: data or a file of predictions cannot be used; found before any model is loaded.
    """
    if config.normalizer:
        get_normalizer(config.normalizer)
    begin = clock()
    _refuse_twins(config)
    sets = [(source, _load_set(source, config)) for source in dict.fromkeys(config.data)]
    _refuse_twin_sets(sets)
    files = read_file_rows(
        config.predictions,
        [loaded for _, loaded in sets],
        output=Path(config.output),
        language=config.language,
        normalizer=config.normalizer,
    )
    tasks = [[_task(model_id, *pair, config) for pair in sets] for model_id in dict.fromkeys(config.models)]
    used = sum(_seconds_spent(task) for group in tasks for task in group)
    seconds = parse_budget(config.budget) if config.budget else None
    budget = Budget(seconds, used=used + clock() - begin, clock=clock)
    outcome = BenchOutcome(results=[], failures=[])
    for group in tasks:
        _bench_group(group, config, budget, clock, outcome)
        # The next model is measured in a process that holds nothing of this one.
        release_memory()
    outcome.results.extend(files)
    return outcome


def _bench_group(
    group: Sequence[_Task], config: BenchConfig, budget: Budget, clock: Callable[[], float], outcome: BenchOutcome
) -> None:
    """One model on all test sets; what it yields or why it does not is added to the outcome."""
    model: Recognizer | None = None
    for number, task in enumerate(group):
        try:
            if _is_complete(task, config):
                logger.info("%s: complete already", task.directory)
            else:
                model, load_seconds = (model, 0.0) if model else _load(task, config, budget, clock)
                _run_one(model, task, config, load_seconds=load_seconds, budget=budget, clock=clock)
            outcome.results.append(load_results(task.directory))
        except BudgetError as error:
            raise _out_of_budget(error, task, outcome.results) from error
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 one model must not cost the others their rows
            reason = _reason(error, task.model_id)
            # What cannot be loaded for one test set cannot for the next.
            lost = group[number:] if model is None else [task]
            outcome.failures.extend(Failure(f"{each.model_id} on {each.loaded.manifest.name}", reason) for each in lost)
            # The traceback of what nobody foresaw, a fault here or in a library, as text: it holds no memory.
            trace = "" if reason is error else "\n" + "".join(traceback.format_exception(error))
            logger.error("%s failed: %s%s", task.model_id, reason, trace)
            _forget_frames(error)
            if model is None:
                return


def _reason(error: Exception, model_id: str) -> AsrHeadroomError:
    """Why a model loses its row, in words for its user."""
    if isinstance(error, AsrHeadroomError):
        return error
    if is_out_of_memory(error):
        return ModelError(
            f"'{model_id}' does not fit in memory; take --dtype bfloat16, --quantization 4bit or a smaller model"
        )
    return ModelError(f"'{model_id}' fails with {type(error).__name__}: {' '.join(str(error).split())}")


def _forget_frames(error: BaseException | None) -> None:
    """Lets go of what the frames of a failure hold: the next model is measured, and may not fit, beside this one."""
    while error is not None:
        error.__traceback__, error = None, error.__cause__ or error.__context__


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
    return _Task(
        model_id, source, loaded, Path(config.output) / directory_name(name) / directory_name(loaded.manifest.name)
    )


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
    language = common_language(task.loaded.manifest)
    normalizer = get_normalizer(config.normalizer) if config.normalizer else normalizer_for_language(language)
    options = DecodingOptions(beam_size=config.beam_size, max_new_tokens=config.max_new_tokens)
    no_lists = why_no_nbest(model) if config.nbest else None
    nbest = 0 if no_lists else config.nbest or 0
    run = _describe(model, task, config, options, normalizer, nbest)
    logger.info("%s on %s: %d utterances, window %s", run.name, manifest.name, len(manifest), config.window)
    refuse_long_utterances(model, manifest)
    with ResultsWriter(task.directory, run) as writer, StopRequests() as stops:
        if load_seconds:
            writer.add_minutes("load", load_seconds / 60)
        if no_lists:
            logger.info("%s: no N-best lists: %s", run.name, no_lists)
            writer.measure(nbest={"asked": config.nbest, "reason": no_lists})
        transcribe_manifest(
            model,
            manifest,
            options,
            normalizer=normalizer,
            batch_size=config.batch_size,
            nbest=nbest,
            writer=writer,
            budget=budget,
            stops=stops,
            clock=clock,
        )
        writer.finish()
        if stops.requested:
            raise stops.stopped(f"stopped with {task.directory} complete; the same command goes on")


def _describe(
    model: Recognizer, task: _Task, config: BenchConfig, options: DecodingOptions, normalizer: Normalizer, nbest: int
) -> RunInfo:
    """What is about to be run, as its directory will say."""
    model_id, language = task.model_id, common_language(task.loaded.manifest)
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
            "weights": hash_weights(model_id),
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
        decoding=decoding | ({"nbest": nbest} if nbest else {}),
        decoding_hash=fingerprint(decoding),
        normalizer={"id": normalizer.id, "version": normalizer.version, "hash": normalizer.hash},
        config=to_mapping(config),
        parent=default_name(facts["base"]) if facts.get("base") else None,
        minutes={f"train {stage}": minutes for stage, minutes in facts.get("minutes", {}).items()},
        provenance=collect_provenance(),
    )


def _is_complete(task: _Task, config: BenchConfig) -> bool:
    """Whether the directory holds exactly this run, finished: no need to load the model."""
    if not (task.directory / "run.json").is_file():
        return False
    # Not the predictions: those of a run that was killed may end in the middle of a line.
    run = load_run(task.directory)
    model_id, loaded = task.model_id, task.loaded
    same = run.model.get("id") == model_id and run.data.get("fingerprint") == loaded.manifest.fingerprint()
    same = (
        same and run.language == common_language(loaded.manifest) and run.model.get("weights") == hash_weights(model_id)
    )
    settings = ("window", "dtype", "batch_size", "beam_size", "max_new_tokens", "normalizer", "nbest")
    same = same and run.config.get("quantization", "none") == config.quantization  # runs of before have none
    wanted = to_mapping(config)
    return run.status == "complete" and same and all(run.config.get(name) == wanted[name] for name in settings)


def _mismatch(model: Recognizer, language: str | None) -> bool:
    """True where the model was never meant for the language: a baseline row, not a competitor."""
    known = model.card.languages
    return bool(language and known and known_code(language, known) is None)


def _refuse_twins(config: BenchConfig) -> None:
    """Raises where two rows would have one name, and so one directory.

    Raises:
        ConfigError: naming them.
    """
    sources: dict[str, list[str]] = {}
    for model_id in dict.fromkeys(config.models):
        sources.setdefault(directory_name(config.name or default_name(model_id)), []).append(model_id)
    for source in config.predictions:
        sources.setdefault(directory_name(split_source(source)[0]), []).append(source)
    for name, twins in sources.items():
        if len(twins) > 1:
            raise ConfigError(
                f"{' and '.join(twins)} would both be called '{name}'; rename a folder, or give a file of predictions "
                "another name with NAME=PATH"
            )


def _refuse_twin_sets(sets: Sequence[tuple[str, Loaded]]) -> None:
    """Raises where two test sets would have one name, and so one directory.

    Raises:
        ConfigError: naming them.
    """
    owners: dict[str, str] = {}
    for source, loaded in sets:
        name = loaded.manifest.name
        twin = owners.setdefault(directory_name(name), source)
        if twin != source:
            raise ConfigError(
                f"the test sets {twin} and {source} would both be called '{name}'; rename a file or its folder, or "
                "bench them one by one, each with its own --output"
            )
