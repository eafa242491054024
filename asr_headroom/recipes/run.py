"""Recipes: named steps in YAML, executed in order, each skipped when it is done.

A recipe is a mapping with ``name``, ``description`` and ``steps``. A step has a ``name``, one verb with its settings
(``bench``, ``train``, ``ablate``, ``rl``, ``speech``, ``compare``, ``report``), and if one likes the ``seconds`` it
took somewhere: from these, and from how fast the steps before were here, comes the time left::

    - name: zh-lora
      seconds: 20
      train: {model: "${package}/lab/base", train: "${speech-zh-train}", method: lora}

``${step}`` stands for an earlier step's folder, ``${package}`` for the installed package. With ``jobs: 2`` steps that
do not need each other run beside each other, with ``threads`` of torch each. A step's fingerprint is taken
over its settings and those of every step it refers to, so a changed recipe never passes for the one that was run.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asr_headroom
from asr_headroom.budget import format_minutes
from asr_headroom.config import apply_overrides, fingerprint, from_mapping, load_yaml
from asr_headroom.errors import ConfigError, ResultsError, did_you_mean
from asr_headroom.recipes.steps import STEP_KINDS
from asr_headroom.recipes.workers import Workers
from asr_headroom.results.store import write_json
from asr_headroom.stopping import StopRequests

__all__ = ["Recipe", "Step", "load_recipe", "recipe_names", "resolve_package", "run_recipe"]

logger = logging.getLogger(__name__)

_PACKAGE = Path(asr_headroom.__file__).parent
_REFERENCE = re.compile(r"\$\{([\w.-]+)\}")


@dataclass(frozen=True)
class Step:
    """One named step.

    Attributes:
        name: unique in its recipe; also its folder.
        verb: key of :data:`asr_headroom.recipes.steps.STEP_KINDS`.
        settings: of the verb's config, references unresolved.
        needs: names of the steps it refers to.
        seconds: it took where the recipe was written; 0 where that is not said.
    """

    name: str
    verb: str
    settings: Mapping[str, Any]
    needs: tuple[str, ...]
    seconds: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """A checked recipe: every verb exists, every setting is known, every reference points backwards.

    Attributes:
        name: for messages.
        description: one line.
        steps: in order.
        fingerprints: by step.
        jobs: steps that may run beside each other.
        threads: of torch in each of these, so that numbers do not depend on the machine's cores; None divides the cores
            among the jobs.
    """

    name: str
    description: str
    steps: tuple[Step, ...]
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 1
    threads: int | None = None


def recipe_names() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(path.stem for path in (_PACKAGE / "recipes").glob("*.yaml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads and checks a recipe, from the package by name or from a file.

    Args:
        name_or_path: ``lab``, or a path ending in .yaml.
        overrides: ``step.field=value``.

    Raises:
        ConfigError: there is no such recipe, or something in it is wrong; all problems are listed.
    """
    is_path = name_or_path.endswith((".yaml", ".yml"))
    path = Path(name_or_path) if is_path else _PACKAGE / "recipes" / f"{name_or_path}.yaml"
    if not is_path and not path.is_file():
        raise ConfigError(
            f"unknown recipe '{name_or_path}'{did_you_mean(name_or_path, recipe_names())} "
            f"(in the package: {', '.join(recipe_names())}; or give the path of a .yaml file)"
        )
    values = load_yaml(path)
    unknown = set(values) - {"name", "description", "steps", "jobs", "threads"}
    if unknown or not isinstance(values.get("steps"), list) or not values["steps"]:
        raise ConfigError(
            f"{path}: write 'name', 'description', a non-empty list 'steps' and if you like 'jobs' and 'threads', "
            "nothing else"
        )
    problems: list[str] = []
    for key in ("jobs", "threads"):
        if key in values and (type(values[key]) is not int or values[key] < 1):
            problems.append(f"{path}: {key} is {values[key]!r}; write a whole number of at least 1")
    steps: list[Step] = []
    for number, plain in enumerate(values["steps"], start=1):
        steps += _read_step(plain, f"{path}: step {number}", [step.name for step in steps], problems)
    steps = _overridden(steps, overrides, problems)
    for step in steps:
        _check_settings(step, str(path), problems)
    if problems:
        raise ConfigError("\n".join(problems))
    return Recipe(
        name=str(values.get("name", path.stem)),
        description=str(values.get("description", "")),
        steps=tuple(steps),
        fingerprints=_fingerprints(steps),
        jobs=values.get("jobs", 1),
        threads=values.get("threads"),
    )


