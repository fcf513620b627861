"""A .nemo file: one uncompressed tar, written so that the same files always give the same bytes."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from adapter_build.core.atomic_file import replacing
from adapter_build.core.faults import BadInput
from adapter_build.core.regular_file import JSON, open_regular

LARGEST = 2**34  # bytes of an adapter's weights, which are read whole
CONFIG = "model_config.yaml"  # the name that NeMo's SaveRestoreConnector looks for


def write_archive(path: str | Path, members: Mapping[str, Path | bytes]) -> None:
    """Write members (a file to stream, or bytes) by name to the .nemo file `path`, whole or not at all."""
    # PAX: the older formats cannot hold a member of 8 GiB.
    with replacing(path) as part, tarfile.open(part, "w:", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(members):
            _add(archive, name, members[name])


def _add(archive: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    entry = tarfile.TarInfo(name)  # its time, owner and group are 0
    entry.mode = 0o644
    if isinstance(content, bytes):
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    else:
        entry.size = content.stat().st_size
        with open(content, "rb") as file:
            archive.addfile(entry, file)


def read_member(path: str | Path, name: str) -> bytes:
    """Return one member's bytes. Raises `BadInput` if `path` is no .nemo file or has no such member."""
    if Path(path).is_dir():
        raise BadInput(f"{path}: is a folder, as NeMo 2's Megatron checkpoints are: set base.format to hf")
    try:
        with open_regular(path, links=True) as opened, tarfile.open(fileobj=opened, mode="r:") as archive:
            # NeMo's own archives write their members as ./name.
            wanted = next((entry for entry in archive if entry.name.removeprefix("./") == name), None)
            file = archive.extractfile(wanted) if wanted else None
            if not wanted or not file:
                raise BadInput(f"{path}: has no {name}, so it is not a .nemo file of this project")
            most = JSON if name.endswith((".json", ".yaml")) else LARGEST
            if wanted.issparse() or wanted.size > most:  # a few bytes on disk can claim any number
                raise BadInput(f"{path}: {name} has {wanted.size:,} bytes, sparse or too many: make the file again")
            return file.read()
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except tarfile.TarError as error:
        raise BadInput(f"{path}: not a .nemo file ({error})") from None


def read_config(path: str | Path, kind: str) -> dict:
    """Return the .nemo file's model_config.yaml, which must say `format: <kind>`; raises `BadInput` if it does not."""
    try:
        config = yaml.safe_load(read_member(path, CONFIG))
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: its {CONFIG} is not YAML ({error})") from None
    found = config.get("format") if isinstance(config, dict) else None
    if found != kind:
        said = f"format {found!r}" if found else "no format (a Megatron .nemo file has none)"
        raise BadInput(f"{path}: its {CONFIG} says {said}, expected {kind!r}: set base.format to hf and convert again")
    return config
