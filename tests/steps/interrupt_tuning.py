"""Run tunings one after the other, each with what befalls it, and print their exit codes."""

import itertools
import json
import os
import signal
import sys
from pathlib import Path

import tune_adapter
from adapter_build.core import faults
from adapter_build.tuning import nemo_tuning  # noqa: F401 - loaded once, before the forks
from adapter_build.tuning.recorder import Recorder


def at(owner, name, number, act):
    whole, count = getattr(owner, name), itertools.count(1)

    def counting(*arguments):
        if owner is Recorder:
            whole(*arguments)
        if next(count) == number:
            act(*arguments)
        if owner is os:
            whole(*arguments)

    setattr(owner, name, counting)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_the_middle(handle):
    if Path(f"/proc/self/fd/{handle}").is_file():
        os.ftruncate(handle, os.fstat(handle).st_size // 2)
    die()


def befall(what, number, kept):
    state = kept / "state"
    if what == "flipped":
        content = state.read_bytes()
        state.write_bytes(content[:number] + bytes([content[number] ^ 1]) + content[number + 1 :])
    elif what == "cut":
        os.truncate(state, state.stat().st_size - number)
    elif what == "full":

        def fill(*_):
            with open(kept / "filler", "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(512))
                except OSError as error:
                    assert error.strerror == "No space left on device"

        at(Recorder, "on_train_batch_end", number, fill)
    elif what == "fsync":
        at(os, what, number, die_in_the_middle)
    else:
        at(Recorder, what, number, die)


def child(options, events, rank, log):
    os.dup2(os.open(log, os.O_CREAT | os.O_WRONLY), 1)
    os.environ["SLURM_PROCID"] = str(rank)
    sys.argv = ["tune_adapter.py", *options]
    for what, number in events.items():
        befall(what, number, Path(options[options.index("--resume") + 1]))
    faults.run(tune_adapter.main)


codes = []
for options, events, ranks, log in json.loads(sys.argv[1]):
    alive = set()
    for rank in range(ranks):
        if pid := os.fork():
            alive.add(pid)
            continue
        code = 1
        try:
            child(options, events if rank == ranks - 1 else {}, rank, f"{log}.{rank}")
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    found = []
    while alive:
        pid, status = os.wait()
        alive.remove(pid)
        found.append(os.waitstatus_to_exitcode(status))
        for other in alive if status else ():  # as srun does
            os.kill(other, signal.SIGKILL)
    codes.append(found[0])
    Path(os.environ["TMPDIR"], "peers").unlink(missing_ok=True)
print(json.dumps(codes))
