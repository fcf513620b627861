"""Curate one file with NeMo Curator's own filters, and print what is left."""

import json
import sys
from pathlib import Path

from nemo_curator.pipeline import Pipeline
from nemo_curator.stages.text.filters import ScoreFilter
from nemo_curator.stages.text.filters.heuristic.string import WordCountFilter
from nemo_curator.stages.text.io.reader import JsonlReader
from nemo_curator.stages.text.io.writer import JsonlWriter

from adapter_build.records.curator_stages import HasText, InProcessExecutor, MinScore, cleaning
from adapter_build.records.splits import TEXTS

source, folder, keep_null = sys.argv[1], sys.argv[2], sys.argv[3] == "keep"
stages = [JsonlReader(source), *cleaning()]
stages += [ScoreFilter(HasText(), text_field=text) for text in TEXTS]
stages += [ScoreFilter(WordCountFilter(50, 500), text_field=text) for text in ("question", "answer")]
stages += [ScoreFilter(MinScore(0, keep_null), text_field=f"{text}_score") for text in ("question", "answer")]
[task] = Pipeline(name="plain", stages=[*stages, JsonlWriter(folder)]).run(InProcessExecutor())
for line in Path(task.data[0]).read_text(encoding="utf-8").splitlines():
    one = json.loads(line)
    print(json.dumps([one["id"], *(one[text] for text in TEXTS)]))
