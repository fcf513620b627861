"""Answers of an audit: what an adapter was made of, and whether it still is that."""
