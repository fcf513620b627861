"""Downloads from the Hugging Face hub, at a pinned revision, without its bars; a failure is one line."""

import os
from pathlib import Path
from typing import Any

from adapter_build.core.faults import BadInput
from adapter_build.core.secret import secret
from adapter_build.core.stall_timeout import Stalled, bytes_at, unless_stalled

MEND = "check the network and HF_ENDPOINT, or raise HF_HUB_DOWNLOAD_TIMEOUT"


def fetch(what: str, **wanted: Any) -> Path:
    """Return the file that `hf_hub_download(**wanted)` fetches to a `local_dir`, with the secret HF_TOKEN, if any.

    Raises `BadInput` naming `what` if the hub cannot be reached or has no such file.
    """
    quieten_hub()
    from httpx import HTTPError
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    token, folder = secret("HF_TOKEN"), Path(wanted["local_dir"])
    try:
        return Path(
            unless_stalled(lambda: hf_hub_download(**wanted, token=token), _patience(), lambda: bytes_at(folder))
        )
    except Stalled as stalled:
        raise BadInput(f"{what} cannot be fetched: {stalled}: {MEND}") from None
    except (OSError, HTTPError, EntryNotFoundError, HFValidationError) as error:
        raise BadInput(f"{what} cannot be fetched: {first_line(error)}") from None


def repository(what: str, repo: str, revision: str | None, kind: str) -> Any:
    """Return the hub's `ModelInfo` or `DatasetInfo`, by `kind`; its `sha` is the commit of `revision`.

    Raises `BadInput` naming `what` if the hub cannot be reached or has no such repository.
    """
    quieten_hub()
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    asked = HfApi(token=secret("HF_TOKEN"))
    try:
        return unless_stalled(lambda: asked.repo_info(repo, revision=revision, repo_type=kind), _patience())
    except Stalled as stalled:
        raise BadInput(f"{what} cannot be fetched: {stalled}: {MEND}") from None
    except (OSError, HTTPError, HFValidationError) as error:
        raise BadInput(f"{what} cannot be fetched: {first_line(error)}") from None


def _patience() -> float:
    """Return the seconds in which something must arrive: a few times those that the hub's client waits for a byte."""
    from huggingface_hub import constants

    return 3.0 * constants.HF_HUB_DOWNLOAD_TIMEOUT


def quieten_hub() -> None:
    """Keep the hub's client from drawing bars, reporting retries and sending statistics. Before its first use."""
    # Read when the library is imported.
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()


def first_line(error: Exception) -> str:
    """Return the first line of an error of the hub's client; the others repeat it or show a request id."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
