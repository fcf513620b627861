"""An adapter's lineage as OpenLineage events: START and COMPLETE of each step, producers before consumers."""

import os
import urllib.parse
import uuid
from pathlib import Path
from typing import Any

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    dataset_version_dataset,
    documentation_job,
    execution_parameters_run,
    job_type_job,
    parent_run,
    set_producer,
)
from openlineage.client.serde import Serde
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider
from requests import RequestException

from adapter_build.core.atomic_file import write_atomically
from adapter_build.core.faults import BadInput
from adapter_build.lineage.attested_steps import Step
from adapter_build.lineage.built_adapter import Build

PRODUCER = "urn:hermetic-step:v1"
NAMESPACE = "hermetic-step"  # of jobs
FILES = "file"  # namespace of datasets; their names are paths in the checkout
RETRY = {"total": 2, "backoff_factor": 0.2, "status_forcelist": [502, 503, 504], "allowed_methods": ["POST"]}


def send_events(build: Build, target: str) -> str:
    """Write the events to a file as JSON lines, or post them to a server; return a line that says so.

    OpenLineage's own path is added to a URL that has none; OPENLINEAGE_API_KEY is the server's key. Raises `BadInput`
    where the server refuses an event or does not answer.
    """
    sent = events(build)
    if urllib.parse.urlsplit(target).scheme in ("http", "https"):
        _post(sent, target)
    else:
        write_atomically(Path(target), "".join(f"{Serde.to_json(event)}\n" for event in sent))
    return f"{target}: {len(sent)} OpenLineage events of {len(build.steps)} steps"


def events(build: Build) -> list[RunEvent]:
    """Return the events, times as attested. The id of the parent run is derived from the ids of the steps' runs."""
    set_producer(PRODUCER)
    steps = list(build.steps.values())
    whole = str(uuid.uuid5(uuid.NAMESPACE_URL, " ".join(sorted(step.invocation for step in steps))))
    job = Job(NAMESPACE, build.adapter, {"jobType": _kind("DAG")})
    began, ended = min(step.started for step in steps), max(step.finished for step in steps)
    first = RunEvent(eventType=RunState.START, eventTime=began, run=Run(whole), job=job, producer=PRODUCER)
    last = RunEvent(eventType=RunState.COMPLETE, eventTime=ended, run=Run(whole), job=job, producer=PRODUCER)
    parent = parent_run.ParentRunFacet(parent_run.Run(whole), parent_run.Job(NAMESPACE, build.adapter))
    return [first, *(event for step in steps for event in _step(step, parent)), last]


def _step(step: Step, parent: parent_run.ParentRunFacet) -> list[RunEvent]:
    parameters = [
        execution_parameters_run.ExecutionParameter(key=option, value=" ".join(words))
        for option, words in sorted(step.parameters.items())
    ]
    facets = {"parent": parent, "executionParameters": execution_parameters_run.ExecutionParametersRunFacet(parameters)}
    where = f"{step.ran['runtime']} ({step.ran['isolation']})" + (f", image {step.image}" if step.image else "")
    done = "Outputs restored of an earlier run" if step.reused else "Executed"
    said = (
        f"scripts/{step.script} in environment {step.environment}. {done} on {where}. Commit {step.commit or 'unknown'}"
    )
    described = documentation_job.DocumentationJobFacet(said)
    common: dict[str, Any] = {
        "run": Run(step.invocation, facets),
        "job": Job(NAMESPACE, step.name, {"jobType": _kind("TASK"), "documentation": described}),
        "producer": PRODUCER,
        "inputs": [InputDataset(FILES, path, facets=_version(digest)) for path, digest in step.read.items()],
    }
    outputs = [OutputDataset(FILES, path, facets=_version(digest)) for path, digest in step.made.items()]
    return [
        RunEvent(eventType=RunState.START, eventTime=step.started, **common),
        RunEvent(eventType=RunState.COMPLETE, eventTime=step.finished, outputs=outputs, **common),
    ]


def _kind(kind: str) -> job_type_job.JobTypeJobFacet:
    return job_type_job.JobTypeJobFacet("BATCH", "SNAKEMAKE", kind)


def _version(digest: str) -> dict[str, Any]:
    return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(f"sha256:{digest}")}


def _post(sent: list[RunEvent], target: str) -> None:
    parts = urllib.parse.urlsplit(target)
    key = os.environ.get("OPENLINEAGE_API_KEY")
    auth = ApiKeyTokenProvider({"api_key": key}) if key else TokenProvider({})
    endpoint: dict[str, Any] = {"endpoint": parts.path.lstrip("/")} if parts.path.strip("/") else {}
    server = urllib.parse.urlunsplit((parts.scheme, parts.netloc, "", "", ""))
    transport = HttpTransport(HttpConfig(url=server, auth=auth, retry=RETRY, **endpoint))
    for number, event in enumerate(sent, 1):
        try:
            transport.emit(event)
        except RequestException as error:
            answer = error.response is not None and f"answered {error.response.status_code}"
            why = answer or f"cannot be reached ({type(error).__name__})"
            raise BadInput(f"{target}: {why} at event {number} of {len(sent)}: is it an OpenLineage server?") from None
