"""Print the planned steps of this checkout as DVC's stages."""

import json
import shlex
import sys

sys.path.insert(0, ".")
from adapter_build import ROOT
from adapter_build.hermetic.closure import closure
from adapter_build.workflow.planned_steps import planned_steps
from adapter_build.workflow.step_runner import action_of

stages = {}
for step, planned in planned_steps(sys.argv[1:]).items():
    action = action_of(planned)
    deps = [str(path) for paths in action.inputs.values() for path in paths]
    deps += [str(path.relative_to(ROOT)) for path in closure(action.script)]
    deps += [f"containers/{action.environment}/requirements.lock"]
    words = ["--env", planned.env, "--log", str(planned.log), "--threads", str(planned.threads)]
    for name, files in action.inputs.items():
        words += ["--input", name, *map(str, files)]
    for name, files in action.outputs.items():
        words += ["--output", name, *map(str, files)]
    for name, values in action.params.items():
        words += ["--param", name, *values]
    command = shlex.join([sys.executable, "scripts/step.py", *words, "--", str(planned.script)])
    outs = [str(path) for paths in action.outputs.values() for path in paths]
    stages[step.replace("/", "--")] = {"cmd": command, "deps": sorted(set(deps)), "outs": outs}
print(json.dumps({"stages": stages}))
