"""Environment variables that a build sets: settings for its step runners (STEP_…), and all that a step itself sees."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from adapter_build.core.pip import pip_settings
from adapter_build.hermetic.action import Action

# OpenBLAS's own settings belong to the machine; every other variable of a step is set below.
PASSED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
PASSED_WITH_NETWORK = (
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "HF_ENDPOINT",
    "HF_HUB_DOWNLOAD_TIMEOUT",
)  # fmt: skip
PASSED_WITH_DEVICES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
# For a step that starts containers: the engine's address, its logins, the GPUs that the scheduler gave.
PASSED_ON_HOST = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "CUDA_VISIBLE_DEVICES")
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
PIP_SETTINGS = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "proxy", "default-timeout")
USUAL_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def runner_variables(config: dict[str, Any], runtime: str) -> dict[str, str]:
    """Return what every step runner of a build needs of its checked configuration, as variables.

    PATH            led by the Python that runs this: it has what the step runner needs
    STEP_RUNTIME    docker, apptainer or host
    STEP_ISOLATION  best, or required: a runner refuses to start a step that nothing holds
    STEP_STORE      the store's folder, STEP_STORE_URL the shared store; empty: none
    STEP_STORE_TIMEOUT  seconds after which a silent shared store is given up
    STEP_KEY        the private key that signs attestations; empty: unsigned
    STEP_CERTIFICATES   the key's certificate and those up to a root, separated as PATH is; empty: none
    STEP_TRUSTED    public keys of other builders, separated as PATH is
    STEP_TOLERANCE  how far numbers that a step made on GPUs may differ; read by `audit rebuild` alone
    """
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "STEP_RUNTIME": runtime,
        "STEP_ISOLATION": config["isolation"],
        "STEP_STORE": config["store"]["path"],
        "STEP_STORE_URL": config["store"]["url"],
        "STEP_STORE_TIMEOUT": str(config["store"]["timeout"]),
        "STEP_KEY": config["signing"]["key"],
        "STEP_CERTIFICATES": os.pathsep.join(config["signing"]["certificates"]),
        "STEP_TRUSTED": os.pathsep.join(config["signing"]["trusted"]),
        "STEP_TOLERANCE": str(config["tolerance"]),
    }


def set_for_runners(config: dict[str, Any], runtime: str) -> None:
    """Set the variables of `runner_variables` in this process, for the runners that it starts."""
    os.environ.update(runner_variables(config, runtime))


def paths_of(variable: str) -> list[Path]:
    """Return the files that a variable names, separated as PATH is; none where it is empty or not set."""
    return [Path(name) for name in os.environ.get(variable, "").split(os.pathsep) if name]


def step_variables(action: Action, path: str, home: Path, scratch: Path, secrets: Path | None) -> dict[str, str]:
    """Return all variables of a step: an allow-list, with threads pinned, the same in every runtime.

    `path` is its PATH, `home` and `scratch` its HOME and TMPDIR, `secrets` the folder of its secrets' files.
    """
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
        # ACTIVE threads spin while they wait: on a busy machine that made tuning five times slower.
        "OMP_WAIT_POLICY": "PASSIVE",
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "STEP_PROGRESS": "1",
    }


def _docker_config() -> dict[str, str]:
    """Return the folder of Docker's logins; nothing for a user without a name or a home, as in a container."""
    if named := os.environ.get("DOCKER_CONFIG"):
        return {"DOCKER_CONFIG": named}
    with contextlib.suppress(RuntimeError):
        return {"DOCKER_CONFIG": str(Path.home() / ".docker")}
    return {}


def certificates() -> Path | None:
    """Return the machine's certificate bundle, which a step with network trusts too; None if there is none."""
    named = [Path(os.environ[name]) for name in CERTIFICATES if os.environ.get(name)]
    return next((path for path in [*named, USUAL_CERTIFICATES] if path.is_file()), None)


def _network() -> dict[str, str]:
    """Return the locations of certificates, and pip's settings, whose files a sandbox hides."""
    found = pip_settings(sys.executable)
    pip = {f"PIP_{name.upper().replace('-', '_')}": found[name] for name in PIP_SETTINGS if name in found}
    bundle = certificates()
    return {**pip, **(dict.fromkeys(CERTIFICATES, str(bundle)) if bundle else {})}
