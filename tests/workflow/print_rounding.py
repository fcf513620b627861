"""Print by how much rounding weights to FP8 changes the base's loss: our layers, and every layer."""

import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from rounded_layers import Loss

from adapter_build.kernels.packing import rounded_layers

nemo, prompts = map(Path, sys.argv[2:])
loss = Loss(nemo, prompts, 24)
full = loss.of(range)
print(*(loss.of(layers, products="fp8") / full - 1 for layers in (rounded_layers, range)))
