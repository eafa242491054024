"""The only training loop: every method, every family, and later RL go through :class:`Training`.

One optimiser step: take the step's utterances, let the objective (:mod:`asr_headroom.train.objectives`) turn them into
a gradient, clip, step (:mod:`asr_headroom.train.stepper`). Weights stay in float32; bf16 is a matter of autocast.

The loop evaluates at step 0, every ``eval_steps`` and at the end, on dev only; it keeps the base, the best and the last
checkpoint, and it can be killed at any moment: order, dropout and learning rate are functions of the step. The guard
(:mod:`asr_headroom.train.guard`) then chooses what is delivered.

Read :meth:`Training.run` first.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from asr_headroom.audio.augment import Augmentation
from asr_headroom.budget import Budget, Ledger, format_minutes, parse_budget
from asr_headroom.config import to_mapping
from asr_headroom.data.batching import RepeatedOrder, StepOrder, TrainingOrder
from asr_headroom.data.manifest import Utterance
from asr_headroom.data.mixing import MixedOrder, Mixture
from asr_headroom.errors import TrainingError
from asr_headroom.models.protocols import Trainable
from asr_headroom.provenance import collect_provenance
from asr_headroom.stopping import StopRequests
from asr_headroom.train.checkpoint import CheckpointFolder
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.damage import DamageWatch
from asr_headroom.train.delivery import Delivery
from asr_headroom.train.evaluation import Evaluation
from asr_headroom.train.feed import Feed
from asr_headroom.train.guard import EvaluationSet, Measure
from asr_headroom.train.history import History
from asr_headroom.train.memory import expected_peak_memory
from asr_headroom.train.methods import trainable_parameters
from asr_headroom.train.objectives import MakeObjective, supervised
from asr_headroom.train.outcome import TrainingOutcome
from asr_headroom.train.plan import Plan, Sizes, evaluation_sizes, make_plan
from asr_headroom.train.probe import probe_step_seconds
from asr_headroom.train.processes import Processes, make_accelerator, uses_bf16
from asr_headroom.train.progress import LogWindow
from asr_headroom.train.record import RunRecord
from asr_headroom.train.sharding import ShardedWeights, refuse_unsharded, twin
from asr_headroom.train.stepper import Stepper
from asr_headroom.train.utilization import StepFlops, peak_flops
from asr_headroom.train.weight_line import place_mean

__all__ = ["Training", "TrainingOutcome"]

logger = logging.getLogger(__name__)

_PROBE_UTTERANCES = 16


class Training:
    """One supervised training run in one directory.

    Args:
        model: with its method applied (see :func:`asr_headroom.train.methods.apply_method`).
        train_data: what it learns from; each utterance must be usable (``check_target``).
        dev: fixed utterances that select the step, in the order in which they are taken under a budget.
        config: settings.
        directory: of the run: ``train.json``, ``history.jsonl``, ``checkpoints/``, ``model/``.
        measure: transcribes a set and counts its errors.
        dev_targets: the same utterances in the written form that is learnt, for the dev loss.
        guard_sets: what the guard compares on, the target first; empty delivers the best step unguarded.
        mixture: shares of the sources that the training data is made of; None takes each utterance once per epoch.
        augmentation: what training audio goes through; it is stored with the facts by the caller.
        facts: what to store about model and data.
        budget_seconds: of the whole run, across restarts; None is no limit.
        guard_budget_seconds: what the guard's share is taken of, where this run is one of several under one budget.
        sizes: of the evaluations; those of another run, where the two are to be compared.
        ledger: with what was spent before, such as loading the model.
        model_directory: where to deliver; by default ``model`` in the directory.
        minutes_elsewhere: to be told in the delivered model's ledger, spent by runs it was chosen among.
        deliver: False stops before the guard; the same run, asked to deliver, goes on from there.
        stop_at: share of the plan's steps after which it is evaluated, not before, saved and left alone; the same run,
            asked for a larger share, goes on from there under the same learning rates.
        steps_per_batch: optimiser steps in a row on the same utterances, for objectives that learn from them again.
        flops: what a step computes, for the log; None where it is not known.
        make_objective: what a step minimises; by default the supervised loss, regularised as the config says.
        clock: for the budget.
    """

    def __init__(
        self,
        model: Trainable,
        train_data: Sequence[Utterance],
        dev: EvaluationSet,
        config: TrainConfig,
        directory: Path,
        *,
        measure: Measure,
        dev_targets: Sequence[Utterance] | None = None,
        guard_sets: Sequence[EvaluationSet] = (),
        mixture: Mixture | None = None,
        augmentation: Augmentation | None = None,
        facts: Mapping[str, Any] | None = None,
        budget_seconds: float | None = None,
        guard_budget_seconds: float | None = None,
        sizes: Sizes | None = None,
        ledger: Ledger | None = None,
        model_directory: Path | None = None,
        minutes_elsewhere: Mapping[str, float] | None = None,
        deliver: bool = True,
        stop_at: float = 1.0,
        steps_per_batch: int = 1,
        flops: StepFlops | None = None,
        make_objective: MakeObjective | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not train_data:
            raise TrainingError("there is nothing to train on: the training manifest has no usable utterance")
        self.model, self.config, self.directory = model, config, directory
        self._dev, self._facts = dev, dict(facts or {})
        # A model from scratch has no base to fall back on.
        self._guard_sets = guard_sets if config.guard.enabled and config.method != "scratch" else ()
        self._clock, self._budget_seconds = clock, budget_seconds
        self._guard_budget_seconds = guard_budget_seconds or budget_seconds
        self._given_sizes = sizes
        self._ledger = ledger or Ledger(clock=clock)
        self._model_directory = model_directory or directory / "model"
        self._wants_delivery, self._stop_at = deliver, stop_at
        self._flops = flops
        self._minutes_elsewhere = dict(minutes_elsewhere or {})
        self._accelerator = make_accelerator(config.mixed_precision)
        refuse_unsharded(config, self._accelerator.num_processes)
        self._processes = Processes(self._accelerator)
        self._agreed = self._processes.agreed
        self._make_objective = make_objective or supervised(config)
        self._evaluation = Evaluation(
            model,
            measure,
            dev_targets or dev.utterances,
            self._accelerator,
            max_rows=config.per_device_train_batch_size,
            check=self._stop_before_evaluation,
        )
        world = self._processes.count
        batch_size = config.per_device_train_batch_size * config.gradient_accumulation_steps * world
        durations = [utterance.measured_duration() for utterance in train_data]
        self._order: StepOrder = (
            MixedOrder(durations, mixture, batch_size, config.seed)
            if mixture
            else TrainingOrder(durations, batch_size, config.seed)
        )
        if steps_per_batch > 1:
            self._order = RepeatedOrder(self._order, steps_per_batch)
        self._batch_size = batch_size
        self._feed = Feed(
            model,
            train_data,
            self._order,
            max_rows=config.per_device_train_batch_size,
            workers=config.dataloader_num_workers,
            rank=self._accelerator.process_index,
            world_size=world,
            augmentation=augmentation,
        )
        self._checkpoints = CheckpointFolder(directory / "checkpoints")
        self._history = History(directory / "history.jsonl")

    # ------------------------------------------------------------------ the run

    def run(self) -> TrainingOutcome:
        """Trains from where the directory stands to the end of the plan or of the budget, then delivers.

        Raises:
            TrainingError: the directory belongs to another run, the budget is too small, the loss is not finite, or
                the disk is full.
            Stopped: a signal asked for it; the run goes on from the step it stopped at.
        """
        self._record = self._open_record()
        record = self._record.values
        before = {name: minutes * 60 for name, minutes in record["minutes"].items()}
        used = sum(before.values()) + sum(self._ledger.seconds.values())
        self._budget = Budget(self._budget_seconds, used=used, clock=self._clock)
        self._delivery = self._make_delivery()
        if self._delivery.is_done() and not self._has_more_budget():
            return self._stored_outcome()
        for name, seconds in before.items():
            self._ledger.seconds[name] = self._ledger.seconds.get(name, 0.0) + seconds
        with StopRequests() as self._stop, self._processes.noticing_losses():
            if record.get("status") not in ("trained", "complete") or self._has_more_budget():
                self._train()
            if self._wants_delivery:
                self._delivery.deliver(self._frozen_sizes(), extra_minutes=self._minutes_elsewhere)
            else:
                self._save_record()
            if self._agreed(self._stop.requested):
                raise self._stop.stopped("stopped; what was begun is done, the same command goes on with what follows")
        return self._stored_outcome()

    def _has_more_budget(self) -> bool:
        """The plan was cut short by a budget that has been raised since: it is gone on with."""
        if self._record.values.get("reason") != "budget" or self._record.former_budget is None:
            return False
        former = parse_budget(self._record.former_budget, num_gpus=self._accelerator.num_processes)
        return self._budget_seconds is None or self._budget_seconds > former

    def _train(self) -> None:
        with self._ledger.stage("setup"):
            # A size that memory held is gone on with, whatever the config asks for.
            self._feed.max_rows = min(self._feed.max_rows, self._record.values.get("micro_batch", self._feed.max_rows))
            self._stepper = self._make_stepper()
            self._watch = self._make_watch()
            step, best = self._restore()
        with self._stepper.whole_weights():
            self._sizes = self._frozen_sizes()
        if step == 0:
            if not self._history.rows:
                best = self._evaluate_and_save(0, best)
            if self._wants_delivery:
                with self._stepper.whole_weights():
                    self._delivery.measure_base(self._sizes)
        plan = self._frozen_plan()
        with self._ledger.stage("train"):  # reading audio included; evaluating and saving are booked on their own
            step, best, reason = self._take_steps(step, best, plan)
        self._stepper.end()
        if reason != "paused" and self.config.average_checkpoints:
            best = self._average_last(best, plan)
        status = "running" if reason == "paused" else "trained"
        self._save_record(status=status, best=best, stopped_at=step, reason=reason)

    def _make_stepper(self) -> Stepper:
        trained = twin(self.model) if self.config.fsdp else self.model
        objective, sharded = self._make_objective(trained, self._accelerator), None
        if self.config.fsdp:
            sharded = ShardedWeights(self.model.module, trained.module, self._accelerator.device)
        return Stepper(
            trained,
            objective,
            self.config,
            self._accelerator,
            self._feed,
            on_smaller=lambda rows: self._save_record(micro_batch=rows),
            sharded=sharded,
        )

    def _stored_outcome(self) -> TrainingOutcome:
        return TrainingOutcome.from_record(self._record.values, self._model_directory)

    def _take_steps(self, step: int, best: dict[str, Any], plan: Plan) -> tuple[int, dict[str, Any], str]:
        evaluated = self._history.steps[-1] if self._history.rows else -1
        window = LogWindow(self._clock, peak_flops=self._peak_flops())
        # Rounding errors must not add a step.
        stop = min(plan.total_steps, math.ceil(self._stop_at * plan.total_steps - 1e-9))
        reason = "done" if stop == plan.total_steps else "paused"
        enough = self._enough(best, step, plan) if evaluated == step else None
        if enough:  # killed just before it would have stopped
            return step, best, enough
        for batches in window.waiting_for(self._feed.steps(step, stop)):
            totals, norm, rate = self._stepper.take(batches, plan.total_steps)
            utterances = len(self._order.batch(batches.number))
            work = self._flops(utterances, totals.audio_seconds, totals.count) if self._flops else 0.0
            window.add(totals, norm, rate, flops=work)
            step = batches.number + 1
            if step % self.config.logging_steps == 0:
                self._log(step, plan, window)
                self._save_record(status="running")  # so that what a kill costs still counts against the budget
            # Another step must fit before the last evaluation and the guard, or this was the last step.
            evaluations = 2 if self.config.average_checkpoints else 1
            rest = evaluations * (plan.eval_seconds or 0.0) + plan.guard_seconds
            over = bool(totals.stop) or self._agreed(self._budget.remaining < rest + window.seconds_per_step)
            if over or step == stop or (reason == "done" and step % plan.eval_steps == 0):
                best = self._evaluate_and_save(step, best)
                evaluated = step
            if over and step < plan.total_steps:
                reason = totals.stop or "budget"
                break
            if step % self.config.logging_steps == 0 or evaluated == step:
                window.reset()
            self._stop_if_asked(step, best, saved=evaluated == step)
            enough = self._enough(best, step, plan) if evaluated == step else None
            if enough:
                reason = enough
                break
        return step, best, reason

    def _peak_flops(self) -> float | None:
        """Of all processes' devices together."""
        if self._accelerator.device.type != "cuda":
            return None
        name = torch.cuda.get_device_name(self._accelerator.device)
        peak = peak_flops(name, bf16=uses_bf16(self.config.mixed_precision))
        return peak and self._processes.count * peak

    # ------------------------------------------------------------------ evaluation

    def _evaluate_and_save(self, step: int, best: dict[str, Any]) -> dict[str, Any]:
        with self._ledger.stage("evaluate"), self._stepper.kept_weights():
            row, last = self._evaluation.dev_row(step, self._dev.first(self._sizes.eval_utterances))
            self._watch.look(self.model, step, self._sizes.eval_utterances)
        self._history.rows.append(row)
        self._save_record(last=last)
        if _is_better(last, best):
            best = last
        self._say(
            "step %d  dev loss %.3f nats  dev error rate %.2f %%%s",
            step,
            row["dev_loss"],
            100 * row["dev_error_rate"],
            "  best so far" if best is last else "",
        )
        self._save_checkpoint(step, best)
        return best

    def _steps_to_average(self) -> list[int]:
        count = self.config.average_checkpoints
        return [step for step in self._history.steps if step][-count:] if count else []

    def _average_last(self, best: dict[str, Any], plan: Plan) -> dict[str, Any]:
        """The mean of the last checkpoints' weights, where it is better on dev than each of them; else ``best``."""
        steps = self._steps_to_average()
        rest = (plan.eval_seconds or 0.0) + plan.guard_seconds
        if len(steps) < 2 or not self._agreed(self._budget.remaining > rest):
            return best
        with self._ledger.stage("evaluate"):
            place_mean(self.model.module, [self._checkpoints.path(step) for step in steps])
            row, mean = self._evaluation.dev_row(steps[-1], self._dev.first(self._sizes.eval_utterances))
        mean["averaged"] = steps
        better = _is_better(mean, best)
        self._say(
            "mean of steps %s  dev loss %.3f nats  dev error rate %.2f %%%s",
            ", ".join(map(str, steps)),
            row["dev_loss"],
            100 * row["dev_error_rate"],
            "  best so far" if better else "",
        )
        if not better:
            return best
        with self._ledger.stage("save"):
            if self._processes.is_main:
                self._checkpoints.averaged.save(steps[-1], self.model, {"best": mean})
            self._processes.wait()
        return mean

    def _save_checkpoint(self, step: int, best: dict[str, Any]) -> None:
        with self._ledger.stage("save"), self._stepper.kept_weights():
            state = {"step": step, "best": best, **self._stepper.state_dict()}
            if self._processes.is_main:
                # History first: rows beyond the last checkpoint are dropped on resuming, missing ones never come back.
                self._history.write()
                self._checkpoints.save(step, self.model, state)
                # The base is one end of the guard's line.
                kept = {step, best["step"], *self._steps_to_average()} | ({0} if self._guard_sets else set())
                self._checkpoints.keep_only(kept)
            self._processes.wait()
        self._save_record(status="running", best=best, stopped_at=step)

    def _stop_if_asked(self, step: int, best: dict[str, Any], *, saved: bool) -> None:
        """Saves what was done since the last checkpoint and ends the session, when a signal has asked for it."""
        if not self._agreed(self._stop.requested):
            return
        if not saved:
            self._save_checkpoint(step, best)
        raise self._stop.stopped(f"stopped after step {step}; the same command goes on from there")

    def _stop_before_evaluation(self) -> None:
        if self._agreed(self._stop.requested):
            raise self._stop.stopped("stopped before an evaluation; the same command goes on from the last checkpoint")

    def _enough(self, best: dict[str, Any], step: int, plan: Plan) -> str | None:
        """Why the evaluation after a step ends the training, if it does."""
        damage = self._watch.damage(step, math.ceil(plan.total_steps / plan.eval_steps))
        if damage:
            self._say("step %d  stopped: %s", step, damage)
            return "damage"
        patience = self.config.early_stopping_patience
        spent = patience is not None and sum(step > best["step"] for step in self._history.steps) >= patience
        return "early stop" if spent else None

    # ------------------------------------------------------------------ plan and record

    def _frozen_sizes(self) -> Sizes:
        """How many dev and guard utterances are affordable; under a budget, after timing a few of them."""
        stored = self._record.values.get("sizes")
        if stored:
            return Sizes(**stored)
        if self._given_sizes:
            self._save_record(sizes=dataclasses.asdict(self._given_sizes))
            return self._given_sizes
        seconds = 0.0
        if self._budget_seconds is not None:
            with self._ledger.stage("probe"):
                start, few = self._clock(), self._dev.first(_PROBE_UTTERANCES)
                self._evaluation.measured(self.model, few)
                self._evaluation.dev_loss(len(few.utterances))
                seconds = (self._clock() - start) / len(few.utterances)
        sizes = evaluation_sizes(
            self.config,
            guard_sets=sum(eval_set.role not in ("nonspeech", "long-form") for eval_set in self._guard_sets),
            nonspeech=[len(s.utterances) for s in self._guard_sets if s.role == "nonspeech"],
            long_form=self._long_form_utterances(),
            seconds_per_utterance=self._agreed(seconds),
            budget_seconds=self._budget_seconds,
            guard_budget_seconds=self._guard_budget_seconds,
        )
        if sizes.eval_utterances < min(self.config.eval_utterances, len(self._dev.utterances)):
            self._say("the budget holds evaluations of %d dev utterances", sizes.eval_utterances)
        if not sizes.long_form:
            self._say("the budget does not hold long recordings; the guard looks at none")
        self._save_record(sizes=dataclasses.asdict(sizes))
        return sizes

    def _long_form_utterances(self) -> float:
        """Dev utterances that last as long as the joined recordings."""
        joined = [u.measured_duration() for s in self._guard_sets if s.role == "long-form" for u in s.utterances]
        durations = [utterance.measured_duration() for utterance in self._dev.utterances]
        return sum(joined) * len(durations) / max(sum(durations), 1e-9)

    def _frozen_plan(self) -> Plan:
        if self._record.values.get("plan"):
            plan = Plan(**self._record.values["plan"])
            if plan.batch_size != self._batch_size:
                raise TrainingError(
                    f"{self.directory}: was begun with steps of {plan.batch_size} utterances, this one takes "
                    f"{self._batch_size}; resume it with the same number of processes, or choose another --output"
                )
            return plan
        with self._ledger.stage("probe"):
            step_seconds = self._agreed(
                probe_step_seconds(
                    self._stepper.accumulate,
                    self._stepper.objective.prepared,
                    self._feed,
                    self._order,
                    self.config,
                    budget_seconds=self._budget_seconds,
                    agreed=self._agreed,
                    clock=self._clock,
                )
            )
        spent = {name: self._agreed(seconds) for name, seconds in self._ledger.seconds.items()}
        guarded = self._agreed(self._delivery.base_seconds)
        plan = make_plan(
            self.config,
            batch_size=self._batch_size,
            steps_per_epoch=self._order.batches_per_epoch,
            seconds_left=self._agreed(self._budget.remaining),
            budget_seconds=self._budget_seconds,
            step_seconds=step_seconds,
            eval_seconds=spent.get("evaluate", 0.0) + spent.get("save", 0.0),
            guard_seconds=guarded * self._sizes.guard_points,
            guard_spent=guarded,
            delivers=self._wants_delivery,
            spent_seconds=sum(spent.values()),
            peak_memory=expected_peak_memory(self._accelerator.device.type),
        )
        self._save_record(plan=dataclasses.asdict(plan), status="running")
        self._say(
            "plan: %d steps of up to %d utterances (%.2f epochs), evaluation every %d steps, %s trainable parameters, "
            "about %s in all, %.1f GB at most",
            plan.total_steps,
            plan.batch_size,
            plan.total_steps / plan.steps_per_epoch,
            plan.eval_steps,
            f"{self._record.values['trainable_parameters']:,}",
            format_minutes(plan.seconds or 0.0),
            (plan.peak_memory or 0) / 1e9,
        )
        return plan

    def _restore(self) -> tuple[int, dict[str, Any]]:
        best = {"step": 0, "dev_error_rate": math.inf, "dev_loss": math.inf}
        steps = self._checkpoints.steps()
        if not steps:
            return 0, best
        with self._stepper.whole_weights():
            state = self._checkpoints.restore(steps[-1], self.model.module)
            self._stepper.load_state_dict(state)
        self._history.read(state["step"])
        self._say("resumed from step %d in %s", state["step"], self.directory)
        return state["step"], state["best"]

    def _make_watch(self) -> DamageWatch:
        guard = self.config.guard
        return DamageWatch(
            [s for s in self._guard_sets if s.role not in ("target", "long-form")] if guard.every_eval else [],
            self._evaluation.measured,
            margin=guard.margin,
            stored=self._record.values.get("watch", {}),
            save=lambda counts: self._save_record(watch=counts),
        )

    def _make_delivery(self) -> Delivery:
        return Delivery(
            model=self.model,
            sets=self._guard_sets,
            measure=self._evaluation.measured,
            checkpoints=self._checkpoints,
            record=self._record,
            ledger=self._ledger,
            budget=self._budget,
            facts=self._facts | {"method": self.config.method},
            directory=self.directory,
            target=self._model_directory,
            points=self.config.guard.points,
            margin=self.config.guard.margin,
            accelerator=self._accelerator,
            agreed=self._agreed,
            clock=self._clock,
        )

    def _open_record(self) -> RunRecord:
        return RunRecord(
            self.directory,
            {"config": to_mapping(self.config), "facts": json.loads(json.dumps(self._facts, default=str))},
            fresh=lambda: {
                "trainable_parameters": trainable_parameters(self.model),
                "minutes": {},
                "provenance": collect_provenance(),
            },
            writes=self._accelerator.is_main_process,
        )

    def _save_record(self, **changes: Any) -> None:
        self._record.save(**changes, minutes=self._ledger.minutes)

    def _say(self, message: str, *values: Any) -> None:
        if self._processes.is_main:
            logger.info(message, *values)

    def _log(self, step: int, plan: Plan, window: LogWindow) -> None:
        left = min((plan.total_steps - step) * window.seconds_per_step, self._budget.remaining)
        self._say("step %d/%d  %s  %s left", step, plan.total_steps, window.line(), format_minutes(left))


def _is_better(row: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
    return (row["dev_error_rate"], row["dev_loss"]) < (best["dev_error_rate"], best["dev_loss"])
