"""The questions of `make audit`: verify, show, records, why, diff, rebuild, export, key."""
