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
"""Fits a classifier on the rows of four sites, and waits after some of its messages until a file is removed."""
import json
import logging
import sys
import time
from pathlib import Path

import numpy as np
from skfusion import FusedMLPClassifier
from skfusion.sites import FolderTransport, fit_sites


class Held(FolderTransport):
    n_sent = 0

    def send(self, site, message):
        super().send(site, message)
        self.n_sent += 1
        if str(self.n_sent) in sys.argv[2:]:
            Path("held").touch()
            while Path("held").exists():
                time.sleep(0.01)


logging.basicConfig(format="%(message)s", stream=sys.stdout)
model = FusedMLPClassifier(**json.loads(sys.argv[1]))
with Held("shared") as transport:
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


def coordinate(start, *held_after):
    return start("coordinator", "coordinate.py", json.dumps(PARAMETERS), *held_after)


def wait_for(path):
    deadline = time.monotonic() + forks.SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not come to be"
        time.sleep(0.01)


def await_success(process, log):
    """Wait for a process to end; return what it has written."""
    code, told = forks.exit_code(process), log.read_text()
    assert code == 0, told
    return told


def test_sites_and_coordinators_that_are_killed_change_no_bit(start, tmp_path):
    whole = FusedMLPClassifier(**PARAMETERS)
    with pytest.warns(UserWarning, match="Maximum"):
        whole.fit(ROWS, LABELS, groups=HOMES)
    sites = {name: serve(start, name) for name in NAMES}
    coordinator, held = coordinate(start, 32, 70), tmp_path / "held"  # two of some 200 messages
    wait_for(held)
    sites["York"].kill()
    sites["York"].join()
    held.unlink()
    sites["York"] = serve(start, "York")
    wait_for(held)
    coordinator.kill()
    assert forks.exit_code(coordinator) == -signal.SIGKILL
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
