"""Commands that make calls."""
