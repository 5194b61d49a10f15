"""Sites that swap weights in pairs come to the bits of fit, and the coordinator sees no weights on the way."""

import ast
import os
import stat
import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rows_at_sites import LABELS, PLAIN, Deadly, Killed, N, Spy, classifier, sites_of
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion.callback import PeerScores
from skfusion.sites import LocalTransport, _mailbox, fit_sites
from skfusion.sites._mailbox import Mailbox
from skfusion.sites._stateful_site import StatefulSite
from skfusion.sites.message import Message
from skfusion.topology import AverageTopology, RandomTopology

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Training"),
]
NAMES = np.array(["Bath", "Hull", "Leeds", "York", "Zürich"])[np.random.default_rng(0).integers(5, size=N)]


class Swapping(LocalTransport):
    """Sites in this process that reach one another."""

    sites_swap = True


def stateful_sites(folder, patience=20, rows=PLAIN, mailbox=Mailbox, **options):
    """Sites that keep their peers' weights in folders of their own; what leaves them is kept."""
    mailboxes = {}

    def stateful_site(site):
        own = mailboxes[site.name] = mailbox(lambda partner, *what: mailboxes[partner].take(site.name, *what), patience)
        own.name = site.name
        return Spy(StatefulSite(site, folder / site.name, own.swap))

    return [stateful_site(site) for site in sites_of(rows, LABELS, NAMES, **options)]


def fitted(model, sites, **options):
    return fitted_as_it_is(clone(model), sites, **options)


def fitted_as_it_is(model, sites, **options):
    with Swapping(sites) as transport:
        return fit_sites(model, transport, **{"fuse_at": "sites"} | options)


@pytest.mark.parametrize("topology", ["hypercube", "ring", RandomTopology(replacement=True)])
def test_what_is_swapped_are_the_numbers_sent(topology, tmp_path):
    n_bytes = Counter()

    class Counting(Mailbox):
        def swap(self, partner, key, weights):
            n_bytes[self.name] += len(weights)
            return super().swap(partner, key, weights)

    model = fitted(classifier(topology=topology), stateful_sites(tmp_path, mailbox=Counting))
    sent = np.sum([record["numbers_sent"] for record in model.history_], axis=0)
    assert [n_bytes[name] for name in model.sites_] == (sent * model.weights_.itemsize).tolist()


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"topology": "ring", "fusion_rule": "sequential", "fusion_rate": 0.3},
        {"topology": RandomTopology(replacement=True), "momentum": 0.9, "batch_size": 4},
        {"solver": "adam", "batch_size": 8, "fusion_unit": "step", "fusion_frequency": 2},
        {"fusion_rate": 0.0},
        {"learning_rate": "adaptive", "tol": 0.2, "n_iter_no_change": 1, "max_iter": 12},
        {"learning_rate": "adaptive", "tol": 9, "n_iter_no_change": 1, "max_iter": 3},  # lowered after the last epoch
        {"learning_rate": "invscaling", "fusion_frequency": 3},
    ],
    ids=str,
)
def test_the_bits_are_those_of_fit(params, tmp_path):
    model = classifier(**params)
    apart, whole = fitted(model, stateful_sites(tmp_path)), clone(model).fit(PLAIN, LABELS, groups=NAMES)
    assert (apart.weights_ == whole.weights_).all()
    for mine, theirs in zip(apart.history_, whole.history_, strict=True):
        assert mine.keys() == theirs.keys()
        for name in ("losses", "loss", "fusion_rounds", "numbers_sent"):
            assert mine[name] == theirs[name]
        assert np.isnan([mine["disagreement_before_fusion"], mine["disagreement_after_fusion"]]).all()
    apart.set_params(max_iter=2).partial_fit(PLAIN, LABELS, groups=NAMES)
    assert (apart.weights_ == whole.partial_fit(PLAIN, LABELS, groups=NAMES).weights_).all()


