"""Training through Flower: over TLS with three SuperNodes' keys as processes, and what happens to lost messages."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from processes import Processes, free_port
from sklearn.datasets import load_digits

import skfusion
from skfusion import FusedMLPClassifier
from skfusion.sites.message import MessageError

pytest.importorskip("flwr")
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from flwr.supercore.task_identity import TaskIdentity

from skfusion.sites.flower import FlowerTransport, client_app

PACKAGES = Path(skfusion.__file__).parents[1]
BIN = Path(sys.executable).parent
SECONDS = 300  # after which a test has failed
NAMES = ["Bath", "Leeds", "York"]
X, Y = load_digits(return_X_y=True)
X = X / 16
SITES = np.random.default_rng(0).choice(NAMES, len(Y))
PARAMETERS = {"hidden_layer_sizes": (20,), "n_networks": None, "max_iter": 2, "tol": 0, "random_state": 0}


class Net:
    """A grid whose SuperNodes answer with what they were sent, reversed, unless something befalls them."""

    def __init__(self, *names):
        self.nodes = {name: SimpleNamespace(node_id=k + 1, name=name) for k, name in enumerate(names)}
        self.away, self.error, self.sent = set(), None, []

    def get_nodes(self):
        return [node for node in self.nodes.values() if node.name not in self.away]

    def push_messages(self, messages):
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"message {len(self.sent)}"
            ids.append(message.metadata.message_id)
            self.sent.append(message)
        return ids

    def pull_messages(self, ids):
        replies = []
        for message in self.sent:
            if message.metadata.message_id in ids:
                error = self.error
                app = client_app(lambda: SimpleNamespace(answer=lambda request: request[::-1]))
                replies.append(app(message, None) if error is None else Message(error, reply_to=message))
        self.error = None
        return replies


@pytest.fixture(autouse=True)
def _as_in_an_app(monkeypatch):
    monkeypatch.setattr(TaskIdentity, "_run_id", 1)
    monkeypatch.setattr(TaskIdentity, "_node_id", 0)
    monkeypatch.setattr(TaskIdentity, "_task_id", 1)


def test_messages_go_to_supernodes_by_name_and_answers_come_back():
    with FlowerTransport(Net("York", "Bath")) as transport:
        assert transport.sites() == ["Bath", "York"]
        transport.send("York", b"for York")
        transport.send("Bath", b"for Bath")
        answers = dict(transport.receive(1) for _ in range(2))
        assert answers == {"York": b"kroY rof", "Bath": b"htaB rof"}
        assert transport.receive(0) is None


@pytest.mark.parametrize("code", [ErrorCode.NODE_UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED])
def test_what_was_lost_is_sent_again_once_the_supernode_is_there(code):
    net = Net("Bath")
    with FlowerTransport(net) as transport:
        transport.send("Bath", b"hello")
        net.error = Error(code=code, reason="gone")
        assert transport.receive(0) is None
        net.away = {"Bath"}
        assert transport.receive(0.6) is None
        assert len(net.sent) == 1
        net.away = set()
        assert transport.receive(1) == ("Bath", b"olleh")
        assert len(net.sent) == 2


def test_a_site_whose_app_fails_is_named():
    net = Net("Bath")
    with FlowerTransport(net) as transport:
        transport.send("Bath", b"hello")
        net.error = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason="the row of Mrs Smith is wrong")
        with pytest.raises(MessageError, match=r"'Bath'.*SuperNode's log") as caught:
            transport.receive(1)
        assert "Smith" not in str(caught.value)


def test_supernodes_must_be_told_apart():
    net = Net("Bath", "")
    with pytest.raises(ValueError, match="SuperNode 2 must be registered with a name"):
        FlowerTransport(net).sites()
    net.nodes[""].name = "Bath"
    with pytest.raises(ValueError, match="two named 'Bath'"):
        FlowerTransport(net).sites()


PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "study"
version = "0.1.0"
description = "three hospitals"
dependencies = []

[tool.flwr.app]
publisher = "study"

[tool.flwr.app.components]
serverapp = "study.server:app"
clientapp = "study.client:app"

[tool.flwr.app.config]
"""
CLIENT = """
from hospital import load
from skfusion.sites.flower import client_app

app = client_app(load)
"""
SERVER = """
import joblib
from skfusion import FusedMLPClassifier
from skfusion.sites.flower import server_app

model = FusedMLPClassifier(**joblib.load("{folder}/parameters.joblib"))
app = server_app(model, "{folder}/model.joblib", sites=["Bath", "Leeds", "York"], checkpoint="{folder}/run.npz")
"""
HOSPITAL = """
from pathlib import Path

import numpy as np
from skfusion.sites import Site


def load():
    with np.load(Path(__file__).with_name("rows.npz")) as file:
        return Site(file["X"], file["y"], name=file["name"].item())
"""
CERTIFICATES = """
openssl ecparam -name secp384r1 -genkey -noout -out ca.key
openssl req -x509 -new -key ca.key -sha256 -days 2 -subj /CN=study -out ca.crt -addext basicConstraints=critical,CA:TRUE
openssl ecparam -name secp384r1 -genkey -noout -out server.key
openssl req -new -key server.key -subj /CN=127.0.0.1 -out server.csr
printf "subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth\\n" > server.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.crt
for name in Bath Leeds York Mallory; do ssh-keygen -q -t ecdsa -b 384 -N "" -f $name; done
"""


