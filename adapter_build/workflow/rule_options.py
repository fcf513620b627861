"""The options that a rule gives to the step runner, as one param of the rule, each value beside its name.

Snakemake remembers the params of a job as a set of values without names (persistence._params): from 1 to 2 nothing
changes where another param is 2 already. In a list that holds the names too, no two settings can stand for one another.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

Words = list[Any]


def given(*words: Any, **values: Any) -> Callable[..., Words]:
    """Return the param: `words` as they are, then `--param NAME VALUE…` for each of `values`.

    A value may be a list, or a function of the wildcards, as Snakemake's `lookup` gives one; so may a word. A value
    that is an empty list or None is not given at all. What comes of a function is never searched for wildcards, so that
    braces in a setting stay what they are.
    """

    def options(wildcards: Any) -> Words:
        found = [part for word in words for part in _parts(word, wildcards)]
        for name, value in values.items():
            if parts := _parts(value, wildcards):
                found += ["--param", name.replace("_", "-"), *parts]
        return found

    return options


def of_adapter(config: Mapping[str, Any], names: Sequence[str]) -> dict[str, Callable[[Any], Any]]:
    """Return the named settings of the adapter that the wildcard `adapter` names, for `given`."""
    return {name: lambda wildcards, name=name: config["adapters"][wildcards.adapter][name] for name in names}


def _parts(value: Any, wildcards: Any) -> Words:
    found = value(wildcards) if callable(value) else value
    if found is None:
        return []
    return [_word(part) for part in found] if isinstance(found, list | tuple) else [_word(found)]


def _word(value: Any) -> Any:
    """Return a negative number without an exponent, with which argparse takes it for an option."""
    return format(Decimal(repr(value)), "f") if isinstance(value, float) and value < 0 else value
