"""Training through NVFlare, provisioned on this machine: processes of a server and three clients, over mutual TLS."""

import json
import os
import queue
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import joblib
import numpy as np
import pytest
from processes import Processes, free_port
from sklearn.datasets import load_digits

import skfusion
from skfusion import FusedMLPClassifier

pytest.importorskip("nvflare.collab")
from nvflare.collab import CollabCallError

from skfusion.sites.nvflare import Desk, NVFlareTransport, make_job

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
PACKAGES = Path(skfusion.__file__).parents[1]
BIN = Path(sys.executable).parent
NAMES = ["Bath", "Leeds", "York"]
X, Y = load_digits(return_X_y=True)
X = X / 16
SITES = np.random.default_rng(0).choice(NAMES, len(Y))
ADMIN = "admin@study.org"


class Caller:
    """What NVFlare calls a proxy, of something in this process; the first calls fail."""

    def __init__(self, name, callee, n_failures=0):
        self.name, self._callee, self._n_failures = name, callee, n_failures

    def __call__(self, *, timeout):
        assert timeout > 0
        return self

    def __getattr__(self, method):
        if self._n_failures:
            self._n_failures -= 1
            raise CollabCallError(self.name, method, "gone")
        return getattr(self._callee, method)


class Server:
    def __init__(self, delivered):
        self._delivered = delivered

    def deliver(self, answer):
        self._delivered.put(answer)


class Site:
    def __init__(self, taken):
        self._taken = taken

    def take(self, request):
        self._taken.put(request)


class Slow:
    """A site that waits to be let go before it answers."""

    name = "Bath"

    def __init__(self):
        self.requests, self.begun, self.go = [], threading.Event(), threading.Event()

    def answer(self, request):
        self.requests.append(request)
        self.begun.set()
        assert self.go.wait(SECONDS)
        return request[::-1]


def test_a_site_answers_once_although_its_message_comes_twice_and_the_server_was_away():
    site, delivered = Slow(), queue.Queue()
    desk = Desk(site, Caller("server", Server(delivered), n_failures=1))
    worker = threading.Thread(target=desk.work, daemon=True)
    worker.start()
    desk.take(b"one")
    assert site.begun.wait(SECONDS)
    desk.take(b"one")
    desk.take(b"two")
    site.go.set()
    assert [delivered.get(timeout=SECONDS) for _ in range(2)] == [b"eno", b"owt"]
    desk.take(b"two")  # the answer was lost
    assert delivered.get(timeout=SECONDS) == b"owt"
    desk.close()
    worker.join(SECONDS)
    assert site.requests == [b"one", b"two", b"two"]


def test_a_transport_hands_messages_over_and_takes_answers(caplog):
    taken = queue.Queue()
    sites = [Caller(name, Site(taken), n_failures) for name, n_failures in [("York", 0), ("Bath", 1)]]
    with NVFlareTransport(sites) as transport:
        assert transport.sites() == ["Bath", "York"]
        transport.send("York", b"for York")
        assert taken.get(timeout=SECONDS) == b"for York"
        transport.send("Bath", b"for Bath")
        transport.send("Bath", b"for Bath")
        assert taken.get(timeout=SECONDS) == b"for Bath"
        assert "site 'Bath' cannot be reached" in caplog.text
        transport.take("York", b"answer")
        assert transport.receive(SECONDS) == ("York", b"answer")
        assert transport.receive(0) is None


PROJECT = """
api_version: 3
name: study
description: three hospitals
participants:
  - {{name: localhost, type: server, org: study, fed_learn_port: {port}, admin_port: {port}}}
  - {{name: Bath, type: client, org: bath}}
  - {{name: Leeds, type: client, org: leeds}}
  - {{name: York, type: client, org: york}}
  - {{name: admin@study.org, type: admin, org: study, role: project_admin}}
builders:
  - path: nvflare.lighter.impl.workspace.WorkspaceBuilder
  - {{path: nvflare.lighter.impl.static_file.StaticFileBuilder, args: {{config_folder: config, scheme: grpc}}}}
  - path: nvflare.lighter.impl.cert.CertBuilder
  - path: nvflare.lighter.impl.signature.SignatureBuilder
"""
HOSPITAL = """
from pathlib import Path

import numpy as np
from skfusion.sites import Site


def load():
    here = Path(__file__).parent
    with np.load(here / "rows.npz") as file:
        return Site(file["X"], file["y"], name=file["name"].item())
"""
STUDY = """
import os

import joblib
from skfusion import FusedMLPClassifier
from skfusion.sites import fit_sites


def coordinate(transport):
    parameters, options = joblib.load("what.joblib")
    model = FusedMLPClassifier(**parameters)
    fit_sites(model, transport, checkpoint="run.npz", patience=10, **options)
    joblib.dump(model, "model.part")
    os.replace("model.part", "model.joblib")
"""
EPOCHS = 60
SECONDS = 120  # after which a test has failed
PARAMETERS = {"hidden_layer_sizes": (20,), "n_networks": None, "max_iter": EPOCHS, "tol": 0, "random_state": 0}
PERMISSIONS = dict.fromkeys(["submit_job", "manage_job", "download_job", "view", "operate"], "any")
PERMISSIONS |= dict.fromkeys(["byoc", "shell_commands"], "none")
ALLOWED = ["skfusion.sites.nvflare.", "nvflare.collab.runtime."]


