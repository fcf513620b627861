"""Effects: whether executing a statement of a module may do more than bind names.

What computes nothing but a value is told from what may do anything by an allow-list of calls (INERT): after
`LIMIT = re.compile(…)` nothing has changed but that there is a LIMIT; after `LIMIT = measured()` anything may have.
Reading names, attributes and items, and operators, count as without effect.
"""

import ast
import builtins
import sys
from collections.abc import Iterable, Mapping
from typing import cast

from adapter_build.core.faults import guard

GUARD = f"{guard.__module__}.{guard.__qualname__}"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Calls and decorators without an effect beyond their value, by where they are defined.
INERT = frozenset(
    {
        *(f"builtins.{name}" for name in (
            "bytes", "classmethod", "dict", "dict.fromkeys", "float", "frozenset", "int", "len", "list", "max", "min",
            "property", "range", "set", "staticmethod", "str", "sum", "tuple", "type",
        )),
        "abc.abstractmethod", "collections.namedtuple", "contextlib.contextmanager", "dataclasses.dataclass",
        "dataclasses.field", "datetime.timedelta", "functools.cache", "functools.cached_property",
        "functools.lru_cache", "itertools.count", "json.JSONDecoder", "pathlib.Path", "pathlib.PurePosixPath",
        "re.compile", "triton.jit", "types.MappingProxyType", "typing.NewType", "typing.ParamSpec", "typing.TypeVar",
        "typing.overload", GUARD,
    }
)  # fmt: skip
INERT_METHODS = frozenset(
    {"absolute", "encode", "items", "join", "keys", "resolve", "split", "values", "with_name", "with_suffix"}
)
INERT_DECORATORS = frozenset({"getter", "setter", "deleter"})  # of a property


class Effects:
    """Tells of the statements of one module whether they act.

    `origins`: where the names that it imports come from; `bound`: the names that it binds otherwise. `bases` gathers
    the classes of other modules that classes derive from: to derive from one may have an effect, too.
    """

    def __init__(
        self, module: str, origins: Mapping[str, str], bound: Iterable[str], classes: Iterable[ast.ClassDef]
    ) -> None:
        self.module, self.origins, self.bound = module, origins, frozenset(bound)
        self.classes = {node.name: node for node in classes}
        self.bases: set[str] = set()

    def acts(self, node: ast.stmt, seen: frozenset[str] = frozenset()) -> bool:
        """Tell whether executing a statement may do more than bind its names."""
        if isinstance(node, FUNCTIONS):
            values = [*node.args.defaults, *node.args.kw_defaults, node.returns]
            hints = [one.annotation for one in ast.walk(node.args) if isinstance(one, ast.arg)]
            return not (self.decorated(node.decorator_list) and self.inert(*values, *hints))
        if isinstance(node, ast.ClassDef):
            return (
                bool(node.keywords)
                or not self.decorated(node.decorator_list)
                or not all(self.plain_base(base, seen | {node.name}) for base in node.bases)
                or any(self.acts(one, seen) for one in node.body)
            )
        if isinstance(node, ast.Assign):
            return not (all(map(_is_name, node.targets)) and self.inert(node.value))
        if isinstance(node, ast.AnnAssign):
            return not (_is_name(node.target) and self.inert(node.value, node.annotation))
        if isinstance(node, ast.Expr):
            return not isinstance(node.value, ast.Constant)
        return not isinstance(node, ast.Pass)

    def plain_base(self, base: ast.expr, seen: frozenset[str]) -> bool:
        """Tell whether deriving from a class does nothing; one of another module is noted in `bases`."""
        base = base.value if isinstance(base, ast.Subscript) else base
        origin = self.origin(base)
        if origin:
            top, _, member = origin.partition(".")
            if top == "builtins":
                return hasattr(builtins, member)
            if top not in sys.stdlib_module_names:
                self.bases.add(origin)
            return True
        found = self.classes.get(base.id) if isinstance(base, ast.Name) and base.id not in seen else None
        return found is not None and not self.acts(found, seen) and inherits(found)

    def decorated(self, decorators: Iterable[ast.expr]) -> bool:
        """Tell whether these decorators do nothing but wrap."""
        return all(
            (isinstance(one, ast.Attribute) and one.attr in INERT_DECORATORS)
            or (self.origin(one.func if isinstance(one, ast.Call) else one) in INERT and self.inert(one))
            for one in decorators
        )

    def inert(self, *expressions: ast.expr | None) -> bool:
        """Tell whether computing these expressions has no effect beyond their values."""
        waiting: list[ast.AST] = [one for one in expressions if one is not None]
        while waiting:
            part = waiting.pop()
            if isinstance(part, ast.Await | ast.Yield | ast.YieldFrom | ast.NamedExpr):
                return False
            if isinstance(part, ast.Call) and not self.inert_call(part):
                return False
            waiting += [part.args] if isinstance(part, ast.Lambda) else children(part)
        return True

    def inert_call(self, call: ast.Call) -> bool:
        """Tell whether a call is of INERT or INERT_METHODS; `key=` may call anything, and `type` make a class."""
        origin = self.origin(call.func)
        if any(one.arg == "key" for one in call.keywords) or (origin == "builtins.type" and len(call.args) != 1):
            return False
        if origin is None or origin.startswith("builtins."):
            return origin in INERT or (isinstance(call.func, ast.Attribute) and call.func.attr in INERT_METHODS)
        return origin in INERT

    def origin(self, callee: ast.expr) -> str | None:
        """Return where a called name is defined, such as `re.compile`; None for one of this module's own."""
        words: list[str] = []
        while isinstance(callee, ast.Attribute):
            words.append(callee.attr)
            callee = callee.value
        if not isinstance(callee, ast.Name):
            return None
        if callee.id in self.bound or "*" in self.origins:
            return GUARD if f"{self.module}.{callee.id}" == GUARD else None
        return ".".join([self.origins.get(callee.id, f"builtins.{callee.id}"), *reversed(words)])


def inherits(node: ast.stmt | str) -> bool:
    """Tell whether a statement is a class that does nothing when one derives from it."""
    hooks = (one for one in getattr(node, "body", ()) if isinstance(one, FUNCTIONS) and one.name == "__init_subclass__")
    return isinstance(node, ast.ClassDef) and not any(hooks)


def children(node: ast.AST) -> list[ast.AST]:
    """Return the nodes directly in a node, as ast.iter_child_nodes does in twice the time."""
    found: list[ast.AST] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            found += [one for one in cast(list[object], value) if isinstance(one, ast.AST)]
        elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
            found.append(value)
    return found


def _is_name(target: ast.expr) -> bool:
    """Tell whether the target of an assignment is a name, or several names."""
    if isinstance(target, ast.Tuple | ast.List):
        return all(map(_is_name, target.elts))
    return isinstance(target, ast.Name)