def test_no_thread_has_python_parsed_which_fails_at_times_in_several_at_once(tmp_path, monkeypatch):
    parse = ast.parse

    def fails_in_threads(*arguments, **options):
        if threading.current_thread() is not threading.main_thread():
            raise SystemError("AST constructor recursion depth mismatch")  # as Python 3.11 may
        return parse(*arguments, **options)

    monkeypatch.setattr(ast, "parse", fails_in_threads)
    fitted(classifier(), stateful_sites(tmp_path))


def test_no_weights_leave_a_site_before_the_end(tmp_path):
    sites = stateful_sites(tmp_path)
    fitted(classifier(solver="adam"), sites)
    for site in sites:
        told = [Message.decode(answer) for answer in site.answers]
        kinds = [message.kind for message in told]
        assert kinds.count("return answered") == 1
        assert kinds.count("train kept answered") == kinds.count("fuse kept answered") == 4
        for message in told[: kinds.index("return answered")]:
            assert not message.arrays.keys() & {"weights", "first_moments", "second_moments"}
        weights = told[kinds.index("return answered")].arrays["weights"].tobytes()
        assert not any(weights[:8] in answer for answer in site.answers[: kinds.index("return answered")])


def test_weights_that_are_not_collected_stay_in_files_at_the_sites(tmp_path):
    model, sites = classifier(solver="adam"), stateful_sites(tmp_path, gives_weights=False)
    apart, whole = fitted(model, sites, collect=False), clone(model).fit(PLAIN, LABELS, groups=NAMES)
    assert apart.loss_curve_ == whole.loss_curve_
    with pytest.raises(NotFittedError):
        apart.predict(PLAIN)
    for name, weights in zip(apart.sites_, whole.weights_, strict=True):
        own = classifier().load_weights(tmp_path / name / "weights.npz")
        assert (own.weights_ == weights).all()
        assert (own.classes_ == whole.classes_).all()
    for answer in (answer for site in sites for answer in site.answers):
        assert not Message.decode(answer).arrays.keys() & {"weights", "first_moments", "second_moments"}


def test_nobody_takes_the_weights_that_training_began_with_for_those_it_came_to(tmp_path):
    model = fitted(classifier(warm_start=True), stateful_sites(tmp_path), collect=False)
    for use in (
        lambda: model.predict(PLAIN),
        lambda: model.weights_,
        lambda: model.fit(PLAIN, LABELS, groups=NAMES),  # a warm start
        lambda: model.partial_fit(PLAIN, LABELS),
        lambda: model.partial_fit(PLAIN, LABELS, classes=[0, 1, 2]),
        lambda: fitted_as_it_is(model, stateful_sites(tmp_path)),
    ):
        with pytest.raises(NotFittedError, match="the weights of this FusedMLPClassifier are at the sites"):
            use()
    assert len(model.history_) == 4
    sites, watched = stateful_sites(tmp_path), classifier().set_callbacks(PeerScores(PLAIN, LABELS))
    with pytest.raises(NotFittedError, match="are at the sites"):
        fitted_as_it_is(watched, sites)
    assert not any(b'"train kept"' in request for site in sites for request in site.requests)


def test_a_pipeline_says_where_its_weights_are_until_it_has_some(tmp_path):
    model = fitted(make_pipeline(StandardScaler(), classifier()), stateful_sites(tmp_path), collect=False)
    with pytest.raises(NotFittedError, match="the weights of this FusedMLPClassifier are at the sites"):
        model.predict(PLAIN)
    model[-1].load_weights(tmp_path / "York" / "weights.npz")
    assert model.score(PLAIN, LABELS) > 0


def test_the_losses_of_a_model_without_weights_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    from skfusion.display import FusionCurveDisplay

    model = fitted(classifier(max_iter=1), stateful_sites(tmp_path), collect=False)
    display = FusionCurveDisplay.from_estimator(model)
    assert display.summary_line_.get_ydata().tolist() == model.loss_curve_


class Leaving(Swapping):
    """A transport by which York is not reached any more from its third training on; whoever waits loses patience."""

    n_trainings = 0

    def send(self, site, message):
        self.n_trainings += site == "York" and Message.decode(message).kind == "train kept"
        if self.n_trainings < 3 or site != "York":
            super().send(site, message)

    def receive(self, timeout):
        gone = self.n_trainings == 3
        answer = super().receive(0.2 if gone else timeout)
        if gone and answer is None:
            raise KeyboardInterrupt
        return answer


