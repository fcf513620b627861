"""ROUGE F1 of answers, with bootstrap intervals.

Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004), as google-research's rouge_score computes it; the
interval is the percentile bootstrap's (Efron, 1979) of the mean over records.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
INTERVAL = (2.5, 97.5)  # percentiles: 95 %
DECIMALS = 4


def compare(
    references: Sequence[str], base: Sequence[str], adapter: Sequence[str], resamples: int, seed: int
) -> dict[str, Any]:
    """Return the summaries of adapter, base and their difference record by record, over the same bootstrap samples."""
    scores = {"adapter": rouge(references, adapter), "base": rouge(references, base)}
    scores["difference"] = {kind: values - scores["base"][kind] for kind, values in scores["adapter"].items()}
    samples = resample(len(references), resamples, seed)
    return {name: summary(values, samples) for name, values in scores.items()}


def rouge(references: Sequence[str], answers: Sequence[str]) -> dict[str, np.ndarray]:
    """Return each answer's F1 in percent, kind of ROUGE → (records,) float64; words are stemmed, as in the tutorial."""
    scorer = RougeScorer(KINDS, use_stemmer=True)
    scores = [scorer.score(reference, answer) for reference, answer in zip(references, answers, strict=True)]
    return {kind: np.array([100 * score[kind].fmeasure for score in scores]) for kind in KINDS}


def resample(records: int, resamples: int, seed: int) -> np.ndarray:
    """Return seeded bootstrap samples: (resamples, records) indices. Used for two models, they pair their answers."""
    return np.random.default_rng(seed).integers(records, size=(resamples, records))


def summary(scores: dict[str, np.ndarray], samples: np.ndarray) -> dict[str, Any]:
    """Return mean and 95 % bootstrap interval of each kind, rounded to `DECIMALS`."""
    return {kind: _interval(values, samples) for kind, values in scores.items()}


def _interval(values: np.ndarray, samples: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(values[samples].mean(axis=1), INTERVAL)
    return {
        name: round(float(value), DECIMALS) for name, value in (("mean", values.mean()), ("low", low), ("high", high))
    }
