"""Training through NVFlare, provisioned on this machine: processes of a server and three clients, over mutual TLS."""

import json
import queue
import re
import shutil
import socket
import ssl
import threading
import time
import weakref
from contextlib import suppress

import numpy as np
import pytest
from processes import SECONDS, Processes
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

from skfusion import FusedMLPClassifier

pytest.importorskip("nvflare.collab")
from nvflare.collab import CollabCallError
from sites_nvflare import Study

from skfusion.sites.nvflare import Client, NVFlareTransport, Worker, make_job

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
NAMES = ["Bath", "Leeds", "York"]
X, Y = load_digits(return_X_y=True)
X = X / 16
SITES = np.random.default_rng(0).choice(NAMES, len(Y))


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("study", "hospital:load", 3), ValueError, "^coordinate must name a function of a module, .* got 'study'"),
        (
            ("study:coordinate", "hospital:", 3),
            ValueError,
            "^load must name a function of a module, .*'hospital:'",
        ),
        (("study:coordinate", ".hospital:load", 3), ValueError, "^load must name .* got '.hospital:load'"),
        (("study:coordinate", len, 3), ValueError, "^load must name a function of a module, .* got <built-in"),
        (("study:coordinate", "hospital:load", 0), ValueError, "^n_sites must be at least 1, got 0"),
        (("study:coordinate", "hospital:load", "3"), TypeError, "^n_sites must be an integer of at least 1, got '3'"),
    ],
)
def test_a_job_that_cannot_run_is_refused_before_it_is_submitted(arguments, error, match):
    coordinate, load, n_sites = arguments
    with pytest.raises(error, match=match):
        make_job(coordinate, load, n_sites=n_sites)


def test_sites_may_take_an_hour_to_load_their_rows(tmp_path):
    make_job("study:coordinate", "hospital:load", n_sites=3).export_job(str(tmp_path))
    (file,) = tmp_path.rglob("config_fed_server.json")
    (controller,) = json.loads(file.read_text())["workflows"]
    assert controller["args"]["sync_task_timeout"] == 3600  # NVFlare's own is a minute


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
    worker = Worker(site, Caller("server", Server(delivered), n_failures=1))
    worker.start()
    worker.take(b"one")
    assert site.begun.wait(SECONDS)
    worker.take(b"one")
    worker.take(b"two")
    site.go.set()
    assert [delivered.get(timeout=SECONDS) for _ in range(2)] == [b"eno", b"owt"]
    while worker._pending:
        time.sleep(0.01)
    worker.take(b"two")  # the answer was lost
    assert delivered.get(timeout=SECONDS) == b"owt"
    worker.close()
    with pytest.raises(RuntimeError, match="site 'Bath' answers no more; its log"):
        for _ in range(int(SECONDS / 0.01)):
            time.sleep(0.01)
            worker.take(b"two")
    assert site.requests == [b"one", b"two", b"two"]


def test_a_site_at_work_keeps_no_messages_that_were_overtaken():
    class Message:
        """Of any size; bytes allow no weak references."""

        def __getitem__(self, index):
            return b"answer"

    site, delivered = Slow(), queue.Queue()
    worker = Worker(site, Caller("server", Server(delivered)))
    worker.start()
    worker.take(b"one")
    assert site.begun.wait(SECONDS)
    messages = [Message() for _ in range(3)]
    overtaken = [weakref.ref(message) for message in messages[:2]]
    while messages:
        worker.take(messages.pop(0))
    assert [message() for message in overtaken] == [None, None]
    site.go.set()
    assert [delivered.get(timeout=SECONDS) for _ in range(2)] == [b"eno", b"answer"]
    worker.close()


def test_a_transport_hands_messages_over_and_takes_answers(caplog):
    taken = queue.Queue()
    sites = [Caller(name, Site(taken), n_failures) for name, n_failures in [("York", 0), ("Bath", 1)]]
    with NVFlareTransport(sites) as transport:
        assert transport.sites() == ["Bath", "York"]
        transport.send("York", b"for York")
        assert taken.get(timeout=SECONDS) == b"for York"
        transport.send("Bath", b"for Bath")
        while "site 'Bath' cannot be reached" not in caplog.text:  # as a thread of the transport says
            time.sleep(0.01)
        transport.send("Bath", b"for Bath")
        assert taken.get(timeout=SECONDS) == b"for Bath"
        transport.take("York", b"answer")
        assert transport.receive(SECONDS) == ("York", b"answer")
        assert transport.receive(0) is None