def test_an_interrupt_while_weights_are_collected_leaves_a_model_without_any(tmp_path):
    with (
        Leaving(stateful_sites(tmp_path)) as transport,
        pytest.warns(UserWarning, match="Training interrupted by user"),
    ):
        model = fit_sites(classifier(), transport, fuse_at="sites", checkpoint=tmp_path / "run.npz")
    assert len(model.history_) == 2
    with pytest.raises(NotFittedError, match="are at the sites"):
        model.predict(PLAIN)
    apart = fitted(classifier(), stateful_sites(tmp_path), checkpoint=tmp_path / "run.npz")
    assert (apart.weights_ == classifier().fit(PLAIN, LABELS, groups=NAMES).weights_).all()


class Interrupting(Swapping):
    """A transport that is interrupted before any site trains for the third time."""

    was_interrupted = False

    def send(self, site, message):
        if Message.decode(message).round == 8 and not self.was_interrupted:
            self.was_interrupted = True
            raise KeyboardInterrupt
        super().send(site, message)


@pytest.mark.parametrize("collect", [True, False])
def test_an_interrupt_while_sites_are_asked_to_train_leaves_the_weights_that_they_have(collect, tmp_path):
    with (
        Interrupting(stateful_sites(tmp_path)) as transport,
        pytest.warns(UserWarning, match="Training interrupted by user"),
    ):
        model = fit_sites(classifier(), transport, fuse_at="sites", collect=collect)
    whole = classifier(max_iter=2).fit(PLAIN, LABELS, groups=NAMES)
    if collect:
        got = model.weights_
    else:
        got = [classifier().load_weights(tmp_path / name / "weights.npz").weights_[0] for name in model.sites_]
    assert (got == whole.weights_).all()


def test_the_file_of_weights_has_the_columns_names_unless_they_were_scaled(tmp_path):
    table = pd.DataFrame(PLAIN, columns=list("abcde"))
    for model, has_names in ((classifier(), True), (make_pipeline(StandardScaler(), classifier()), False)):
        fitted(model, stateful_sites(tmp_path, rows=table), collect=False)
        own = classifier().load_weights(tmp_path / "York" / "weights.npz")
        assert hasattr(own, "feature_names_in_") == has_names


def test_a_site_that_gives_no_weights_refuses_to_send_them(tmp_path):
    for options in ({"fuse_at": "coordinator"}, {}):
        sites = stateful_sites(tmp_path, gives_weights=False)
        with pytest.raises(RuntimeError, match=r"its weights stay there, which needs .*collect=False"):
            fitted(classifier(), sites, **options)
        assert not any(b'"plan"' in request for site in sites for request in site.requests)  # before any training
    site = stateful_sites(tmp_path, gives_weights=False)[0]
    fitted(classifier(), [site], collect=False)
    kept = next(Message.decode(request) for request in site.requests if b'"write"' in request)
    for kind in ("train", "return"):
        request = replace(kept, kind=kind, content=kept.content | {"start": 0, "stop": 1, "last": True})
        answer = Message.decode(site.answer(request.encode()))
        assert answer.kind == "refused"
        assert "its weights stay there" in answer.content["reason"]


def test_whoever_calls_a_site_gets_no_weights(tmp_path):
    def give(partner, key, weights):
        if partner not in NAMES:
            raise TimeoutError(f"site {partner!r} cannot be reached")

    site = sites_of(PLAIN, LABELS, NAMES, gives_weights=False)[0]
    mailbox = Mailbox(give, patience=0.01)
    stateful = StatefulSite(site, tmp_path, mailbox.swap)
    weights = np.ones((1, 2))
    stateful.answer(Message("keep", "run", 1, site.name, {}, {"weights": weights}).encode())
    for partner in ("server", "Bath"):  # a name proves nothing
        assert mailbox.take(partner, "run 2 0", bytes(weights.nbytes)) is None
    content = {"fusion_rate": 0.0, "fusion_rule": "sequential", "pairs": [[0, "server", site.name]]}
    answer = Message.decode(stateful.answer(Message("fuse kept", "run", 2, site.name, content).encode()))
    assert (answer.kind, dict(answer.arrays)) == ("refused", {})
    assert "site 'server' cannot be reached" in answer.content["reason"]


