"""The source files of a checkout, by the dotted names of the modules that they are."""

import functools
from collections.abc import Iterator
from pathlib import Path

from adapter_build.hermetic.statements import Module, parse

PACKAGE = "adapter_build"


class SourceTree:
    """The modules of a checkout by dotted name, read as they are asked for. `paths` are those of their files."""

    def __init__(self, root: Path, documented: bool = False) -> None:
        self.root, self.documented = root.resolve(), documented
        scripts = self.root / "scripts"
        self._tops = {PACKAGE, *(path.stem for path in scripts.iterdir())} if scripts.is_dir() else {PACKAGE}
        self.paths: dict[str, Path] = {}
        self._modules: dict[str, Module | None] = {}

    def of_script(self, script: str | Path) -> str:
        """Return the name of the module that a script is, wherever it lies."""
        path = Path(script).resolve()
        inside = path.is_relative_to(self.root / PACKAGE)
        name = ".".join(path.relative_to(self.root).with_suffix("").parts) if inside else path.stem
        self.paths[name] = path
        self._modules[name] = parse(path.read_bytes(), name, documented=self.documented)
        return name

    def module(self, name: str) -> Module | None:
        """Return the module of this name; None for one that is not ours."""
        if name not in self._modules:
            self._modules[name] = self._read(name)
        return self._modules[name]

    def submodules(self, name: str) -> Iterator[str]:
        """Yield the names of the modules and packages directly in a package."""
        folder = self._place(name)
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.stem.isidentifier() and not path.stem.startswith("__") and (path.suffix == ".py" or path.is_dir()):
                yield f"{name}.{path.stem}"

    def _place(self, name: str) -> Path:
        """Return where a module of ours lies, without `.py`: the library at the root, step scripts in scripts/."""
        parts = name.split(".")
        return (self.root if parts[0] == PACKAGE else self.root / "scripts").joinpath(*parts)

    def _read(self, name: str) -> Module | None:
        if name.partition(".")[0] not in self._tops:
            return None
        place = self._place(name)
        for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if path.is_file():
                self.paths[name] = path
                return parse(path.read_bytes(), name, path.name == "__init__.py", self.documented)
        return Module(name, (), frozenset(), frozenset()) if name and place.is_dir() else None


@functools.cache
def prefixes(name: str) -> tuple[str, ...]:
    """Return the dotted name's beginnings: a, a.b, a.b.c."""
    parts = name.split(".")
    return tuple(".".join(parts[: end + 1]) for end in range(len(parts)))


def may_name_ours(text: str) -> bool:
    """Tell whether a string may name a module of the library."""
    return text.startswith(f"{PACKAGE}.")
