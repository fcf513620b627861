"""The code in a step's key: for each way to refer to code, an edit that changes the key and one that must not."""

import ast
import importlib
import re
import runpy
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_build.hermetic import source_tree
from adapter_build.hermetic.closure import closure, code_digest, code_of
from adapter_build.hermetic.effects import GUARD

Edit = tuple[str, str, str]  # file, old text, new text
S, M, N, Q = "scripts/s.py", "adapter_build/m.py", "adapter_build/n.py", "adapter_build/o.py"
P, PM, PN = "adapter_build/p/__init__.py", "adapter_build/p/m.py", "adapter_build/p/n.py"


def functions(**returned: int) -> str:
    """Return the source of functions that return these numbers."""
    return "".join(f"\ndef {name}():\n    return {value}\n" for name, value in returned.items())


def edit(file: str, *values: int) -> list[Edit]:
    """Return an edit for each of these numbers: it is another."""
    return [(file, f"{value}\n", f"{value}0\n") for value in values]


AB = functions(a=1, b=2)
CD = functions(c=3, d=4)
A = "from adapter_build.m import a\na()\n"
CLASSES = """
import json
import other

class C(json.JSONEncoder):
    x = 3

class D(other.Base):
    x = 4

class E(metaclass=type):
    x = 5

class F:
    if print():
        x = 6

class G(C):
    x = 7

class H(D):
    x = 8

class I:
    def __init_subclass__(cls):
        print(cls)

class J(I):
    x = 9
"""
WRAPPED = """
import contextlib, functools
from dataclasses import dataclass, field

@functools.lru_cache(maxsize=3)
def c():
    return 4

@dataclass(frozen=True)
class D:
    x: int = field(default=5)

    @property
    def y(self):
        return 6

    @y.setter
    def y(self, value):
        self.x = 7

@contextlib.contextmanager
def e():
    yield 8
"""
COMPUTED = """
import re

def measured():
    return 3

V = re.compile("4")
W = (1, [len("5")], {k: k for k in V.split("6")})
X = measured()
Y = [measured() for _ in "7"]
Z = max([8], key=print)
"""
LEVEL = """
import sys
if sys.platform == "linux":
    K = 3
else:
    K = 4
for one in range(5):
    print(one)
K += 6
with open("7") as file:
    print(file)
assert "8"
"""
GUARDED = f"""
from {GUARD.rpartition(".")[0]} import guard
from adapter_build.n import c

@guard
def e(x):
    c(5)

@guard
def f(x=print(6)):
    c(7)
"""
RELATIVE = "from . import n\nfrom .n import c\nfrom ..o import e\n\ndef a():\n    return c() + n.d() + e()\n"
MAIN = 'if __name__ == "__main__":\n    print(5)\n'

