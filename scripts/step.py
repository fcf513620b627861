"""Run one declared step: a script in its environment, with nothing but its inputs, and leave proof of what it did.

    python scripts/step.py --env curate --log logs/split_records.log \\
        --input records results/raw/records.jsonl --output train results/split/train.jsonl --param seed 42 \\
        -- scripts/split_records.py

The script is called with every input, output and parameter as an option of the same name. Outputs are written to a
private folder, digested, attested under results/lineage/ and only then renamed into place.
"""

import find_package  # noqa: F401
from adapter_build.core.faults import run
from adapter_build.workflow.step_runner import parse, run_step

if __name__ == "__main__":
    run(lambda: run_step(parse(description=__doc__)))
