"""From evidence to probabilities, and to a threshold with a known rate of false alarms.

Three steps, each on other clips than those it judges where that matters:

1. A softmax regression learns to tell transcripts as given from wrong ones that were made on purpose. Some given ones
   are wrong too: each counts by the probability that it is right, and the regression is fitted again.
2. How common each kind is in these data is estimated by expectation maximisation (Saerens, Latinne & Decaestecker,
   2002, "Adjusting the outputs of a classifier to new a priori probabilities").
3. The threshold does not rest on these probabilities: a clip's p-value is its rank among all clips but those that are
   wrong beyond doubt. What is wrong below that makes the p-values too large. What is right and
   above it (recordings that no judge can hear) makes them too small, by its share of the clips at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asr_headroom.analysis.label_doctor_planting import Kind

__all__ = ["Calibrated", "calibrate", "fit_softmax"]

_RIDGE = 1.0
_NEWTON_STEPS = 30
_CLIP = 6.0
"""Robust standard deviations at which a column is cut."""
_FOLDS = 5
_ROUNDS = 10
_SETTLED = 5e-4
"""Mean change of the weights at which the rounds end."""
_PRIOR = 0.02
"""Share that the weights assume of a kind that is hard to tell. With its share estimated anew in every round, mumbled
speech drifts into it (14 % of a pilot's transcripts came to have "a wrong word")."""
_PLAIN = 0.7
"""Mean probability, at equal shares, of the own kind among transcripts made wrong: from here a kind is easy to tell."""
_CERTAIN = 0.95
"""Probability from which a clip does not count as an example of a right transcript for the p-values."""
_EM_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """What the evidence comes to.

    Attributes:
        kinds: in the order of the columns of ``probabilities``.
        probabilities: [clips, kinds] that the transcript is wrong in this way; one minus their sum, that it is right.
        shares: estimated share of each kind among the clips.
        scores: [clips] log-odds of being wrong in any way: the ranking.
        p_values: [clips] in (0, 1]: how often a transcript that is not wrong beyond doubt looks as bad, or worse.
        made_p_values: those of the wrong transcripts made on purpose, by kind: what could be found at all.
    """

    kinds: tuple[Kind, ...]
    probabilities: np.ndarray
    shares: dict[Kind, float]
    scores: np.ndarray
    p_values: np.ndarray
    made_p_values: dict[Kind, np.ndarray]


def calibrate(evidence: Mapping[Kind | None, np.ndarray], groups: Sequence[int], *, seed: int = 0) -> Calibrated:
    """Probabilities and p-values of all clips, each by a regression that saw no clip of its group.

    Args:
        evidence: [clips, columns] of the transcripts as given (None) and of wrong ones by kind; rows of NaN where a
            kind could not be made.
        groups: [clips] integers; clips of one speaker share one.
        seed: of the assignment of groups to folds.
    """
    kinds = tuple(kind for kind in evidence if kind is not None)
    given = evidence[None]
    folds = _folds(groups, seed)
    matrices = {kind: _standardised(matrix, given) for kind, matrix in evidence.items()}
    right, shares = np.ones(len(given)), _prior(len(kinds))
    coefficients: dict[int, np.ndarray] = {}
    for _ in range(_ROUNDS):
        likelihoods = _cross_fitted(matrices, kinds, folds, right, coefficients)
        former, right = right, _posteriors(likelihoods[None], shares)[:, 0]
        if np.abs(right - former).mean() < _SETTLED:
            break
        plain = [_told_apart(likelihoods[kind], number) for number, kind in enumerate(kinds, start=1)]
        shares = np.where([False, *plain], _adapted(likelihoods[None]), _prior(len(kinds)))
        shares[0] = 1 - shares[1:].sum()
    shares = _adapted(likelihoods[None])
    probabilities = _posteriors(likelihoods[None], shares)
    scores = _log_odds(probabilities)
    null = np.sort(scores[1 - probabilities[:, 0] < _CERTAIN])
    return Calibrated(
        kinds=kinds,
        probabilities=probabilities[:, 1:],
        shares=dict(zip(kinds, shares[1:].tolist(), strict=True)),
        scores=scores,
        p_values=_p_values(scores, null, is_member=1 - probabilities[:, 0] < _CERTAIN),
        made_p_values={
            kind: _p_values(_log_odds(_posteriors(likelihoods[kind], shares)), null, is_member=False) for kind in kinds
        },
    )


def fit_softmax(
    rows: np.ndarray,
    classes: np.ndarray,
    num_classes: int,
    *,
    counting: np.ndarray | None = None,
    start: np.ndarray | None = None,
    ridge: float = _RIDGE,
) -> np.ndarray:
    """Coefficients of a multinomial logistic regression, every class weighing the same, by Newton's method.

    Args:
        rows: [rows, columns], a column of ones included where an intercept is wanted.
        classes: [rows] 0 … num_classes - 1; class 0 is the reference.
        num_classes: at least 2.
        counting: [rows] how much each row counts within its class; all the same by default.
        start: coefficients to start from.
        ridge: penalty on the squares of all coefficients.

    Returns:
        [num_classes, columns]; zeros for class 0.
    """
    columns, free = rows.shape[1], num_classes - 1
    counting = np.ones(len(classes)) if counting is None else counting
    totals = np.bincount(classes, weights=counting, minlength=num_classes)
    weights = counting * (len(classes) / (num_classes * np.maximum(totals, 1e-9)))[classes]
    truth = np.eye(num_classes)[classes][:, 1:]
    beta = np.zeros((free, columns)) if start is None else start[1:].copy()
    for _ in range(_NEWTON_STEPS):
        shares = _softmax(rows @ np.vstack([np.zeros(columns), beta]).T)[:, 1:]
        gradient = ((truth - shares) * weights[:, None]).T @ rows - ridge * beta
        hessian = np.zeros((free, columns, free, columns))
        for a in range(free):
            for b in range(a + 1):
                curvature = weights * shares[:, a] * ((a == b) - shares[:, b])
                hessian[a, :, b, :] = hessian[b, :, a, :] = (rows * curvature[:, None]).T @ rows
        square = hessian.reshape(free * columns, free * columns) + ridge * np.eye(free * columns)
        step = np.linalg.solve(square, gradient.ravel()).reshape(free, columns)
        # Far from the optimum a full step may overshoot where classes are nearly separated.
        beta += step * min(1.0, 5.0 / max(1e-12, np.abs(step).max()))
        if np.abs(step).max() < 1e-5:
            break
    return np.vstack([np.zeros(columns), beta])


def _cross_fitted(
    matrices: Mapping[Kind | None, np.ndarray],
    kinds: Sequence[Kind],
    folds: np.ndarray,
    right: np.ndarray,
    start: dict[int, np.ndarray],
) -> dict[Kind | None, np.ndarray]:
    """Likelihoods of the classes up to a factor, of transcripts as given and of those made on purpose.

    Args:
        matrices: evidence; rows of NaN where a transcript could not be made, which are missing in the result.
        kinds: of errors.
        folds: [clips].
        right: [clips] weights of the transcripts as given.
        start: coefficients of each fold to start from; replaced by those found.

    Returns:
        [clips, 1 + kinds] for each kind.
    """
    found = {kind: np.full((len(folds), 1 + len(kinds)), np.nan) for kind in (None, *kinds)}
    for fold in np.unique(folds):
        rows, classes, counting = [], [], []
        for number, kind in enumerate((None, *kinds)):
            usable = (folds != fold) & np.isfinite(matrices[kind]).all(axis=1)
            rows.append(matrices[kind][usable])
            classes.append(np.full(int(usable.sum()), number))
            counting.append(right[usable] if kind is None else np.ones(int(usable.sum())))
        beta = fit_softmax(np.vstack(rows), np.concatenate(classes), 1 + len(kinds), counting=np.concatenate(counting))
        for kind, matrix in matrices.items():
            found[kind][folds == fold] = _softmax(matrix[folds == fold] @ beta.T)
    return {kind: matrix[np.isfinite(matrix).all(axis=1)] for kind, matrix in found.items()}


def _told_apart(likelihoods: np.ndarray, number: int) -> bool:
    """Whether transcripts made wrong in one way are mostly recognised as that, at equal shares of all classes."""
    return len(likelihoods) > 0 and float(np.mean(likelihoods[:, number])) >= _PLAIN


def _adapted(likelihoods: np.ndarray) -> np.ndarray:
    """Shares of the classes that agree with the posteriors under them."""
    shares = _prior(likelihoods.shape[1] - 1)
    for _ in range(_EM_STEPS):
        shares = _posteriors(likelihoods, shares).mean(axis=0)
    return shares


def _posteriors(likelihoods: np.ndarray, shares: np.ndarray) -> np.ndarray:
    joint = likelihoods * shares
    return joint / joint.sum(axis=1, keepdims=True)


def _prior(kinds: int) -> np.ndarray:
    return np.array([1 - kinds * _PRIOR, *[_PRIOR] * kinds])


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    wrong = np.clip(1 - probabilities[:, 0], 1e-12, 1 - 1e-12)
    return np.log(wrong) - np.log1p(-wrong)


def _p_values(scores: np.ndarray, null: np.ndarray, *, is_member: np.ndarray | bool) -> np.ndarray:
    """[clips] share of the null's scores, sorted, that are at least as high; the clip itself counts."""
    at_least = len(null) - np.searchsorted(null, scores, side="left")
    alone = 1 - np.asarray(is_member, dtype=int)
    return (at_least + alone) / np.maximum(1, len(null) + alone)


def _folds(groups: Sequence[int], seed: int) -> np.ndarray:
    labels = np.unique(np.asarray(groups), return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(int(labels.max()) + 1)
    return (order % min(_FOLDS, len(order)))[labels]


def _standardised(matrix: np.ndarray, given: np.ndarray) -> np.ndarray:
    """[rows, columns + 1] in robust standard deviations of the transcripts as given, with a column of ones."""
    centre = np.median(given, axis=0)
    spread = 1.4826 * np.median(np.abs(given - centre), axis=0)
    spread = np.where(spread > 0, spread, np.where(np.std(given, axis=0) > 0, np.std(given, axis=0), 1.0))
    scaled = np.clip((matrix - centre) / spread, -_CLIP, _CLIP)
    return np.column_stack([scaled, np.ones(len(matrix))])


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
