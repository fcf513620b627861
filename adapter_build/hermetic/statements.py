"""A module's top-level statements: the names that each binds and refers to, and whether importing the module acts.

Of a statement that binds a name and does nothing else (`def`, `class`, an assignment of a plain value) only code that
refers to this name depends. Every other statement *acts* when its module is imported (hermetic/effects.py).
"""

import ast
import functools
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adapter_build.hermetic.effects import FUNCTIONS, GUARD, Effects, children

DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
IMPORTS = (ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Import:
    """A name bound by an import, to a module or to its `member`. `loads` is the dotted name that importing executes.

    `member` is `*` for all names of the module; `name` is then `*`, too.
    """

    name: str
    module: str
    member: str | None
    loads: str


@dataclass(frozen=True, eq=False)
class Statement:
    """One statement; an import is one for what it executes (`loads`) and one for each name that it binds.

    `acts`: it has an effect when its module is imported. `bases`: classes of other modules, by their dotted names, from
    which it derives; to derive from one may have an effect. `main`: it runs only in a module that is started. `guard`:
    a function that refuses or does nothing (faults.guard). `chains`: the names that it refers to, with the attributes
    read of them, such as ("numpy", "random", "seed"). `strings`: constants that read as a module's dotted name.
    `opaque`: it may refer to any name of its module, as `globals()` does. `reads_docs`: it reads docstrings other than
    its module's own.
    """

    label: str
    node: ast.stmt | str
    binds: frozenset[str] = frozenset()
    acts: bool = False
    bases: frozenset[str] = frozenset()
    main: bool = False
    guard: bool = False
    loads: str = ""
    chains: frozenset[tuple[str, ...]] = frozenset()
    imports: tuple[Import, ...] = ()
    strings: frozenset[str] = frozenset()
    opaque: bool = False
    reads_docs: bool = False

    @property
    def alias(self) -> bool:
        """Tell whether it is a name that an import binds."""
        return bool(self.imports) and isinstance(self.node, str) and not self.guard

    @functools.cached_property
    def digest(self) -> str:
        """Return the sha256 of its syntax tree."""
        text = self.node if isinstance(self.node, str) else ast.dump(self.node)
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True, eq=False)
class Module:
    """A module's statements in their order. `imports` are all of its file, those inside functions and guards too."""

    name: str
    statements: tuple[Statement, ...]
    imports: frozenset[str]
    strings: frozenset[str]

    @functools.cached_property
    def names(self) -> dict[str, list[Statement]]:
        """Return name → the statements that bind it."""
        found: dict[str, list[Statement]] = {}
        for statement in self.statements:
            for name in statement.binds:
                found.setdefault(name, []).append(statement)
        return found

    @functools.cached_property
    def ordered(self) -> bool:
        """Tell whether the order of its statements matters: one acts, or a name is bound twice."""
        return any(one.acts or one.bases or one.main for one in self.statements) or any(
            len(one) > 1 for one in self.names.values()
        )


@functools.cache
def parse(content: bytes, name: str, package: bool = False, documented: bool = False) -> Module:
    """Return the module of this content and dotted name, `package` if the file is `__init__.py`.

    Docstrings are no part of its statements unless `documented`. Raises `SyntaxError` or `ValueError` for content that
    is no Python.
    """
    tree = ast.parse(content)
    body = tree.body
    statements: list[Statement] = []
    if ast.get_docstring(tree, clean=False) is not None:
        statements.append(Statement("__doc__", body[0], frozenset({"__doc__"}), acts=documented))
        body = body[1:]
    reader = _Reader(name, name if package else name.rpartition(".")[0], documented, body)
    for node in body:
        statements += reader.read(node)
    loads = frozenset(found.loads for one in statements for found in one.imports)
    strings = frozenset(found for one in statements for found in one.strings)
    return Module(name, tuple(statements), loads, strings)


