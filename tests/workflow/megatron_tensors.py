"""Write the tensors of a Megatron .nemo adapter to a safetensors file."""

import io
import sys
import tarfile

import torch
from safetensors.torch import save_file

with tarfile.open(sys.argv[1]) as archive:
    content = archive.extractfile("./model_weights.ckpt").read()
found = torch.load(io.BytesIO(content), weights_only=True)
save_file({name: tensor.float() for name, tensor in found.items()}, sys.argv[2])
