"""NVIDIA FLARE on this machine: a server and a client for each site, provisioned, in processes that speak mutual TLS.

The tests of sites run it, too.
"""

import json
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import joblib
import site_folder
from processes import SECONDS, Processes, environment, free_port, run

from skfusion.sites.nvflare import make_job

PROJECT = """
api_version: 3
name: study
description: sites on one machine
participants:
  - {{name: localhost, type: server, org: study, fed_learn_port: {port}, admin_port: {port}}}
{clients}
  - {{name: admin@study.org, type: admin, org: study, role: project_admin}}
builders:
  - path: nvflare.lighter.impl.workspace.WorkspaceBuilder
  - {{path: nvflare.lighter.impl.static_file.StaticFileBuilder, args: {{config_folder: config, scheme: grpc}}}}
  - path: nvflare.lighter.impl.cert.CertBuilder
  - path: nvflare.lighter.impl.signature.SignatureBuilder
"""
CLIENT = "  - {{name: {name}, type: client, org: site}}"
COORDINATE = """
import os

import joblib
from skfusion.sites import fit_sites


def coordinate(transport):
    model, options = joblib.load("what.joblib")
    fit_sites(model, transport, **options)
    joblib.dump(model, "model.part")
    os.replace("model.part", "model.joblib")
"""
PERMISSIONS = dict.fromkeys(["submit_job", "manage_job", "download_job", "view", "operate"], "any")
PERMISSIONS |= dict.fromkeys(["byoc", "shell_commands"], "none")
ALLOWED = ["skfusion.sites.nvflare.", "nvflare.collab.runtime."]


def fit(model, rows, **options):
    """Fit a model by a job; all that this takes begins and ends here.

    Parameters
    ----------
    model : estimator
    rows : dict of str to (X, y)
        By site.
    **options
        For fit_sites.
    """
    with TemporaryDirectory() as folder, Processes(Path(folder)) as processes:
        study = Study(Path(folder), processes, rows)
        study.start_all()
        study.prepare(model, **options)
        status = study.status_of(study.submit())
        if status != "FINISHED:COMPLETED":
            raise RuntimeError(f"the job has ended with {status}\n{processes.logs()}")
        return study.model()


class Study:
    """A provisioned project: a folder for each participant, and the processes that are run there.

    Parameters
    ----------
    folder : Path
    processes : Processes
    rows : dict of str to (X, y)
        By site.
    """

    def __init__(self, folder, processes, rows):
        self.folder, self.processes, self.names, self.port = folder, processes, list(rows), free_port()
        self._environment = environment() | {"HOME": str(folder)}
        clients = "\n".join(CLIENT.format(name=name) for name in rows)
        (folder / "project.yml").write_text(PROJECT.format(port=self.port, clients=clients))
        self._nvflare("provision", "-p", "project.yml", "-w", "kits", "--force")
        self.kits = folder / "kits" / "study" / "prod_00"
        self.server, self.admin = self.kits / "localhost", self.kits / "admin@study.org"
        for name, own in rows.items():
            self._prepare_client(name, *own)
        self._prepare_server()
        make_job("study:coordinate", "site_folder:load", n_sites=len(rows)).export_job(folder)

    def _prepare_client(self, name, X, y):
        local = self.kits / name / "local"
        site_folder.furnish(local / "custom", name, X, y)
        self._configure(local)
        authorization = {"format_version": "1.0", "permissions": {"project_admin": PERMISSIONS}}
        (local / "authorization.json").write_text(json.dumps(authorization))

    def _prepare_server(self):
        local = self.server / "local"
        (local / "custom").mkdir()
        (local / "custom" / "study.py").write_text(COORDINATE)
        self._configure(local)

    def _configure(self, local):
        """Do what each participant does: allow skfusion alone, and keep the log at home."""
        resources = json.loads((local / "resources.json.default").read_text().replace("/tmp/nvflare", str(self.folder)))
        resources |= {"class_allow_list": ALLOWED, "allow_log_streaming": False}
        (local / "resources.json").write_text(json.dumps(resources))

    def _nvflare(self, *arguments, check=True):
        """Return what a command of NVFlare prints."""
        command = [sys.executable, "-m", "nvflare.cli", *arguments]
        return run(command, check=check, seconds=2 * SECONDS, cwd=self.folder, env=self._environment)[1]

    def start_all(self):
        """Start the server and the clients, and wait until they have joined."""
        for name in ["localhost", *self.names]:
            self.start(name)
        self.wait_for_clients(len(self.names))

    def start(self, name):
        """Start a participant's process."""
        command = ["bash", str(self.kits / name / "startup" / "sub_start.sh"), "--once"]
        self.processes.start(name, command, env=self._environment, cwd=self.folder)

    def n_joined(self):
        """Return how often a client has joined."""
        return len(re.findall(r"Client: New client .* joined", self.processes.read("localhost")))

    def wait_for_clients(self, n_clients):
        """Wait until clients have joined so often."""
        self.processes.wait_for(lambda: self.n_joined() >= n_clients, f"{n_clients} clients")

    def prepare(self, model, **options):
        """Tell the server what to fit, with options for fit_sites; what it has fitted before is gone."""
        (self.server / "model.joblib").unlink(missing_ok=True)
        joblib.dump((model, options), self.server / "what.joblib")

    def submit(self, job="skfusion"):
        """Submit a job; returns its id."""
        out = self._nvflare("job", "submit", "-j", job, "--startup-kit", str(self.admin))
        return re.search(r"job_id: (\S+)", out)[1]

    def status_of(self, job):
        """Wait for a job's end; returns its status."""
        until = ["--timeout", str(SECONDS), "--interval", "1"]
        out = self._nvflare("job", "wait", job, *until, "--startup-kit", str(self.admin), check=False)
        return re.search(r"FINISHED:\w+", out)[0]

    def model(self):
        """Return the model that the last job has fitted."""
        return joblib.load(self.server / "model.joblib")
