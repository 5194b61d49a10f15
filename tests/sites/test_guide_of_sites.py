"""The page of the guide for a data scientist of a hospital, followed: two sites and a coordinator, from its files."""

import re
from pathlib import Path

import forks
import pytest

from skfusion.sites._exchange import AbsentError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guide" / "real_sites.md").read_text()
FILES = dict(re.findall(r"^```python (\S+\.py)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
ROWS_OF_TWO = re.search(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)[1]
SCORES = re.findall(r"`((?:alone|fused): )(0\.\d+)`", PAGE)  # at Bath, at York; alone, fused
COMMANDS = [command for command in re.findall(r"^```bash\n(.*)\n```", PAGE, flags=re.MULTILINE) if "pip" not in command]
AGREED = re.search(r"^\d+ features, .*$", PAGE, flags=re.MULTILINE)[0]
SITES = {"Bath": "bath", "York": "york"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folders of two sites and of the coordinator."""
    monkeypatch.chdir(tmp_path)
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


def start(folder, *command):
    return forks.start(*command, folder=folder, log=folder / "log")


def await_success(folder, process):
    """Wait for a process to end, and return what it has written."""
    code, told = forks.exit_code(process), (folder / "log").read_text()
    assert code == 0, told
    return told.strip()


def printed(folder, script):
    return await_success(folder, start(folder, folder / script))


def test_the_error_is_quoted_as_it_reads():
    assert f"`TimeoutError: {AbsentError(['York'], 600)}`" in PAGE


@pytest.mark.slow
def test_two_sites_follow_the_guide(here):
    serve, coordinate = (in_folder(command, here).removeprefix("python ").split() for command in COMMANDS)
    told = [printed(here / folder, "alone.py") for folder in SITES.values()]
    commands = {here / folder: serve for folder in SITES.values()} | {here / "coordinator": coordinate}
    everyone = {folder: start(folder, *command) for folder, command in commands.items()}
    try:
        assert all("Warning" not in await_success(folder, process) for folder, process in everyone.items())
    finally:
        for process in everyone.values():
            process.kill()
    told += [printed(here / folder, "score.py") for folder in SITES.values()]
    assert not (here / "coordinator" / "run.npz").exists()
    assert AGREED in (here / "coordinator" / "log").read_text()
    assert len(SCORES) == len(told) == 4
    for (what, score), line in zip(SCORES, told, strict=True):
        assert line.startswith(what)
        assert float(line.removeprefix(what)) == pytest.approx(float(score), abs=0.02)
