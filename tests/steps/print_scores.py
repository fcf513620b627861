"""Print ROUGE scores of known pairs, and the spread of resampled means."""

import json

import numpy as np

from adapter_build.evaluation.rouge import resample, rouge, summary

scores = rouge(["the law of rent", "a b c d"], ["the laws of rents", "a x"])
print(
    json.dumps(
        [
            {kind: list(values) for kind, values in scores.items()},
            summary({"x": np.array([0.0, 100.0])}, resample(2, 1000, 1)),
            summary({"x": np.array([40.0, 40.0])}, resample(2, 1000, 1)),
        ]
    )
)
