"""An adapter's lineage in the formats of other projects' tools."""

from pathlib import Path

from adapter_build.lineage.built_adapter import build_of


def export(results: Path, adapter: str, form: str, target: str) -> str:
    """Write the lineage as `form` (ro_crate, openlineage, cyclonedx) to `target`; return a line that says what.

    Raises `BadInput` where the adapter was not staged, or a file is not the one that its step made.
    """
    build = build_of(results, adapter)
    # A library of one format is of no use to the others, and takes a while to import.
    if form == "ro_crate":
        from adapter_build.audit.export_rocrate import write_rocrate as write
    elif form == "openlineage":
        from adapter_build.audit.export_openlineage import send_events as write
    else:
        from adapter_build.audit.export_cyclonedx import write_bom as write
    return write(build, target)
