"""The page of the guide for a data scientist of a hospital, followed: two sites and a coordinator, from its files."""

import os
import re
import sys
from pathlib import Path

import forks
import pytest
from processes import Processes

from skfusion.sites._exchange import AbsentError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guide" / "real_sites.md").read_text()
FILES = dict(re.findall(r"^```python (\S+\.py)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
ROWS_OF_TWO = re.search(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)[1]
SCORES = re.findall(r"`((?:alone|fused): )(0\.\d+)`", PAGE)  # at Bath, at York; alone, fused
COMMANDS = [command for command in re.findall(r"^```bash\n(.*)\n```", PAGE, flags=re.MULTILINE) if "pip" not in command]
SITES = {"Bath": "bath", "York": "york"}
SECONDS = 240  # after which a process has failed


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folders of two sites and of the coordinator."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    for folder in ("study", "coordinator"):
        (tmp_path / folder).mkdir()
    exec(ROWS_OF_TWO, {})
    for name, folder in SITES.items():
        for file in ("hospital.py", "alone.py", "score.py"):
            (tmp_path / folder / file).write_text(in_folder(FILES[file], tmp_path).replace('"Bath"', f'"{name}"'))
    (tmp_path / "coordinator" / "coordinate.py").write_text(in_folder(FILES["coordinate.py"], tmp_path))
    return tmp_path


def in_folder(text, folder):
    return text.replace("/mnt/study", str(folder / "study"))


def printed(folder, script):
    process = forks.start(folder / script, folder=folder, log=folder / "log")
    process.join(SECONDS)
    told = (folder / "log").read_text()
    assert process.exitcode == 0, told
    return told.strip()


def test_the_error_is_quoted_as_it_reads():
    assert f"`TimeoutError: {AbsentError(['York'], 600)}`" in PAGE


def test_two_sites_follow_the_guide(here):
    serve, coordinate = (in_folder(command, here).split() for command in COMMANDS)
    told = [printed(here / folder, "alone.py") for folder in SITES.values()]
    with Processes(here) as processes:
        sites = [processes.start(name, serve, cwd=here / folder) for name, folder in SITES.items()]
        coordinator = processes.start("coordinator", coordinate, cwd=here / "coordinator")
        everyone = [coordinator, *sites]
        processes.wait_for(lambda: all(process.poll() is not None for process in everyone), "the end of the run")
        assert [process.returncode for process in everyone] == [0, 0, 0], processes.read("coordinator")
        assert "Warning" not in "".join(processes.read(name) for name in ("coordinator", *SITES))
    told += [printed(here / folder, "score.py") for folder in SITES.values()]
    assert not (here / "coordinator" / "run.npz").exists()
    assert len(SCORES) == len(told) == 4
    for (what, score), line in zip(SCORES, told, strict=True):
        assert line.startswith(what)
        assert float(line.removeprefix(what)) == pytest.approx(float(score), abs=0.02)
