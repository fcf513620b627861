"""Serve every staged adapter beside its base until Ctrl-C, and print a request that works.

The embedded engine follows the model store: an adapter that is staged, changed or removed there is so on the server.
Other machines reach the engine only with deploy.embedded.host and a key.
"""

import argparse
from pathlib import Path

from adapter_build.core.faults import run, say
from adapter_build.hermetic.environments import interpreter
from adapter_build.models.base_model import base_model
from adapter_build.nim import engine as nim_engine
from adapter_build.nim.settings import nim_settings
from adapter_build.serving import engine_supervisor
from adapter_build.serving.engine_command import DEFAULT_BOUNDS
from adapter_build.serving.served_build import (
    base_files,
    checked_base,
    curl_command,
    sample_prompt,
    staged_adapters,
    true_name,
)
from adapter_build.workflow.configuration import check, overlaid


def main() -> None:
    """Start the engine, print a request that works, wait for a signal, stop the engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default=Path("results"), type=Path, help="what the build made (default: results)")
    parser.add_argument(
        "--base", default="", help="a folder of results/base (default: the base of the last checked build)"
    )
    parser.add_argument(
        "--config", default=[Path("config.yaml")], nargs="+", type=Path, help="config.yaml, then overlays: for deploy.*"
    )
    parser.add_argument("--port", type=int, help="TCP port; 0: any free one (default: deploy.port)")
    parser.add_argument("--log", default=Path("logs/serve.log"), type=Path, help="the engine's log")
    arguments = parser.parse_args()

    config = overlaid(*arguments.config)
    lock = check(config)
    deploy = config["deploy"]
    base = arguments.base or checked_base(arguments.results / "deploy" / "ready.json")
    nim = deploy["engine"] == "nim"
    files = [] if nim else base_files(arguments.results / "base" / base)
    loras = arguments.results / "loras"
    adapters = staged_adapters(loras) if nim else {}
    how = {
        "port": deploy["port"] if arguments.port is None else arguments.port,
        "timeout": deploy["timeout"],
        "log": arguments.log,
    }
    if nim:
        engine = "NIM, the container of deploy.nim.image"
        starting = nim_engine.serving(
            base, adapters, nim_settings(config, base_model(config["base"], lock).model), **how
        )
    else:
        engine = "the embedded engine (vLLM on this CPU)"
        starting = engine_supervisor.serving(
            base,
            true_name(base, config, lock),
            files,
            loras,
            host=deploy["embedded"]["host"],
            interval=deploy["embedded"]["refresh_interval"],
            max_rank=deploy["max_rank"],
            context=deploy["embedded"]["context_length"],
            bounds={name: deploy["embedded"][name] for name in DEFAULT_BOUNDS},
            say=say,
            threads=config["threads"],
            python=interpreter("serve"),
            **how,
        )
    arguments.log.parent.mkdir(parents=True, exist_ok=True)
    print(f"starting {engine}, log in {arguments.log} …", flush=True)
    try:
        with starting as server:
            served = sorted(server.adapters if isinstance(server, engine_supervisor.Supervisor) else adapters)
            adapter, text = sample_prompt(arguments.results / "evaluation", served)
            print(f"serving {base} and {', '.join(served)} on {server.url}; Ctrl-C stops it. Try:\n")
            print(curl_command(server.url, adapter, text) + "\n", flush=True)
            server.wait()
    except SystemExit:  # raised on TERM and Ctrl-C: the end that was asked for
        print("stopped", flush=True)


if __name__ == "__main__":
    run(main)
