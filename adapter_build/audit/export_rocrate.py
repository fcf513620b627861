"""An adapter's lineage as an RO-Crate, a folder of files with metadata, by the profile Provenance Run Crate."""

import datetime
import tempfile
from pathlib import Path

from cyclonedx.spdx import fixup_id
from rocrate.model.entity import Entity

from adapter_build.audit.rocrate_entities import BIOSCHEMAS, Crate, once
from adapter_build.core.faults import BadInput
from adapter_build.lineage.attested_steps import Step, outside
from adapter_build.lineage.built_adapter import Build

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
DONE = "http://schema.org/CompletedActionStatus"


def write_rocrate(build: Build, target: str) -> str:
    """Write the crate; return a line that says so.

    Raises `BadInput` where the folder is in use, or no Snakefile lies beside the results.
    """
    folder = Path(target)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: is there already: name a folder that does not exist")
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    crate = Crate(build)
    build.check(map(build.file, crate.carried))
    workflow = _workflow(crate)
    runs = [_run(crate, workflow, position, step) for position, step in enumerate(build.steps.values(), 1)]
    _whole(crate, workflow, runs)
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=f".{folder.name}-") as part:
        crate.crate.write(Path(part) / "crate")
        (Path(part) / "crate").replace(folder)
    return f"{folder}: an RO-Crate of {len(runs)} runs"


def _workflow(crate: Crate) -> Entity:
    source = crate.checkout / "Snakefile"
    if not source.is_file():
        raise BadInput(f"{source}: no such file: export from the checkout that built {crate.build.results}")
    facts = {
        "name": "Raw questions to a LoRA adapter",
        "description": "The rules as the checkout had them when this was exported; attestations name scripts and locks",
        "conformsTo": {"@id": f"{BIOSCHEMAS}/ComputationalWorkflow/1.0-RELEASE"},
    }
    workflow = crate.crate.add_workflow(source, "Snakefile", main=True, lang="snakemake", properties=facts)
    workflow["version"] = next(iter(crate.build.steps.values())).commit or "unknown"
    workflow.properties()["@type"] = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
    for rules in sorted((crate.checkout / "rules").glob("*.smk")):
        once(workflow, "isBasedOn", crate.crate.add_file(rules, f"rules/{rules.name}", properties={"name": rules.name}))
    return workflow


def _run(crate: Crate, workflow: Entity, position: int, step: Step) -> Entity:
    """Add the run of a step: its rule, its script, inputs, parameters and outputs."""
    tool, lock = crate.code(step)
    once(workflow, "hasPart", tool)
    rule = step.name.partition("/")[0]
    how = crate.add(f"#rule/{rule}", "HowToStep", name=rule, position=str(position), workExample=tool)
    once(workflow, "step", how)
    once(how, "buildInstructions", lock)
    given = [crate.file(*file) for file in step.read.items()]
    for option, words in sorted(step.parameters.items()):
        value = crate.add(f"#value/{step.name}/{option}", "PropertyValue", name=option, value=" ".join(words))
        crate.example(tool, "input", f"#parameter/{step.script}/{option}", "Text", value)
        given.append(value)
    commit = f"commit {step.commit or 'unknown'}{', altered' if step.altered else ''}"
    where = f"runtime {step.ran['runtime']} ({step.ran['isolation']}) on host {step.ran['host']}, {commit}"
    run = crate.add(
        f"#run/{step.invocation}",
        "CreateAction",
        name=step.name,
        description=f"{'Outputs restored of an earlier run:' if step.reused else 'Executed:'} {where}",
        instrument=tool,
        agent=crate.add(f"#user/{step.ran['user']}", "Person", name=step.ran["user"]),
        startTime=_time(step.started),
        endTime=_time(step.finished),
        actionStatus=DONE,
        object=given,
        subjectOf=crate.attestation(step),
    )
    for file in step.made.items():
        once(run, "result", crate.file(*file))
    if step.image:
        run["containerImage"] = crate.image(step.image)
    control = {"name": f"Control of {step.name}", "instrument": how, "object": run, "actionStatus": DONE}
    crate.add(f"#control/{step.invocation}", "ControlAction", **control)
    return run


def _whole(crate: Crate, workflow: Entity, runs: list[Entity]) -> None:
    """Add the run of the workflow, the engine that conducted it, and the description of the crate itself."""
    build, steps = crate.build, list(crate.build.steps.values())
    given = [crate.file(*file) for file in sorted(outside(build.steps).items())]
    left = [crate.file(path, build.made[path]) for path in crate.carried]
    for key, files in (("input", given), ("output", left)):
        for file in files:
            crate.example(workflow, key, f"#{key}/{file['name']}", "File", file)
    began, ended = min(_time(step.started) for step in steps), max(_time(step.finished) for step in steps)
    name = f"Build of the LoRA adapter {build.adapter}"
    facts = {"startTime": began, "endTime": ended, "agent": runs[-1]["agent"], "actionStatus": DONE}
    facts |= {"instrument": workflow, "object": given, "result": left, "description": f"{len(steps)} steps"}
    whole = crate.add("#run", "CreateAction", name=name, **facts)
    engine = crate.add(
        "https://snakemake.github.io", "SoftwareApplication", name="Snakemake", url="https://snakemake.github.io"
    )
    controls = [entity for entity in crate.crate.contextual_entities if entity.type == "ControlAction"]
    conducted = {"instrument": engine, "object": controls, "result": whole, "agent": runs[-1]["agent"]}
    facts = {"startTime": began, "endTime": ended, "actionStatus": DONE, **conducted}
    organized = crate.add("#conducted", "OrganizeAction", name="What Snakemake did", description="Its jobs", **facts)
    root = crate.crate.root_dataset
    root["name"] = f"LoRA adapter {build.adapter} ({build.digest})"
    root["description"] = (
        f"{name}: the adapter, the code that made it, and an attestation of each of the {len(steps)} steps"
    )
    root["datePublished"] = ended
    licence = fixup_id(build.exported("licence"))
    page, title = (
        (f"https://spdx.org/licenses/{licence}", licence) if licence else ("#licence", build.exported("licence"))
    )
    root["license"] = crate.add(page, "CreativeWork", name=title or "not stated: that of the base model")
    root["mentions"] = [whole, organized, *runs]
    root["conformsTo"] = [
        crate.add(address, "CreativeWork", name=title, version=address.rpartition("/")[2])
        for address, title in PROFILES.items()
    ]


def _time(moment: str) -> str:
    """Return an attestation's time as the profile wants it: with an offset."""
    return datetime.datetime.fromisoformat(moment).isoformat()
