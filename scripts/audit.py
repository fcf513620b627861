"""Ask a build what it was made of.

audit.py verify                                                       whether everything is what was attested
audit.py verify /elsewhere/law-titlegen --key builder.pub.pem         the same of a staged adapter by itself
audit.py key                                                          the key that signs, made where there is none
audit.py show results/loras/law-titlegen/adapter_model.safetensors    the tree from it back to the raw data
audit.py records law-titlegen                                         which raw records it learned from
audit.py why 1003                                                     what became of a raw record
audit.py rebuild tune_adapter                                         whether its steps make the same bytes again
"""

import argparse
import json
import signal
import sys
from pathlib import Path

from audit_key import own_key
from audit_rebuild import rebuild
from audit_records import records, why
from audit_show import dot, drawn, mermaid, tree
from audit_verify import report
from faults import run
from lineage import read_lineage


def main() -> None:
    """Answer one question."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="what the build made (default: results)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    show = verbs.add_parser("show", help="how an artifact came to be")
    show.add_argument("artifact", help="a file below results/")
    form = show.add_mutually_exclusive_group()
    for name in ("json", "dot", "mermaid"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name)
    recorded = verbs.add_parser("records", help="which raw records an adapter learned from")
    recorded.add_argument("adapter")
    recorded.add_argument("--json", action="store_true", help="one JSON object per line")
    verbs.add_parser("why", help="what became of a raw record").add_argument("record")
    verified = verbs.add_parser("verify", help="whether what lies on disk is what was attested")
    verified.add_argument("path", type=Path, nargs="?", help="a results folder or a staged adapter (default: results)")
    verified.add_argument("--key", type=Path, action="append", help="a public key to trust, in place of the config's")
    verified.add_argument("--certificate", type=Path, action="append", default=[], help="a root of the signer's")
    verified.add_argument("--json", action="store_true", help="one JSON object per finding")
    verbs.add_parser("key", help="the key that signs attestations and adapters")
    again = verbs.add_parser("rebuild", help="make it again and compare; options of Snakemake after --")
    again.add_argument("steps", nargs="*", help="as in logs/STEP.log, or a rule's name for all its steps; default: all")
    again.add_argument("--keep", type=Path, metavar="FOLDER", help="leave rebuilt files that differ there")
    again.add_argument("--diffoscope", action="store_true", help="let diffoscope explain files of other kinds")
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:end])
    if options.verb == "verify":
        sys.exit(0 if report(options.path or options.results, options.key, options.certificate, options.json) else 1)
    elif options.verb == "key":
        print("\n".join(own_key(Path("config.yaml"))))
    elif options.verb == "why":
        print(why(options.results, options.record))
    elif options.verb == "records":
        for row in records(options.results, options.adapter):
            print(json.dumps(row) if options.json else f"{row['record_id']:<12}{row['role']:<12}{row['times']}")
    elif options.verb == "rebuild":
        sys.exit(not rebuild(options.steps, sys.argv[end + 1 :], options.keep, options.diffoscope))
    else:
        node = tree(read_lineage(options.results), Path(options.artifact).as_posix())
        if options.form == "json":
            print(json.dumps(node, indent=1))
        else:
            print("\n".join({"dot": dot, "mermaid": mermaid, None: drawn}[options.form](node)))


if __name__ == "__main__":
    run(main)
