"""Ask a build for its lineage, and whether its files still are those that were attested.

audit.py verify                                                       whether everything is what was attested
audit.py verify /elsewhere/law-titlegen --key builder.pub.pem         the same of a staged adapter by itself
audit.py key                                                          the key that signs, made where there is none
audit.py show results/loras/law-titlegen/adapter_model.safetensors    the tree from it back to the raw data
audit.py records law-titlegen                                         which raw records it learned from
audit.py why 1003                                                     what became of a raw record
audit.py diff old/results results                                     what changed between two adapters
audit.py rebuild tune_adapter                                         whether its steps make the same bytes again
audit.py export law-titlegen --ro-crate crate/                        its lineage, for other projects' tools
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from adapter_build.core.faults import run, say

Verb = Callable[[argparse.Namespace], int | None]  # returns the exit code


def main() -> None:
    """Run one verb; its modules are imported when it runs."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser().parse_args(sys.argv[1:end])
    options.snakemake = sys.argv[end + 1 :]
    sys.exit(VERBS[options.verb](options))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="what the build made (default: results)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verify = verbs.add_parser("verify", help="whether what lies on disk is what was attested")
    verify.add_argument("path", type=Path, nargs="?", help="a results folder or a staged adapter (default: results)")
    verify.add_argument("--key", type=Path, action="append", help="a public key to trust, in place of the config's")
    verify.add_argument("--certificate", type=Path, action="append", default=[], help="a root of the signer's")
    verify.add_argument("--json", action="store_true", help="one JSON object per finding")
    verbs.add_parser("key", help="the key that signs attestations and adapters")
    show = verbs.add_parser("show", help="how an artifact came to be")
    show.add_argument("artifact", help="a file below results/")
    form = show.add_mutually_exclusive_group()
    for name in ("json", "dot", "mermaid"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name)
    records = verbs.add_parser("records", help="which raw records an adapter learned from")
    records.add_argument("adapter")
    records.add_argument("--json", action="store_true", help="one JSON object per line")
    verbs.add_parser("why", help="what became of a raw record").add_argument("record")
    diff = verbs.add_parser("diff", help="what changed between two adapters")
    diff.add_argument("before", help="a results folder, or a staged adapter's in one: results/loras/NAME")
    diff.add_argument("after", help="another")
    diff.add_argument("--json", action="store_true", help="all of it, as one JSON object")
    rebuild = verbs.add_parser("rebuild", help="make it again and compare; options of Snakemake after --")
    rebuild.add_argument(
        "steps", nargs="*", help="as in logs/STEP.log, or a rule's name for all its steps; default: all"
    )
    rebuild.add_argument("--keep", type=Path, metavar="FOLDER", help="leave rebuilt files that differ there")
    rebuild.add_argument("--diffoscope", action="store_true", help="let diffoscope explain files of other kinds")
    export = verbs.add_parser("export", help="an adapter's lineage, for other projects' tools")
    export.add_argument("adapter")
    form = export.add_mutually_exclusive_group(required=True)
    form.add_argument("--ro-crate", metavar="FOLDER", help="a Workflow Run RO-Crate (Provenance Run Crate profile)")
    form.add_argument("--openlineage", metavar="FILE_OR_URL", help="OpenLineage events: JSON lines, or posted")
    form.add_argument("--cyclonedx", metavar="FILE", help="a CycloneDX 1.6 ML-BOM, JSON")
    return parser


def _verify(options: argparse.Namespace) -> int:
    from adapter_build.audit.verify import report

    return 0 if report(options.path or options.results, options.key, options.certificate, options.json) else 1


def _key(_options: argparse.Namespace) -> None:
    from adapter_build.audit.signing_key import own_key

    _print(own_key(Path("config.yaml")))


def _show(options: argparse.Namespace) -> None:
    from adapter_build.audit.show import committed, dot, drawn, mermaid, promised, tree
    from adapter_build.lineage.attested_steps import read_lineage

    steps = read_lineage(options.results)
    node = tree(steps, Path(options.artifact).as_posix())
    if options.form == "json":
        print(json.dumps(node, indent=1))
    else:
        _print({"dot": dot, "mermaid": mermaid, None: drawn}[options.form](node))
        _print([*committed(steps, node), *promised(steps, node)] if options.form is None else [])


def _records(options: argparse.Namespace) -> None:
    from adapter_build.audit.training_records import records

    for row in records(options.results, options.adapter):
        say(json.dumps(row) if options.json else f"{row['record_id']:<12}{row['role']:<12}{row['times']}")


def _why(options: argparse.Namespace) -> None:
    from adapter_build.audit.training_records import why

    print(why(options.results, options.record))


def _diff(options: argparse.Namespace) -> None:
    from adapter_build.audit.diff import changes, diff

    found = diff(options.before, options.after)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        _print(changes(found))


def _rebuild(options: argparse.Namespace) -> int:
    from adapter_build.audit.rebuild import rebuild

    return 0 if rebuild(options.steps, options.snakemake, options.keep, options.diffoscope) else 1


def _export(options: argparse.Namespace) -> None:
    from adapter_build.lineage.built_adapter import build_of

    build = build_of(options.results, options.adapter)
    # One format's library is of no use to the others, and slow to import.
    if options.ro_crate is not None:
        from adapter_build.audit.export_rocrate import write_rocrate

        say(write_rocrate(build, options.ro_crate))
    elif options.openlineage is not None:
        from adapter_build.audit.export_openlineage import send_events

        say(send_events(build, options.openlineage))
    else:
        from adapter_build.audit.export_cyclonedx import write_bom

        say(write_bom(build, options.cyclonedx))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)


VERBS: dict[str, Verb] = {
    "verify": _verify, "key": _key, "show": _show, "records": _records, "why": _why, "diff": _diff,
    "rebuild": _rebuild, "export": _export,
}  # fmt: skip


if __name__ == "__main__":
    run(main)
