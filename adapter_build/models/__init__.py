"""Base models and adapters as files: their formats, checks, tokens and settings."""
