"""The only training loop: every method, every family, and later RL go through :class:`Training`.

One optimiser step: take the step's utterances, count their target tokens over all processes, add up the gradients of
the micro-batches' summed losses divided by that count, clip, step. The gradient is therefore that of the mean over
tokens, however the batch is cut. Weights stay in float32; bf16 is a matter of autocast.

The loop evaluates at step 0, every ``eval_steps`` and at the end, on dev only; it keeps the best and the last
checkpoint, and it can be killed at any moment: order, dropout and learning rate are functions of the step.

Read :meth:`Training.run` first.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list

from asr_headroom.budget import Budget, Ledger, format_minutes
from asr_headroom.config import to_mapping
from asr_headroom.data.batching import TrainingOrder, plan_batches
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import TrainingError
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.protocols import Recognizer, Trainable
from asr_headroom.provenance import collect_provenance
from asr_headroom.results.store import write_json, write_whole
from asr_headroom.train.checkpoint import CheckpointFolder
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.feed import Feed, StepBatches
from asr_headroom.train.methods import trainable_parameters
from asr_headroom.train.objectives import LossModule
from asr_headroom.train.optimizer import learning_rate_at, make_optimizer
from asr_headroom.train.plan import Plan, make_plan

__all__ = ["Training", "TrainingOutcome", "Validate"]

logger = logging.getLogger(__name__)

Validate = Callable[[Recognizer], Mapping[str, Sequence[ErrorCounts]]]
"""Transcribes fixed dev sets and returns counts per set and utterance; the first set decides which step is best."""

TRAIN_SCHEMA = "asr-headroom/train/1"
_PROBE_STEPS = 3

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TrainingOutcome:
    """What a run ended with.

    Attributes:
        model_directory: the best checkpoint's model files.
        best_step: 0 when no step beat the starting point on dev.
        plan: what was planned.
        stopped_at: last step taken.
        reason: why it stopped: ``done``, ``budget`` or ``early stop``.
    """

    model_directory: Path
    best_step: int
    plan: Plan
    stopped_at: int
    reason: str


class Training:
    """One supervised training run in one directory.

    Args:
        model: with its method applied (see :func:`asr_headroom.train.methods.apply_method`).
        train_data: what it learns from; each utterance must be usable (``check_target``).
        dev_data: fixed utterances for the dev loss.
        config: settings.
        directory: of the run: ``train.json``, ``history.jsonl``, ``checkpoints/``, ``model/``.
        validate: error counts on dev; see :data:`Validate`.
        facts: what to store about model and data.
        clock: for the budget.
    """

    def __init__(
        self,
        model: Trainable,
        train_data: Sequence[Utterance],
        dev_data: Sequence[Utterance],
        config: TrainConfig,
        directory: Path,
        *,
        validate: Validate,
        facts: Mapping[str, Any] | None = None,
        budget_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not train_data:
            raise TrainingError("there is nothing to train on: the training manifest has no usable utterance")
        self.model, self.config, self.directory = model, config, directory
        self._dev_data, self._validate, self._facts = dev_data, validate, dict(facts or {})
        self._clock, self._budget_seconds = clock, budget_seconds
        self._accelerator = _make_accelerator(config)
        world = self._accelerator.num_processes
        batch_size = config.per_device_train_batch_size * config.gradient_accumulation_steps * world
        self._order = TrainingOrder([u.measured_duration() for u in train_data], batch_size, config.seed)
        self._batch_size = batch_size
        self._feed = Feed(
            model,
            train_data,
            self._order,
            max_rows=config.per_device_train_batch_size,
            workers=config.dataloader_num_workers,
            rank=self._accelerator.process_index,
            world_size=world,
        )
        self._checkpoints = CheckpointFolder(directory / "checkpoints")
        self._history: list[dict[str, Any]] = []
        self._record: dict[str, Any] = {}

    # ------------------------------------------------------------------ the run

    def run(self) -> TrainingOutcome:
        """Trains from where the directory stands to the end of the plan or of the budget.

        Raises:
            TrainingError: the directory belongs to another run, the budget is too small, the loss is not finite, or
                the disk is full.
        """
        self._record = self._load_record()
        self._ledger = Ledger(clock=self._clock)
        self._ledger.seconds = {name: minutes * 60 for name, minutes in self._record["minutes"].items()}
        if self._record.get("status") == "complete" and (self.directory / "model").is_dir():
            return self._stored_outcome()
        self._budget = Budget(self._budget_seconds, used=sum(self._ledger.seconds.values()), clock=self._clock)
        with self._ledger.stage("setup"):
            self._optimizer = make_optimizer(self.model.module, self.config)
            self._prepared = self._accelerator.prepare_model(LossModule(self.model))
            self._optimizer = self._accelerator.prepare_optimizer(self._optimizer)
            step, best = self._restore()
        if step == 0 and not self._history:
            best = self._evaluate_and_save(0, best)
        plan = self._frozen_plan()
        with self._ledger.stage("train"):  # reading audio included; evaluating and saving are booked on their own
            step, best, reason = self._take_steps(step, best, plan)
        with self._ledger.stage("save"):
            if self._accelerator.is_main_process:
                self._checkpoints.export(best["step"], self.directory / "model")
                self._write_model_facts(best)
            self._accelerator.wait_for_everyone()
        self._write_record(status="complete", best=best, stopped_at=step, reason=reason)
        return TrainingOutcome(
            model_directory=self.directory / "model", best_step=best["step"], plan=plan, stopped_at=step, reason=reason
        )

    def _stored_outcome(self) -> TrainingOutcome:
        record = self._record
        return TrainingOutcome(
            model_directory=self.directory / "model",
            best_step=record["best"]["step"],
            plan=Plan(**record["plan"]),
            stopped_at=record["stopped_at"],
            reason=record["reason"],
        )

    def _take_steps(self, step: int, best: dict[str, Any], plan: Plan) -> tuple[int, dict[str, Any], str]:
        evaluated = self._history[-1]["step"] if self._history else -1
        window = _LogWindow(self._clock)
        reason = "done"
        if evaluated == step and self._patience_spent(best, step):  # killed just before it would have stopped
            return step, best, "early stop"
        for number, step_batches in self._feed.steps(step, plan.total_steps):
            window.add(self._step(number, step_batches, plan))
            step = number + 1
            if step % self.config.logging_steps == 0:
                self._log(step, plan, window)
                self._write_record(status="running")  # so that what a kill costs still counts against the budget
            # Another step must fit before the last evaluation, or this was the last step.
            over = self._agreed(self._budget.remaining < (plan.eval_seconds or 0.0) + window.seconds_per_step)
            if over or step % plan.eval_steps == 0 or step == plan.total_steps:
                best = self._evaluate_and_save(step, best)
                evaluated = step
            if over and step < plan.total_steps:
                reason = "budget"
                break
            if step % self.config.logging_steps == 0 or evaluated == step:
                window = _LogWindow(self._clock)
            if evaluated == step and self._patience_spent(best, step):
                reason = "early stop"
                break
        return step, best, reason

    def _step(self, number: int, step_batches: StepBatches, plan: Plan) -> dict[str, float]:
        """One optimiser step; returns nats, targets, gradient norm and audio seconds over all processes."""
        accelerator, device = self._accelerator, self._accelerator.device
        # Dropout is a function of seed, step and process: a resumed run draws what the other would have drawn.
        torch.manual_seed(hash((self.config.seed, number, accelerator.process_index)))
        self._prepared.train()
        rate = learning_rate_at(number, plan.total_steps, self.config)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        totals = self._backward(step_batches, device)
        if not math.isfinite(totals["nats"]):
            raise TrainingError(
                f"step {number + 1}: the loss is {totals['nats']}; lower learning_rate (now {rate:.1e}) "
                "or check the data with `asr-headroom data validate --deep`"
            )
        norm = accelerator.clip_grad_norm_(self._prepared.parameters(), self.config.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return totals | {"grad_norm": float(norm), "learning_rate": rate}

    def _backward(self, step_batches: StepBatches, device: torch.device) -> dict[str, float]:
        accelerator = self._accelerator
        batches = step_batches.batches
        counted = torch.tensor(
            [float(sum(b.num_targets for b in batches)), sum(b.audio_seconds for b in batches)], dtype=torch.float64
        )
        counted = accelerator.reduce(counted.to(device) * step_batches.weight, reduction="sum").tolist()
        nats = torch.zeros((), dtype=torch.float64, device=device)
        for index, batch in enumerate(batches):
            last = index == len(batches) - 1
            with nullcontext() if last else accelerator.no_sync(self._prepared):
                with accelerator.autocast():
                    loss = self._prepared(batch.to(device)) * step_batches.weight
                # Data parallelism averages gradients over processes; the sum over all tokens is wanted.
                accelerator.backward(loss * (accelerator.num_processes / counted[0]))
            nats += loss.detach().double()
        nats = accelerator.reduce(nats, reduction="sum")
        return {"nats": float(nats), "targets": counted[0], "audio_seconds": counted[1]}

    # ------------------------------------------------------------------ evaluation

    def _evaluate_and_save(self, step: int, best: dict[str, Any]) -> dict[str, Any]:
        with self._ledger.stage("evaluate"):
            counts = {name: ErrorCounts.total(c) for name, c in self._validate(self.model).items()}
            dev_loss = self._dev_loss()
        selection = next(iter(counts.values()))
        row = {
            "step": step,
            "dev_loss": dev_loss,
            "dev_error_rate": selection.error_rate,
            "dev": {name: dataclasses.asdict(total) for name, total in counts.items()},
        }
        row = self._agreed(row)
        self._history.append(row)
        if (row["dev_error_rate"], row["dev_loss"]) < (best["dev_error_rate"], best["dev_loss"]):
            best = {name: row[name] for name in ("step", "dev_error_rate", "dev_loss")}
        marker = "  best so far" if best["step"] == step else ""
        self._say(
            "step %d  dev loss %.3f nats  dev error rate %.2f %%%s", step, dev_loss, 100 * selection.error_rate, marker
        )
        with self._ledger.stage("save"):
            if self._accelerator.is_main_process:
                # History first: rows beyond the last checkpoint are dropped on resuming, missing ones never come back.
                self._write_history()
                state = {"step": step, "best": best, "optimizer": self._optimizer.state_dict()}
                self._checkpoints.save(step, self.model, state)
                self._checkpoints.keep_only({step, best["step"]})
            self._accelerator.wait_for_everyone()
        self._write_record(status="running", best=best, stopped_at=step)
        return best

    @torch.no_grad()
    def _dev_loss(self) -> float:
        """Mean nats per target unit on the dev utterances."""
        self.model.module.eval()
        keys = [self.model.batch_key(u) for u in self._dev_data]
        plan = plan_batches(
            [u.measured_duration() for u in self._dev_data], keys, self.config.per_device_train_batch_size
        )
        nats = targets = 0.0
        for rows in plan:
            batch = self.model.collate([self._dev_data[row] for row in rows]).to(self._accelerator.device)
            with self._accelerator.autocast():
                nats += float(self.model.loss(batch).nats)
            targets += batch.num_targets
        return nats / max(1.0, targets)

    def _agreed(self, value: T) -> T:
        """The main process's value on all processes: clocks and sums differ, and what they decide must not."""
        return broadcast_object_list([value])[0] if self._accelerator.num_processes > 1 else value

    def _patience_spent(self, best: dict[str, Any], step: int) -> bool:
        patience = self.config.early_stopping_patience
        return patience is not None and sum(row["step"] > best["step"] for row in self._history) >= patience

    # ------------------------------------------------------------------ plan and record

    def _frozen_plan(self) -> Plan:
        if self._record.get("plan"):
            plan = Plan(**self._record["plan"])
            if plan.batch_size != self._batch_size:
                raise TrainingError(
                    f"{self.directory}: was begun with steps of {plan.batch_size} utterances, this one takes "
                    f"{self._batch_size}; resume it with the same number of processes, or choose another --output"
                )
            return plan
        step_seconds = self._agreed(self._probe()) if self._budget_seconds is not None else None
        evaluation = self._ledger.seconds.get("evaluate", 0.0) + self._ledger.seconds.get("save", 0.0)
        plan = make_plan(
            self.config,
            batch_size=self._batch_size,
            steps_per_epoch=self._order.batches_per_epoch,
            seconds_left=self._agreed(self._budget.remaining),
            step_seconds=step_seconds,
            eval_seconds=self._agreed(evaluation),
        )
        self._record["plan"] = dataclasses.asdict(plan)
        self._write_record(status="running")
        self._say(
            "plan: %d steps of up to %d utterances (%.2f epochs), evaluation every %d steps, %s trainable parameters%s",
            plan.total_steps,
            plan.batch_size,
            plan.total_steps / plan.steps_per_epoch,
            plan.eval_steps,
            f"{trainable_parameters(self.model):,}",
            f", about {format_minutes(plan.total_steps * plan.step_seconds)} of training" if plan.step_seconds else "",
        )
        return plan

    def _probe(self) -> float:
        """Mean seconds of a step, from gradients of batches spread over the first epoch; weights stay as they are."""
        with self._ledger.stage("probe"):
            last = self._order.batches_per_epoch - 1
            numbers = sorted({round(i * last / _PROBE_STEPS) for i in range(_PROBE_STEPS)})
            self._prepared.train()
            self._backward(self._feed.step(numbers[0]), self._accelerator.device)
            start = self._clock()
            for number in numbers:
                self._backward(self._feed.step(number), self._accelerator.device)
            self._optimizer.zero_grad()
            return (self._clock() - start) / len(numbers)

    def _restore(self) -> tuple[int, dict[str, Any]]:
        best = {"step": 0, "dev_error_rate": math.inf, "dev_loss": math.inf}
        steps = self._checkpoints.steps()
        if not steps:
            return 0, best
        state = self._checkpoints.restore(steps[-1], self.model.module)
        self._optimizer.load_state_dict(state["optimizer"])
        history = self.directory / "history.jsonl"
        try:
            rows = [json.loads(line) for line in history.read_text().splitlines()] if history.exists() else []
            self._history = [row for row in rows if row["step"] <= state["step"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{history}: cannot be read ({error}); delete it, the training goes on without"
            ) from error
        self._say("resumed from step %d in %s", state["step"], self.directory)
        return state["step"], state["best"]

    def _load_record(self) -> dict[str, Any]:
        identity = {"config": to_mapping(self.config), "facts": json.loads(json.dumps(self._facts, default=str))}
        path = self.directory / "train.json"
        if path.exists():
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                if not isinstance(record, dict) or record.get("schema") != TRAIN_SCHEMA:
                    raise ValueError(f"it is no record of schema {TRAIN_SCHEMA}")
            except (OSError, ValueError) as error:
                raise TrainingError(f"{path}: cannot be read ({error}); choose another --output") from error
            for name, wanted in identity.items():
                stored = record.get(name) or {}
                differing = sorted(k for k in {*wanted, *stored} if wanted.get(k) != stored.get(k))
                if differing:
                    raise TrainingError(
                        f"{self.directory}: holds another run (it differs in {', '.join(differing)}); "
                        "choose another --output or delete that directory"
                    )
            return record
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{self.directory}: cannot be written ({error}); choose another --output") from error
        return {
            "schema": TRAIN_SCHEMA,
            **identity,
            "trainable_parameters": trainable_parameters(self.model),
            "minutes": {},
            "provenance": collect_provenance(),
        }

    def _write_record(self, **changes: Any) -> None:
        self._record |= changes | {"minutes": self._ledger.minutes}
        if self._accelerator.is_main_process:
            write_json(self.directory / "train.json", self._record)

    def _write_history(self) -> None:
        write_whole(self.directory / "history.jsonl", "".join(json.dumps(row) + "\n" for row in self._history))

    def _write_model_facts(self, best: dict[str, Any]) -> None:
        """``headroom.json`` beside the weights: what a later bench must know of them."""
        facts = self._facts | {
            "method": self.config.method,
            "trainable_parameters": self._record["trainable_parameters"],
            "best_step": best["step"],
            "minutes": self._ledger.minutes,
        }
        write_json(self.directory / "model" / "headroom.json", facts)

    def _say(self, message: str, *values: Any) -> None:
        if self._accelerator.is_main_process:
            logger.info(message, *values)

    def _log(self, step: int, plan: Plan, window: _LogWindow) -> None:
        left = (plan.total_steps - step) * window.seconds_per_step
        self._say(
            "step %d/%d  loss %.3f nats  lr %.1e  grad norm %.2f  %.0f audio-s/s  %s left",
            step,
            plan.total_steps,
            window.nats / max(1.0, window.targets),
            window.learning_rate,
            window.grad_norm,
            window.audio_seconds / window.elapsed,
            format_minutes(min(left, self._budget.remaining)),
        )


def _make_accelerator(config: TrainConfig) -> Accelerator:
    use_bf16 = config.mixed_precision == "bf16" or (config.mixed_precision == "auto" and torch.cuda.is_available())
    # Accelerate keeps the precision of a process's first Accelerator for ever; a recipe trains several times.
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision="bf16" if use_bf16 else "no")


class _LogWindow:
    """Sums over the steps between two lines of the log."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self.steps = 0
        self.nats = self.targets = self.audio_seconds = self.grad_norm = self.learning_rate = 0.0

    def add(self, totals: Mapping[str, float]) -> None:
        self.steps += 1
        self.nats += totals["nats"]
        self.targets += totals["targets"]
        self.audio_seconds += totals["audio_seconds"]
        self.grad_norm, self.learning_rate = totals["grad_norm"], totals["learning_rate"]

    @property
    def elapsed(self) -> float:
        return max(1e-9, self._clock() - self._start)

    @property
    def seconds_per_step(self) -> float:
        return self.elapsed / max(1, self.steps)
