"""What a step may use of the machine: it decides whether a step ends, never its result, and is in no action key."""

from dataclasses import dataclass

PROCESSES = 4096  # a step with numeric libraries starts threads by the dozen; a fork bomb starts more than this


@dataclass(frozen=True)
class Limits:
    """`memory` and `shared_memory` in MiB; None: the runtime's default. `ulimits` as `name=value`, for docker alone."""

    memory: int | None = None
    shared_memory: int | None = None
    ulimits: tuple[str, ...] = ()
    processes: int = PROCESSES
