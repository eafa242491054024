"""Transcripts under their audio: what a model hears, and how likely it finds each of some texts. Resumable.

Audio is encoded once per clip; the transcript, the model's own hypothesis, wrong transcripts made on purpose, and other
transcripts of the corpus are scored from that. One line of a file per clip, so that a killed run goes on.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import logging
import math
import random
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr_headroom.analysis.label_doctor_evidence import Judged, ScoredText, TextPool
from asr_headroom.analysis.label_doctor_planting import KINDS, Kind, Planter
from asr_headroom.budget import Budget, format_minutes
from asr_headroom.data.batching import plan_batches
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import BudgetError, ResultsError
from asr_headroom.models.decoding import DecodingOptions, Hypothesis, SamplingOptions
from asr_headroom.models.modes import evaluating
from asr_headroom.models.protocols import Recognizer, Samplable
from asr_headroom.stopping import StopRequests
from asr_headroom.text.targets import TargetForm, write_target

__all__ = ["LabelScorer", "read_judged"]

logger = logging.getLogger(__name__)

_RIVALS = 3
_STRANGERS = 1
_MAX_NEW_TOKENS = 225
_PLAIN = SamplingOptions()
_SECONDS_BETWEEN_LINES = 20.0


class LabelScorer:
    """Scores the transcripts of some clips with one model and keeps what it found in a file.

    Args:
        model: hears; scores too if it is :class:`Samplable`.
        pool: transcripts of the corpus.
        planter: makes wrong ones.
        form: written form that the model writes.
        seed: of the transcripts drawn at random.
    """

    def __init__(self, model: Recognizer, pool: TextPool, planter: Planter, *, form: TargetForm, seed: int) -> None:
        self._model, self._pool, self._planter, self._form, self._seed = model, pool, planter, form, seed

    def score(
        self,
        utterances: Sequence[Utterance],
        path: Path,
        *,
        batch_size: int,
        budget: Budget,
        stops: StopRequests,
        book: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Appends a line for each clip that the file does not hold yet, batch by batch, the longest first.

        Args:
            utterances: with their transcripts as written; each must be usable by the model (``check_target``).
            path: of the file.
            batch_size: clips encoded together, at most.
            budget: no batch is begun that is not expected to end inside it.
            stops: no batch is begun once stopping was requested.
            book: is told the seconds of each batch.
            clock: for the minutes.

        Raises:
            BudgetError: the next batch does not fit; what is scored is kept.
            Stopped: stopping was requested; what is scored is kept.
        """
        done = set(read_judged(path)) if path.exists() else set()
        keys = [self._model.batch_key(utterance) for utterance in utterances]
        batches = plan_batches([utterance.measured_duration() for utterance in utterances], keys, batch_size)
        pending = [rows for rows in batches if not all(utterances[row].id in done for row in rows)]
        finished = len(utterances) - sum(map(len, pending))
        pace, last_line = 0.0, clock()
        for rows in pending:
            if stops.requested:
                raise stops.stopped(f"stopped after {finished} of {len(utterances)} clips; the same command goes on")
            if budget.remaining < pace * len(rows) or budget.remaining <= 0:
                raise BudgetError(
                    f"the budget of {format_minutes(budget.seconds or 0.0)} is used up with {finished} of "
                    f"{len(utterances)} clips scored; the same command with a larger --budget goes on"
                )
            begin = clock()
            self._append(path, self.judge([utterances[row] for row in rows]))
            passed = clock() - begin
            pace, finished = max(pace, passed / len(rows)), finished + len(rows)
            book(passed)
            if clock() - last_line > _SECONDS_BETWEEN_LINES:
                last_line = clock()
                logger.info("%d/%d clips scored", finished, len(utterances))

    def judge(self, batch: Sequence[Utterance]) -> dict[str, Judged]:
        """What the model says of some clips that may share a batch, by id."""
        if not isinstance(self._model, Samplable):
            heard = self._model.transcribe(batch, DecodingOptions())
            return {u.id: Judged(heard=h.text) for u, h in zip(batch, heard, strict=True)}
        import torch

        model = self._model
        with torch.inference_mode(), evaluating(model.module):
            device = next(model.module.parameters()).device
            encoded = model.encode(model.collate([self._written(u, u.text) for u in batch]).to(device))
            heard = self._hear(batch, encoded)
            texts = [self._texts(u, h.text) for u, h in zip(batch, heard, strict=True)]
            wanted = [(row, text) for row, named in enumerate(texts) for text in dict.fromkeys(named.values())]
            ids = self._token_ids([(batch[row], text) for row, text in wanted])
            hypotheses = [*heard, *(Hypothesis(text="", token_ids=row_ids) for row_ids in ids)]
            rows = [*range(len(batch)), *(row for row, _ in wanted)]
            # Under the audio of the clip half a batch away: of another speaker, mostly, and never the same.
            away = [n for n, (row, text) in enumerate(wanted) if len(batch) > 1 and text in _own_texts(texts[row])]
            hypotheses += [hypotheses[len(batch) + n] for n in away]
            rows += [(wanted[n][0] + len(batch) // 2) % len(batch) for n in away]
            found = self._log_probs(encoded, rows, hypotheses)

        def scored(place: int, text: str) -> ScoredText:
            return ScoredText(
                text=text, token_log_probs=found[place] or (0.0,), num_tokens=len(hypotheses[place].token_ids)
            )

        here = {key: scored(len(batch) + n, key[1]) for n, key in enumerate(wanted)}
        there = {wanted[n]: scored(len(batch) + len(wanted) + m, wanted[n][1]) for m, n in enumerate(away)}
        own = [scored(row, hypothesis.text) for row, hypothesis in enumerate(heard)]
        return {u.id: self._judged(row, u, own[row], texts[row], here, there) for row, u in enumerate(batch)}

    def _log_probs(
        self, encoded: Any, rows: Sequence[int], hypotheses: Sequence[Hypothesis]
    ) -> dict[int, tuple[float, ...]]:
        """Log-probabilities of each hypothesis under the audio of its row, by position."""
        assert isinstance(self._model, Samplable)
        # Rows of one clip beside each other: families share its keys and values among neighbours.
        order = sorted(range(len(rows)), key=lambda i: rows[i])
        scores = self._model.log_prob(encoded.select([rows[i] for i in order]), [hypotheses[i] for i in order], _PLAIN)
        return {
            i: tuple(values[mask].tolist())
            for i, values, mask in zip(order, scores.values.float().cpu(), scores.mask.cpu(), strict=True)
        }

    def _judged(
        self,
        row: int,
        utterance: Utterance,
        heard: ScoredText,
        texts: Mapping[str, str],
        here: Mapping[tuple[int, str], ScoredText],
        there: Mapping[tuple[int, str], ScoredText],
    ) -> Judged:
        by_name = {name: here[row, text] for name, text in texts.items()}
        near = self._pool.closest(heard.text, _RIVALS)
        norm = self._pool.normalizer
        return Judged(
            heard=heard.text,
            heard_scored=heard,
            given=by_name["given"],
            planted={kind: by_name[kind] for kind in self._planter.spoil(utterance.id, utterance.text)
                     if kind in by_name},
            rivals=[one for name, one in by_name.items() if name.startswith("rival")],
            strangers=[one for name, one in by_name.items() if name.startswith("stranger")],
            elsewhere={name: there[row, text] for name, text in texts.items() if (row, text) in there},
            given_is_near=norm(utterance.text) in {norm(text) for text, _ in near},
        )  # fmt: skip

    def _texts(self, utterance: Utterance, heard: str) -> dict[str, str]:
        """Texts to score under a clip, by their part; those that the model cannot score are missing."""
        chance = random.Random(zlib.crc32(f"{self._seed}:strangers:{utterance.id}".encode()))
        rivals = self._pool.closest(heard, _RIVALS, without=[utterance.text])
        strangers = [self._planter.other(utterance.text, chance) for _ in range(_STRANGERS)]
        texts: dict[str, str | None] = {
            "given": utterance.text,
            **{str(kind): text for kind, text in self._planter.spoil(utterance.id, utterance.text).items()},
            **{f"rival{n}": text for n, (text, _) in enumerate(rivals)},
            **{f"stranger{n}": text for n, text in enumerate(strangers)},
        }
        assert isinstance(self._model, Samplable)
        return {
            name: text
            for name, text in texts.items()
            if text is not None
            and (name == "given" or self._model.check_target(self._written(utterance, text)) is None)
        }

    def _hear(self, batch: Sequence[Utterance], encoded: Any) -> list[Hypothesis]:
        """The model's own hypothesis of each clip: searched in what is encoded already, where the family can."""
        assert isinstance(self._model, Samplable)
        longest = max(len(ids) for ids in self._token_ids([(u, u.text) for u in batch]))
        limit = min(_MAX_NEW_TOKENS, 2 * longest + 10)
        if not self._model.card.abilities.can_nbest:
            return self._model.transcribe(batch, DecodingOptions(max_new_tokens=limit))
        return [found[0] for found in self._model.nbest(encoded, 1, SamplingOptions(max_new_tokens=limit))]

    def _token_ids(self, texts: Sequence[tuple[Utterance, str]]) -> list[tuple[int, ...]]:
        """What the family would learn of each text, its end token left out; no recording is read for it."""
        assert isinstance(self._model, Samplable)
        rows = []
        for utterance, text in texts:
            seconds = math.ceil(utterance.measured_duration())
            rows.append(
                dataclasses.replace(
                    self._written(utterance, text),
                    audio=_silence(seconds),
                    start=0.0,
                    end=None,
                    duration=float(seconds),
                )
            )
        labels = self._model.collate(rows).inputs["labels"]
        ids = [tuple(row[row != -100].tolist()) for row in labels]
        return [row[:-1] for row in ids] if self._model.card.abilities.tokenwise else ids

    def _written(self, utterance: Utterance, text: str) -> Utterance:
        return dataclasses.replace(utterance, text=write_target(text, self._form, utterance.language))

    @staticmethod
    def _append(path: Path, judged: Mapping[str, Judged]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"id": id_} | dataclasses.asdict(one), ensure_ascii=False) for id_, one in judged.items()]
        # A file that a kill has left with half a line must not swallow the next one.
        broken = path.exists() and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * broken + "".join(line + "\n" for line in lines))


