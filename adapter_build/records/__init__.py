"""Raw and curated records: readers, their lock, the filters of curation, the ledger."""
