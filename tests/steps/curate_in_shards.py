"""Curate with partitions of another size, the first argument; the rest is curate_split.py's command line."""

import sys

import curate_split

curate_split.PARTITION = int(sys.argv.pop(1))
curate_split.main()
