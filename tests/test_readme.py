"""Every Python snippet of the README runs, without a warning, and prints what is shown below it."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_guide import BLOCK, OF_A_SCORE, assert_printed

README = Path(__file__).parents[1] / "README.md"
SNIPPETS, _, SHOWN = zip(*BLOCK.findall(README.read_text()), strict=True)
# One process for all, since what they import takes most of the time; each with names of its own.
RUN_EACH = """
import sys
for snippet in sys.argv[1:]:
    exec(snippet, {"__name__": "__main__"})
    print("end of a snippet")
"""


@pytest.mark.slow
def test_snippets_run():
    run = subprocess.run([sys.executable, "-c", RUN_EACH, *SNIPPETS], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    *printed, rest = run.stdout.split("end of a snippet\n")
    assert len(printed) == len(SNIPPETS) > 0
    assert all(printed)
    for shown, text in zip(SHOWN, printed, strict=True):
        if shown:
            assert_printed(shown, text, OF_A_SCORE)
    assert rest == ""
