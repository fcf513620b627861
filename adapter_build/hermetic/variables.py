"""The variables a step sees: an allow-list, threads pinned, the same in every runtime."""

import contextlib
import os
import sys
from pathlib import Path

from adapter_build.core.pip import pip_settings
from adapter_build.hermetic.action import Action

# OpenBLAS's own settings belong to the machine; everything else a step may see is set below.
PASSED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
PASSED_WITH_NETWORK = (
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "HF_ENDPOINT",
    "HF_HUB_DOWNLOAD_TIMEOUT",
)  # fmt: skip
PASSED_WITH_DEVICES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
# A step that starts containers: where the engine is, who it may pull as, which GPUs the scheduler gave.
PASSED_ON_HOST = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "CUDA_VISIBLE_DEVICES")
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
PIP_SETTINGS = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "proxy", "default-timeout")
USUAL_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def variables(action: Action, path: str, home: Path, scratch: Path, secrets: Path | None) -> dict[str, str]:
    """Return the step's whole environment. `path` is its PATH, `secrets` the folder of its secrets' files."""
    threads = str(action.threads)
    passed = (
        *PASSED,
        *(PASSED_WITH_NETWORK if action.network else ()),
        *(PASSED_WITH_DEVICES if action.devices else ()),
        *(PASSED_ON_HOST if action.on_host else ()),
    )
    return {
        **{name: os.environ[name] for name in passed if name in os.environ},
        **(_network() if action.network else {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}),
        **({} if action.devices or action.on_host else {"CUDA_VISIBLE_DEVICES": ""}),
        **(_docker_config() if action.on_host else {}),
        **({"SECRETS": str(secrets)} if secrets else {}),
        "PATH": path,
        "HOME": str(home),
        "TMPDIR": str(scratch),
        "USER": "step",  # the container's uid has no name, and some libraries ask for one
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": threads,
        # Threads that wait would spin; on a machine that does anything else that made tuning five times slower.
        "OMP_WAIT_POLICY": "PASSIVE",
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "STEP_PROGRESS": "1",
    }


def _docker_config() -> dict[str, str]:
    """Return where Docker's logins are; nothing for a user without a name or a home, as containers have."""
    if named := os.environ.get("DOCKER_CONFIG"):
        return {"DOCKER_CONFIG": named}
    with contextlib.suppress(RuntimeError):
        return {"DOCKER_CONFIG": str(Path.home() / ".docker")}
    return {}


def certificates() -> Path | None:
    """Return the machine's bundle of certificates, which a step with network trusts too."""
    named = [Path(os.environ[name]) for name in CERTIFICATES if os.environ.get(name)]
    return next((path for path in [*named, USUAL_CERTIFICATES] if path.is_file()), None)


def _network() -> dict[str, str]:
    """Return pip's settings, which a sandbox hides with the files they stand in, and where the certificates are."""
    found = pip_settings(sys.executable)
    pip = {f"PIP_{name.upper().replace('-', '_')}": found[name] for name in PIP_SETTINGS if name in found}
    bundle = certificates()
    return {**pip, **(dict.fromkeys(CERTIFICATES, str(bundle)) if bundle else {})}
