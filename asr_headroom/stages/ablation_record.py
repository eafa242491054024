"""What an ablation tried, decided and spent, on disk: ``ablation.json`` for people, ``legs.json`` to go on from.

``legs.json`` holds the errors of each dev utterance that decisions rest on. Both are replaced whole, a leg before the
decision that rests on it, so that a command that is killed at any moment goes on and pays nothing twice.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from asr_headroom.config import fingerprint, from_mapping
from asr_headroom.errors import TrainingError
from asr_headroom.results.store import write_json
from asr_headroom.stages.race import Leg, Rules, Rung
from asr_headroom.stages.trials import ABLATION_FILE
from asr_headroom.train.guard import EvaluationSet

__all__ = ["AblationRecord"]

_SCHEMA = "asr-headroom/ablation/1"
_LEGS = "legs.json"


class _HasMinutes(Protocol):
    def minutes(self, name: str) -> float: ...


class AblationRecord:
    """The record of one ablation.

    Args:
        root: folder.
        config: plain values that make it this ablation and no other.
        settings: by name, what is its own.
        rules: of the race.
        merged: combinations of the grid that are one of the settings again.

    Attributes:
        values: of ``ablation.json``.
        rungs: decided so far.

    Raises:
        TrainingError: the folder holds something else, or cannot be read.
    """

    def __init__(
        self,
        root: Path,
        *,
        config: Mapping[str, Any],
        settings: Mapping[str, Mapping[str, Any]],
        rules: Rules,
        merged: int = 0,
    ) -> None:
        from asr_headroom.train.processes import join_processes

        self._root, self._state = root, join_processes()
        self.settings = {name: dict(values) for name, values in settings.items()}
        for file, what in (("train.json", "a training"), ("rates.json", "a choice among learning rates")):
            if (root / file).is_file():
                raise TrainingError(f"{root}: holds {what}; choose another --output")
        stored = self._read(ABLATION_FILE)
        self._refuse_another(stored, config)
        self._legs = self._read(_LEGS)
        self.values: dict[str, Any] = stored or {
            "schema": _SCHEMA,
            "config": dict(config),
            "settings": self.settings,
            "merged": merged,
            "shares": list(rules.rungs),
            "level": rules.level,
            "rungs": [],
        }
        where = str(root / ABLATION_FILE)
        self.rungs = [from_mapping(Rung, rung, where=where) for rung in self.values["rungs"]]
        self._state.wait_for_everyone()  # all have read before one writes

    def is_done(self) -> bool:
        """A model was delivered and lies there."""
        return "delivered" in self.values and (self._root / "model" / "headroom.json").is_file()

    def describe(self, name: str) -> str:
        """What is its own."""
        return ", ".join(f"{key}={value}" for key, value in self.settings[name].items())

    def leg(self, name: str, share: float) -> Leg | None:
        """What was found before."""
        stored = self._legs.get(name, {}).get(f"{share:g}")
        return None if stored is None else Leg(**stored)

    def add_leg(self, name: str, share: float, leg: Leg) -> None:
        """Keeps what a decision will rest on."""
        # A failure has no figures, and infinity is no JSON.
        kept = dataclasses.asdict(leg)
        if leg.failure:
            kept = {name: kept[name] for name in ("failure", "step", "total_steps")}
        self._legs.setdefault(name, {})[f"{share:g}"] = kept
        self._write(_LEGS, self._legs)

    def say_dev(self, dev: EvaluationSet) -> None:
        """On whom decisions rest."""
        self.values["dev"] = {
            "name": dev.name,
            "utterances": len(dev.utterances),
            "clusters": dev.clustering.num_clusters,
            "population": dev.clustering.population,
            "unit": dev.normalizer.unit,
        }

    def add_rung(self, rung: Rung) -> None:
        """Keeps a decision."""
        self.rungs.append(rung)
        self.values["rungs"].append(json.loads(json.dumps(dataclasses.asdict(rung))))
        self._write(ABLATION_FILE, self.values)

    def dropped(self) -> list[str]:
        """Settings that no decided rung lets go on."""
        return [name for name in self.settings if self.rungs and name not in self.rungs[-1].going_on]

    def book(self, trials: _HasMinutes) -> None:
        """Minutes and steps of each setting so far."""
        self.values["minutes"] = {name: round(trials.minutes(name), 4) for name in self.settings}
        self.values["steps"] = {
            name: max((leg.get("step", 0) for leg in legs.values()), default=0) for name, legs in self._legs.items()
        }
        self.values["steps_planned"] = {
            name: max((leg.get("total_steps", 0) for leg in legs.values()), default=0)
            for name, legs in self._legs.items()
        }
        self._write(ABLATION_FILE, self.values)

    def choose(self) -> str:
        """The best on dev of those that trained to their end.

        Raises:
            TrainingError: there is none.
        """
        last = self.rungs[-1] if self.rungs else None
        if last is None or not last.going_on:
            why = next((s.why for s in last.standings if s.why), "nothing was tried") if last else "nothing was tried"
            raise TrainingError(
                f"{self._root}: no setting trained to its end ({why}); choose another grid and another --output"
            )
        chosen = last.going_on[0]
        known_behind = {s.setting for rung in self.rungs for s in rung.standings if s.behind is not None}
        self.values |= {
            "chosen": chosen,
            # Behind somebody is not behind the chosen one, and the table speaks of that one.
            "not_told_apart": [
                s.setting for s in last.standings if s.setting in last.going_on[1:] and not (s.ci_low or 0) > 0
            ],
            "dropped_unproven": sorted(set(self.settings) - known_behind - set(last.going_on) - self._diverged()),
        }
        self._write(ABLATION_FILE, self.values)
        return chosen

    def finish(self, trials: _HasMinutes, *, alpha: float, because: str) -> None:
        """Keeps what was delivered."""
        self.values["delivered"] = {"alpha": alpha, "because": because}
        self.book(trials)

    def _diverged(self) -> set[str]:
        return {s.setting for rung in self.rungs for s in rung.standings if s.decision == "diverged"}

    def _refuse_another(self, stored: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        if not stored:
            return
        known = stored.get("config", {})
        differing = sorted(key for key in {*known, *config} if known.get(key) != config.get(key))
        if differing or fingerprint(stored.get("settings")) != fingerprint(self.settings):
            raise TrainingError(
                f"{self._root}: holds another ablation (it differs in {', '.join(differing) or 'its settings'}); "
                "choose another --output or delete that directory"
            )

    def _read(self, name: str) -> dict[str, Any]:
        path = self._root / name
        if not path.is_file():
            return {}
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict) or (name == ABLATION_FILE and values.get("schema") != _SCHEMA):
                raise ValueError(f"it is no record of schema {_SCHEMA}")
        except (OSError, ValueError) as error:
            raise TrainingError(f"{path}: cannot be read ({error}); choose another --output") from error
        return values

    def _write(self, name: str, values: dict[str, Any]) -> None:
        if self._state.is_main_process:
            self._root.mkdir(parents=True, exist_ok=True)
            write_json(self._root / name, values)
