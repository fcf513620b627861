"""The Hugging Face hub: one file at a pinned revision, quietly, and one clear line where that fails."""

import os
from pathlib import Path
from typing import Any

from faults import BadInput
from secret import secret


def fetch(what: str, **wanted: Any) -> Path:
    """Return the file that `hf_hub_download(**wanted)` fetches. A token, if needed, comes from HF_TOKEN.

    Raises `BadInput` naming `what` if the hub cannot be reached or has no such file.
    """
    quieten_hub()
    from httpx import HTTPError
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        return Path(hf_hub_download(**wanted, token=secret("HF_TOKEN")))
    except (OSError, HTTPError, EntryNotFoundError, HFValidationError) as error:
        raise BadInput(f"{what} cannot be fetched: {first_line(error)}") from None


def repository(what: str, repo: str, revision: str | None, kind: str) -> Any:
    """Return what the hub knows of a repository: `kind` is model or dataset, `sha` of it the commit of `revision`.

    Raises `BadInput` naming `what` if the hub cannot be reached or has no such repository.
    """
    quieten_hub()
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        return HfApi(token=secret("HF_TOKEN")).repo_info(repo, revision=revision, repo_type=kind)
    except (OSError, HTTPError, HFValidationError) as error:
        raise BadInput(f"{what} cannot be fetched: {first_line(error)}") from None


def quieten_hub() -> None:
    """Keep the hub's client from drawing bars, reporting retries and sending statistics. Before its first use."""
    # Read when the library is imported.
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()


def first_line(error: Exception) -> str:
    """Return what an error of the hub's client says first; the rest repeats it or shows a request id."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
