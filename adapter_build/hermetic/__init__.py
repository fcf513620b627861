"""Hermetic runs of declared steps: sandboxes and runtimes, action keys, the store, attestations."""
