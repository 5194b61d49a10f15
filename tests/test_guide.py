"""The guide's code runs, page by page, and prints what the page shows; its tables are those of the examples."""

import re
import runpy
from contextlib import nullcontext
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import sklearn

ROOT = Path(__file__).parents[1]


# A block of Python and the text below it, which is what the block prints.  ``python notest`` needs what a test has not,
# ``python NAME.py`` is a file, and the numbers of a ``text varies`` depend on the machine.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text( varies)?\n(.*?)^```)?", flags=re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+\.?\d*(?:e[+-]?\d+)?")
GUIDE = [ROOT / "docs" / "index.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
PAGES = [page for page in GUIDE if BLOCK.search(page.read_text())]
OF_A_SCORE = 0.02  # what some of hundreds of rows, which another processor puts elsewhere, make of a score


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_shows_what_its_code_prints(page, tmp_path, monkeypatch, capsys):
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    text, names = page.read_text(), {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        code, varies, shown = block.groups()
        lines_above = text.count("\n", 0, block.start(1))  # so that an error names the page's line
        exec(compile("\n" * lines_above + code, str(page), "exec"), names)
        assert_printed(shown or "", capsys.readouterr().out, tolerance=np.inf if varies else OF_A_SCORE)


def assert_printed(shown, printed, tolerance=0.0):
    """Both say the same, but for decimals within the tolerance or a tenth, or one apart in their last place.

    With an infinite tolerance only the words count.
    """
    assert words(shown) == words(printed), f"{shown}\nis shown, but printed is\n{printed}"
    for ours, theirs in zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True):
        places = min(len(number.partition(".")[2]) for number in (ours, theirs))
        within = tolerance if np.isinf(tolerance) else min(tolerance, abs(float(ours)) / 10)
        allowed = max(within, 1.5 * 10.0**-places) if places or np.isinf(tolerance) else 0
        assert abs(float(ours) - float(theirs)) <= allowed, f"{ours} in\n{shown}\nis {theirs} in\n{printed}"


def words(text):
    """What stands around the numbers of a text, without white space."""
    return ["".join(part.split()) for part in NUMBER.split(text)]


@pytest.mark.parametrize(
    ("shown", "printed", "tolerance", "passes"),
    [
        ("gap 0.797", "gap 0.798", 0, True),
        ("gap 0.797", "gap 0.799", 0, False),
        ("gap 0.797", "gap 0.799", 0.02, True),
        ("gap 0.0761", "gap 0.0920", 0.02, False),
        ("gap 0.797", "gap 0.8", 0, True),
        ("gap 0.797", "gap 0.83", 0.02, False),
        ("gap 0.797", "gap -0.797", 0.02, False),
        ("a 1.5 | b 2", "a 1.5 | b 3", 0.02, False),
        ("a 1.5 | b 2.25", "a 1.5 | b 2.5", 0, False),
        ("[0.9  0.85]", "[0.91 0.85]", 0.02, True),
        ("ring", "star", np.inf, False),
        ("", "star", 0, False),
        ("3 µs", "300.1 µs", np.inf, True),
    ],
)
def test_what_counts_as_printed(shown, printed, tolerance, passes):
    with nullcontext() if passes else pytest.raises(AssertionError):
        assert_printed(shown, printed, tolerance)


@pytest.mark.slow
def test_tables_of_topologies_are_those_of_the_example(tmp_path, monkeypatch, capsys):
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "plot_topologies.py"))
    printed = re.findall(r"^(\d+ networks)\n\n(=(?:.+\n)+)", capsys.readouterr().out, flags=re.MULTILINE)
    page = (ROOT / "docs" / "guide" / "topologies.md").read_text()
    shown = re.findall(r"^### (\d+ networks)\n\n```{eval-rst}\n((?:.+\n)+)```", page, flags=re.MULTILINE)
    assert [size for size, _ in shown] == ["8 networks", "10 networks", "16 networks", "64 networks"]
    for ours, theirs in zip(shown, printed, strict=True):
        assert_printed("\n".join(ours), "\n".join(theirs))


def test_errors_of_sites_are_those_of_the_example(tmp_path, monkeypatch, capsys):
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    with sklearn.config_context():  # which the example changes
        runpy.run_path(str(ROOT / "examples" / "plot_sites.py"))
    page = (ROOT / "docs" / "guide" / "sites.md").read_text()
    printed, written = (errors_of_sites(text) for text in (capsys.readouterr().out, page))
    assert len(written) == 6
    assert printed == {row: pytest.approx(errors, abs=1.5) for row, errors in written.items()}  # two of a site's rows


def errors_of_sites(text):
    """Errors in the tables of a text, by table and row."""
    errors, table = {}, None
    for first, *cells in (line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")):
        if first.startswith("test error"):
            table = first
        elif table and "---" not in first:
            errors[table, first] = [float(cell) for cell in cells]
    return errors
