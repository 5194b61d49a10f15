"""Four sites and a coordinator, processes that share nothing but a folder, some of which are killed."""

import json
import signal
import time

import forks
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from skfusion import FusedMLPClassifier

SECONDS = 240  # after which a process has failed
NAMES = ["Bath", "Leeds", "St Mary's", "York"]
HOSPITAL = '''
"""What a site's own code is like."""
import os

import numpy as np
from skfusion.sites import Site


def load():
    with np.load(f"{os.environ['SITE']}.npz") as file:
        return Site(file["X"], file["y"], name=os.environ["SITE"])
'''
COORDINATOR = '''
"""Fits a classifier on the rows of four sites."""
import json
import logging
import sys

import numpy as np
from skfusion import FusedMLPClassifier
from skfusion.sites import FolderTransport, fit_sites

logging.basicConfig(format="%(message)s", stream=sys.stdout)
model = FusedMLPClassifier(**json.loads(sys.argv[1]))
with FolderTransport("shared") as transport:
    fit_sites(model, transport, sites=4, checkpoint="run.npz", patience=200)
history = [{name: value for name, value in record.items() if name != "seconds"} for record in model.history_]
np.savez("fitted.npz", weights=model.weights_, history=json.dumps(history))
'''
PARAMETERS = dict(hidden_layer_sizes=[20], n_networks=None, max_iter=20, tol=0, random_state=0)
PARAMETERS |= dict(fusion_unit="step", fusion_frequency=60)
ROWS, LABELS = load_breast_cancer(return_X_y=True)
ROWS = scale(ROWS)
HOMES = np.array(NAMES)[np.random.default_rng(0).integers(4, size=len(LABELS))]


@pytest.fixture
def start(tmp_path):
    """Start processes in a folder, and end them with the test."""
    for name in NAMES:
        own = name == HOMES
        np.savez(tmp_path / f"{name}.npz", X=ROWS[own], y=LABELS[own])
    (tmp_path / "hospital.py").write_text(HOSPITAL)
    (tmp_path / "coordinate.py").write_text(COORDINATOR)
    (tmp_path / "shared").mkdir()
    processes = []

    def start(name, *command):
        processes.append(forks.start(*command, folder=tmp_path, log=tmp_path / f"{name}.log", SITE=name))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.join()


def serve(start, name):
    return start(name, "-m", "skfusion.sites", "serve", "--folder", "shared", "--site", "hospital:load")


def coordinate(start):
    return start("coordinator", "coordinate.py", json.dumps(PARAMETERS))


def in_the_middle_of_a_round(folder, n_rounds):
    """Wait until some rounds have been saved, and then for a request."""
    deadline, saved = time.monotonic() + SECONDS, set()
    while len(saved) < n_rounds:
        assert time.monotonic() < deadline, "there were too few rounds"
        if (folder / "run.npz").exists():
            saved.add((folder / "run.npz").stat().st_mtime_ns)
        time.sleep(0.001)


def await_success(process, log):
    """Wait for a process to end; return what it has written."""
    process.join(SECONDS)
    told = log.read_text()
    assert process.exitcode == 0, told
    return told


def test_sites_and_coordinators_that_are_killed_change_no_bit(start, tmp_path):
    whole = FusedMLPClassifier(**PARAMETERS)
    with pytest.warns(UserWarning, match="Maximum"):
        whole.fit(ROWS, LABELS, groups=HOMES)
    sites = {name: serve(start, name) for name in NAMES}
    coordinator = coordinate(start)
    in_the_middle_of_a_round(tmp_path, 4)
    sites["York"].kill()
    in_the_middle_of_a_round(tmp_path, 1)
    sites["York"] = serve(start, "York")
    in_the_middle_of_a_round(tmp_path, 4)
    coordinator.kill()
    coordinator.join(SECONDS)
    assert coordinator.exitcode == -signal.SIGKILL
    assert (tmp_path / "run.npz").exists()
    await_success(coordinate(start), tmp_path / "coordinator.log")
    for name, site in sites.items():
        assert "the run is over" in await_success(site, tmp_path / f"{name}.log")
    with np.load(tmp_path / "fitted.npz") as fitted:
        np.testing.assert_array_equal(fitted["weights"], whole.weights_)
        history = json.loads(str(fitted["history"]))
    for mine, theirs in zip(history, whole.history_, strict=True):
        assert mine == {name: value for name, value in theirs.items() if name != "seconds"}
    left = {path.name for path in (tmp_path / "shared").rglob("*") if path.is_file()}
    assert left == {"answer"}  # to the last message
    assert not (tmp_path / "run.npz").exists()
