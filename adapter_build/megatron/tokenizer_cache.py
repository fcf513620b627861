"""The tokenizer that a Megatron .nemo names by its repository, where transformers looks for it without a network.

24.07's .nemo of a Llama 3 has no tokenizer in it, but `tokenizer: {library: huggingface, type: OWNER/NAME}`, and the
tutorial fetches that with a token. Here it is the base's own, of the files that are on record.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput

REVISION = "0" * 40  # the cache's layout wants a commit, and nothing asks which


def with_tokenizer(config: dict[str, Any], files: Sequence[Path], cache: Path) -> dict[str, str]:
    """Put `files` into the cache as the repository that a base's configuration names; return the variables that say so.

    None where the .nemo has its tokenizer in it. Raises `BadInput` where the configuration names neither.
    """
    tokenizer = config.get("tokenizer")
    if not isinstance(tokenizer, dict) or not (
        tokenizer.get("library") and (tokenizer.get("type") or tokenizer.get("model"))
    ):
        raise BadInput("the base's .nemo names no tokenizer (model_config.yaml: tokenizer): give another base.nemo")
    if tokenizer["library"] != "huggingface":
        return {}
    name = str(tokenizer["type"])
    if len(name.split("/")) != 2 or name.startswith((".", "/")):
        raise BadInput(f"the base's .nemo names the tokenizer {name!r}, no repository OWNER/NAME: convert it again")
    folder = cache / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, snapshot / file.name)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(REVISION)
    return {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
