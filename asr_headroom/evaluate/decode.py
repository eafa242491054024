"""One batch at a time: hypotheses and N-best lists, in smaller parts where memory does not hold the batch.

Parts change no output of a family that keeps its promise (``Recognizer.batch_key``), up to the rounding of the
arithmetic; in half precision that can flip a word, so that the size which fits stands in the run's record, and a
resumed run begins with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import ModelError
from asr_headroom.evaluate.speed import SpeedMeter, device_of
from asr_headroom.models.decoding import DecodingOptions, Hypothesis, SamplingOptions
from asr_headroom.models.out_of_memory import is_out_of_memory, release_memory
from asr_headroom.models.protocols import Recognizer, Samplable

__all__ = ["BatchDecoder", "Decoded", "why_no_nbest"]

logger = logging.getLogger(__name__)


class Decoded(NamedTuple):
    """One utterance.

    Attributes:
        hypothesis: what was recognised.
        nbest: texts of the list, the best first; empty where none was asked for.
    """

    hypothesis: Hypothesis
    nbest: tuple[str, ...] = ()


def why_no_nbest(model: Recognizer) -> str | None:
    """The reason why a model gives no N-best lists; None for one that does."""
    if isinstance(model, Samplable) and model.card.abilities.can_nbest:
        return None
    return f"family '{model.card.family}' searches for one hypothesis only"


class BatchDecoder:
    """Decodes batches, and halves how many utterances go together when memory runs out.

    Args:
        model: the recogniser.
        options: how to search.
        rows: utterances decoded together, at most.
        nbest: hypotheses per utterance to list beside the one that is kept; 0 for none.
        speed: times what is decoded; lists are not in it.
        on_smaller: told the new number of rows before anything is decoded with it.
    """

    def __init__(
        self,
        model: Recognizer,
        options: DecodingOptions,
        *,
        rows: int,
        nbest: int = 0,
        speed: SpeedMeter | None = None,
        on_smaller: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.rows = rows
        self._model, self._options, self._nbest = model, options, nbest
        self._speed = speed or SpeedMeter(rows)
        self._on_smaller = on_smaller

    def decode(self, batch: Sequence[Utterance]) -> list[Decoded]:
        """One per utterance, in order.

        Raises:
            ModelError: a single utterance does not fit in memory.
        """
        decoded: list[Decoded] = []
        while len(decoded) < len(batch):
            part = batch[len(decoded) : len(decoded) + self.rows]
            found = self._decode_or_none(part)
            if found is None:
                self._take_fewer(part)
            else:
                decoded += found
        return decoded

    def _decode_or_none(self, part: Sequence[Utterance]) -> list[Decoded] | None:
        """None when memory ran out; what the attempt held is given back by then."""
        try:
            return self._decode(part)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        release_memory()
        return None

    def _decode(self, part: Sequence[Utterance]) -> list[Decoded]:
        hypotheses = self._speed.time(
            lambda: self._model.transcribe(part, self._options),
            utterances=len(part),
            audio_seconds=sum(utterance.measured_duration() for utterance in part),
        )
        lists = self._list_hypotheses(part) if self._nbest else [()] * len(part)
        return [Decoded(*pair) for pair in zip(hypotheses, lists, strict=True)]

    def _list_hypotheses(self, part: Sequence[Utterance]) -> list[tuple[str, ...]]:
        import torch

        model = self._model
        assert isinstance(model, Samplable)
        with torch.no_grad():
            # Transcripts play no part, and one with letters that the model cannot write must not stand in the way.
            batch = model.collate([replace(utterance, text="") for utterance in part]).to(device_of(model))
            options = SamplingOptions(max_new_tokens=self._options.max_new_tokens)
            found = model.nbest(model.encode(batch), self._nbest, options)
        return [tuple(hypothesis.text for hypothesis in row) for row in found]

    def _take_fewer(self, part: Sequence[Utterance]) -> None:
        if len(part) == 1:
            raise ModelError(
                f"'{part[0].id}' ({part[0].measured_duration():.1f} s) does not fit in memory even alone with "
                f"'{self._model.card.model_id}'; leave long utterances out with --max-duration, or give a smaller model"
                " or another --dtype"
            )
        self.rows = (len(part) + 1) // 2
        logger.warning(
            "out of memory with %d utterances together; from here on %d (the run's record says so)",
            len(part),
            self.rows,
        )
        self._speed.restart(self.rows)
        self._on_smaller(self.rows)
