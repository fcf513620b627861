"""The environments' images: built, asked of registries, locked by digest."""