# Each: the files; edits that change the digest of the script S; edits that do not.
CASES: dict[str, tuple[dict[str, str], list[Edit], list[Edit]]] = {
    "imported by name": ({S: A, M: AB}, edit(M, 1), [*edit(M, 2), (M, "def b", "C = 3\n\ndef b")]),
    "under another name": ({S: "from adapter_build.m import a as b\nb()\n", M: AB}, edit(M, 1), edit(M, 2)),
    "names exchanged": (
        {S: "from adapter_build.m import a as x, b as y\nx(y)\n", M: AB},
        [(S, "a as x, b as y", "b as x, a as y")], [],
    ),
    "what a function refers to": (
        {S: A, M: "from adapter_build.n import L\nK = 5\n\ndef a():\n    return K + L + 1\n", N: "L = 7\nK = 8\n"},
        [*edit(M, 5, 1), *edit(N, 7)], edit(N, 8),
    ),
    "a class, whole": (
        {S: "from adapter_build.m import C\nC().one()\n",
         M: "class C:\n    def a():\n        return 1\n\n    def b():\n        return 2\n\nclass D:\n    x = 3\n"},
        edit(M, 1, 2), edit(M, 3),
    ),
    "a base class": (
        {S: "from adapter_build.m import D\nD()\n",
         M: "class C:\n    x = 1\n\nclass D(C):\n    y = 2\n\nclass E(C):\n    z = 3\n"},
        edit(M, 1, 2), edit(M, 3),
    ),
    "an attribute of a module": ({S: "from adapter_build import m\nm.a()\n", M: AB}, edit(M, 1), edit(M, 2)),
    "of a renamed module": ({S: "import adapter_build.m as k\nk.a()\n", M: AB}, edit(M, 1), edit(M, 2)),
    "of a module in a package": (
        {S: "import adapter_build.p.m\nadapter_build.p.m.a()\n", P: "", PM: AB, PN: "K = 3\n"},
        edit(PM, 1), [*edit(PM, 2), *edit(PN, 3)],
    ),
    "a module that is handed on": (
        {S: "from adapter_build import m\nprint(m)\n", M: f"from adapter_build.n import c\n{AB}", N: CD},
        [*edit(M, 1, 2), *edit(N, 3)], edit(N, 4),
    ),
    "getattr on a module": ({S: 'from adapter_build import m\ngetattr(m, "b")()\n', M: AB}, edit(M, 1, 2), []),
    "a package that is handed on": (
        {S: "import adapter_build.p\nprint(adapter_build.p)\n", P: "", PM: AB, M: CD}, edit(PM, 1, 2), edit(M, 3)
    ),
    "an import in a function": (
        {S: A, M: "def a():\n    from adapter_build.n import c\n    c()\n\ndef b():\n    import adapter_build.o\n",
         N: CD, Q: "print()\nK = 5\n"},
        edit(N, 3), [*edit(N, 4), (Q, "print()", "print(1)")],
    ),
    "a module imported in a function": (
        {S: "def main():\n    from adapter_build import m\n    m.a()\nmain()\n", M: AB}, edit(M, 1), edit(M, 2)
    ),
    "an import in a class": (
        {S: "class C:\n    from adapter_build.m import a\nC.a()\n", M: AB}, edit(M, 1), edit(M, 2)
    ),
    "an import that may fail": (
        {S: A, M: "try:\n    from adapter_build.n import a\nexcept ImportError:\n    a = 5\n", N: AB},
        [*edit(N, 1), *edit(M, 5)], edit(N, 2),
    ),
    "a global module": (
        {S: "from adapter_build.m import a\na()\n", N: CD,
         M: "def a():\n    return n.c()\n\ndef b():\n    global n\n    from adapter_build import n\n"},
        edit(N, 3), edit(N, 4),
    ),
    "a statement that acts": (
        {S: A, M: f"TABLE = []\n{AB}TABLE.append(b)\n\ndef c():\n    return 3\n"}, edit(M, 1, 2), edit(M, 3)
    ),
    "of a module imported for nothing": ({S: "import adapter_build.m\n", M: f"{AB}b()\n"}, edit(M, 2), edit(M, 1)),
    "of one that only another imports": (
        {S: A, M: f"from adapter_build.n import c\n{AB}\ndef e():\n    c()\n", N: f"{CD}d()\n"}, edit(N, 4), edit(N, 3)
    ),
    "the order of what acts": (
        {S: A, M: f"{AB}print(3)\nprint(4)\n"},
        [(M, "print(3)\nprint(4)", "print(4)\nprint(3)"), (M, "print(3)\n", "print(3)\nprint(3)\n")], [],
    ),
    "the order of definitions": (
        {S: "from adapter_build.m import a, b\na(b)\n", M: AB}, [], [(M, AB, functions(b=2, a=1))]
    ),
    "a variable of the process": (
        {S: A, M: f"import os\nos.environ['X'] = '3'\n{AB}"}, [(M, "'3'", "'4'")], edit(M, 2)
    ),
    "a decorator that registers": (
        {S: A, M: f"from adapter_build.n import c, d\n{AB}\n@c\ndef e():\n    return 5\n", N: CD},
        [*edit(M, 5), *edit(N, 3)], edit(N, 4),
    ),
    "decorators that only wrap": (
        {S: A, M: AB + WRAPPED},
        [(M, "maxsize=3", "maxsize=print(3)"), (M, "default=5", "default=print(5)")],
        [*edit(M, 4, 6, 7, 8), (M, "maxsize=3", "maxsize=4"), (M, "default=5", "default=6")],
    ),
    "a decorator that is called like one of those": (
        {S: A, M: f"def dataclass(c):\n    return c\n{AB}\n@dataclass\nclass C:\n    x = 3\n"}, edit(M, 3), edit(M, 2)
    ),
    "an assignment that computes": (
        {S: A, M: AB + COMPUTED},
        [*edit(M, 3), (M, '"7"', '"77"'), (M, "[8]", "[9]"), (M, "X = measured()", "X = 1")],
        [(M, '"4"', '"44"'), (M, '"5"', '"55"'), (M, '"6"', '"66"'), (M, "V =", "U = 1\nV =")],
    ),
    "a default that computes": (
        {S: A, M: f"{AB}\ndef c(x=print(3), y=4):\n    return 5\n"},
        [*edit(M, 5), (M, "(3)", "(9)")], edit(M, 2),
    ),
    "a plain default": ({S: A, M: f"{AB}\ndef c(x=4):\n    return 5\n"}, [], [*edit(M, 5), (M, "x=4", "x=9")]),
    "a class that acts": ({S: A, M: AB + CLASSES}, edit(M, 4, 5, 6, 8, 9), edit(M, 3, 7)),
    "a class that derives from one of another module": (
        {S: A, M: f"from adapter_build.n import C, D, E, F\n{AB}\n"
         + "\n".join(f"class X{base}({base}):\n    x = {3 + at}\n" for at, base in enumerate("CDEF")),
         N: "import other\nfrom adapter_build.o import G\n\nclass C(ValueError):\n    pass\n\nclass E(G):\n    pass\n"
         "\nclass D(other.Base):\n    pass\n\nclass F:\n    def __init_subclass__(cls):\n        pass\n",
         Q: "class G(Exception):\n    pass\n"},
        edit(M, 4, 6), edit(M, 3, 5),
    ),
    "a class that derives round": (
        {S: A, M: f"from adapter_build.n import C\n{AB}\nclass D(C):\n    x = 3\n",
         N: "from adapter_build.m import D\n\nclass C(D):\n    x = 4\n"},
        [*edit(M, 3), *edit(N, 4)], edit(M, 2),
    ),
    "statements of a module's level": (
        {S: A, M: LEVEL + AB},
        [*edit(M, 3, 4, 6), (M, "(5)", "(9)"), (M, '"7"', '"9"'), (M, '"8"', '"9"')], edit(M, 2),
    ),
    "a name that such a statement binds": (
        {S: "from adapter_build.m import K\nK\n", M: "from adapter_build.n import c, d\nif True:\n    K = c\n", N: CD},
        edit(N, 3), edit(N, 4),
    ),
    "a name bound twice": (
        {S: A, M: functions(a=1) + functions(a=2)},
        [*edit(M, 1, 2), (M, functions(a=1) + functions(a=2), functions(a=2) + functions(a=1))], [],
    ),
    "a global that a function sets": (
        {S: A, M: "K = 5\n\ndef a():\n    return K\n\ndef b():\n    global K\n    K = 2\n\ndef c():\n    K = 3\n"},
        edit(M, 2), edit(M, 3),
    ),
    "a local name like a function's, though it need not": (
        {S: "from adapter_build.m import a\na(0)\n", M: "def a(b):\n    return b\n\ndef b():\n    return 2\n"},
        edit(M, 2), [],
    ),
    "a comprehension's variable": (
        {S: "from adapter_build.m import K\nK\n", M: "K = [k for k in [3]]\nL = [k for k in [4]]\n"},
        [(M, "[3]", "[9]")], [(M, "[4]", "[9]")],
    ),
    "for type checkers alone": (
        {S: A, M: f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from adapter_build.n import c\n{AB}",
         N: "print(3)\nK = 4\n"},
        [(M, "import c\n", "import c\nelse:\n    print(5)\n")], [(N, "(3)", "(9)"), (M, "import c", "import c, d")],
    ),
    "__main__ of the script": ({S: functions(a=1) + MAIN}, [(S, "(5)", "(6)")], []),
    "__main__ of another module": ({S: A, M: AB + MAIN}, [(M, "5)\n", "5)\nelse:\n    a()\n")], [(M, "(5)", "(6)")]),
    "a name that the script itself does not use": ({S: functions(a=1)}, edit(S, 1), []),
    "re-exported by a module": ({S: A, M: "from adapter_build.n import a, b\n", N: AB}, edit(N, 1), edit(N, 2)),
    "re-exported by a package": (
        {S: "from adapter_build.p import a\na()\n", P: "from .m import a, b\n", PM: AB}, edit(PM, 1), edit(PM, 2)
    ),
    "the __init__ of a package": (
        {S: "from adapter_build.p.m import a\na()\n", P: "K = 3\nprint(4)\n", PM: AB}, [(P, "(4)", "(5)")], edit(P, 3)
    ),
    "relative imports": (
        {S: "from adapter_build.p.m import a\na()\n", PM: RELATIVE, PN: CD + functions(f=6), Q: functions(e=5, g=7)},
        [*edit(PN, 3, 4), *edit(Q, 5)], [*edit(PN, 6), *edit(Q, 7)],
    ),
    "a star": (
        {S: A, M: "from adapter_build.n import *\n", N: f"__all__ = ['a']\n{AB}"},
        [*edit(N, 1, 2), (N, "['a']", "['a', 'b']")], [],
    ),
    "a star in the script": ({S: "from adapter_build.m import *\na()\n", M: AB}, edit(M, 1, 2), []),
    "a list of names that nothing reads": ({S: A, M: f"__all__ = ['a']\n{AB}"}, [], [(M, "['a']", "['a', 'b']")]),
    "a module's __getattr__": (
        {S: "from adapter_build import m\nm.any\n", M: f"{AB}\ndef __getattr__(name):\n    return 3\n"},
        edit(M, 2, 3), [],
    ),
    "what Python gives a module": ({S: "from adapter_build import m\nm.__file__\n", M: AB}, [], edit(M, 1, 2)),
    "globals()": ({S: A, M: "def a():\n    return globals()['b']()\n\ndef b():\n    return 2\n"}, edit(M, 2), []),
    "its module among all": (
        {S: A, M: "import sys\n\ndef a():\n    return sys.modules[__name__].b()\n\ndef b():\n    return 2\n"},
        edit(M, 2), [],
    ),
    "a module that is started": (
        {S: "run('-m', 'adapter_build.m')\n", M: f"from adapter_build.n import c\n{AB}{MAIN}\nc()\n", N: CD},
        [*edit(M, 1, 2), (M, "(5)", "(6)"), *edit(N, 3)], edit(N, 4),
    ),
    "a class that a program is told of": (
        {S: "run('adapter_build.m.C')\n", M: "from adapter_build.n import C\n",
         N: "class C:\n    x = 3\n\nclass D:\n    x = 4\n"},
        edit(N, 3), edit(N, 4),
    ),
    "a string that is no module's": (
        {S: "print('adapter_build.nothing', 'adapter_build.m.c', 'other.m', 'see adapter_build.m')\n", M: AB},
        [], edit(M, 1, 2),
    ),
    "a module named in a function": (
        {S: A, M: f"{AB}\ndef c():\n    run('adapter_build.n')\n\ndef e():\n    run('adapter_build.o')\na(c)\n",
         N: "print(3)\n", Q: "print(4)\n"},
        [(N, "(3)", "(9)")], [(Q, "(4)", "(9)")],
    ),
    "packages of others": (
        {S: A, M: f"import json\nimport one\nimport two\n{AB}"},
        [(M, "import two\n", ""), (M, "one\nimport two", "two\nimport one"), (M, "json", "three")],
        [(M, "json", "json, csv"), (M, "import json\n", "")],
    ),
    "modules of ours whose import does nothing": (
        {S: A, M: f"from adapter_build import n\n{AB}", N: "K = 3\n", Q: "import adapter_build.p\n", P: "import one\n"},
        [(M, "import n", "import n, o"), (N, "K = 3", "import one")],
        [(M, "from adapter_build import n\n", ""), (N, "K = 3", "import csv")],
    ),
    "the order of modules of ours that act": (
        {S: A, M: f"import adapter_build.n\nimport adapter_build.o\n{AB}", N: "print(3)\n", Q: "print(4)\n"},
        [(M, "n\nimport adapter_build.o", "o\nimport adapter_build.n")], [],
    ),
    "the order of those that do not": (
        {S: A, M: f"import adapter_build.n\nimport adapter_build.o\n{AB}", N: "K = 3\n", Q: "import csv\n"},
        [], [(M, "n\nimport adapter_build.o", "o\nimport adapter_build.n")],
    ),
    "modules that import each other": (
        {S: A, M: f"from adapter_build import n\n{AB}", N: "from adapter_build.m import b\n\ndef c():\n    return 3\n"},
        edit(M, 1), [*edit(M, 2), *edit(N, 3)],
    ),
    "a name that is imported round": (
        {S: A, M: "from adapter_build.n import a\n", N: "from adapter_build.m import a\nprint(1)\n"},
        [(N, "(1)", "(2)")], [],
    ),
    "from the future": ({S: A, M: f"from __future__ import annotations\n{AB}"}, [(M, "annotations", "division")], []),
    "a guard": (
        {S: "from adapter_build.m import e\ne(1)\n", M: GUARDED, N: f"{CD}print()\n"},
        [(S, "e(1)", "e(2)"), (M, "@guard\ndef e", "def e"), (N, "print()", "print(1)"), (M, "(6)", "(9)"),
         (M, "c(7)", "c(8)")],
        [(M, "c(5)", "c(9)"), (N, "return 4", "return 9")],
    ),
    "what only a guard uses": (
        {S: "from adapter_build.m import e\ne(1)\n", M: GUARDED.partition("@guard\ndef f")[0], N: CD},
        [], [*edit(N, 3), *edit(N, 4), (M, "c(5)", "pass")],
    ),
    "what is only called guard": (
        {S: "from adapter_build.m import e\ne()\n", M: f"def guard(f):\n    return f\n\n@guard{functions(e=3)}"},
        edit(M, 3), [],
    ),
}  # fmt: skip


