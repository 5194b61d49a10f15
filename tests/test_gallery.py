"""Each example of the gallery runs by itself, as whoever downloads it has it: as a script, and as a notebook."""

import ast
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
SECONDS = 600

# What runs a notebook's cells: as in ipykernel the program is its launcher, a cell's code is in no file, and an event
# loop is already running.  Started again by a cell, it fails, where a kernel would wait for ever.
LAUNCHER = """
import asyncio, json, sys

if sys.argv[1:2] != ["-f"]:
    sys.exit("a cell has started a kernel")
with open(sys.argv[2]) as file:
    cells = ["".join(cell["source"]) for cell in json.load(file)["cells"] if cell["cell_type"] == "code"]
main = vars(sys.modules["__main__"])
del main["__file__"]


async def run():
    for number, cell in enumerate(cells):
        exec(compile(cell, f"<ipython-input-{number}>", "exec"), main)


asyncio.run(run())
"""


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def alone(request, tmp_path):
    """An example in a folder that has nothing else."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    return Path(shutil.copy(request.param, folder))


def run(*arguments, folder):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_example_runs_by_itself_as_a_script(alone):
    run(alone.name, folder=alone.parent)


@pytest.mark.slow
def test_example_runs_by_itself_as_a_notebook(alone, tmp_path):
    notebook = pytest.importorskip("sphinx_gallery.notebook")
    notebook.python_to_jupyter_cli([str(alone)])
    alone.unlink()
    launcher = tmp_path / "ipykernel_launcher.py"
    launcher.write_text(LAUNCHER)
    run(launcher, "-f", alone.with_suffix(".ipynb").name, folder=alone.parent)


def test_example_imports_nothing_from_beside_it(alone):
    tree = ast.parse(alone.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {
        name for node in imports for name in ([node.module] if isinstance(node, ast.ImportFrom) else modules(node))
    }
    files = {path.stem for path in (ROOT / "examples").rglob("*.py")}
    assert not {name.partition(".")[0] for name in names} & files
    assert all(find_spec(name.partition(".")[0]) for name in names)
    assert not {"argv", "__file__"} & {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(tree)}


def modules(node):
    return [alias.name for alias in node.names]
