"""Drawing, listing and scoring hypotheses of audio that is encoded once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from asr_headroom.errors import ModelError
from asr_headroom.models.decoding import BeamGroups, Hypothesis, SamplingOptions
from asr_headroom.models.protocols import Encoded, Samplable, TokenLogProbs
from asr_headroom.testing.conformance.base import FamilyChecks, assert_same_gradients

__all__ = ["HypothesisChecks"]

_DISTRIBUTIONS = {
    "plain": SamplingOptions(),
    "temperature": SamplingOptions(temperature=0.7),
    "restricted": SamplingOptions(temperature=1.2, top_k=20, top_p=0.9),
}


class HypothesisChecks(FamilyChecks):
    """What ``Samplable`` promises."""

    def test_declared_abilities_are_there(self, model: Samplable) -> None:
        """``can_sample`` and ``can_nbest`` go with the protocol; what is not declared is refused."""
        abilities = model.card.abilities
        if not isinstance(model, Samplable):
            assert not abilities.can_sample
            assert not abilities.can_nbest
            return
        encoded = self._encoded(model)
        if not abilities.can_sample:
            with pytest.raises(ModelError, match="sampl"):
                model.sample(encoded, SamplingOptions())
        if not abilities.can_nbest:
            with pytest.raises(ModelError, match=r"list|beam"):
                model.nbest(encoded, 2, SamplingOptions())

    def test_loss_of_a_target_is_minus_its_log_prob(self, samplable: Samplable) -> None:
        """Training and reinforcement learning see one probability."""
        for group in self.groups(samplable, self.speech()):
            batch = samplable.collate(group)
            targets = [self.target(samplable, batch, row) for row in range(len(group))]
            with torch.no_grad():
                loss = samplable.loss(batch)
                scores = samplable.log_prob(samplable.encode(batch), targets, SamplingOptions())
            assert -scores.values.sum().item() == pytest.approx(loss.nats.item(), abs=self.tolerance * loss.num_targets)
            if samplable.card.abilities.tokenwise:
                assert scores.mask.sum().item() == loss.num_targets

    def test_log_prob_has_the_stated_form(self, samplable: Samplable) -> None:
        """[rows, tokens] float32; zero where there is no token; one column where not ``tokenwise``."""
        targets, scores = self._scored_targets(samplable)
        assert scores.values.dtype == torch.float32
        assert scores.values.shape == scores.mask.shape
        assert scores.mask.dtype == torch.bool
        assert not scores.values[~scores.mask].any()
        assert (scores.values <= 0).all()
        lengths = scores.mask.sum(dim=1).tolist()
        if samplable.card.abilities.tokenwise:
            assert lengths == [len(target.token_ids) + 1 for target in targets]
        else:
            assert scores.values.shape[1] == 1

    def test_log_prob_equals_the_librarys_token_by_token(self, samplable: Samplable) -> None:
        """Against one plain forward pass per utterance that knows nothing of batches, caches and sharing."""
        utterances = self.speech()
        targets, scores = self._scored_targets(samplable)
        for row, (utterance, target) in enumerate(zip(utterances, targets, strict=True)):
            logits = self.reference_logits(samplable, utterance, target.token_ids)
            if logits is None:
                pytest.skip("reference_logits is not given")
            reference = logits.detach().float().log_softmax(-1)
            assert len(reference) == len(target.token_ids) + 1
            batch = samplable.collate([utterance])
            ids = torch.tensor(self.target_ids(samplable, batch, 0))
            expected = reference.gather(1, ids[:, None]).squeeze(1)
            torch.testing.assert_close(scores.values[row, : len(ids)], expected, atol=self.tolerance, rtol=0)

    def test_probabilities_of_the_next_token_sum_to_one(self, samplable: Samplable) -> None:
        """Every token of the vocabulary and the end, as hypotheses of one token."""
        if not samplable.card.abilities.tokenwise:
            pytest.skip("its hypotheses are no sequences of choices")
        end = self.target_ids(samplable, samplable.collate(self.speech(self.texts[0])), 0)[-1]
        vocabulary = self.core(samplable).get_output_embeddings().weight.shape[0]
        hypotheses = [
            Hypothesis(text="", token_ids=() if token == end else (token,), truncated=token != end)
            for token in range(vocabulary)
        ]
        with torch.no_grad():
            encoded = self._encoded(samplable, self.texts[0]).select([0] * vocabulary)
            scores = samplable.log_prob(encoded, hypotheses, SamplingOptions())
        assert scores.values.sum(dim=1).double().exp().sum().item() == pytest.approx(1.0, abs=1e-4)

    def test_what_follows_changes_no_earlier_token(self, samplable: Samplable) -> None:
        """Scores of a prefix are those of its tokens in the whole, in a ragged batch."""
        if not samplable.card.abilities.tokenwise:
            pytest.skip("one column holds the whole hypothesis")
        batch = samplable.collate(self.speech(self.texts[-1]))
        whole = self.target(samplable, batch, 0).token_ids
        prefixes = [Hypothesis(text="", token_ids=whole[:length], truncated=True) for length in range(len(whole) + 1)]
        with torch.no_grad():
            encoded = samplable.encode(batch).select([0] * len(prefixes))
            scores = samplable.log_prob(encoded, prefixes, SamplingOptions())
        for length in range(len(prefixes)):
            assert scores.mask[length].sum().item() == length
            torch.testing.assert_close(
                scores.values[length, :length], scores.values[-1, :length], atol=self.tolerance, rtol=0
            )

    @pytest.mark.parametrize("options", _DISTRIBUTIONS.values(), ids=_DISTRIBUTIONS.keys())
    def test_what_is_drawn_is_what_is_scored(self, samplable: Samplable, options: SamplingOptions) -> None:
        """Traps 21 and 22: stored log-probabilities equal those of rescoring the stored ids; seeds repeat."""
        self._needs_sampling(samplable)
        options = self._short(options)
        encoded = self._encoded(samplable)
        rows = samplable.sample(encoded, options)
        assert [len(row) for row in rows] == [options.num_samples] * len(self.texts)
        drawn = [hypothesis for row in rows for hypothesis in row]
        scores = self._score(samplable, encoded, rows, options)
        for hypothesis, values, mask in zip(drawn, scores.values, scores.mask, strict=True):
            if samplable.card.abilities.tokenwise:
                assert len(hypothesis.token_log_probs) == len(hypothesis.token_ids) + (not hypothesis.truncated)
                assert len(hypothesis.token_ids) <= options.max_new_tokens
            stored = torch.tensor(hypothesis.token_log_probs)
            torch.testing.assert_close(values[mask], stored, atol=self.tolerance, rtol=self.tolerance)
        assert samplable.sample(encoded, options) == rows
        assert samplable.sample(encoded, dataclasses.replace(options, seed=options.seed + 1)) != rows

    def test_temperature_alone_samples(self, samplable: Samplable) -> None:
        """Some libraries are silently greedy unless they are told twice."""
        self._needs_sampling(samplable)
        encoded = self._encoded(samplable, self.texts[-1])
        for temperature in (1.0, 1.5):
            row = samplable.sample(encoded, self._short(SamplingOptions(num_samples=12, temperature=temperature)))[0]
            assert len({hypothesis.token_ids for hypothesis in row}) > 1

    def test_draws_are_as_frequent_as_their_probability(self, samplable: Samplable) -> None:
        """The most frequent hypothesis of 1500 is as frequent as ``log_prob`` says, within 4 standard deviations."""
        self._needs_sampling(samplable)
        count = 1500
        options = SamplingOptions(num_samples=count, temperature=0.5, top_k=5, max_new_tokens=1, seed=1)
        encoded = self._encoded(samplable, self.texts[2])
        drawn = Counter((h.token_ids, h.truncated) for h in samplable.sample(encoded, options)[0])
        (ids, truncated), frequency = drawn.most_common(1)[0]
        if frequency < 20:
            pytest.skip("no hypothesis is drawn often enough to be counted")
        hypothesis = Hypothesis(text="", token_ids=ids, truncated=truncated)
        with torch.no_grad():
            probability = samplable.log_prob(encoded, [hypothesis], options).values.sum().exp().item()
        expected, deviation = count * probability, (count * probability * (1 - probability)) ** 0.5
        assert abs(frequency - expected) <= 4 * deviation + 1
        if samplable.card.abilities.tokenwise:
            assert len(drawn) <= 5

    def test_encoding_once_equals_encoding_each_time(self, samplable: Samplable) -> None:
        """``select`` repeats and reorders rows, twice over, and changes no score."""
        utterances = self.groups(samplable, self.speech())[0]
        batch = samplable.collate(utterances)
        targets = [self.target(samplable, batch, row) for row in range(len(utterances))]
        last = len(utterances) - 1
        indices = [last, 0, 0, last]
        with torch.no_grad():
            selected = samplable.encode(batch).select([last, 0]).select([0, 1, 1, 0])
            assert len(selected) == 4
            together = samplable.log_prob(selected, [targets[i] for i in indices], SamplingOptions())
            for row, index in enumerate(indices):
                single = samplable.encode(samplable.collate([utterances[index]]))
                alone = samplable.log_prob(single, [targets[index]], SamplingOptions())
                width = alone.values.shape[1]
                torch.testing.assert_close(
                    together.values[row, :width], alone.values[0], atol=self.tolerance, rtol=self.tolerance
                )
            others = samplable.log_prob(selected, [targets[last]] * 4, SamplingOptions()).values
        apart = (others[0] - others[1]).abs().max()
        assert apart > 3 * self.tolerance, "every recording sounds alike, so that nothing is shown"

    def test_joined_encodings_equal_encoding_together(self, samplable: Samplable) -> None:
        """What was encoded alone, in another order and repeated, is scored as what was encoded with others."""
        utterances = self.groups(samplable, self.speech())[0]
        batch = samplable.collate(utterances)
        targets = [self.target(samplable, batch, row) for row in range(len(utterances))]
        last = len(utterances) - 1
        order = [last, *range(len(utterances)), last]
        with torch.no_grad():
            alone = [samplable.encode(samplable.collate([utterance])) for utterance in utterances]
            joined = alone[last].joined([encoded.select([0]) for encoded in alone]).select([*range(last + 2), 0])
            assert len(joined) == len(order)
            scores = samplable.log_prob(joined, [targets[i] for i in order], SamplingOptions())
            together = samplable.encode(batch).select(order)
            expected = samplable.log_prob(together, [targets[i] for i in order], SamplingOptions())
        torch.testing.assert_close(scores.values, expected.values, atol=self.tolerance, rtol=self.tolerance)

    def test_rows_may_have_options_of_their_own(self, samplable: Samplable) -> None:
        """A reference under the model's own distribution shares a pass with draws under another one."""
        if not samplable.card.abilities.tokenwise:
            pytest.skip("one column for a whole hypothesis")
        utterances = self.groups(samplable, self.speech())[0][:1]
        batch = samplable.collate(utterances)
        targets = [self.target(samplable, batch, 0)] * 3
        each = [_DISTRIBUTIONS["temperature"], SamplingOptions(), _DISTRIBUTIONS["temperature"]]
        with torch.no_grad():
            encoded = samplable.encode(batch)
            together = samplable.log_prob(encoded.select([0, 0, 0]), targets, each)
            for row, options in enumerate(each):
                alone = samplable.log_prob(encoded, targets[:1], options)
                torch.testing.assert_close(
                    together.values[row], alone.values[0], atol=self.tolerance, rtol=self.tolerance
                )
        assert not torch.allclose(together.values[0], together.values[1], atol=3 * self.tolerance)

    def test_no_rows_have_no_hypotheses(self, samplable: Samplable) -> None:
        """Where a step leaves every group out, nothing is drawn and nothing scored, and nothing breaks."""
        nothing = self._encoded(samplable, self.texts[0]).select([])
        assert len(nothing) == 0
        scores = samplable.log_prob(nothing, [], SamplingOptions())
        assert scores.values.shape == scores.mask.shape
        assert scores.values.shape[0] == 0
        if samplable.card.abilities.can_sample:
            assert samplable.sample(nothing, _FEW) == []
        if samplable.card.abilities.can_nbest:
            assert samplable.nbest(nothing, 2, _FEW) == []
        assert samplable.transcribe([], self.options()) == []

    def test_audio_is_encoded_once(self, samplable: Samplable) -> None:
        """No module with weights that ``encode`` runs is run again for hypotheses, and the batch is not read again."""
        batch = samplable.collate(self.speech(*self.texts[:2]))
        targets = [self.target(samplable, batch, row) for row in range(2)]
        with torch.no_grad():
            encoded, heard = _modules_run(samplable.module, lambda: samplable.encode(batch))
            before = samplable.log_prob(encoded, targets, SamplingOptions()).values
            for tensor in batch.inputs.values():
                tensor.zero_()
            after, scoring = _modules_run(
                samplable.module, lambda: samplable.log_prob(encoded, targets, SamplingOptions()).values
            )
            run = [scoring]
            if samplable.card.abilities.can_sample:
                run.append(_modules_run(samplable.module, lambda: samplable.sample(encoded, _FEW))[1])
            if samplable.card.abilities.can_nbest:
                run.append(_modules_run(samplable.module, lambda: samplable.nbest(encoded, 2, _FEW))[1])
        assert heard, "encode runs no module with weights"
        torch.testing.assert_close(after, before)
        assert not heard & set().union(*run), "audio is encoded again"

    def test_lists_are_ranked_and_differ(self, samplable: Samplable) -> None:
        """The best first by ``log_prob``, no text twice, none worse at the top than greedy."""
        if not samplable.card.abilities.can_nbest:
            pytest.skip("finds no lists")
        options = self._short(SamplingOptions())
        encoded = self._encoded(samplable)
        rows = samplable.nbest(encoded, 4, options)
        assert len(rows) == len(self.texts)
        assert any(len(row) > 1 for row in rows)
        for index, row in enumerate(rows):
            assert 1 <= len(row) == len({hypothesis.text for hypothesis in row}) <= 4
            with torch.no_grad():
                scores = samplable.log_prob(encoded.select([index] * len(row)), row, SamplingOptions())
            totals = scores.values.sum(dim=1)
            assert (totals[:-1] >= totals[1:] - 10 * self.tolerance).all()

    def test_groups_of_beams_avoid_each_other_or_are_refused(self, samplable: Samplable) -> None:
        """At any price no two groups begin alike, and the first is greedy; where texts have no positions, refused."""
        if not samplable.card.abilities.can_nbest:
            pytest.skip("finds no lists")
        encoded, options = self._encoded(samplable), self._short(SamplingOptions())
        groups = BeamGroups(count=3, penalty=1e6)
        if not samplable.card.abilities.tokenwise:
            with pytest.raises(ModelError, match="diverse"):
                samplable.nbest(encoded, 3, options, groups)
            return
        rows = samplable.nbest(encoded, 3, options, groups)
        assert any(len(row) > 1 for row in rows)
        for row, (alone,) in zip(rows, samplable.nbest(encoded, 1, options), strict=True):
            first = [hypothesis.token_ids[0] for hypothesis in row if hypothesis.token_ids]
            assert len(set(first)) == len(first)
            assert alone.text in {hypothesis.text for hypothesis in row}

    def test_gradients_reach_encoder_and_decoder(self, samplable: Samplable) -> None:
        """The gradient of minus the targets' ``log_prob`` is that of the loss, weight by weight."""
        group = self.groups(samplable, self.speech())[0]
        expected = self.gradients(samplable, [group])
        batch = samplable.collate(group)
        targets = [self.target(samplable, batch, row) for row in range(len(group))]
        samplable.module.zero_grad()
        samplable.module.train()
        scores = samplable.log_prob(samplable.encode(batch), targets, SamplingOptions())
        (-scores.values.sum() / batch.num_targets).backward()
        actual = {name: p.grad for name, p in samplable.module.named_parameters() if p.grad is not None}
        assert_same_gradients(actual, expected, 1e-3)

    # ------------------------------------------------------------------ shared

    def _encoded(self, model: Samplable, *texts: str) -> Encoded:
        with torch.no_grad():
            return model.encode(model.collate(self.speech(*texts)))

    def _scored_targets(self, model: Samplable) -> tuple[list[Hypothesis], TokenLogProbs]:
        """Targets of all texts, encoded one by one and selected into one batch where that is exact."""
        utterances = self.speech()
        batches = [model.collate([utterance]) for utterance in utterances]
        targets = [self.target(model, batch, 0) for batch in batches]
        with torch.no_grad():
            parts = [
                model.log_prob(model.encode(batch), [target], SamplingOptions())
                for batch, target in zip(batches, targets, strict=True)
            ]
        if not model.card.abilities.batch_exact:
            width = max(part.values.shape[1] for part in parts)
            pad = [nn.functional.pad(part.values, (0, width - part.values.shape[1])) for part in parts]
            masks = [nn.functional.pad(part.mask, (0, width - part.mask.shape[1])) for part in parts]
            return targets, TokenLogProbs(torch.cat(pad), torch.cat(masks))
        with torch.no_grad():
            return targets, model.log_prob(model.encode(model.collate(utterances)), targets, SamplingOptions())

    def _score(
        self, model: Samplable, encoded: Encoded, rows: Sequence[Sequence[Hypothesis]], options: SamplingOptions
    ) -> TokenLogProbs:
        indices = [index for index, row in enumerate(rows) for _ in row]
        with torch.no_grad():
            return model.log_prob(encoded.select(indices), [h for row in rows for h in row], options)

    def _short(self, options: SamplingOptions) -> SamplingOptions:
        return dataclasses.replace(options, max_new_tokens=self.max_new_tokens)

    def _needs_sampling(self, model: Samplable) -> None:
        if not model.card.abilities.can_sample:
            pytest.skip("cannot sample")


_FEW = SamplingOptions(num_samples=2, max_new_tokens=3)


def _modules_run(module: nn.Module, call: Callable[[], Any]) -> tuple[Any, set[nn.Module]]:
    """What ``call`` returns, and the modules with weights of their own that ran; embeddings are read by all."""
    seen: set[nn.Module] = set()
    watched = [
        part
        for part in module.modules()
        if not isinstance(part, nn.Embedding) and any(True for _ in part.parameters(recurse=False))
    ]
    handles = [part.register_forward_hook(lambda part, *_: seen.add(part)) for part in watched]
    try:
        return call(), seen
    finally:
        for handle in handles:
            handle.remove()
