"""Runtime `host`: the step runs in its environment's venv, held by what this machine has (hermetic/isolation.py)."""

import contextlib
from collections.abc import Iterator

from adapter_build.hermetic import bubblewrap, confinement, isolation
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.environments import interpreter
from adapter_build.hermetic.execution import Execution, Ran, child
from adapter_build.hermetic.limits import Limits
from adapter_build.hermetic.nodes import on_nodes
from adapter_build.hermetic.sandbox import environment
from adapter_build.hermetic.variables import variables


@contextlib.contextmanager
def running(action: Action, place: Attempt, _limits: Limits) -> Iterator[Execution]:
    """Start the script. Limits belong to containers: without one, nothing of the machine is set aside for a step."""
    python = interpreter(action.environment)
    path = f"{python.parent}:/usr/local/bin:/usr/bin:/bin"
    held = isolation.of_step(action)
    with confinement.sockets(action) if held == isolation.LANDLOCK else contextlib.nullcontext() as sockets:
        if held == isolation.BUBBLEWRAP:
            words, seen = bubblewrap.command(action, place, python), environment(action, place, path)
        else:
            words = [str(python), str(action.script), *action.arguments(place.out, place.kept)]
            if held == isolation.LANDLOCK:
                words = confinement.command(action, place, python, sockets)
            seen = variables(action, path, place.scratch, place.scratch, place.secrets)
            seen |= {"STEP_SOCKETS": str(sockets)} if sockets else {}
        ran = isolation.attested(held, action)
        words, seen, nodes = on_nodes(action, words, seen)
        with child(words, seen, Ran("host", ran + nodes)) as execution:
            yield execution
