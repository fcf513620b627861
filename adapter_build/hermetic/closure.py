"""The files of ours that a script may import, and the digest of what it uses of them.

A step must run again when its script, or anything that the script computes with, does something else; a comment, or an
edit of a neighbour in the same module, must not make it run. A digest of whole files cannot tell these apart, so that
each boundary of a module is a trap: a helper put into the wrong file retrains an adapter. A record of the lines that
ran could, but it depends on the data, and the key must be known before anything runs. So the digest follows names: from
each statement of the script to the definitions that it refers to, and on from these.

        scripts/tune.py                   core/jsonl.py                         core/numbers.py
        ────────────────────────────      ──────────────────────────────────    ───────────────────────
      ● from core.jsonl import write    ● from core.numbers import rounded    ● def rounded(x): … ◀─┐
      ● def main(): write(…) ─────────▶ ● def write(…): rounded(…) ─────────────────────────────────┘
      ● main()                          ○ def read(…): …                      ○ def mean(values): …
                                        ○ # a comment                         ● decimal.setcontext(…)
                                        ○ if __name__ == "__main__": …

        ● in the key    ○ in no key

Three rules make it safe to leave the rest out:

1.  All of the script counts. Of another module, a definition counts once a statement that counts refers to its name,
    by import (`from core.jsonl import write`) or as an attribute of a module (`jsonl.write`). A module that is used in
    any other way (passed on, read with getattr or globals()) counts whole, and so does one that a string names,
    `"adapter_build.serving.vllm_server"`: Python or another program starts it.
2.  Importing a module executes it. Of every module that is imported, used or not, the statements that act
    (hermetic/effects.py) count, as `decimal.setcontext(…)` does, and with them the packages of others that it imports,
    in their order: importing one may change what another computes.
3.  In doubt more counts: a function whose name is also that of a local variable, every statement that binds a name
    bound twice, the whole module for an attribute that it does not define.

A guard (core/faults.py) ends the walk: it refuses or does nothing, and no byte of a result depends on how. Comments,
blanks and line numbers are in no syntax tree. Docstrings are left out unless code reads them: argparse prints
`__doc__`, so there it counts.

Nothing is imported for all this, syntax trees suffice: a machine that lacks a step's packages computes the same digest.
What they cannot show, a module by a computed name or code in a string, tests/unit/hermetic/test_step_keys.py forbids.
The attestation records beside it, byte for byte, what ran.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapter_build import ROOT
from adapter_build.core.digests import combine
from adapter_build.hermetic.effects import inherits
from adapter_build.hermetic.source_tree import SourceTree, may_name_ours, prefixes
from adapter_build.hermetic.statements import Import, Module, Statement

SHORT = 12  # digits
GIVEN = frozenset({"__doc__", "__file__", "__name__", "__package__", "__path__", "__spec__"})  # to a module by Python


@dataclass(frozen=True)
class Code:
    """The share of one file in a script's code: the sha256 of it all and, to tell what changed, by the label of each
    part, such as a function's name, the beginning of a sha256.
    """

    digest: str
    parts: dict[str, str]


def closure(script: str | Path, root: Path = ROOT) -> list[Path]:
    """Return the script and every file of ours that it may import or start, directly or not, sorted by path.

    `root` is the checkout. Files count whole here: guards, and what only a function imports, included.
    """
    tree = SourceTree(root)
    found: dict[Path, None] = {}
    waiting = [tree.of_script(script)]
    while waiting:
        module = tree.module(waiting.pop())
        path = tree.paths.get(module.name) if module else None
        if module and path and path not in found:
            found[path] = None
            named = [*module.imports, *filter(may_name_ours, module.strings)]
            waiting += [part for name in named for part in prefixes(name)]
    return sorted(found)


def code_digest(script: str | Path, root: Path = ROOT) -> str:
    """Return the `h1:` digest of what a script does, by the paths of the files that it uses, relative to `root`."""
    used = _walk(script, root).code()
    return combine({path.relative_to(root.resolve()).as_posix(): code.digest for path, code in used if code.parts})


def code_of(script: str | Path, root: Path = ROOT) -> dict[Path, Code]:
    """Return what a script uses of each file of its closure; of a file that is imported for nothing, no part.

    All docstrings count if code that counts reads some that need not be its module's own.
    """
    return {path: _code([]) for path in closure(script, root)} | dict(_walk(script, root).code())


def shares(script: str | Path, root: Path = ROOT) -> dict[Path, tuple[int, int]]:
    """Return, of each file that a script imports, how many statements are in its key and how many there are.

    Those of imports are not counted, and guards are not in the key.
    """
    walk = _walk(script, root)
    found: dict[Path, tuple[int, int]] = {}
    for name, module in walk.executed.items():
        if name in walk.tree.paths:
            own = [one for one in module.statements if not (one.alias or one.loads or one.label == "__doc__")]
            used = [one for one in own if one in walk.counted and not one.guard]
            found[walk.tree.paths[name]] = len(used), len(own)
    return found


class _Walk:
    """The statements that a script leads to: `counted` of each module, by name, that is `executed`."""

    def __init__(self, script: str | Path, root: Path, documented: bool) -> None:
        self.tree = SourceTree(root, documented)
        self.executed: dict[str, Module] = {}
        self.counted: set[Statement] = set()
        self.reads_docs = False
        self._whole: set[tuple[str, bool]] = set()
        self._referred: set[tuple[str, tuple[str, ...]]] = set()
        self._waiting: list[tuple[str, Statement]] = []
        self.whole(self.tree.of_script(script), started=True)
        while self._waiting:
            self.follow(*self._waiting.pop())

    def code(self) -> Iterator[tuple[Path, Code]]:
        """Yield what counts of each file that is executed."""
        acting = self.acting()
        for name, module in self.executed.items():
            entries = list(self.entries(module, acting))
            if not module.ordered:  # but for imports, whose order always matters
                entries.sort(key=lambda entry: (False,) if entry[0].startswith("import ") else (True, *entry))
            if name in self.tree.paths:
                yield self.tree.paths[name], _code(entries)

    def entries(self, module: Module, acting: set[str]) -> Iterator[tuple[str, str]]:
        """Yield (label, digest) of what counts of a module, in its order; of ours that it imports, each once."""
        loaded: set[str] = set()
        for one in module.statements:
            if one in self.counted or self.foreign(one):
                yield one.label, one.digest
            elif one.loads:
                ours = [part for part in prefixes(one.loads) if part in acting][-1:]
                yield from ((f"import {part}", part) for part in ours if part not in loaded)
                loaded.update(ours)

    def acting(self) -> set[str]:
        """Return the names of the modules of ours whose import has an effect, their own or that of one they import."""
        found: set[str] = set()
        before = -1
        while len(found) != before:
            before = len(found)
            for name, module in self.executed.items():
                if any(
                    self.acts(one) or self.foreign(one) or (one.loads and not found.isdisjoint(prefixes(one.loads)))
                    for one in module.statements
                ):
                    found.add(name)
        return found

    def acts(self, statement: Statement, seen: frozenset[str] = frozenset()) -> bool:
        """Tell whether a statement has an effect when its module is imported."""
        return statement.acts or not all(base not in seen and self.plain(base, seen) for base in statement.bases)

    def plain(self, base: str, seen: frozenset[str]) -> bool:
        """Tell whether a name is a class of ours from which one can derive without an effect."""
        module, _, name = base.rpartition(".")
        found = self.tree.module(module)
        statements = found.names.get(name, []) if found else []
        return len(statements) == 1 and inherits(statements[0].node) and not self.acts(statements[0], seen | {base})

    def foreign(self, statement: Statement) -> bool:
        """Tell whether a statement executes a package that is neither ours nor Python's own."""
        top = statement.loads.partition(".")[0]
        return bool(top) and top not in sys.stdlib_module_names and self.tree.module(top) is None

    def count(self, statement: Statement, name: str) -> None:
        """Let a statement of the module `name` count, and follow it; a guard's is not followed."""
        if statement not in self.counted:
            self.counted.add(statement)
            if not statement.guard:
                self._waiting.append((name, statement))

    def follow(self, name: str, statement: Statement) -> None:
        """Let all count that a statement of the module `name` refers to."""
        self.reads_docs |= statement.reads_docs
        for found in statement.imports:
            self.execute(found.loads)
        for chain in statement.chains:
            for found in statement.imports:
                if found.name == chain[0]:
                    self.imported(found, chain[1:])
            self.refer(name, chain)
        for text in filter(may_name_ours, statement.strings):
            self.start(text)
        if statement.opaque:
            self.whole(name)

    def execute(self, name: str) -> None:
        """Import a module of ours, and the packages that it is in: what acts there counts."""
        for part in prefixes(name):
            module = self.tree.module(part)
            if module is None or part in self.executed:
                continue
            self.executed[part] = module
            for statement in module.statements:
                if self.acts(statement):
                    self.count(statement, part)
                if statement.loads:
                    self.execute(statement.loads)

    def refer(self, name: str, chain: tuple[str, ...]) -> None:
        """Let all count that binds a name in a module, and what of it is reached by the attributes that follow."""
        if (name, chain) in self._referred:
            return
        self._referred.add((name, chain))
        names = self.executed[name].names
        for statement in names.get(chain[0]) or names.get("*", ()):
            self.count(statement, name)
            for found in statement.imports:
                if found.name in (chain[0], "*"):
                    self.imported(found, chain[1:])

    def imported(self, found: Import, attributes: tuple[str, ...]) -> None:
        """Let all count that is reached by attributes of an imported name."""
        if found.member == "*":
            self.whole(found.module)
        else:
            self.attribute(found.module, attributes if found.member is None else (found.member, *attributes))

    def attribute(self, name: str, attributes: tuple[str, ...]) -> None:
        """Let all count that attributes of a module lead to; all of the module where none or an unknown one is read."""
        module = self.tree.module(name)
        if module is None:
            return
        self.execute(name)
        if not attributes:
            self.whole(name)
            return
        first, *rest = attributes
        if first in module.names:
            self.refer(name, attributes)
        if self.tree.module(f"{name}.{first}"):
            self.execute(f"{name}.{first}")
            self.attribute(f"{name}.{first}", tuple(rest))
        elif first not in module.names and first not in GIVEN:
            self.whole(name)

    def whole(self, name: str, started: bool = False) -> None:
        """Let all of a module count; where it is not just `started`, all that it imports by name, too."""
        module = self.tree.module(name)
        if module is None or (name, started) in self._whole:
            return
        self._whole.add((name, started))
        self.execute(name)
        for statement in module.statements:
            if statement.loads or (statement.main and not started) or statement.label == "__doc__":
                continue
            if statement.alias and started:
                continue  # it counts where a statement refers to it
            self.count(statement, name)
            for found in statement.imports if statement.alias else ():
                self.imported(found, ())
        if not started:
            for part in self.tree.submodules(name):
                self.whole(part)

    def start(self, text: str) -> None:
        """Let the module that a string names count whole, and what the string names in it."""
        name = next((part for part in reversed(prefixes(text)) if self.tree.module(part)), "")
        module, rest = self.tree.module(name), text[len(name) + 1 :].split(".")
        if module and (name == text or not {rest[0], "*", "__getattr__"}.isdisjoint(module.names)):
            self.whole(name, started=True)
            if name != text:
                self.attribute(name, tuple(rest))


def _walk(script: str | Path, root: Path) -> _Walk:
    walk = _Walk(script, root, documented=False)
    return _Walk(script, root, documented=True) if walk.reads_docs else walk


def _code(entries: Sequence[tuple[str, str]]) -> Code:
    parts: dict[str, str] = {}
    for label, digest in entries:
        parts[label] = f"{parts.get(label, '')}{digest}"
    return Code(_sha256(json.dumps(entries)), {label: _sha256(digests)[:SHORT] for label, digests in parts.items()})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
