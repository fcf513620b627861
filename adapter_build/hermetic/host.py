"""Runtime `host`: a step in its environment's venv, in the sandbox that this machine has (hermetic/isolation.py)."""

import contextlib
from collections.abc import Generator

from adapter_build.hermetic import bubblewrap, isolation, landlock_sandbox
from adapter_build.hermetic.action import Action
from adapter_build.hermetic.attempt import Attempt
from adapter_build.hermetic.environments import interpreter
from adapter_build.hermetic.execution import Execution, Limits, RunFacts, child, on_nodes
from adapter_build.hermetic.sandbox import environment
from adapter_build.hermetic.variables import step_variables


@contextlib.contextmanager
def running(action: Action, attempt: Attempt, _limits: Limits) -> Generator[Execution]:
    """Start the script. Limits do not apply: they are a container's."""
    python = interpreter(action.environment)
    path = f"{python.parent}:/usr/local/bin:/usr/bin:/bin"
    held = isolation.of_step(action)
    with landlock_sandbox.sockets(action) if held == isolation.LANDLOCK else contextlib.nullcontext() as sockets:
        if held == isolation.BUBBLEWRAP:
            words, given = bubblewrap.command(action, attempt, python), environment(action, attempt, path)
        else:
            words = [str(python), str(action.script), *action.arguments(attempt.out, attempt.kept)]
            if held == isolation.LANDLOCK:
                words = landlock_sandbox.command(action, attempt, python, sockets)
            given = step_variables(action, path, attempt.scratch, attempt.scratch, attempt.secrets)
            given |= {"STEP_SOCKETS": str(sockets)} if sockets else {}
        ran = isolation.attested(held, action)
        words, given, nodes = on_nodes(action, words, given)
        with child(words, given, RunFacts("host", ran + nodes)) as execution:
            yield execution