def _own_texts(texts: Mapping[str, str]) -> set[str]:
    """The transcript and the wrong ones made from it."""
    return {text for name, text in texts.items() if name == "given" or name in KINDS}


def read_judged(path: Path) -> dict[str, Judged]:
    """What :class:`LabelScorer` has kept, by id; the half line of a kill is passed over.

    Raises:
        ResultsError: another line is damaged.
    """
    judged = {}
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            plain = json.loads(line)
            judged[plain.pop("id")] = _judged_from_json(plain)
        except json.JSONDecodeError:
            continue  # cut off by a kill; the clip is scored again
        except (KeyError, TypeError, ValueError) as error:
            raise ResultsError(
                f"{path}:{number}: damaged ({error}); delete the file to score its clips again"
            ) from error
    return judged


def _judged_from_json(plain: dict[str, Any]) -> Judged:
    def scored(value: dict[str, Any] | None) -> ScoredText | None:
        return ScoredText(**value | {"token_log_probs": tuple(value["token_log_probs"])}) if value else None

    def several(values: Sequence[dict[str, Any]]) -> list[ScoredText]:
        return [one for one in map(scored, values) if one is not None]

    kinds: dict[Kind, ScoredText] = {kind: one for kind, value in plain["planted"].items() if (one := scored(value))}
    return Judged(
        heard=plain["heard"],
        heard_scored=scored(plain["heard_scored"]),
        given=scored(plain["given"]),
        planted=kinds,
        rivals=several(plain["rivals"]),
        strangers=several(plain["strangers"]),
        elsewhere={name: one for name, value in plain["elsewhere"].items() if (one := scored(value))},
        given_is_near=plain["given_is_near"],
    )


@functools.lru_cache(maxsize=64)
def _silence(seconds: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(16_000 * max(1, seconds), dtype=np.float32), 16_000, format="WAV")
    return buffer.getvalue()
