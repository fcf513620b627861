"""Ground that everything stands on: faults, files, digests, processes, progress. Leans on nothing of ours."""