class Federation:
    """A SuperLink, SuperNodes and Flower's command, each with a folder and an environment of its own."""

    def __init__(self, folder, processes):
        self.folder, self.processes, self.port = folder, processes, free_port()
        self.run(["bash", "-e", "-c", CERTIFICATES])
        (folder / "app" / "study").mkdir(parents=True)
        for path, text in {
            "pyproject.toml": PROJECT,
            "study/__init__.py": "",
            "study/client.py": CLIENT,
            "study/server.py": SERVER.format(folder=folder),
        }.items():
            (folder / "app" / path).write_text(text)
        joblib.dump(PARAMETERS, folder / "parameters.joblib")
        settings = f'[superlink.study]\naddress = "127.0.0.1:{self.port}"\nroot-certificates = "{folder}/ca.crt"\n'
        (folder / "home-admin").mkdir()
        (folder / "home-admin" / "config.toml").write_text(settings)

    def environment(self, who, *paths):
        """What is the same for all, and a folder for Flower."""
        return os.environ | {
            "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([*map(str, paths), str(PACKAGES), os.environ.get("PYTHONPATH", "")]),
            "FLWR_HOME": str(self.folder / f"home-{who}"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }

    def run(self, command, *, check=True, seconds=SECONDS):
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment("admin"),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def start_link(self):
        tls = ["--ssl-ca-certfile", "ca.crt", "--ssl-certfile", "server.crt", "--ssl-keyfile", "server.key"]
        options = ["--enable-supernode-auth", "--disable-runtime-dependency-installation", "--database", "state.db"]
        command = ["flower-superlink", "--host", "127.0.0.1", "--port", str(self.port), *tls, *options]
        self.processes.start("SuperLink", command, cwd=self.folder, env=self.environment("link"))
        ask = ["flwr", "supernode", "list", "study"]
        self.processes.wait_for(lambda: self.run(ask, check=False).returncode == 0, SECONDS, "the SuperLink")

    def start_node(self, name):
        """Start a SuperNode whose rows and key are there."""
        own = self.folder / f"of-{name}"
        own.mkdir()
        (own / "hospital.py").write_text(HOSPITAL)
        rows = np.array([site == name for site in SITES])
        np.savez(own / "rows.npz", X=X[rows], y=Y[rows], name=name)
        link = ["--superlink", f"127.0.0.1:{self.port}", "--root-certificates", "ca.crt"]
        key = ["--auth-supernode-private-key", name, "--host", "127.0.0.1", "--port", str(free_port())]
        return self.processes.start(
            name, ["flower-supernode", *link, *key], cwd=self.folder, env=self.environment(name, own)
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_run_over_tls_comes_to_the_bits_of_fit_and_a_key_that_is_not_registered_is_refused(tmp_path):
    with Processes(tmp_path) as processes:
        federation = Federation(tmp_path, processes)
        federation.start_link()
        for name in NAMES:
            federation.run(["flwr", "supernode", "register", f"{name}.pub", "study", "--name", name])
            federation.start_node(name)
        mallory = federation.start_node("Mallory")
        mallory.wait(SECONDS)
        assert "Exit Code: 305" in processes.read("Mallory")

        told = federation.run(["flwr", "run", "app", "study", "--stream"], seconds=2 * SECONDS).stdout
        assert (tmp_path / "model.joblib").exists(), told
    whole = FusedMLPClassifier(**PARAMETERS).fit(X, Y, groups=SITES)
    model = joblib.load(tmp_path / "model.joblib")
    assert model.sites_ == NAMES
    assert (model.weights_ == whole.weights_).all()
    assert model.loss_curve_ == whole.loss_curve_
