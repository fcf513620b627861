"""The NIM container: its settings, versions, start, faults and end."""
