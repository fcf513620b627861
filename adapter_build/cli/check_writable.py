"""Check that this user can build in this checkout: Snakemake ends without a word where it cannot write.

python -m adapter_build.cli.check_writable
"""

from adapter_build.core.faults import run
from adapter_build.workflow.writable_checkout import check_writable

if __name__ == "__main__":
    run(check_writable)
