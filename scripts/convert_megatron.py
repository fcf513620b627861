"""Make a Megatron .nemo of a Llama's Hugging Face files with the converter in the container of NeMo 24.07.

That converter knows no scaling of rotary embeddings but the linear one, so it takes Llama 2 and 3 and not Llama 3.1,
whose .nemo is fetched from NGC (base.nemo). The converter's tar holds times, so its files are packed again.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import find_package  # noqa: F401
from adapter_build.core.faults import BadInput, run
from adapter_build.core.printable import shown
from adapter_build.core.strict_json import given_object
from adapter_build.megatron.nemo_files import check_base, repack
from adapter_build.megatron.programs import conversion, run_program

PROGRAM = "convert_llama_hf_to_nemo.py"


def main() -> None:
    """Read the options, check the base, convert, check the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="the base's Hugging Face files")
    parser.add_argument("--nemo", type=Path, required=True, help="the .nemo file to write")
    parser.add_argument("--image", required=True, help="the container's image by digest, which decides what runs")
    options = parser.parse_args()
    if len({path.parent for path in options.files}) > 1:
        raise BadInput("--files: they must lie in one folder")
    check_llama(options.files)
    work = Path(tempfile.gettempdir()) / "conversion"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    made = work / "base.nemo"
    run_program(PROGRAM, conversion(options.files[0].parent.absolute(), made))
    if not made.is_file():
        raise BadInput(f"{PROGRAM} ended well, but left no .nemo: see its log")
    check_base(made)
    repack(made, options.nemo)


def check_llama(files: list[Path]) -> None:
    """Raise `BadInput` for a base that the converter of NeMo 24.07 does not take."""
    path = next((path for path in files if path.name == "config.json"), None)
    if not path:
        raise BadInput("--files: no config.json among them: check base.name")
    config = given_object(path, "not a model's configuration: check base.name")
    kind, scaling = config.get("model_type"), config.get("rope_scaling") or {}
    if not isinstance(scaling, dict):
        raise BadInput(f"{path}: rope_scaling is {shown(scaling)}, not an object: check base.name")
    scaled = scaling.get("rope_type", scaling.get("type", "linear"))
    if kind != "llama":
        raise BadInput(f"{path}: model_type is {kind!r}, and the converter of tune.backend nemo-24.07 is for llama")
    if config.get("rope_parameters"):
        raise BadInput(
            f"{path}: rope_parameters is transformers 5's, and NeMo 24.07's converter does not know it: write "
            "rope_theta (and rope_scaling) in its place, or fetch the base's .nemo from NGC, and name it as base.nemo"
        )
    if scaled != "linear":
        raise BadInput(
            f"{path}: rope_scaling is {scaled!r}, and NeMo 24.07's converter knows linear alone: fetch the base's "
            ".nemo from NGC, and name it as base.nemo"
        )


if __name__ == "__main__":
    run(main)
