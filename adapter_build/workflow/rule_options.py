"""A rule's params and its shell command: how the step runner is called for its jobs, each fact of it said once.

Snakemake formats `STEP`, the command of every rule that runs a step, with the params that `step_params` makes:

    options  what the rule says of its step, each value beside its name
    files    the rule's named inputs and outputs, which the script gets as options of these names
    script   the script
    code     one digest of all that runs, not in the command
    states   size and time of files that cannot be inputs of a rule, not in the command either

Snakemake remembers the params of a job as a set of values without names (persistence._params): from 1 to 2 nothing
changes where another param is 2 already. In a list that holds the names too, no two settings can stand for one another.
`files` are not remembered, as nothing is that Snakemake derives from inputs and outputs: it compares those themselves.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, cast

from adapter_build.core.config_paths import states
from adapter_build.hermetic.runtime import Runtime

STEP = (
    "python scripts/step.py {params.options:q} --memory {resources.mem_mb} --log {log:q} {params.files:q}"
    " -- {params.script:q}"
)

Code = Callable[[str, str], str]  # environment and script → the digest of what runs
Value = Any  # a word or a list of words; None, or a list without any, for no such option; a function of the wildcards
Words = list[Any]


def for_rules(runtime: Runtime, shared: bool) -> tuple[Callable[[str], list[Path]], Callable[..., dict[str, Any]]]:
    """Return what rules are written with: `venv`, what to wait for of an environment, and `step`, as `step_params` is.

    Where machines share no files, Snakemake runs a job with a local input on the machine that has it: pods mount their
    venvs, and no rule waits for one.
    """
    return (runtime.venv if shared else lambda _: []), partial(step_params, runtime.code)


def step_params(
    code: Code,
    environment: Value,
    script: str,
    *params: Mapping[str, Value],
    wildcards: Sequence[str] = (),
    settings: Mapping[str, Value] | None = None,
    user_files: Mapping[str, Value] | None = None,
    keep: str | None = None,
    bundle: str | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    devices: int | None = None,
    shared_memory: int | None = None,
    ulimits: Sequence[str] = (),
    nodes: int = 1,
    secrets: Sequence[str] = (),
    network: bool = False,
    loopback: bool = False,
    on_host: bool = False,
    always: bool = False,
) -> dict[str, Any]:
    """Return the params of a rule whose jobs run a script of scripts/ in an environment.

    `code` digests what a script runs in an environment (Runtime.code). The script is told the rule's named files,
    `params`, the `wildcards` named here, and `settings`, which decide no result. `user_files` replace the rule's inputs
    of the same names: with a user's own names, in which Snakemake would search for wildcards. All else are options of
    the runner (step.py); several `nodes` speak with each other over the network; `bundle` is a pattern, as an output's.

    What a function returns is never searched for wildcards, so that braces in a setting stay what they are. Raises
    `ValueError` for two options of the script with one name.
    """
    path, own_files = f"scripts/{script}", user_files or {}

    def bundle_path(wildcards: Any) -> str | None:
        return bundle and bundle.format(**dict(wildcards.items()))

    of_runner: list[tuple[str, Value]] = [
        ("--env", environment),
        ("--runtime", runtime),
        ("--threads", threads),
        ("--devices", devices),
        ("--shared-memory", shared_memory),
        *(("--ulimit", limit) for limit in ulimits),
        ("--nodes", nodes if nodes > 1 else None),
        *(("--secret", name) for name in secrets),
        ("--bundle", bundle_path),
        ("--keep", keep),
    ]
    flags = {"network": network or nodes > 1, "loopback": loopback, "on-host": on_host, "always": always}
    of_script: list[tuple[str, str, Value]] = [
        *(("--setting", name, value) for name, value in (settings or {}).items()),
        *(("--input", name, value) for name, value in own_files.items()),
        *(("--param", name, value) for some in params for name, value in some.items()),
        *(("--param", name, _wildcard(name)) for name in wildcards),
    ]
    taken = [*(name for _, name, _ in of_script), *([keep] if keep else [])]
    _refuse_twins(taken)

    def options(wildcards: Any) -> Words:
        found: Words = [f"--{flag}" for flag, wanted in flags.items() if wanted]
        for option, value in of_runner:
            found += _option([option], _words(value, wildcards))
        for option, name, value in of_script:
            found += _option([option, _dashed(name)], _words(value, wildcards))
        return found

    def code_of(wildcards: Any) -> str:
        return code(_words(environment, wildcards)[0], path)

    def user_states(wildcards: Any) -> Any:
        return states([file for of in own_files.values() for file in _words(of, wildcards)])

    return {
        "options": options,
        "files": _files(taken, own_files),
        "script": path,
        "code": code_of if callable(environment) else code_of(None),
        **({"states": user_states} if own_files else {}),
    }


def of_adapter(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, Callable[[Any], Any]]:
    """Return the named settings of the adapter that the wildcard `adapter` names, as params of a step."""
    return {name: lambda wildcards, name=name: config["adapters"][wildcards.adapter][name] for name in names}


def asked_of_slurm(nodes: int) -> dict[str, int]:
    """Return the resources of a job on so many nodes, one task on each; of a job on one node none."""
    return {"nodes": nodes, "tasks": nodes} if nodes > 1 else {}


def raised_by_retry(**amounts: int) -> dict[str, Callable[..., int]]:
    """Return resources of a rule: these amounts at a job's first attempt, twice as much at its second, and so on."""

    def raised(amount: int) -> Callable[..., int]:
        def resource(wildcards: Any, attempt: int) -> int:
            return amount * attempt

        return resource

    return {name: raised(amount) for name, amount in amounts.items()}