def tree(folder: Path, files: dict[str, str]) -> Path:
    """Write a checkout of these files and return its script."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / S


def replaced(text: str, old: str, new: str) -> str:
    """Return a program with one place edited, which is a program still."""
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    ast.parse(text.replace(old, new))
    return text.replace(old, new)


@pytest.mark.parametrize("case", CASES)
def test_what_counts(tmp_path: Path, case: str) -> None:
    files, changing, keeping = CASES[case]
    script = tree(tmp_path, files)
    before = code_digest(script, tmp_path)
    for edits, same in ((changing, False), (keeping, True)):
        for name, old, new in edits:
            (tmp_path / name).write_text(replaced(files[name], old, new))
            assert (code_digest(script, tmp_path) == before) is same, (name, old, new)
            (tmp_path / name).write_text(files[name])
    assert code_digest(script, tmp_path) == before


# Each beside `FIRST`: how it was written, and whether it does the same written so.
FIRST = '"""Says."""\nimport os\n\ndef one(x):\n    """Return one."""\n    return f"{x}" + "1"\n'
READS = {name: f"{FIRST}print({name})\n" for name in ("__doc__", "one.__doc__", 'getattr(one, "__doc__")')}
GETDOC = f"import inspect\n{FIRST}print(inspect.getdoc(one))\n"
REWRITTEN = [
    (FIRST, FIRST.replace("import os", "import os  # for one"), True),
    (FIRST, FIRST.replace("\n\n", "\n\n\n\n"), True),
    (FIRST, FIRST.replace('"1"', "('1')"), True),
    (FIRST, FIRST.replace("Return one.", "Give one.").replace("Says.", "Tells."), True),
    (FIRST, FIRST.replace('    """Return one."""\n', ""), True),
    (FIRST, FIRST.replace('"1"', '"2"'), False),
    (FIRST, FIRST.replace("def one(x)", "def one(x: int)"), False),
    (FIRST, FIRST.replace("return", "return None;"), False),
    (FIRST, FIRST.replace('    """Return one."""\n', '    """Return one."""\n    """Two."""\n'), False),
    # What is read counts: by the module's own name for it, as argparse is given it, or as any function's.
    (READS["__doc__"], READS["__doc__"].replace("Says.", "Tells."), False),
    (READS["__doc__"], READS["__doc__"].replace("Return one.", "Give one."), True),
    (READS["one.__doc__"], READS["one.__doc__"].replace("Return one.", "Give one."), False),
    (READS['getattr(one, "__doc__")'], READS['getattr(one, "__doc__")'].replace("one.", "1."), False),
    (GETDOC, GETDOC.replace("Return one.", "Give one."), False),
]


@pytest.mark.parametrize(("before", "after", "same"), REWRITTEN)
def test_code_is_what_it_does(tmp_path: Path, before: str, after: str, same: bool) -> None:
    assert before != after
    digest = code_digest(tree(tmp_path, {S: before}), tmp_path)
    assert (code_digest(tree(tmp_path, {S: after}), tmp_path) == digest) is same


@pytest.mark.parametrize(
    ("script", "same"),
    [("from adapter_build import m\nprint(m.__doc__)\n", False), ("from adapter_build import m\nm.a()\n", True)],
)
def test_a_docstring_that_another_module_reads_counts(tmp_path: Path, script: str, same: bool) -> None:
    one, two = (
        code_digest(tree(tmp_path, {S: script, M: f'"""{said}"""\n{AB}'}), tmp_path) for said in ("One.", "Two.")
    )
    assert (one == two) is same


def test_the_closure_is_of_files(tmp_path: Path) -> None:
    """Modules that a guard or an unused function imports must be there when it runs, though they are in no key."""
    script = tree(
        tmp_path,
        {S: "from adapter_build.m import e\ne(1)\n", M: f"{GUARDED}\ndef g():\n    import adapter_build.p.m\n",
         N: "def c():\n    run('adapter_build.o.C')\n", Q: "", P: "", PM: "import scripts\nimport one\n", PN: AB},
    )  # fmt: skip
    found = closure(script, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == sorted([S, M, N, Q, P, PM])
    assert set(code_of(script, tmp_path)) == set(found)
    assert [path.name for path, code in code_of(script, tmp_path).items() if code.parts] == ["m.py", "n.py", "s.py"]


WAYS = {  # to refer to the function {n} of the module {j}: what is imported, and the call
    "name": ("from lib.m{j} import {n} as {n}{j}", "{n}{j}()"),
    "attribute": ("from lib import m{j}", "m{j}.{n}()"),
    "renamed": ("import lib.m{j} as k{j}", "k{j}.{n}()"),
    "dotted": ("import lib.m{j}", "lib.m{j}.{n}()"),
    "asked": ("from lib import m{j}", "getattr(m{j}, '{n}')()"),
    "table": ("from lib.m{j} import TABLE as t{j}", "sum(t{j})"),
    "constant": ("from lib.m{j} import K{n} as k{n}{j}", "k{n}{j}"),
}
ACTS = ("TABLE.append({n}())", "K{n} += {k}", "if K{n}:\n    K{n} = {k}", "TABLE[:] = [K{n}]", "L{n} = K{n} + {n}()")


@st.composite
def programs(draw: st.DrawFn) -> dict[str, str]:
    """Return the files of a program, whose script prints nothing and leaves RESULT; no two of its numbers are alike."""
    numbers = iter(range(10_000, 20_000))
    count = draw(st.integers(1, 3))
    files = {}
    for index in range(count):
        imports, body = set(), ["TABLE = []"]
        for name, later in (("a", "bc"), ("b", "c"), ("c", "")):
            inside, terms = [], [str(next(numbers))]
            for _ in range(draw(st.integers(0, 2))):
                if index + 1 < count and draw(st.booleans()):
                    there = {"j": draw(st.integers(index + 1, count - 1)), "n": draw(st.sampled_from("abc"))}
                    imported, call = (text.format(**there) for text in draw(st.sampled_from(sorted(WAYS.values()))))
                    inside += [imported] if draw(st.booleans()) else imports.add(imported) or []
                    terms.append(call)
                else:
                    terms.append(f"{draw(st.sampled_from(later))}()" if later and draw(st.booleans()) else f"K{name}")
            lines = [*inside, f"return {' + '.join(terms)}"]
            body += [f"K{name} = {next(numbers)}", f"def {name}():", *(f"    {line}" for line in lines)]
        acts = draw(st.lists(st.tuples(st.sampled_from(ACTS), st.sampled_from("abc")), max_size=2))
        body += [act.format(n=name, k=next(numbers)) for act, name in acts]
        files[f"lib/m{index}.py"] = "\n".join([*sorted(imports), *body]) + "\n"
    imported, call = (text.format(j=0, n="a") for text in draw(st.sampled_from(sorted(WAYS.values()))))
    return {**files, S: f"{imported}\nRESULT = {call}\n"}


def result_of(script: Path) -> object:
    """Run a program's script anew and return its result."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "lib"]:
        del sys.modules[name]
    with mock.patch.object(sys, "path", [str(script.parents[1]), *sys.path]):
        importlib.invalidate_caches()
        return runpy.run_path(str(script))["RESULT"]


@settings(max_examples=60, deadline=None)
@given(programs())
def test_what_is_left_out_decides_nothing(files: dict[str, str]) -> None:
    """Whichever number of a program is edited: where the digest stays, so does what the program computes."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(source_tree, "PACKAGE", "lib"),
        mock.patch.object(sys, "dont_write_bytecode", True),
    ):
        script = tree(Path(folder), files)
        digest, result = code_digest(script, Path(folder)), result_of(script)
        for name, text in files.items():
            for number in re.findall(r"\d{5}", text):
                (Path(folder) / name).write_text(text.replace(number, f"9{number}"))
                if code_digest(script, Path(folder)) == digest:
                    assert result_of(script) == result, (name, number)
            (Path(folder) / name).write_text(text)