def test_weights_of_earlier_rounds_are_forgotten():
    mailbox = Mailbox(lambda *what: None, patience=0.01)
    mailbox.take("Bath", "run 1 0", b"early")
    mailbox.take("Bath", "run 2 0", b"due")
    assert mailbox.swap("Bath", "run 2 0", b"own") == b"due"
    with pytest.raises(TimeoutError, match=r"waited 0.01 s in vain to swap weights with 'Bath'"):
        mailbox.swap("Bath", "run 1 0", b"own")


def test_a_partner_that_cannot_be_reached_at_first_gets_the_weights_later(monkeypatch, caplog):
    monkeypatch.setattr(_mailbox, "_PAUSE", 0.001)
    given, n_failures = [], 3

    def give(*what):
        nonlocal n_failures
        n_failures -= 1
        if n_failures >= 0:
            raise TimeoutError("site 'Bath' cannot be reached")
        given.append(what)

    mailbox = Mailbox(give, patience=60)
    mailbox.take("Bath", "run 1 0", b"theirs")
    assert mailbox.swap("Bath", "run 1 0", b"own") == b"theirs"
    assert given == [("Bath", "run 1 0", b"own")]
    assert caplog.text.count("s: site 'Bath' cannot be reached") == 3


class Dies:
    """A site that goes down when it is asked for the n-th time to do something, in the middle of that."""

    def __init__(self, site, kind, n):
        self._site, self._kind, self._n = site, kind, n
        self.name = site.name

    def answer(self, request):
        self._n -= Message.decode(request).kind == self._kind
        if self._n == 0:
            raise ConnectionError("down")
        return self._site.answer(request)


@pytest.mark.parametrize("kind", ["train kept", "fuse kept"])
def test_a_run_goes_on_from_what_sites_have_kept(kind, tmp_path):
    model, checkpoint = classifier(solver="adam", topology="ring"), tmp_path / "run.npz"
    dying = [Dies(site, kind, 3) if site.name == "Leeds" else site for site in stateful_sites(tmp_path, patience=0.5)]
    with pytest.raises((ConnectionError, RuntimeError)):
        fitted(model, dying, checkpoint=checkpoint)
    apart = fitted(model, stateful_sites(tmp_path), checkpoint=checkpoint)
    whole = clone(model).fit(PLAIN, LABELS, groups=NAMES)
    assert (apart.weights_ == whole.weights_).all()
    assert apart.loss_curve_ == whole.loss_curve_
    assert all(len(list((tmp_path / name).glob("*.state"))) == 4 for name in np.unique(NAMES))


def test_what_a_run_goes_on_from_outlasts_a_power_failure(tmp_path, monkeypatch):
    done = []

    def noting(function, note):
        return lambda *arguments: (done.append(note(*arguments)), function(*arguments))

    kind = {False: "written", True: "named"}
    monkeypatch.setattr(os, "fsync", noting(os.fsync, lambda fd: kind[stat.S_ISDIR(os.fstat(fd).st_mode)]))
    monkeypatch.setattr(os, "replace", noting(os.replace, lambda *paths: "renamed"))
    fitted(classifier(max_iter=1), stateful_sites(tmp_path)[:1], checkpoint=tmp_path / "run.npz")
    assert done == ["written", "renamed", "named"] * 3  # a state, the checkpoint, a state


class DeadlySwapping(Deadly, Swapping):
    """Both."""


