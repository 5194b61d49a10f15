"""Flower on this machine: a SuperLink and a SuperNode for each site, in processes that speak TLS and know keys.

The tests of sites run it, too.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import joblib
import site_folder
from processes import SECONDS, Processes, environment, free_port, run

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "study"
version = "0.1.0"
description = "sites on one machine"
dependencies = []

[tool.flwr.app]
publisher = "study"

[tool.flwr.app.components]
serverapp = "study.server:app"
clientapp = "study.client:app"

[tool.flwr.app.config]
"""
CLIENT = """
from site_folder import load
from skfusion.sites.flower import client_app

app = client_app(load)
"""
SERVER = """
import joblib
from skfusion.sites.flower import server_app

model, options = joblib.load("{folder}/what.joblib")
app = server_app(model, "{folder}/model.joblib", **options)
"""
CONNECTION = """
[superlink.study]
address = "127.0.0.1:{port}"
root-certificates = "{folder}/ca.crt"
"""
CERTIFICATES = """
openssl ecparam -name secp384r1 -genkey -noout -out ca.key
openssl req -x509 -new -key ca.key -sha256 -days 2 -subj /CN=study -out ca.crt -addext basicConstraints=critical,CA:TRUE
openssl ecparam -name secp384r1 -genkey -noout -out server.key
openssl req -new -key server.key -subj /CN=127.0.0.1 -out server.csr
printf "subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth\\n" > server.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.crt
"""


def fit(model, rows, **options):
    """Fit a model by a run of Flower; all that this takes begins and ends here.

    Parameters
    ----------
    model : estimator
    rows : dict of str to (X, y)
        By site.
    **options
        For fit_sites.
    """
    with TemporaryDirectory() as folder, Processes(Path(folder)) as processes:
        deployment = Deployment(Path(folder), processes)
        deployment.start_link()
        for name, own in rows.items():
            deployment.start_node(name, *own)
        return deployment.fit(model, sites=list(rows), **options)


class Deployment:
    """A SuperLink, SuperNodes and Flower's command, each with a folder and an environment of its own.

    Parameters
    ----------
    folder : Path
    processes : Processes
    """

    def __init__(self, folder, processes):
        self.folder, self.processes, self.port = folder, processes, free_port()
        self._run(["bash", "-e", "-c", CERTIFICATES])
        for path, text in {
            "app/pyproject.toml": PROJECT,
            "app/study/__init__.py": "",
            "app/study/client.py": CLIENT,
            "app/study/server.py": SERVER.format(folder=folder),
            "home-admin/config.toml": CONNECTION.format(folder=folder, port=self.port),
        }.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)

    def _environment(self, who, *paths):
        """What is the same for all, and a folder for Flower."""
        return environment(*paths) | {
            "FLWR_HOME": str(self.folder / f"home-{who}"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }

    def _run(self, command, **options):
        return run(command, cwd=self.folder, env=self._environment("admin"), **options)

    def start_link(self):
        """Start the SuperLink, and wait until it answers."""
        tls = ["--ssl-ca-certfile", "ca.crt", "--ssl-certfile", "server.crt", "--ssl-keyfile", "server.key"]
        options = ["--enable-supernode-auth", "--disable-runtime-dependency-installation", "--database", "state.db"]
        command = ["flower-superlink", "--host", "127.0.0.1", "--port", str(self.port), *tls, *options]
        self.processes.start("SuperLink", command, cwd=self.folder, env=self._environment("link"))
        ask = ["flwr", "supernode", "list", "study"]
        self.processes.wait_for(lambda: self._run(ask, check=False)[0] == 0, "the SuperLink")

    def start_node(self, name, X, y, registered=True):
        """Start a SuperNode with rows and a key, which the SuperLink is told of if it is to be registered."""
        self._run(["ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", name])
        if registered:
            self._run(["flwr", "supernode", "register", f"{name}.pub", "study", "--name", name])
        own = self.folder / f"of-{name}"
        site_folder.furnish(own, name, X, y)
        link = ["--superlink", f"127.0.0.1:{self.port}", "--root-certificates", "ca.crt"]
        key = ["--auth-supernode-private-key", name, "--host", "127.0.0.1", "--port", str(free_port())]
        command = ["flower-supernode", *link, *key]
        return self.processes.start(name, command, cwd=self.folder, env=self._environment(name, own))

    def fit(self, model, **options):
        """Have the app fit a model, with options for fit_sites; returns it."""
        joblib.dump((model, options), self.folder / "what.joblib")
        _, told = self._run(["flwr", "run", "app", "study", "--stream"], seconds=2 * SECONDS)
        path = self.folder / "model.joblib"
        if not path.exists():
            raise RuntimeError(f"the run has ended without a model:\n{told[-4000:]}\n{self.processes.logs()}")
        return joblib.load(path)
