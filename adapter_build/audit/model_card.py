"""The model card of an adapter, as CycloneDX 1.6 has it in JSON."""

from typing import Any

from adapter_build.lineage.built_adapter import Build


def model_card(build: Build, scores: dict[str, Any]) -> dict[str, Any]:
    """Return the model card: how it was trained, on what, and how well it does."""
    tuned = build.step(f"tune_adapter/{build.adapter}")
    metrics = [
        {
            "type": metric,
            "value": f"{score['mean']:g}",
            "slice": f"{scores['records']} test records: {whose}",
            "confidenceInterval": {"lowerBound": f"{score['low']:g}", "upperBound": f"{score['high']:g}"},
        }
        for whose in ("base", "adapter", "difference")
        for metric, score in sorted(scores[whose].items())
    ]
    prompts = sorted(name for name in build.made if name.startswith(f"results/prompts/{build.adapter}/"))
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "text-generation",
            "architectureFamily": "transformer",
            "modelArchitecture": "LoRA adapter (PEFT)",
            "datasets": [{"ref": name} for name in prompts],
            "inputs": [{"format": "text"}],
            "outputs": [{"format": "text"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "properties": [
            {"name": f"tune_adapter:{option}", "value": " ".join(words)}
            for option, words in sorted(tuned.parameters.items())
        ],
    }