@pytest.mark.parametrize("collect", [True, False])
def test_a_coordinator_that_dies_goes_on_to_the_same_bits(collect, tmp_path):
    params = {"fusion_unit": "step", "fusion_frequency": 7, "solver": "adam", "max_iter": 2, "topology": "random"}
    n_kills, whole = 0, classifier(**params).fit(PLAIN, LABELS, groups=NAMES)
    while True:
        try:
            # It dies once all sites were asked, or they would wait for one another.
            with DeadlySwapping(stateful_sites(tmp_path), 20 + 15 * n_kills) as transport:
                options = {"fuse_at": "sites", "collect": collect, "checkpoint": tmp_path / "run.npz"}
                apart = fit_sites(classifier(**params), transport, **options)
        except Killed:
            n_kills += 1
        else:
            break
    assert n_kills > 1
    assert apart.loss_curve_ == whole.loss_curve_
    if collect:
        got = apart.weights_
    else:
        got = [classifier(**params).load_weights(tmp_path / name / "weights.npz").weights_[0] for name in apart.sites_]
    assert (got == whole.weights_).all()


def test_a_run_whose_model_was_lost_before_it_was_saved_ends_once_more(tmp_path):
    model, file = classifier(solver="adam", topology="ring"), tmp_path / "run.npz"
    fitted(model, stateful_sites(tmp_path), checkpoint=file)
    file.with_name("run.npz.over").rename(file)
    apart = fitted(model, stateful_sites(tmp_path), checkpoint=file)
    assert (apart.weights_ == clone(model).fit(PLAIN, LABELS, groups=NAMES).weights_).all()


def test_a_run_that_was_over_and_trains_on_is_one_that_is_not_over(tmp_path):
    file = tmp_path / "run.npz"
    fitted(classifier(max_iter=2), stateful_sites(tmp_path), checkpoint=file)
    file.with_name("run.npz.over").rename(file)
    interrupted(classifier(), tmp_path)
    fitted(classifier(max_iter=1, random_state=9), stateful_sites(tmp_path))
    apart = fitted(classifier(), stateful_sites(tmp_path), checkpoint=file)
    assert (apart.weights_ == classifier().fit(PLAIN, LABELS, groups=NAMES).weights_).all()


def interrupted(model, folder):
    """A run that ended when Leeds was down, in a file."""
    sites = [Dies(site, "train kept", 3) if site.name == "Leeds" else site for site in stateful_sites(folder)]
    with pytest.raises(ConnectionError):
        fitted(model, sites, checkpoint=folder / "run.npz")
    return folder / "run.npz"


@pytest.mark.parametrize("n_left", [0, 1])  # which a copy of the folder from before may have
def test_a_run_cannot_go_on_at_a_site_that_has_lost_its_weights(n_left, tmp_path):
    model = classifier()
    checkpoint = interrupted(model, tmp_path)
    for path in sorted((tmp_path / "York").iterdir())[n_left:]:
        path.unlink()
    with pytest.raises(RuntimeError, match=r"'York' refuses.*does not have its peer's weights as of exchange 7"):
        fitted(model, stateful_sites(tmp_path), checkpoint=checkpoint)


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[:8], lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 16])],
    ids=["empty", "beginning", "cut short", "one bit"],
)
def test_a_site_whose_weights_are_damaged_says_in_which_file(damage, tmp_path):
    model = classifier()
    checkpoint = interrupted(model, tmp_path)
    for path in (tmp_path / "York").iterdir():
        path.write_bytes(damage(path.read_bytes()))
    damaged = r"its file [0-9a-f]{32}-7\.state with its peer's weights is damaged"
    with pytest.raises(RuntimeError, match=f"'York' refuses to take part: {damaged}"):
        fitted(model, stateful_sites(tmp_path), checkpoint=checkpoint)


def test_a_site_that_cannot_read_its_weights_says_so(tmp_path, caplog):
    model = classifier()
    checkpoint = interrupted(model, tmp_path)
    for path in (tmp_path / "York").iterdir():
        path.unlink()
        path.mkdir()
    with pytest.raises(RuntimeError, match="'York' refuses to take part: it failed; the site's own log says why"):
        fitted(model, stateful_sites(tmp_path), checkpoint=checkpoint)
    assert "York: cannot answer 'train kept'" in caplog.text


