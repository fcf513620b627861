"""Pages of docs/ that are written from the tree: packages, configuration, modules in action keys."""
