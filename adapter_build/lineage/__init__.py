"""The lineage of a build, read from its attestations, and what travels with an adapter."""
