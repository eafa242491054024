"""The ablation on disk: resumed at any moment it ends as if it had never stopped, and pays nothing twice."""

from __future__ import annotations

import gc
import json
import math
import weakref
from types import SimpleNamespace

import pytest

from asr_headroom.errors import AsrHeadroomError, ConfigError, DivergedError, TrainingError
from asr_headroom.models.registry import load_model
from asr_headroom.stages.ablate import AblateConfig, ablate, race_settings
from asr_headroom.stages.ablation_record import AblationRecord
from asr_headroom.stages.race import Rules, Rung, Standing
from asr_headroom.stages.train import SettingRunner, TrainStageConfig
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.train.config import GuardConfig
from asr_headroom.train.guard import EvaluationSet
from asr_headroom.train.plan import Plan

RULES = Rules(rungs=(0.25, 0.5, 1.0), keep=0.5)
DEV = EvaluationSet(
    name="dev", role="target", normalizer=get_normalizer("basic"),
    utterances=[tone_utterance("a", id=f"u{i}") for i in range(40)],
)  # fmt: skip
STEPS = 8


class Killed(Exception):
    """Stands in for a kill."""


class Trainings:
    """Trainings that remember their steps across sessions, as checkpoints do; dies before a given call."""

    def __init__(self, root, quality):
        self.names, self.root, self.quality = tuple(quality), root, quality
        self.steps = dict.fromkeys(quality, 0)
        self.paid = dict.fromkeys(quality, 0)
        self.discarded = []
        self.calls_left = math.inf
        self.seconds_left = math.inf
        self.own_budget_seconds = None

    def train(self, name, *, stop_at):
        if self.calls_left <= 0:
            raise Killed
        self.calls_left -= 1
        if self.quality[name] is None:
            raise DivergedError("step 1: the loss is nan", step=1, total_steps=STEPS)
        target = math.ceil(stop_at * STEPS)
        self.paid[name] += target - self.steps[name]
        self.steps[name] = target
        wrong = [(i * 7 + 3) % 5 * self.quality[name] // target for i in range(40)]
        counts = [(errors, 40) for errors in wrong]
        return SimpleNamespace(
            reason="done" if stop_at == 1 else "paused", stopped_at=target, sizes=None,
            best_dev=(sum(wrong) / 1600, 1 / target), best_counts=counts,
            last_dev=(sum(wrong) / 1600, 1 / target), last_counts=counts,
            plan=Plan(total_steps=STEPS, eval_steps=2, steps_per_epoch=4, batch_size=1),
        )  # fmt: skip

    def discard(self, name):
        self.discarded.append(name)

    def minutes(self, name):
        return self.paid[name] / 10


def record(root, names):
    return AblationRecord(root, config={}, settings={name: {"seed": name} for name in names}, rules=RULES)


def finished(root, trainings):
    """Races to the end and returns what is on disk."""
    own = record(root, trainings.names)
    race_settings(RULES, own, trainings, DEV)
    own.choose()
    own.book(trainings)
    return json.loads((root / "ablation.json").read_text())


QUALITY = {"1": 30, "2": 12, "3": 31, "4": 10, "5": None, "6": 40}


@pytest.mark.parametrize("calls", range(1, 12))
def test_killed_before_any_leg_it_ends_as_if_it_had_never_stopped(tmp_path, calls):
    whole = Trainings(tmp_path, QUALITY)
    expected = finished(tmp_path / "whole", whole)
    trainings = Trainings(tmp_path, QUALITY)
    trainings.calls_left = calls
    try:
        finished(tmp_path / "killed", trainings)
    except Killed:
        trainings.calls_left = math.inf
        assert finished(tmp_path / "killed", trainings) == expected
    assert trainings.paid == whole.paid
    assert set(trainings.discarded) == set(whole.discarded) == {"1", "2", "3", "5", "6"} - set(trainings_left(expected))


def trainings_left(facts):
    return [s["setting"] for s in facts["rungs"][-1]["standings"]]


@pytest.mark.parametrize("writes", range(1, 25))
def test_killed_at_any_write_it_ends_as_if_it_had_never_stopped(tmp_path, writes, monkeypatch):
    """The disk is the only memory; whatever was written last, the rest follows from it."""
    from asr_headroom.stages import ablation_record

    whole = Trainings(tmp_path, QUALITY)
    expected = finished(tmp_path / "whole", whole)
    left = [writes]
    write = ablation_record.write_json

    def dying(path, value):
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        write(path, value)

    trainings = Trainings(tmp_path, QUALITY)
    monkeypatch.setattr(ablation_record, "write_json", dying)
    with pytest.raises(Killed):
        finished(tmp_path / "killed", trainings)
    left[0] = -1
    assert finished(tmp_path / "killed", trainings) == expected
    assert trainings.paid == whole.paid


def test_the_record_says_what_is_known_and_what_is_not(tmp_path):
    facts = finished(tmp_path, Trainings(tmp_path, QUALITY))
    assert facts["chosen"] == "4"
    assert facts["dev"] == {
        "name": "dev", "utterances": 40, "clusters": facts["dev"]["clusters"], "unit": "word",
        "population": facts["dev"]["population"],
    }  # fmt: skip
    decisions = {s["setting"]: s["decision"] for rung in facts["rungs"] for s in rung["standings"]}
    assert decisions["5"] == "diverged"
    proven = {s["setting"] for rung in facts["rungs"] for s in rung["standings"] if s["behind"]}
    assert set(facts["dropped_unproven"]) == set("12346") - proven - set(trainings_left(facts))
    assert facts["steps"]["6"] == 2
    assert (facts["steps"]["5"], facts["steps_planned"]["5"]) == (1, STEPS)  # paid for, if in vain
    assert facts["minutes"]["4"] == STEPS / 10


def test_a_leg_says_over_which_targets_its_loss_is(tmp_path):
    trainings = Trainings(tmp_path, {"1": 30, "2": 12})
    settings = {"1": {"model": "a", "learning_rate": 1e-4}, "2": {"model": "b", "learning_rate": 1e-4}}
    race_settings(RULES, AblationRecord(tmp_path, config={}, settings=settings, rules=RULES), trainings, DEV)
    legs = json.loads((tmp_path / "legs.json").read_text())
    assert {name: leg["0.25"]["loss_over"] for name, leg in legs.items()} == {"1": "model=a", "2": "model=b"}


def test_behind_another_is_not_behind_the_chosen(tmp_path):
    """The last rung is judged pair by pair; what is said of the chosen one rests on its own pairs alone."""
    own = AblationRecord(tmp_path, config={}, settings={name: {"seed": name} for name in "abc"}, rules=RULES)
    best, other, worst = (
        Standing(setting="a", error_rate=0.1, difference=0.0, decision="finished"),
        Standing(setting="b", error_rate=0.11, difference=0.01, ci_low=-0.01, ci_high=0.03, decision="finished"),
        Standing(
            setting="c", error_rate=0.2, behind="b", difference=0.1, ci_low=-0.1, ci_high=0.3, decision="finished"
        ),
    )
    own.add_rung(Rung(share=1.0, standings=(best, other, worst)))
    own.choose()
    assert own.values["not_told_apart"] == ["b", "c"]
    proven = Standing(setting="c", error_rate=0.2, behind="a", difference=0.1, ci_low=0.01, decision="finished")
    own.rungs[-1] = Rung(share=1.0, standings=(best, other, proven))
    own.choose()
    assert own.values["not_told_apart"] == ["b"]


def test_a_setting_whose_data_are_not_there_is_found_out_before_another_is_paid_for(tiny_model, tones, tmp_path):
    for changes, message in (
        ({"grid": {"train": [str(tones), str(tmp_path / "gone.jsonl")]}}, "gone"),
        ({"grid": {"augment.noise": [{}, {"probability": 1.0, "recordings": str(tmp_path / "gone")}]}}, "is no folder"),
    ):
        with pytest.raises(AsrHeadroomError, match=message):
            ablate(config(tiny_model, tones, tmp_path / "out", **changes))
        assert not (tmp_path / "out").exists()


def test_settings_of_one_model_and_data_read_them_once(tiny_model, tones, tmp_path):
    loaded = []

    def load(config, vocabulary):
        loaded.append(config.model)
        return load_model(config.model, window=config.window)

    run = SettingRunner(load)
    common = {"model": str(tiny_model), "train": (str(tones),), "dev": str(tones), "window": "fit"}
    run.check(
        [TrainStageConfig(**common, method=m, per_device_train_batch_size=b) for m in ("lora", "full") for b in (2, 4)]
    )
    assert len(loaded) == 1
    run.check([TrainStageConfig(**common), TrainStageConfig(**common, limit=3)])
    assert len(loaded) == 2
    assert [len(setup.models) for setup in run._setups.values()] == [1, 0]


def test_the_model_of_one_setting_is_gone_before_the_next_is_read(tiny_model, tones, tmp_path):
    """Also where the collector does not come by itself, as on a GPU, whose memory it knows nothing of."""
    models = []

    def load(config, vocabulary):
        assert not [model for model in models if model() is not None]
        model = load_model(config.model, window=config.window)
        models.append(weakref.ref(model.module))
        return model

    run = SettingRunner(load)
    gc.disable()
    try:
        for number in range(3):
            own = TrainStageConfig(
                model=str(tiny_model), train=(str(tones),), dev=str(tones), window="fit", method="full", max_steps=1,
                eval_utterances=1, guard=GuardConfig(enabled=False),
            )  # fmt: skip
            run(own, directory=tmp_path / str(number), deliver=False)
    finally:
        gc.enable()
    assert len(models) == 3


def test_a_dev_loss_that_is_no_number_is_a_divergence(tmp_path, monkeypatch):
    trainings = Trainings(tmp_path, {"1": 30, "2": 12})
    train = trainings.train

    def broken(name, *, stop_at):
        outcome = train(name, stop_at=stop_at)
        if name == "2":
            outcome.last_dev = outcome.best_dev = (0.0, math.nan)
        return outcome

    monkeypatch.setattr(trainings, "train", broken)
    facts = finished(tmp_path, trainings)
    assert facts["chosen"] == "1"
    assert facts["rungs"][0]["standings"][1]["why"] == "step 2: the dev loss is nan"


def test_forecasts_end_where_the_budget_of_a_training_does(tmp_path, monkeypatch):
    """A plan of 90 s, 10 of them spent, under a budget of 60 s of its own: 50 s of work are ahead."""
    trainings = Trainings(tmp_path, {"1": 30, "2": 12})
    trainings.own_budget_seconds = 60.0
    train = trainings.train

    def planned(name, *, stop_at):
        outcome = train(name, stop_at=stop_at)
        outcome.plan = Plan(
            total_steps=STEPS, eval_steps=STEPS, steps_per_epoch=4, batch_size=1, step_seconds=9.0, eval_seconds=8.0,
            spent_seconds=10.0,
        )  # fmt: skip
        assert outcome.plan.seconds == 90.0
        return outcome

    monkeypatch.setattr(trainings, "train", planned)
    finished(tmp_path, trainings)
    legs = json.loads((tmp_path / "legs.json").read_text())
    assert (legs["1"]["0.25"]["entry_seconds"], legs["1"]["0.25"]["work_seconds"]) == (10.0, 50.0)


def test_where_all_diverge_there_is_nothing_to_deliver(tmp_path):
    with pytest.raises(TrainingError, match=r"no setting trained to its end \(step 1: the loss is nan\)"):
        finished(tmp_path, Trainings(tmp_path, {"1": None, "2": None}))


def config(tiny_model, tones, output, **changes):
    settings = {
        "model": str(tiny_model), "train": str(tones), "dev": str(tones), "output": str(output), "method": "full",
        "max_steps": 8, "eval_steps": 8, "window": "fit", "per_device_train_batch_size": 4, "rungs": (0.25, 0.5),
        "grid": {"learning_rate": [1e-9, 3e-3], "weight_decay": [0.0, 0.1]},
    }  # fmt: skip
    return AblateConfig(**(settings | changes))


def test_another_ablation_in_the_same_folder_is_refused(tiny_model, tones, tmp_path):
    for name, what in (("train.json", "a training"), ("rates.json", "a choice among learning rates")):
        (tmp_path / name).write_text("{}")
        with pytest.raises(TrainingError, match=f"holds {what}"):
            ablate(config(tiny_model, tones, tmp_path))
        (tmp_path / name).unlink()
    own = {"root": tmp_path, "settings": {"1": {}, "2": {}}, "rules": RULES}
    AblationRecord(config={"keep": 0.5}, **own).book(Trainings(tmp_path, {"1": 1, "2": 1}))
    with pytest.raises(TrainingError, match=r"holds another ablation \(it differs in keep\)"):
        AblationRecord(config={"keep": 0.3}, **own)
    with pytest.raises(TrainingError, match=r"it differs in its settings"):
        AblationRecord(config={"keep": 0.5}, **own | {"settings": {"1": {}}})


@pytest.mark.parametrize("wrong", [{"grid": {}}, {"rungs": (0.5, 1.0)}, {"rungs": (0.5, 0.2)}, {"keep": 1.5}])
def test_configs_that_make_no_ablation(tiny_model, tones, tmp_path, wrong):
    with pytest.raises(ConfigError):
        config(tiny_model, tones, tmp_path, **wrong)
