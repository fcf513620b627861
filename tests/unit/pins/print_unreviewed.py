"""Print which advisories the tracked review lacks, and which of its exceptions no lock needs."""

from adapter_build.pins import advisories

locks = advisories.read_locks()
_, digests, exceptions = advisories.read_review()
print([*advisories.unreviewed(digests), *advisories.stale_exceptions(exceptions, locks)])