class Study:
    """A provisioned project: a folder for each participant, and the processes that are run there."""

    def __init__(self, folder, processes):
        self.folder, self.port, self.processes = folder, free_port(), processes
        path = os.pathsep.join([str(PACKAGES), os.environ.get("PYTHONPATH", "")])
        bins = os.pathsep.join([str(BIN), os.environ["PATH"]])
        self.environment = os.environ | {"PYTHONPATH": path, "PATH": bins, "HOME": str(folder)}
        (folder / "project.yml").write_text(PROJECT.format(port=self.port))
        self.nvflare("provision", "-p", "project.yml", "-w", "kits", "--force")
        self.kits = folder / "kits" / "study" / "prod_00"
        self.server = self.kits / "localhost"
        for name in NAMES:
            self._prepare(name, "hospital.py", HOSPITAL)
            rows = name == SITES
            np.savez(self.kits / name / "local/custom/rows.npz", X=X[rows], y=Y[rows], name=name)
        self._prepare("localhost", "study.py", STUDY)
        make_job("study:coordinate", "hospital:load", n_sites=3).export_job(folder)

    def _prepare(self, name, file, code):
        """Do what a participant does: put the own code in, allow skfusion alone, and keep the log at home."""
        local = self.kits / name / "local"
        (local / "custom").mkdir()
        (local / "custom" / file).write_text(code)
        resources = json.loads((local / "resources.json.default").read_text().replace("/tmp/nvflare", str(self.folder)))
        resources |= {"class_allow_list": ALLOWED, "allow_log_streaming": False}
        (local / "resources.json").write_text(json.dumps(resources))
        if name in NAMES:
            authorization = {"format_version": "1.0", "permissions": {"project_admin": PERMISSIONS}}
            (local / "authorization.json").write_text(json.dumps(authorization))

    def nvflare(self, *arguments, check=True):
        command = [sys.executable, "-m", "nvflare.cli", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self, name):
        command = ["bash", str(self.kits / name / "startup" / "sub_start.sh"), "--once"]
        self.processes.start(name, command, env=self.environment, cwd=self.folder)

    def n_joined(self):
        """Return how often a client has joined."""
        return len(re.findall(r"Client: New client .* joined", self.processes.read("localhost")))

    def wait_for_clients(self, n_clients):
        self.processes.wait_for(lambda: self.n_joined() >= n_clients, SECONDS, f"{n_clients} clients")

    def submit(self, job="skfusion"):
        """Submit a job; returns its id."""
        out = self.nvflare("job", "submit", "-j", job, "--startup-kit", str(self.kits / ADMIN))
        return re.search(r"job_id: (\S+)", out)[1]

    def status_of(self, job):
        """Wait for a job's end; returns its status."""
        out = self.nvflare(
            *(
                "job",
                "wait",
                job,
                "--timeout",
                f"{SECONDS}",
                "--interval",
                "1",
                "--startup-kit",
                str(self.kits / ADMIN),
            ),
            check=False,
        )
        return re.search(r"FINISHED:\w+", out)[0]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    with Processes(folder) as processes:
        study = Study(folder, processes)
        for name in ["localhost", *NAMES]:
            study.start(name)
        study.wait_for_clients(3)
        yield study


@pytest.mark.slow
def test_a_server_speaks_to_none_without_a_certificate(study):
    context = ssl.create_default_context(cafile=study.kits / "York" / "startup" / "rootCA.pem")
    context.set_alpn_protocols(["h2"])

    def greet():
        """Return the first byte that the server says."""
        with (
            socket.create_connection(("127.0.0.1", study.port), timeout=SECONDS) as connection,
            suppress(ssl.SSLError, ConnectionError),
            context.wrap_socket(connection, server_hostname="localhost") as channel,
        ):
            return channel.recv(1)

    assert not greet()
    context.load_cert_chain(*(study.kits / "York" / "startup" / f"client.{kind}" for kind in ("crt", "key")))
    assert greet()


@pytest.mark.slow
@pytest.mark.parametrize("fuse_at", ["coordinator", "sites"])
def test_a_job_goes_on_to_the_bits_of_fit_after_a_client_was_killed(fuse_at, study):
    checkpoint = study.server / "run.npz"
    joblib.dump((PARAMETERS, {"fuse_at": fuse_at}), study.server / "what.joblib")
    job = study.submit()
    study.processes.wait_for(checkpoint.exists, SECONDS, "the run to begin")
    study.processes.kill("York")
    assert study.status_of(job) == "FINISHED:EXECUTION_EXCEPTION"
    assert re.search(
        r"waited 10 s in vain for site.* 'York'|refuses to take part: .*'York'", study.processes.read("localhost")
    )
    with np.load(checkpoint) as file:
        saved = json.loads(file["header"].item())["history"]
    assert len(saved) < EPOCHS

    n_clients = study.n_joined()
    study.start("York")
    study.wait_for_clients(n_clients + 1)
    assert study.status_of(study.submit()) == "FINISHED:COMPLETED"
    whole = FusedMLPClassifier(**PARAMETERS).fit(X, Y, groups=SITES)
    model = joblib.load(study.server / "model.joblib")
    (study.server / "model.joblib").unlink()
    assert model.sites_ == NAMES
    assert (model.weights_ == whole.weights_).all()
    assert model.loss_curve_ == whole.loss_curve_
    assert [record["seconds"] for record in model.history_[: len(saved)]] == [record["seconds"] for record in saved]


@pytest.mark.slow
def test_a_job_that_brings_code_is_refused_by_sites(study):
    shutil.copytree(study.folder / "skfusion", study.folder / "foreign")
    custom = study.folder / "foreign" / "app" / "custom"
    custom.mkdir()
    (custom / "hospital.py").write_text("raise SystemExit")
    assert study.status_of(study.submit("foreign")) == "FINISHED:FAILED_TO_RUN"
    assert "York: NVFLARE_ERROR: BYOC not permitted" in study.processes.read("localhost")
