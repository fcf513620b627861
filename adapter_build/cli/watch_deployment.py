"""Check the running server (make serve) again and again, and keep a file that tells if it is as the sentinel says.

The file is for programs that need the server: `ready`, `reason` (null, or the check that failed), `checked_at` and
`good_until` in UTC. A file past its `good_until` was left by a watch that was killed. The file is written whole, lies
outside of results/, and is removed when the watch ends.
"""

import argparse
import time
from pathlib import Path

from adapter_build.core.faults import BadInput, run, say
from adapter_build.core.processes import ended_by_signals
from adapter_build.serving.deployment_watch import DeploymentWatch, write_status
from adapter_build.workflow.configuration import read_config


def main() -> None:
    """Check the server, write the status file and wait, again and again until a signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default=Path("results"), type=Path, help="what the build made (default: results)")
    parser.add_argument("--config", default=[Path("config.yaml")], nargs="+", type=Path, help="the file, then overlays")
    parser.add_argument("--url", help="the server (default: http://127.0.0.1 and deploy.port)")
    parser.add_argument("--interval", default=60.0, type=float, help="seconds from one check to the next (default: 60)")
    parser.add_argument("--status", default=Path("logs/deployment.json"), type=Path, help="the file to keep")
    options = parser.parse_args()
    if options.interval <= 0:
        raise BadInput(f"--interval {options.interval:g}: must be more than 0 seconds")
    if options.status.resolve().is_relative_to(options.results.resolve()):
        raise BadInput(f"--status {options.status}: lies in {options.results}, which holds artifacts alone")
    watch = DeploymentWatch(options.results)
    url = options.url or f"http://127.0.0.1:{read_config(*options.config)['deploy']['port']}"
    last: str | None = "not asked yet"
    try:
        with ended_by_signals():
            while True:
                fault = watch.fault(url)
                if fault != last:
                    say(f"{url}: {fault or 'ready'}")
                last = fault
                write_status(options.status, fault, options.interval)
                time.sleep(options.interval)
    except SystemExit:  # raised on TERM and Ctrl-C
        print("stopped", flush=True)
    finally:
        options.status.unlink(missing_ok=True)


if __name__ == "__main__":
    run(main)
