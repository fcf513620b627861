"""Tuning with the programs of NeMo 24.07's own container."""
