"""What a rule passes through `params:` so that Snakemake notices a changed lock or script."""

from hermetic.closure import code_digest
from hermetic.digests import combine
from hermetic.environments import lock_digest


def code(environment: str, script: str) -> str:
    """Return one digest of an environment's lock and of a script with every module of ours that it imports."""
    return combine({"lock": lock_digest(environment), "script": code_digest(script).removeprefix("h1:")})
