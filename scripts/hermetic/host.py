"""Runtime `host`: the step runs in its environment's venv; inside bubblewrap, where that is installed and works."""

import contextlib
from collections.abc import Iterator

from hermetic import bubblewrap
from hermetic.action import Action
from hermetic.attempt import Attempt
from hermetic.environments import interpreter
from hermetic.execution import Execution, Ran, child
from hermetic.limits import Limits
from hermetic.nodes import on_nodes
from hermetic.sandbox import environment
from hermetic.variables import variables


@contextlib.contextmanager
def running(action: Action, place: Attempt, _limits: Limits) -> Iterator[Execution]:
    """Start the script. Limits belong to containers: without one, nothing of the machine is set aside for a step."""
    python = interpreter(action.environment)
    path = f"{python.parent}:/usr/local/bin:/usr/bin:/bin"
    if bubblewrap.works() and not action.on_host:
        isolation, words = "bubblewrap", bubblewrap.command(action, place, python)
        seen = environment(action, place, path)
    else:
        isolation, words = "none", [str(python), str(action.script), *action.arguments(place.out, place.kept)]
        seen = variables(action, path, place.scratch, place.scratch, place.secrets)
    words, seen, nodes = on_nodes(action, words, seen)
    with child(words, seen, Ran("host", isolation + nodes)) as execution:
        yield execution
