"""Take the user's own Megatron .nemo of a base, as NGC gives it: compare its sha256, check its content, copy it."""

import argparse
from pathlib import Path

import find_package  # noqa: F401
from adapter_build.core.atomic_file import copy_atomically
from adapter_build.core.digests import file_digest
from adapter_build.core.faults import BadInput, run
from adapter_build.megatron.nemo_files import check_base


def main() -> None:
    """Check the file, then copy it byte for byte."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="the .nemo file (base.nemo)")
    parser.add_argument("--sha256", default="", help="its expected sha256 (base.nemo_sha256); empty: not compared")
    parser.add_argument("--nemo", type=Path, required=True, help="the copy to write")
    options = parser.parse_args()
    check_base(options.source)
    if options.sha256 and (found := file_digest(options.source)) != options.sha256:
        raise BadInput(
            f"{options.source}: its sha256 is {found}, not base.nemo_sha256: fetch it again, or correct that"
        )
    copy_atomically({options.source: options.nemo})


if __name__ == "__main__":
    run(main)
