"""Answers of base and adapter, and their scores."""