class _Reader:
    """The statements of one module; its relative imports begin at `package`."""

    def __init__(self, name: str, package: str, documented: bool, body: Sequence[ast.stmt]) -> None:
        self.package, self.documented = package, documented
        imported = [found for node in body if isinstance(node, IMPORTS) for found in self.imports(node)]
        origins = {one.name: f"{one.module}.{one.member}" if one.member else one.module for one in imported}
        bound = {found for node in body if not isinstance(node, IMPORTS) for found in self.binds(node)}
        self.effects = Effects(name, origins, bound, [node for node in body if isinstance(node, ast.ClassDef)])

    def imports(self, node: ast.stmt) -> list[Import]:
        """Return the names that an import statement binds."""
        if isinstance(node, ast.Import):
            return [
                Import(one.asname, one.name, None, one.name)
                if one.asname
                else Import((top := one.name.partition(".")[0]), top, None, one.name)
                for one in node.names
            ]
        assert isinstance(node, ast.ImportFrom)
        module = node.module or ""
        if node.level:
            parts = self.package.split(".")
            module = ".".join([*parts[: len(parts) - node.level + 1], *([module] if module else [])])
        return [Import(one.asname or one.name, module, one.name, f"{module}.{one.name}") for one in node.names]

    def binds(self, node: ast.stmt) -> set[str]:
        """Return the names of the module that a statement binds."""
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            return {node.name}
        found: set[str | None] = set()
        waiting: list[ast.AST] = [node]
        while waiting:
            part = waiting.pop()
            if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
                found.add(part.id)
            elif isinstance(part, (*FUNCTIONS, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
                found.add(part.name)
            elif isinstance(part, ast.MatchMapping):
                found.add(part.rest)
            elif isinstance(part, IMPORTS):
                found.update(one.name for one in self.imports(part))
            # A comprehension's variables are its own.
            waiting += [part.iter, *part.ifs] if isinstance(part, ast.comprehension) else children(part)
        return {name for name in found if name}

    def read(self, node: ast.stmt) -> Iterator[Statement]:
        """Yield the statements that one of the module's body is."""
        if isinstance(node, IMPORTS):
            future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
            for one in self.imports(node):
                yield Statement(f"import {one.loads}", f"import {one.loads}", acts=future, loads=one.loads)
                text = f"{one.name} = {one.module}.{one.member}"
                yield Statement(one.name, text, frozenset({one.name}), imports=(one,))
        elif not (
            isinstance(node, ast.If) and not node.orelse and self.effects.origin(node.test) == "typing.TYPE_CHECKING"
        ):
            yield self.statement(node)

    def statement(self, node: ast.stmt) -> Statement:
        """Return the statement that a node is, without its docstrings."""
        chains: set[tuple[str, ...]] = set()
        strings: set[str] = set()
        imports: list[Import] = []
        binds = self.binds(node)
        opaque = reads_docs = False
        self.effects.bases.clear()
        acts = self.effects.acts(node)
        waiting: list[ast.AST] = [node]
        while waiting:
            part = waiting.pop()
            if isinstance(part, ast.Attribute):
                words: list[str] = []
                inner: ast.expr = part
                while isinstance(inner, ast.Attribute):
                    words.append(inner.attr)
                    inner = inner.value
                reads_docs |= not {"__doc__", "getdoc"}.isdisjoint(words)
                if not isinstance(inner, ast.Name):
                    waiting.append(inner)
                    continue
                chains.add((inner.id, *reversed(words)))
                opaque |= inner.id == "sys" and words[-1] == "modules"
                continue
            if isinstance(part, ast.Name):
                chains.add((part.id,))
                opaque |= part.id in ("globals", "eval", "exec")
                reads_docs |= part.id == "getdoc"
            elif isinstance(part, ast.Constant):
                if isinstance(part.value, str) and DOTTED.fullmatch(part.value):
                    strings.add(part.value)
            elif isinstance(part, ast.Call):
                reads_docs |= any(isinstance(word, ast.Constant) and word.value == "__doc__" for word in part.args)
                own = isinstance(part.func, ast.Name) and part.func.id in ("vars", "locals", "dir")
                opaque |= own and not part.args
            elif isinstance(part, IMPORTS):
                imports += self.imports(part)
            elif isinstance(part, ast.Global):
                binds.update(part.names)
            elif isinstance(part, (*FUNCTIONS, ast.ClassDef)):
                if isinstance(part, ast.ClassDef):  # in its body `__doc__` is its own, and a name of an import a member
                    reads_docs |= any(isinstance(one, ast.Name) and one.id == "__doc__" for one in ast.walk(part))
                    chains.update(
                        (found.name,) for one in part.body if isinstance(one, IMPORTS) for found in self.imports(one)
                    )
                if not self.documented and ast.get_docstring(part, clean=False) is not None:
                    part.body = part.body[1:] or [ast.Pass()]
            waiting += children(part)
        label = ", ".join(sorted(binds)) or ast.unparse(node).partition("\n")[0][:80]
        main = isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test) == "__name__ == '__main__'"
        marked = isinstance(node, FUNCTIONS) and any(self.effects.origin(one) == GUARD for one in node.decorator_list)
        return Statement(
            label=label,
            node=f"guard {label}" if marked and not acts else node,
            binds=frozenset(binds),
            acts=acts and not main,
            bases=frozenset(self.effects.bases),
            main=main,
            guard=marked and not acts,
            chains=frozenset(chains),
            imports=tuple(imports),
            strings=frozenset(strings),
            opaque=opaque,
            reads_docs=reads_docs,
        )