@pytest.mark.parametrize(
    ("key", "weights", "match"),
    [(7, b"weights", "^key must be str, got 7$"), ("key", None, "^weights must be bytes, got None$")],
)
def test_weights_that_a_partner_cannot_send_are_refused(key, weights, match):
    with pytest.raises(TypeError, match=match):
        Client("hospital:load").take_weights(key, weights)


class Broken:
    """A site that NVFlare cannot call, for another reason than that it is away."""

    def take(self, request):
        raise AttributeError("no method")


def test_a_transport_raises_what_goes_wrong_in_its_threads():
    with NVFlareTransport([Caller("York", Broken())]) as transport:
        transport.send("York", b"for York")
        with pytest.raises(AttributeError, match="no method"):
            transport.receive(SECONDS)


class Unreachable:
    """A site whose first message takes until it is let go."""

    def __init__(self, taken):
        self._taken, self.begun, self.go = taken, threading.Event(), threading.Event()

    def take(self, request):
        self.begun.set()
        assert self.go.wait(SECONDS)
        self._taken.put(request)


def test_sites_do_not_wait_for_one_that_cannot_be_reached():
    taken = {name: queue.Queue() for name in ("Bath", "York")}
    york = Unreachable(taken["York"])
    with NVFlareTransport([Caller("York", york), Caller("Bath", Site(taken["Bath"]))]) as transport:
        for message in (b"1", b"1", b"2", b"3", b"3"):  # some are sent again while they are on their way
            transport.send("York", message)
            assert york.begun.wait(SECONDS)
            transport.send("Bath", message)
            assert taken["Bath"].get(timeout=SECONDS) == message
        york.go.set()
        assert [taken["York"].get(timeout=SECONDS) for _ in range(2)] == [b"1", b"3"]
        assert taken["York"].empty()
        while taken["York"].empty():  # since its thread may not have come back from handing it over
            transport.send("York", b"3")  # the answer was lost
            time.sleep(0.01)
        assert taken["York"].get(timeout=SECONDS) == b"3"


EPOCHS = 60
PARAMETERS = {"hidden_layer_sizes": (20,), "n_networks": None, "max_iter": EPOCHS, "tol": 0, "random_state": 0}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    with Processes(folder) as processes:
        study = Study(folder, processes, {name: (X[name == SITES], Y[name == SITES]) for name in NAMES})
        study.start_all()
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


def weights_at_sites(model, study):
    """Return the peers' weights, which have stayed there."""
    with pytest.raises(NotFittedError, match="are at the sites"):
        model.predict(X)
    files = (study.kits / name / "skfusion" / "weights.npz" for name in NAMES)
    return np.concatenate([FusedMLPClassifier(**PARAMETERS).load_weights(file).weights_ for file in files])


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"fuse_at": "sites", "collect": False}], ids=["coordinator", "sites"])
def test_a_job_goes_on_to_the_bits_of_fit_after_a_client_was_killed(options, study):
    checkpoint = study.server / "run.npz"
    study.prepare(FusedMLPClassifier(**PARAMETERS), checkpoint="run.npz", patience=10, **options)
    job = study.submit()
    study.processes.wait_for(checkpoint.exists, "the run to begin")
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
    model = study.model()
    assert model.sites_ == NAMES
    weights = model.weights_ if options.get("collect", True) else weights_at_sites(model, study)
    assert (weights == whole.weights_).all()
    assert model.loss_curve_ == whole.loss_curve_
    assert [record["seconds"] for record in model.history_[: len(saved)]] == [record["seconds"] for record in saved]


@pytest.mark.slow
def test_a_job_that_brings_code_is_refused_by_sites(study):
    shutil.copytree(study.folder / "skfusion", study.folder / "foreign")
    custom = study.folder / "foreign" / "app" / "custom"
    custom.mkdir()
    (custom / "site_folder.py").write_text("raise SystemExit")
    assert study.status_of(study.submit("foreign")) == "FINISHED:FAILED_TO_RUN"
    assert "York: NVFLARE_ERROR: BYOC not permitted" in study.processes.read("localhost")