def test_other_runs_leave_an_interrupted_one_and_the_sites_own_files_alone(tmp_path):
    model = classifier()
    checkpoint = interrupted(model, tmp_path)
    for name in ("my-1.state", "my.over"):
        (tmp_path / "York" / name).touch()
    fitted(classifier(max_iter=1, random_state=9), stateful_sites(tmp_path))
    apart, whole = (
        fitted(model, stateful_sites(tmp_path), checkpoint=checkpoint),
        clone(model).fit(PLAIN, LABELS, groups=NAMES),
    )
    assert (apart.weights_ == whole.weights_).all()
    fitted(classifier(max_iter=1, random_state=9), stateful_sites(tmp_path))
    left = [path for path in (tmp_path / "York").iterdir() if path.suffix == ".state"]
    assert len(left) == 4  # three of the last run, none of those before
    assert tmp_path / "York" / "my-1.state" in left
    assert (tmp_path / "York" / "my.over").exists()


def test_weights_of_earlier_runs_cannot_be_taken_for_those_of_the_latest(tmp_path):
    models = [classifier(max_iter=1, random_state=seed) for seed in range(2)]
    for model in models:
        fitted(model, stateful_sites(tmp_path), collect=False)
    interrupted(classifier(), tmp_path)
    assert not (tmp_path / "York" / "weights.npz").exists()
    for number, model in enumerate(models, 1):
        kept = classifier().load_weights(tmp_path / "York" / f"weights-{number}.npz")
        assert (kept.weights_ == model.fit(PLAIN, LABELS, groups=NAMES).weights_[3]).all()


def test_an_earlier_run_that_goes_on_leaves_the_weights_of_later_ones(tmp_path):
    model, later = classifier(), classifier(max_iter=1, random_state=9)
    checkpoint = interrupted(model, tmp_path)
    fitted(later, stateful_sites(tmp_path), collect=False)
    for _ in range(2):
        fitted(model, stateful_sites(tmp_path), collect=False, checkpoint=checkpoint)
        checkpoint.with_name("run.npz.over").rename(checkpoint)  # it ends once more
    for one, name in ((model, "weights.npz"), (later, "weights-1.npz")):
        kept = classifier().load_weights(tmp_path / "York" / name)
        assert (kept.weights_ == clone(one).fit(PLAIN, LABELS, groups=NAMES).weights_[3]).all()
    assert len([*(tmp_path / "York").glob("*.npz")]) == 2


def test_what_cannot_be_done_is_refused_before_training(tmp_path):
    with (
        LocalTransport(sites_of(PLAIN, LABELS, NAMES)) as transport,
        pytest.raises(ValueError, match="sites reach one another"),
    ):
        fit_sites(classifier(), transport, fuse_at="sites")
    with pytest.raises(TypeError, match="collect must be True or False, got 1"):
        fitted(classifier(), stateful_sites(tmp_path), collect=1)
    with pytest.raises(ValueError, match="collect must be True with fuse_at='coordinator'"):
        fitted(classifier(), stateful_sites(tmp_path), fuse_at="coordinator", collect=False)
    for model, options, match in [
        (classifier(early_stopping=True), {}, "early_stopping must be False"),
        (classifier(drift_correction="tracking"), {}, "drift_correction must be None"),
        (classifier(fusion_momentum=0.5), {}, "fusion_momentum 0 with fuse_at='sites'"),
        (classifier(), {"absent": "skip", "patience": 1}, "absent must be 'raise'"),
        (classifier(topology="average"), {}, "topology must fuse in pairs .*; got AverageTopology"),
    ]:
        sites = stateful_sites(tmp_path)
        with pytest.raises(ValueError, match=match):
            fitted(model, sites, **options)
        assert not any(b'"train kept"' in request for site in sites for request in site.requests)
    with pytest.raises(ValueError, match="fuse_at='sites' allows one peer at each site; site 'Bath' has 2 groups"):
        fitted(classifier(), stateful_sites(tmp_path, wards=np.resize(["a", "b"], N)))


class PairsAtFirst(AverageTopology):
    """One pair in each of the first two rounds, and then the mean of all."""

    def matrix(self, n_networks, fusion_round=0, random_state=None):
        return None if fusion_round < 2 else super().matrix(n_networks)

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return [(0, 1)]


def test_a_topology_that_ceases_to_fuse_in_pairs_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"topology must fuse in pairs .*; got PairsAtFirst\(\)"):
        fitted(classifier(topology=PairsAtFirst()), stateful_sites(tmp_path))


