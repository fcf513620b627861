"""Our Triton kernels against plain PyTorch, by Triton's interpreter: every function, at sizes that fill no tile."""

from pathlib import Path

import pytest
from tiny_chain import ROOT, python

HERE = Path(__file__).parent


@pytest.mark.slow
def test_triton_computes_what_pytorch_does(tmp_path: Path) -> None:
    packages = next((ROOT / ".venvs/checks/lib").glob("python*/site-packages"))
    assert python(HERE / "compare_kernels.py", tmp_path, packages).strip().endswith("ok")