def run_recipe(
    name_or_path: str,
    *,
    output: Path,
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    say: Callable[[str], None] = logger.info,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Executes a recipe's steps; a step that is done already is skipped.

    Args:
        name_or_path: see :func:`load_recipe`.
        output: folder that gets one folder per step.
        overrides: ``step.field=value``.
        jobs: steps beside each other; None takes the recipe's.
        say: takes the lines that steps have to say, such as tables and verdicts, in the recipe's order.
        clock: for the minutes.

    Raises:
        ConfigError: the recipe is wrong, or a step was run there before with other settings.
        AsrHeadroomError: a step failed; the steps before it stay done.
        Stopped: a signal asked to stop while steps ran beside each other.
    """
    recipe = load_recipe(name_or_path, overrides)
    jobs = recipe.jobs if jobs is None else jobs
    if jobs < 1:
        raise ConfigError(f"--jobs {jobs}: write a whole number of at least 1")
    _refuse_changed_steps(recipe, output)
    begin = clock()
    run = _Run(recipe, output, say, jobs)
    if jobs == 1 and recipe.threads is None:
        _run_in_turn(run, clock)
    else:
        _run_beside_each_other(run, jobs)
    logger.info("recipe '%s': %d steps in %s", recipe.name, len(recipe.steps), format_minutes(clock() - begin))


class _Run:
    """A recipe on its way: what is done, and what is still to be said."""

    def __init__(self, recipe: Recipe, output: Path, say: Callable[[str], None], jobs: int) -> None:
        self.recipe, self._output, self._say = recipe, output, say
        self._folders = {step.name: output / step.name for step in recipe.steps}
        self._pace = _Pace(jobs)
        self._said: dict[str, Sequence[str]] = {}
        self.waiting = list(recipe.steps)
        self.done: set[str] = set()

    def settings(self, step: Step) -> dict[str, Any]:
        return {**_resolve(step.settings, self._folders), "output": str(self._folders[step.name])}

    def take_ready(self) -> Step | None:
        """The first step that waits for nothing; those done before are passed over, and say what they said."""
        for step in list(self.waiting):
            if self._mark(step).is_file():
                logger.info("%s %s: done before", self._place(step), step.name)
                said: list[str] = []
                STEP_KINDS[step.verb].repeat(_config(step, self.settings(step)), said.append)
                self.waiting.remove(step)
                self._finish(step, said)
            elif self.done.issuperset(step.needs):
                left = self._pace.time_left(self.waiting)
                logger.info("%s %s: %s%s", self._place(step), step.name, step.verb, left)
                self.waiting.remove(step)
                return step
        return None

    def mark_done(self, step: Step, seconds: float, said: Sequence[str]) -> None:
        mark = self._mark(step)
        try:
            mark.parent.mkdir(parents=True, exist_ok=True)
            write_json(mark, {"fingerprint": self.recipe.fingerprints[step.name], "minutes": seconds / 60})
        except OSError as error:
            raise ResultsError(f"{mark}: cannot be written ({error}); check --output and the disk") from error
        self._pace.add(step, seconds)
        self._finish(step, said)

    def _finish(self, step: Step, said: Sequence[str]) -> None:
        self.done.add(step.name)
        self._said[step.name] = said
        # In the recipe's order, whichever step was done first.
        for earlier in self.recipe.steps:
            if earlier.name not in self.done:
                break
            for line in self._said.pop(earlier.name, ()):
                self._say(line)

    def _mark(self, step: Step) -> Path:
        return self._output / ".done" / f"{step.name}.json"

    def _place(self, step: Step) -> str:
        return f"[{self.recipe.steps.index(step) + 1}/{len(self.recipe.steps)}]"


def _run_in_turn(run: _Run, clock: Callable[[], float]) -> None:
    while (step := run.take_ready()) is not None:
        said: list[str] = []
        start = clock()
        STEP_KINDS[step.verb].execute(_config(step, run.settings(step)), said.append)
        run.mark_done(step, clock() - start, said)


def _run_beside_each_other(run: _Run, jobs: int) -> None:
    by_name = {step.name: step for step in run.recipe.steps}
    threads = run.recipe.threads or max(1, (os.cpu_count() or 1) // jobs)
    failed: Exception | None = None
    stopping = False
    with StopRequests() as stops, Workers(jobs, threads=threads) as workers:
        while True:
            while workers.are_free and not (failed or stops.requested) and (step := run.take_ready()) is not None:
                workers.start(step.name, step.verb, run.settings(step))
            if not workers.busy:
                break
            if stops.requested and not stopping:
                stopping = True
                workers.ask_to_stop()
            for ended in workers.wait():
                if ended.error is None:
                    run.mark_done(by_name[ended.step], ended.seconds, ended.said)
                elif failed is None:
                    failed = ended.error
                    if workers.busy and not stops.requested:
                        logger.info("%s failed; what runs beside it is finished first", ended.step)
    if stops.requested:
        raise stops.stopped("stopped; the same command goes on from here")
    if failed:
        raise failed


def _config(step: Step, settings: Mapping[str, Any]) -> Any:
    return from_mapping(STEP_KINDS[step.verb].config_type, settings, where=step.name)


class _Pace:
    """How long the steps take here, against the seconds their recipe names."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._named = self._taken = 0.0

    def add(self, step: Step, seconds: float) -> None:
        if step.seconds:
            self._named += step.seconds
            self._taken += seconds

    def time_left(self, steps: Sequence[Step]) -> str:
        """For the line that announces a step; empty where the recipe names no seconds."""
        ahead = sum(step.seconds for step in steps) / self._jobs
        if not ahead:
            return ""
        return f"  (about {format_minutes(ahead * (self._taken / self._named if self._named else 1.0))} left)"


def _read_step(plain: Any, where: str, earlier: Sequence[str], problems: list[str]) -> list[Step]:
    seconds = plain.get("seconds", 0) if isinstance(plain, dict) else 0
    verbs = [key for key in plain if key not in ("name", "seconds")] if isinstance(plain, dict) else []
    if len(verbs) != 1 or not isinstance(plain.get("name"), str):
        problems.append(f"{where}: write a 'name' and one verb with its settings (verbs: {', '.join(STEP_KINDS)})")
        return []
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        problems.append(f"{where}: seconds is {seconds!r}; write how long the step takes, or leave it out")
        return []
    name, verb = plain["name"], verbs[0]
    if not re.fullmatch(r"[\w-]+", name) or name in earlier or name == "package":
        problems.append(f"{where}: the name '{name}' is taken or has characters other than letters, digits, - and _")
    if verb not in STEP_KINDS:
        problems.append(
            f"{where}: unknown verb '{verb}'{did_you_mean(verb, STEP_KINDS)} (verbs: {', '.join(STEP_KINDS)})"
        )
        return []
    settings = plain[verb] or {}
    if not isinstance(settings, dict):
        problems.append(f"{where}: the settings of '{verb}' are {settings!r}; write a mapping")
        return []
    return [Step(name, verb, settings, tuple(_references(settings)), float(seconds))]


def _overridden(steps: list[Step], overrides: Sequence[str], problems: list[str]) -> list[Step]:
    by_name = {step.name: dict(step.settings) for step in steps}
    for override in overrides:
        target = override.partition("=")[0].partition(".")[0]
        if target not in by_name:
            problems.append(f"--set {override}: there is no step '{target}'{did_you_mean(target, by_name)}")
    if problems:
        return steps
    changed = apply_overrides(by_name, overrides)
    return [replace(s, settings=changed[s.name], needs=tuple(_references(changed[s.name]))) for s in steps]


def _check_settings(step: Step, where: str, problems: list[str]) -> None:
    # Against a stand-in folder: paths are not looked at here, only names, types and values of the settings.
    folders = {name: Path(name) for name in step.needs}
    try:
        settings = _resolve(step.settings, folders)
        from_mapping(STEP_KINDS[step.verb].config_type, {**settings, "output": "output"}, where=f"{where}: {step.name}")
    except ConfigError as error:
        problems.append(str(error))


def _fingerprints(steps: Sequence[Step]) -> dict[str, str]:
    prints: dict[str, str] = {}
    for step in steps:
        unknown = [name for name in step.needs if name not in prints]
        if unknown:
            raise ConfigError(
                f"step '{step.name}' refers to ${{{unknown[0]}}}, which is not an earlier step"
                f"{did_you_mean(unknown[0], prints)}"
            )
        prints[step.name] = fingerprint([step.verb, dict(step.settings), [prints[name] for name in step.needs]])
    return prints


def _refuse_changed_steps(recipe: Recipe, output: Path) -> None:
    changed = []
    for step in recipe.steps:
        mark = output / ".done" / f"{step.name}.json"
        if mark.is_file() and _stored_fingerprint(mark) != recipe.fingerprints[step.name]:
            changed.append(step.name)
    if changed:
        raise ConfigError(
            f"{output}: was run with other settings of {', '.join(changed)}; "
            "choose another --output or delete that folder"
        )


def _stored_fingerprint(mark: Path) -> str:
    try:
        return json.loads(mark.read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{mark}: cannot be read ({error}); delete it to run its step again") from error


def _references(value: Any) -> list[str]:
    found = dict.fromkeys(name for text in _strings(value) for name in _REFERENCE.findall(text) if name != "package")
    return list(found)


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [text for child in children for text in _strings(child)]


def resolve_package(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with ``${package}`` in place; references to other steps stay as they are."""
    return _resolve(settings, {})


def _resolve(value: Any, folders: Mapping[str, Path]) -> Any:
    if isinstance(value, str):
        return _REFERENCE.sub(lambda m: str(_PACKAGE if m[1] == "package" else folders.get(m[1], m[0])), value)
    if isinstance(value, Mapping):
        return {key: _resolve(child, folders) for key, child in value.items()}
    return [_resolve(child, folders) for child in value] if isinstance(value, list) else value
