"""The scripts of the paper's experiments, on data that needs no download."""

import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

import forks
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("matplotlib").use("agg")
FOLDER = Path(__file__).parents[1] / "examples" / "paper"
sys.path.insert(0, str(FOLDER))

import cells  # noqa: E402
import cifar_judge  # noqa: E402
import cifar_train  # noqa: E402
import fig2  # noqa: E402
import fig3_fig4  # noqa: E402
import fig5  # noqa: E402
import fig6  # noqa: E402
import l1  # noqa: E402
import label_skew  # noqa: E402
import monitor  # noqa: E402
import pieces  # noqa: E402
import resume  # noqa: E402
import splits  # noqa: E402
import sweep  # noqa: E402
import table1  # noqa: E402
import verdict  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

import skfusion  # noqa: E402

TINY = ["--quick", "--data", "digits", "--epochs", "1", "--seed", "0", "--n-jobs", "1", "--out"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few rows, and fewer numbers of networks."""
    load = splits.load_split

    def load_few(*args, **kwargs):
        return load(*args, **kwargs).first(300)

    for script in (cifar_train, fig2, l1, label_skew, table1, sweep, verdict):
        monkeypatch.setattr(script, "load_split", load_few)
    monkeypatch.setattr(verdict, "N_NETWORKS", (8, 16))
    monkeypatch.setattr(label_skew, "ROWS", 250)
    monkeypatch.setattr(label_skew, "REPORTS", (10, 25))
    few_rounds = {name: replace(schedule, rounds=25) for name, schedule in label_skew.SCHEDULES.items()}
    monkeypatch.setattr(label_skew, "SCHEDULES", few_rounds)
    monkeypatch.setattr(l1, "ALPHAS", (0, 1e-3, 1e-2))
    monkeypatch.setattr(l1, "ROWS", 4)


def runs_to_do(capsys):
    return [int(number) for number in re.findall(r", (\d+) of them to do", capsys.readouterr().out)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "files"),
    [
        (fig2, ["fig2_cells.csv", "fig2.csv", "fig2.png"]),
        (table1, ["table1_cells.csv", "table1.csv", "table1.png"]),
        (fig3_fig4, ["table1_cells.csv", "fig4.png"]),
        (fig5, ["fig5.csv", "fig5_time.csv", "fig5.png"]),
        (fig6, ["fig6.csv", "fig6_time.csv", "fig6.png"]),
        (label_skew, ["label_skew_cells.csv", "label_skew.csv", "label_skew.png"]),
        (l1, ["l1_cells.csv", "l1.csv", "l1_by_setting.csv", "l1.png"]),
        (verdict, ["verdict_cells.csv", "verdict.csv", "verdict_by_number.csv", "verdict.png", "verdict_digits.png"]),
    ],
)
def test_script_writes_results_and_resumes(script, files, tmp_path, capsys, monkeypatch):
    script.main([*TINY, str(tmp_path)])
    assert all(runs_to_do(capsys))
    for name in files:
        stem, suffix = name.split(".")
        assert (tmp_path / f"{stem}_quick_digits.{suffix}").stat().st_size > 0
    before = (tmp_path / files[0].replace(".", "_quick_digits.")).read_text()
    monkeypatch.setattr(Figure, "savefig", lambda *args, **kwargs: None)  # the same again
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


@pytest.mark.parametrize(("setting", "rule"), [("all", "-"), ("eighth", "-"), ("random", "sequential")])
def test_epochs_that_are_trained_apart_are_those_of_one_fit(setting, rule):
    run = dict(data="digits", setting=setting, rule=rule, seed=1)
    split, held_out = cifar_train.load_rows("digits", 1)
    assert len(held_out.y_test) == 30
    assert len(split.y_train) + len(held_out.y_test) == len(held_out.y_train)
    apart, whole = cifar_train.new_model(**run), cifar_train.new_model(**run)
    for _ in range(3):
        pieces.train_epoch(apart, split)
    monitor.fit(whole.set_params(max_iter=3), split)
    np.testing.assert_array_equal(apart.weights_, whole.weights_)
    rows = cifar_train.measure(apart, split, held_out)
    errors = monitor.errors(whole, split)
    assert [row["network"] for row in rows] == [*map(str, range(len(whole.weights_))), "consensus"]
    assert float(rows[-1]["test_error"]) == pytest.approx(errors["consensus"], abs=1e-6)
    assert np.mean([float(row["test_error"]) for row in rows[:-1]]) == pytest.approx(errors["peers_mean"], abs=2e-6)
    assert float(rows[-1]["held_out_error"]) == pytest.approx(
        1 - whole.score(held_out.X_test, held_out.y_test), abs=1e-6
    )
    assert {row["steps"] for row in rows} == {str(3 * max(map(len, whole.partition_)))}


PROGRAM = """
import os, signal, sys
replace, left = os.replace, int(sys.argv.pop(1))
def replace_or_die(*paths):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(*paths)
os.replace = replace_or_die
import cifar_train
cifar_train.SETTINGS = [("all", "-"), ("random", "simultaneous")]
cifar_train.MEASURED_EVERY = 2
cifar_train.main()
"""


def train_digits(folder, epochs, killed_at=0):
    """Run the script in a process, which kills itself as it is about to replace a file for the k-th time."""
    folder.mkdir(exist_ok=True)
    (folder / "program.py").write_text(PROGRAM)
    options = f"--data digits --seed 0 --epochs {epochs} --n-jobs 1 --out {folder} --states {folder}/states".split()
    process = forks.start(folder / "program.py", killed_at, *options, log=folder / "log")
    code, told = forks.exit_code(process), (folder / "log").read_text()
    assert code == (-signal.SIGKILL if killed_at else 0), told
    return told


def final_weights(folder):
    run = dict(data="digits", setting="random", rule="simultaneous", seed=0)
    model, _ = resume.State(folder / "states", run).load(start=pytest.fail)
    return model.weights_


def test_runs_that_are_killed_go_on_bit_for_bit(tmp_path):
    killed, whole, name = tmp_path / "killed", tmp_path / "whole", "cifar_digits.csv"
    train_digits(whole, epochs=3)
    # Each epoch replaces the state, and each measured one then the results: in the middle of either, and of both runs.
    for killed_at in (3, 4, 5):
        train_digits(killed, epochs=3, killed_at=killed_at)
    train_digits(killed, epochs=3)
    np.testing.assert_array_equal(final_weights(killed), final_weights(whole))
    assert (killed / name).read_text() == (whole / name).read_text()
    assert train_digits(killed, epochs=3).count("done") == 2


def test_results_stay_while_a_run_repeats_them_and_go_when_it_does_not(tmp_path):
    path, run = tmp_path / "results.csv", dict(setting="ring", seed=0)

    def rows(*errors):
        return [{"epoch": str(k), "error": error} for k, error in enumerate(errors, start=1)]

    resume.record(path, run, rows("0.3", "0.2", "0.10"))
    resume.record(path, run | {"seed": 1}, rows("0.5"))
    assert list(resume.recorded(path, run)["error"]) == ["0.3", "0.2", "0.10"]
    resume.record(path, run, rows("0.3"))
    assert list(resume.recorded(path, run)["error"]) == ["0.3", "0.2", "0.10"]
    resume.record(path, run, rows("0.3", "0.25"))
    assert list(resume.recorded(path, run)["error"]) == ["0.3", "0.25"]
    assert list(resume.recorded(path, run | {"seed": 1})["error"]) == ["0.5"]


def test_a_run_that_another_process_is_at_is_left_to_it(tmp_path, capsys):
    run = cifar_train.make_runs(cells.parse_options("", ["--data", "digits"]))[0]
    with resume.locked(resume.State(tmp_path, run).folder):
        cifar_train.train(run, 1, tmp_path / "results.csv", tmp_path)
    assert "another process" in capsys.readouterr().out
    assert not (tmp_path / "results.csv").exists()


def runs_to_judge():
    """A run of one network with all rows, for three epochs, and a run of a ring for five."""

    def rows(setting, rule, steps, errors):
        """A row for each of two peers, which err by as much around the mean, and one for the consensus."""
        for epoch, (held_out, test) in enumerate(errors, start=1):
            for network, more in (("0", -0.01), ("1", 0.01), ("consensus", -0.05)):
                values = dict(held_out_error=held_out + more, test_error=test + more, disagreement=0.5, loss=1.0)
                yield (
                    dict(setting=setting, rule=rule, seed=0, epoch=epoch, steps=steps * epoch, network=network) | values
                )

    of_all = [(0.6, 0.65), (0.4, 0.45), (0.5, 0.40)]
    of_ring = [(0.9, 0.8), (0.8, 0.7), (0.75, 0.6), (0.55, 0.5), (0.6, 0.48)]
    return cifar_judge.runs_of(pd.DataFrame([*rows("all", "-", 30, of_all), *rows("ring", "sequential", 10, of_ring)]))


def test_runs_are_judged_at_equal_epochs_equal_steps_and_the_best_epochs():
    judged = cifar_judge.judge(runs_to_judge()).set_index("who")
    peers, consensus = judged.loc["peers"], judged.loc["consensus"]
    assert peers["equal epochs"] == pytest.approx(100 * (0.6 - 0.40))  # after the third of both
    assert peers["equal steps"] == pytest.approx(100 * (0.6 - 0.65))  # 30 steps: the third against the first
    assert peers["best epochs"] == pytest.approx(100 * (0.5 - 0.45))  # not the fifth, which the test rows would choose
    assert consensus["best epochs"] == pytest.approx(peers["best epochs"] - 5)
    assert judged.loc["peers", "best epochs, run"] == 4


def test_a_run_that_went_on_is_judged_at_its_best_epoch_so_far(monkeypatch):
    monkeypatch.setattr(cifar_judge, "STAGES", (2, 5, 6))
    monkeypatch.setattr(cifar_judge, "RECENT", 2)
    (errors,) = cifar_judge.gone_on(runs_to_judge(), epochs=3).to_dict("records")
    assert errors == {
        "setting": "ring, sequential",
        "seed": 0,
        "peers, best of 2": "70.00",
        "peers, best of 5": "50.00",
        "peers, best of 6": "",
        "peers, best epoch": "50.00 (4 of 5)",
        "consensus, best epoch": "45.00 (4 of 5)",
    }
    (points,) = cifar_judge.gone_on_in_points(runs_to_judge(), epochs=3).to_dict("records")
    assert points == {
        "setting": "ring, sequential",
        "seed": 0,
        "epochs": "2 to 3",
        "peers, equal epochs": "+22.50",
        "peers, best epochs": "+5.00",
        "consensus, equal epochs": "+17.50",
        "consensus, best epochs": "+0.00",
    }
    (change,) = cifar_judge.recent_change(runs_to_judge(), epochs=3).to_dict("records")
    assert change == {
        "setting": "ring, sequential",
        "seed": 0,
        "from": "2 to 3",
        "to": "4 to 5",
        "peers": "-20.00",
        "consensus": "-20.00",
    }


def test_runs_are_judged_on_the_epochs_and_seeds_that_are_asked_for():
    rows = pd.DataFrame({"epoch": [1, 2, 3, 1, 2], "seed": [0, 0, 0, 1, 1]})

    assert cifar_judge.chosen(rows).index.tolist() == [0, 1, 2, 3, 4]
    assert cifar_judge.chosen(rows, epochs=2).index.tolist() == [0, 1, 3, 4]
    assert cifar_judge.chosen(rows, [1], 1).index.tolist() == [3]


def test_cifar_is_judged_from_what_has_been_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cifar_train, "STATES", tmp_path / "states")
    cifar_train.main([*TINY, str(tmp_path)])
    assert "hypercube simultaneous 0: epoch 1 of 1" in capsys.readouterr().out
    cifar_judge.main([*TINY, str(tmp_path)])
    assert "| ring, sequential | 1 | 1 |" in capsys.readouterr().out
    for name in ("cifar_standing_quick_digits.csv", "cifar_judged_quick_digits.csv", "cifar_quick_digits.png"):
        assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize("rule", ["sequential", "simultaneous"])
def test_average_is_fusion_but_for_zeros(rule):
    rng = np.random.default_rng(0)
    weights, pairs = rng.normal(size=(5, 200)).astype(np.float32), rng.integers(5, size=(12, 2))
    expected = skfusion.fuse(weights.copy(), pairs, 0.55, rule)
    np.testing.assert_allclose(l1.average(weights.copy(), pairs, 0.55, rule), expected, atol=1e-6)
    zero = np.array([[0.0, 0.0], [2.0, 0.0]])
    expected = [[1.1, 0], [1.505 if rule == "sequential" else 0.9, 0]]
    np.testing.assert_allclose(l1.average(zero, [(0, 1)], 0.55, rule), expected)


def test_zeros_are_counted_before_and_after_a_round():
    split = splits.load_split("digits").first(200)
    model = table1.classifier("digits", 1, 0, n_networks=2, fusion_rate=0.0)
    pieces.train_epoch(model, split)
    n_coefficients = sum(coef.size for coef in model.coefs_)
    fusion = l1.Fusion(l1.TOPOLOGIES["ring"], "simultaneous", "give way", np.random.RandomState(0))
    weights = np.ones_like(model.weights_)
    weights[0, :8] = weights[1, 4:6] = 0  # two are 0 in both networks, and six in one alone
    model.weights_ = weights
    fusion.fuse(model)
    assert l1.share_of_zeros(model) == pytest.approx(4 / (2 * n_coefficients), abs=1e-6)
    assert fusion.summary()["share_before_round"] == pytest.approx(10 / (2 * n_coefficients), abs=1e-6)
    assert fusion.summary()["revived"] == pytest.approx(6 / 10)
    weights = model.weights_.copy()
    weights[0, :3] = 0  # three of the six that were revived
    model.weights_ = weights
    fusion.fuse(model)
    assert fusion.summary()["zero_again"] == pytest.approx(3 / 6)


def test_networks_with_a_class_each_pass_over_their_rows_in_pieces():
    split = splits.load_split("digits", background_zero=True).first_of_each_class(5)
    model = table1.classifier("digits", 1, 0, n_networks=None, fusion_rate=0.0)
    seen = []
    for _ in pieces.train_on_a_class_each(model, split, 2, 2, np.random.default_rng(0)):
        seen.append(model.partition_)
        assert len(model.weights_) == 10
    assert len(seen) == 2 * (5 // 2)
    assert all(len(part) == 2 for part in seen[0])
    assert model.peers_[3].predict(split.X_train).tolist().count(3) > 40
