"""Load the modules named once; fork a process for each script asked for on stdin.

A process ends as Python ends one, but leaves its heap to the kernel: to take NeMo's apart costs three seconds.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import sys
import tempfile
import threading

for name in sys.argv[1:]:
    importlib.import_module(name)
gc.freeze()
answers = os.fdopen(os.dup(1), "w")
print("ready", file=answers, flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
else:
    sys.exit()
os.close(answers.fileno())
for number, path in ((0, os.devnull), (1, asked["stdout"]), (2, asked["stderr"])):
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    os.dup2(handle, number)
    os.close(handle)
os.chdir(asked["cwd"])
os.environ.clear()
os.environ.update(asked["env"])
tempfile.tempdir = None
sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
sys.argv = asked["argv"]
sys.path[:1] = asked["path"]
with contextlib.suppress(ImportError):
    from sitecustomize import measure  # tests/measured, of `make coverage`

    measure()
code: object = 1
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
    code = 0
except SystemExit as ended:
    code = ended.code or 0
except BaseException:
    sys.excepthook(*sys.exc_info())
threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue] - as Python ends a process
atexit._run_exitfuncs()
if not isinstance(code, int):
    print(code, file=sys.stderr)
for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
os._exit(code if isinstance(code, int) else 1)
