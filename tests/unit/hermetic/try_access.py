"""Print what the kernel says of each path on stdin."""

import os
import sys

for line in sys.stdin:
    bits, path = line.rstrip("\n").split(" ", 1)
    print(int(os.access(path, int(bits))))
