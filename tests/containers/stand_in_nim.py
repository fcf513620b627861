"""A stand-in for NIM inside a container: it wants what NIM wants, serves NIM's paths, and fails in NIM's ways.

It is a Python of the test machine's own and this file. STAND_IN, set in the image, names what goes wrong; the lines it
prints then are those that NIM and its engine print.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FAULT = os.environ.get("STAND_IN", "")
STORE, CACHE = Path(os.environ["NIM_PEFT_SOURCE"]), Path(os.environ["NIM_CACHE_PATH"])
BASE = os.environ["NIM_SERVED_MODEL_NAME"]
SAID = {  # what goes wrong → the log's last lines; the container then ends
    "memory": ["INFO Selected profile: vllm-bf16-tp1-pp1-feat_lora",
               "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 14.96 GiB. GPU 0 has 3.1 GiB free."],
    "profile": ["INFO Running NIM with LoRA enabled. Only looking for compatible profiles that support LoRA.",
                "INFO Detected 0 compatible profile(s).", "ERROR Could not match a profile in manifest"],
    "driver": ["WARNING: The NVIDIA Driver was not detected.  GPU functionality will not be available."],
    "key": ["ERROR nim_sdk::hub::repo: 403 Forbidden from api.ngc.nvidia.com"],
    "rank": ["ValueError: LoRA rank 64 is greater than max_lora_rank 32."],
    "quiet": [],
}  # fmt: skip


def adapters() -> list[str]:
    """Return the adapters of the store, as NIM looks for them."""
    found = sorted(path.parent.name for path in STORE.glob("*/adapter_config.json"))
    return found[1:] if FAULT == "refused" else found


class Nim(BaseHTTPRequestHandler):
    """NIM's paths; a body with a key that is not known is refused, as 1.x does."""

    def do_GET(self) -> None:
        """Health, models, metadata."""
        if self.path == "/v1/models":
            models = [{"id": BASE, "root": BASE, "parent": None}]
            self.answer(200, {"data": models + [{"id": name, "root": BASE, "parent": None} for name in adapters()]})
        elif self.path == "/v1/metadata":
            self.answer(200, {"version": "2.0.6"})
        else:
            self.answer(503 if FAULT == "slow" else 200, {"message": self.path})

    def do_POST(self) -> None:
        """Completions."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "return_token_ids" in body:
            self.answer(400, {"message": "return_token_ids: Extra inputs are not permitted"})
        elif FAULT == "dies":
            print("RuntimeError: Engine core died", flush=True)
            os._exit(7)
        else:
            text = " A base's title" if body["model"] == BASE else f" A title by {body['model']}"
            self.answer(200, {"choices": [{"text": text, "finish_reason": "stop"}]})

    def answer(self, status: int, body: dict) -> None:
        """Answer in JSON."""
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def what_nim_wants() -> None:
    """End unless the container has all that the tutorial gives NIM, and no more power than it needs."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    assert os.getuid() == 1000 and int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1", status
    assert os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize == 16 * 2**30
    assert int(os.environ["NIM_PEFT_REFRESH_INTERVAL"]) > 0
    assert "--max-lora-rank" in os.environ.get("NIM_PASSTHROUGH_ARGS", "") or os.environ.get("NIM_MAX_LORA_RANK")
    try:
        (STORE / "note").write_text("x")
    except OSError:
        pass
    else:
        raise AssertionError("the model store is writable")
    Path("/tmp/compiled").write_text("x")
    if FAULT == "writes":
        Path("/opt/engine/file").write_text("x")
    else:
        assert os.statvfs("/").f_flag & os.ST_RDONLY, "the container can be written to"
    (CACHE / "weights").mkdir(exist_ok=True)
    (CACHE / "weights" / "file").write_text("x")


if __name__ == "__main__":
    print(f"NIM with key {os.environ['NGC_API_KEY']}", flush=True)  # no NIM does; what is shown must not hold it
    try:
        what_nim_wants()
    except OSError as error:
        sys.exit(f"ERROR {error}")
    if FAULT in SAID:
        print("\n".join(SAID[FAULT]), file=sys.stderr, flush=True)
        sys.exit(0 if FAULT == "quiet" else 1)
    time.sleep(0.5)
    ThreadingHTTPServer(("", int(os.environ["NIM_SERVER_PORT"])), Nim).serve_forever()
