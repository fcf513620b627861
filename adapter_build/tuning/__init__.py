"""Tuning with NeMo: batches, metrics, resume state, several nodes, memory."""