def test_a_run_does_not_go_on_with_another_place_to_fuse(tmp_path):
    file = interrupted(classifier(), tmp_path)
    with pytest.raises(ValueError, match="of another run, with fuse_at 'sites' instead of 'coordinator'"):
        fitted(classifier(), stateful_sites(tmp_path), checkpoint=file, fuse_at="coordinator")


def test_what_is_for_another_site_is_refused(tmp_path):
    (york,) = (site for site in stateful_sites(tmp_path) if site.name == "York")
    york.answer(Message("keep", "run", 1, "York", {}, {"weights": np.zeros((1, 2))}).encode())
    for kind in ("keep", "train kept", "fuse kept", "return", "write"):
        answer = Message.decode(york.answer(Message(kind, "run", 2, "Bath").encode()))
        assert answer.kind == "refused"
        assert "the message is for site 'Bath', and has reached site 'York'" in answer.content["reason"]


def test_the_end_of_a_run_that_a_site_had_no_part_in_leaves_no_file(tmp_path):
    site = stateful_sites(tmp_path)[0]
    assert Message.decode(site.answer(Message("end", "run", 1, site.name).encode())).kind == "end answered"
    assert not [*(tmp_path / site.name).iterdir()]


def test_what_is_given_for_one_swap_is_not_taken_for_another(tmp_path):
    (york,) = (site for site in sites_of(PLAIN, LABELS, NAMES) if site.name == "York")
    keys = []
    stateful = StatefulSite(york, tmp_path, lambda partner, key, weights: keys.append(key) or weights)
    content = {"fusion_rate": 0.5, "fusion_rule": "sequential", "pairs": [[0, "York", "Bath"], [1, "Bath", "York"]]}
    for run in ("one", "another"):
        stateful.answer(Message("keep", run, 1, "York", {}, {"weights": np.zeros((1, 2))}).encode())
        for number in (2, 3):
            stateful.answer(Message("fuse kept", run, number, "York", content).encode())
    assert len(set(keys)) == len(keys) == 8


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"fusion_rate": -0.1, "fusion_rule": "sequential", "pairs": []}, "fusion rate"),
        ({"fusion_rate": 2.0, "fusion_rule": "sequential", "pairs": []}, "fusion rate"),
        ({"fusion_rate": 0.5, "fusion_rule": "none", "pairs": []}, "fusion rate"),
        ({"fusion_rate": 0.5, "fusion_rule": "sequential", "pairs": [[0, "York", "York"]]}, "a pair must have"),
        ({"fusion_rate": 0.5, "fusion_rule": "sequential", "pairs": [7]}, "a pair must have"),
    ],
)
def test_a_site_refuses_to_fuse_as_it_should_not(content, match, tmp_path):
    assert match in refusal(content, tmp_path)


@pytest.mark.parametrize(
    ("swapped", "match"),
    [
        (bytes(8), "the weights of 'Bath' must have 16 bytes, got 8"),
        (bytes(24), "the weights of 'Bath' must have 16 bytes, got 24"),
        (np.array([0, np.inf]).tobytes(), "the weights of 'Bath' must be finite"),
    ],
)
def test_a_site_refuses_weights_that_a_partner_cannot_have(swapped, match, tmp_path):
    content = {"fusion_rate": 0.5, "fusion_rule": "sequential", "pairs": [[0, "York", "Bath"]]}
    assert match in refusal(content, tmp_path, swapped)


def refusal(content, folder, swapped=b""):
    """Why York, with two weights, does not fuse as it is told, where its partner gives it these bytes."""
    (york,) = (site for site in sites_of(PLAIN, LABELS, NAMES) if site.name == "York")
    stateful = StatefulSite(york, folder, lambda *what: swapped)
    stateful.answer(Message("keep", "run", 1, "York", {}, {"weights": np.zeros((1, 2))}).encode())
    answer = Message.decode(stateful.answer(Message("fuse kept", "run", 2, "York", content).encode()))
    assert answer.kind == "refused"
    return answer.content["reason"]
