"""The lineage of a build, read from its attestations, and the bundle that travels with an adapter."""
