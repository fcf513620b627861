"""ROUGE F1 of answers, with bootstrap intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
INTERVAL = (2.5, 97.5)  # percentiles: 95 %
DECIMALS = 4


def rouge(references: Sequence[str], answers: Sequence[str]) -> dict[str, np.ndarray]:
    """Return, per kind of ROUGE, the F1 in percent of each answer; words are stemmed, as in the tutorial."""
    scorer = RougeScorer(KINDS, use_stemmer=True)
    scores = [scorer.score(reference, answer) for reference, answer in zip(references, answers, strict=True)]
    return {kind: np.array([100 * score[kind].fmeasure for score in scores]) for kind in KINDS}


def resample(records: int, resamples: int, seed: int) -> np.ndarray:
    """Return seeded bootstrap samples, `resamples` rows of indices; paired when used for both of two answers."""
    return np.random.default_rng(seed).integers(records, size=(resamples, records))


def summary(scores: dict[str, np.ndarray], samples: np.ndarray) -> dict[str, Any]:
    """Return mean and 95 % bootstrap interval of each kind."""
    return {kind: _interval(values, samples) for kind, values in scores.items()}


def _interval(values: np.ndarray, samples: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(values[samples].mean(axis=1), INTERVAL)
    return {
        name: round(float(value), DECIMALS) for name, value in (("mean", values.mean()), ("low", low), ("high", high))
    }