def _files(taken: Sequence[str], own_files: Mapping[str, Value]) -> Callable[..., Words]:
    """Return the param `files` of a rule whose script has the options `taken`, `own_files` among them, already."""

    def files(wildcards: Any, input: Any, output: Any) -> Words:
        reads, makes = _named(input), _named(output)
        if absent := own_files.keys() - reads.keys():
            raise ValueError(f"user_files: this rule has no input named {', '.join(sorted(absent))}")
        if len(output) > sum(map(len, makes.values())):
            raise ValueError("an output has no name, and a script is told each as the option of that name")
        reads = {name: paths for name, paths in reads.items() if name not in own_files}
        _refuse_twins([*taken, *reads, *makes])
        told = [("--input", name, paths) for name, paths in reads.items()]
        told += [("--output", name, paths) for name, paths in makes.items()]
        return [word for option, name, paths in told for word in _option([option, _dashed(name)], paths)]

    return files


def _wildcard(name: str) -> Callable[[Any], str]:
    return lambda wildcards: wildcards[name]


def _option(words: Words, values: Words) -> Words:
    return [*words, *values] if values else []


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _refuse_twins(names: Sequence[str]) -> None:
    dashed = [_dashed(name) for name in names]
    if twins := sorted({name for name in dashed if dashed.count(name) > 1}):
        raise ValueError(f"a script has one option of a name, and this rule gives two: {', '.join(twins)}")


def _named(files: Any) -> dict[str, list[str]]:
    """Return the paths of each name that a rule gives to its inputs or outputs."""
    return {name: [paths] if isinstance(paths, str) else list(paths) for name, paths in files.items()}


def _words(value: Value, wildcards: Any) -> Words:
    found = value(wildcards) if callable(value) else value
    if found is None:
        return []
    return [_word(part) for part in cast(Sequence[Any], found)] if isinstance(found, list | tuple) else [_word(found)]


def _word(value: Any) -> Any:
    """Return a negative number without an exponent, with which argparse takes it for an option."""
    return format(Decimal(repr(value)), "f") if isinstance(value, float) and value < 0 else value
