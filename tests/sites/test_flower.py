"""Training through Flower: over TLS with three SuperNodes' keys as processes, and what happens to lost messages."""

from types import SimpleNamespace

import numpy as np
import pytest
from processes import SECONDS, Processes
from sites_flower import Deployment
from sklearn.datasets import load_digits

from skfusion import FusedMLPClassifier
from skfusion.sites.message import MessageError

pytest.importorskip("flwr")
from flwr.app import Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.task_identity import TaskIdentity

from skfusion.sites import flower
from skfusion.sites.flower import FlowerTransport, client_app, server_app

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
        answers = dict(transport.receive(SECONDS) for _ in range(2))
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
        assert transport.receive(SECONDS) == ("Bath", b"olleh")
        assert len(net.sent) == 2


def test_what_the_superlink_does_not_take_is_sent_again():
    class Full(Net):
        def push_messages(self, messages):
            ids = super().push_messages(messages)
            return [""] if len(self.sent) == 1 else ids

    net = Full("Bath")
    with FlowerTransport(net) as transport:
        transport.send("Bath", b"hello")
        assert transport.receive(1) == ("Bath", b"olleh")
        assert len(net.sent) == 2


def test_of_what_was_lost_only_the_latest_is_told_of_and_sent_again(caplog):
    class Quiet(Net):
        def pull_messages(self, ids):
            return super().pull_messages(ids) if len(self.sent) > 1 else []

    net = Quiet("Bath")
    with FlowerTransport(net) as transport:
        transport.send("Bath", b"hello")
        assert transport.receive(0) is None
        transport.send("Bath", b"goodbye")
        net.error = Error(code=ErrorCode.MESSAGE_UNAVAILABLE, reason="gone")
        assert transport.receive(0) is None
        assert caplog.text.count("is asked again") == 1
        assert transport.receive(SECONDS) == ("Bath", b"eybdoog")


def test_a_site_that_takes_long_gets_no_copies_of_later_messages(monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(flower, "time", clock)

    class Slow(Net):
        def pull_messages(self, ids):
            clock.now += 900
            return super().pull_messages(ids)

    with FlowerTransport(Slow("Bath")) as transport:
        transport.send("Bath", b"hello")
        assert transport.resend_after == 600
        assert transport.receive(SECONDS) == ("Bath", b"olleh")
        assert transport.resend_after > 2 * 900


def test_a_site_whose_app_fails_is_named():
    net = Net("Bath")
    with FlowerTransport(net) as transport:
        transport.send("Bath", b"hello")
        net.error = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason="the row of Mrs Smith is wrong")
        with pytest.raises(MessageError, match=r"'Bath'.*SuperNode's log") as caught:
            transport.receive(SECONDS)
        assert "Smith" not in str(caught.value)


def test_why_rows_cannot_be_loaded_is_for_the_sites_log_alone():
    def load():
        raise ValueError("could not convert string to float: 'Mrs Smith'")

    with pytest.raises(RuntimeError, match=r"^the site cannot load its rows; the SuperNode's log says why$") as caught:
        client_app(load)(Message(RecordDict(), 1, "query"), None)
    assert "Smith" in str(caught.value.__cause__)


def test_supernodes_must_be_told_apart():
    net = Net("Bath", "")
    with pytest.raises(ValueError, match="SuperNode 2 must be registered with a name"):
        FlowerTransport(net).sites()
    net.nodes[""].name = "Bath"
    with pytest.raises(ValueError, match="two named 'Bath'"):
        FlowerTransport(net).sites()


@pytest.mark.parametrize(
    ("output", "error", "match"),
    [
        ("nowhere/model.joblib", FileNotFoundError, "output must be in a folder that exists: .*nowhere"),
        ("", IsADirectoryError, "output must be a file: "),
    ],
)
def test_a_model_that_could_not_be_written_is_not_trained(output, error, match, tmp_path):
    net = Net("Bath")
    app = server_app(FusedMLPClassifier(), tmp_path / output)
    with pytest.raises(error, match=match):
        app(net, None)
    assert not net.sent


def test_a_model_is_written_to_a_path():
    with pytest.raises(TypeError, match="output must be a string or another path, got None"):
        server_app(FusedMLPClassifier(), None)


def test_an_app_that_could_not_load_its_rows_is_refused():
    with pytest.raises(TypeError, match="load must be a function that returns a Site, got 'hospital:load'"):
        client_app("hospital:load")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_run_over_tls_comes_to_the_bits_of_fit_and_a_key_that_is_not_registered_is_refused(tmp_path):
    with Processes(tmp_path) as processes:
        deployment = Deployment(tmp_path, processes)
        deployment.start_link()
        for name in NAMES:
            deployment.start_node(name, X[name == SITES], Y[name == SITES])
        mallory = deployment.start_node("Mallory", X, Y, registered=False)
        mallory.wait(SECONDS)
        assert "Exit Code: 305" in processes.read("Mallory")
        model = deployment.fit(FusedMLPClassifier(**PARAMETERS), sites=NAMES, checkpoint=tmp_path / "run.npz")
    whole = FusedMLPClassifier(**PARAMETERS).fit(X, Y, groups=SITES)
    assert model.sites_ == NAMES
    assert (model.weights_ == whole.weights_).all()
    assert model.loss_curve_ == whole.loss_curve_
