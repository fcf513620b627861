"""Images of the environments: built, resolved at registries, locked by digest."""
