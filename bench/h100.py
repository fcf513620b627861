"""Ours and others' tuning of the shape of Llama-3.1-8B on one card, one after another: one table.

    python bench/h100.py PROMPTS TOKENIZER

See h100_peers.py and h100_tune.py. Before them the card's own rate, of bfloat16 products of 8,192³; the limit beside it
is that rate over 33.5 GFLOP a token: four times the weights of the layers and the head, and attention at 4,096.
"""

import datetime
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

FLOP = 33.5e9  # of a token
SIZE, PASSES = 8192, 50


def main() -> None:
    """Print card, versions, the card's rate, and a row for each way."""
    import torch

    rate = _rate()
    driver = subprocess.check_output(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], text=True
    ).strip()
    versions = ", ".join(f"{name} {version(name)}" for name in ("nemo_toolkit", "transformers", "peft", "liger-kernel"))
    print(f"{torch.cuda.get_device_name()}, driver {driver}, {datetime.date.today()}, PyTorch {torch.__version__}")
    print(f"{versions}; {rate / 1e12:.0f} TFLOP/s, which would be {rate / FLOP:.0f} tokens/s")
    print("| | tokens/s | of the limit | peak memory of the card, MiB | counted | adapter |")
    print("|---|---:|---:|---:|---:|---|", flush=True)
    for script in ("h100_peers.py", "h100_tune.py"):
        command = [sys.executable, Path(__file__).parent / script, *sys.argv[1:]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            for line in running.stdout:
                cells = [cell.strip() for cell in line.split("|")[1:-1]]
                if len(cells) > 2 and cells[1].isdigit():
                    cells.insert(2, f"{100 * int(cells[1]) * FLOP / rate:.0f} %")
                    print(f"| {' | '.join(cells)} |", flush=True)
                elif "failed" in line:
                    print(line, end="", flush=True)
        if running.returncode:
            sys.exit(f"{script} ended with {running.returncode}")


def _rate() -> float:
    """Return the card's floating-point operations a second in a product of two random matrices."""
    import torch

    left, right = (torch.randn(SIZE, SIZE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for number in range(PASSES + 10):
        if number == 10:
            begin.record()
        left @ right
    end.record()
    torch.cuda.synchronize()
    return 2 * SIZE**3 * PASSES / (begin.elapsed_time(end) / 1000)


if __name__ == "__main__":
    main()
