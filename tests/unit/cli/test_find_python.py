"""find_python.sh, which `make` calls first: it finds Python 3.11, or says what to type."""

import subprocess
from pathlib import Path

import pytest
from skipped import wanting

ROOT = Path(__file__).parents[3]
GOOD = "#!/bin/sh\nexit 0\n"
OLD = "#!/bin/sh\nexit 1\n"
WITHOUT_VENV = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexit 0\n'


@pytest.fixture
def find(tmp_path):
    """Run it where the only Pythons are the given ones: name → what it does."""
    if reason := wanting("bwrap"):  # which hides the machine's own Pythons
        pytest.skip(reason)

    def run(pythons, command=("sh", "adapter_build/cli/find_python.sh"), **variables):
        for name, text in pythons.items():
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)
        hide = [word for path in ("/usr/bin/python3.11", "/usr/bin/python3") if Path(path).exists()
                for word in ("--ro-bind", "/dev/null", path)]  # fmt: skip
        words = ["bwrap", "--dev-bind", "/", "/", *hide, *command]
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **variables}
        return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run


def test_it_finds_the_first_that_can(find, tmp_path):
    assert find({"python3.11": WITHOUT_VENV, "python3": GOOD}).stdout.strip() == str(tmp_path / "python3")


def test_a_named_one_comes_first(find, tmp_path):
    done = find({"python3.11": GOOD, "mine": GOOD}, PYTHON=str(tmp_path / "mine"))
    assert done.stdout.strip() == str(tmp_path / "mine")


def test_without_venv_it_says_which_package(find, tmp_path):
    done = find({"python3.11": WITHOUT_VENV})
    assert done.returncode == 2 and not done.stdout
    assert f"{tmp_path / 'python3.11'} cannot make virtual environments" in done.stderr
    assert "sudo apt-get install python3.11-venv" in done.stderr


@pytest.mark.parametrize("pythons", [{}, {"python3": OLD}], ids=["none", "another"])
def test_without_python_311_it_says_what_to_type(find, pythons):
    done = find(pythons)
    assert done.returncode == 2 and not done.stdout
    assert "sudo apt-get install python3.11 python3.11-venv" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_make_ends_with_what_it_says(find):
    done = find({}, command=["make", "environment"])
    assert done.returncode != 0
    assert "sudo apt-get install python3.11 python3.11-venv" in done.stderr and "Traceback" not in done.stderr
