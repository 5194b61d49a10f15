"""The scripts of the paper's experiments, on data that needs no download."""

import re
import sys
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("matplotlib").use("agg")
FOLDER = Path(__file__).parents[1] / "examples" / "paper"
sys.path.insert(0, str(FOLDER))

import cells  # noqa: E402
import fig2  # noqa: E402
import fig3_fig4  # noqa: E402
import fig5  # noqa: E402
import fig6  # noqa: E402
import splits  # noqa: E402
import sweep  # noqa: E402
import table1  # noqa: E402
import verdict  # noqa: E402

TINY = ["--quick", "--data", "digits", "--epochs", "1", "--seed", "0", "--n-jobs", "1", "--out"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few rows, and fewer numbers of networks."""
    load = splits.load_split

    def load_few(*args, **kwargs):
        return load(*args, **kwargs).first(300)

    for script in (fig2, table1, sweep, verdict):
        monkeypatch.setattr(script, "load_split", load_few)
    monkeypatch.setattr(verdict, "N_NETWORKS", (8, 16))


def runs_to_do(capsys):
    return [int(number) for number in re.findall(r", (\d+) of them to do", capsys.readouterr().out)]


@pytest.mark.parametrize(
    ("script", "files"),
    [
        (fig2, ["fig2_cells.csv", "fig2.csv", "fig2.png"]),
        (table1, ["table1_cells.csv", "table1.csv", "table1.png"]),
        (fig3_fig4, ["table1_cells.csv", "fig4.png"]),
        (fig5, ["fig5.csv", "fig5_time.csv", "fig5.png"]),
        (fig6, ["fig6.csv", "fig6_time.csv", "fig6.png"]),
        (verdict, ["verdict_cells.csv", "verdict.csv", "verdict_by_number.csv", "verdict.png", "verdict_digits.png"]),
    ],
)
def test_script_writes_results_and_resumes(script, files, tmp_path, capsys):
    script.main([*TINY, str(tmp_path)])
    assert all(runs_to_do(capsys))
    for name in files:
        stem, suffix = name.split(".")
        assert (tmp_path / f"{stem}_quick_digits.{suffix}").stat().st_size > 0
    before = (tmp_path / files[0].replace(".", "_quick_digits.")).read_text()
    script.main([*TINY, str(tmp_path)])
    assert not any(runs_to_do(capsys))
    assert (tmp_path / files[0].replace(".", "_quick_digits.")).read_text() == before


def test_interrupted_cells_go_on(tmp_path):
    path, calls = tmp_path / "cells.csv", []
    wanted = [{"x": x, "kind": "-"} for x in (0.1, 2, 3)]

    def stop_at_3(x, kind):
        calls.append(x)
        if x == 3 and calls.count(3) == 1:
            raise KeyboardInterrupt
        return [{"power": power, "value": x**power} for power in (2, 3)]

    with pytest.raises(KeyboardInterrupt):
        cells.run_cells(path, wanted, stop_at_3, n_jobs=1)
    assert len(pd.read_csv(path)) == 4
    rows = cells.run_cells(path, wanted, stop_at_3, n_jobs=1)
    assert calls == [0.1, 2, 3, 3]
    assert list(rows["value"]) == pytest.approx([0.01, 0.001, 4, 8, 9, 27])
    assert set(cells.run_cells(path, wanted[:1], stop_at_3, n_jobs=1)["x"]) == {0.1}


def test_cells_of_processes_are_those_of_one(tmp_path):
    def squares(x, kind):  # not at the module's level, so that the processes need not import all scripts
        return [{"power": power, "value": x**power} for power in (2, 3)]

    wanted = [{"x": x, "kind": "-"} for x in (1, 2)]
    one = cells.run_cells(tmp_path / "one.csv", wanted, squares, n_jobs=1)
    two = cells.run_cells(tmp_path / "two.csv", wanted, squares, n_jobs=2)
    pd.testing.assert_frame_equal(one.reset_index(drop=True), two.reset_index(drop=True))


def test_inputs_are_scaled_by_training_rows():
    split = splits.load_split("digits", seed=1)
    assert split.X_train.min() == -1
    assert split.X_train.max() == 1
    assert len(split.y_test) == pytest.approx(len(split.y_train) / 2, abs=1)
    constant = split.X_train.std(axis=0) == 0
    assert (split.X_test[:, constant] == 0).all()
    assert splits.load_split("digits", background_zero=True).X_train.min() == 0
    assert len(split.first(10).y_train) == 10
