"""Print how prompts of given lengths are put into batches."""

import json

from adapter_build.evaluation.greedy_answers import batches

print(json.dumps([list(batches([30, 5, 5, 90, 6], 10, 50)), list(batches([], 10, 50))]))
