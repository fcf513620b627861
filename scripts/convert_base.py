"""Pack a base model's Hugging Face files into the one .nemo file that tuning starts from, the same bytes every time."""

import argparse
from pathlib import Path

import find_package  # noqa: F401
from adapter_build.core.faults import run
from adapter_build.core.processes import gc_paused
from adapter_build.models.base_checks import check_base
from adapter_build.models.base_model import base_folder


def main() -> None:
    """Read the options, check the files, convert."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="the base's Hugging Face files")
    parser.add_argument("--nemo", type=Path, required=True, help="the .nemo file to write")
    options = parser.parse_args()
    check_base(options.files)
    with gc_paused():
        from adapter_build.models.hf_causal_lm import HFCausalLM  # 6 s

    # An earlier base may have left files in their folder.
    with base_folder(path for path in options.files if not path.is_dir()) as folder:
        HFCausalLM.from_files(sorted(folder.iterdir())).save(options.nemo)


if __name__ == "__main__":
    run(main)
