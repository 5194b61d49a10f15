"""Sites that die, lie or do not answer; coordinators that die; what leaves a site."""

import errno
import json
import os
import pickle
import re
import threading
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rows_at_sites import (
    IMAGES,
    LABELS,
    NAMES_OF_ROWS,
    NUMBERS,
    PLAIN,
    WEIGHT,
    Deadly,
    Killed,
    Spy,
    assert_same,
    at_sites,
    classifier,
    sites_of,
    spied,
)
from scipy.sparse import csr_array
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler, scale

from skfusion import FusedMLPClassifier, FusedMLPRegressor
from skfusion.sites import FolderTransport, LocalTransport, Site, _exchange, fit_sites
from skfusion.sites._digest import digest_of
from skfusion.sites._rows import SiteRows
from skfusion.sites.folder import serve
from skfusion.sites.message import Message, MessageError, RefusalError
from skfusion.sites.site import refused_unread
from skfusion.topology import GraphTopology, HypercubeTopology, LineTopology

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Training"),
]
TABLE = pd.DataFrame(PLAIN, columns=list("abcde"))
NUMBERS_PER_PEER = 10  # beside its network: steps, rows, learning rate, loss, and six of its generator


class Changing(LocalTransport):
    """Sites whose answers are changed, or lost where ``change`` returns None; time passes once all are there.

    Answers come in the order of the sites' names, whichever thread is faster.
    """

    def __init__(self, sites, change):
        super().__init__(sites)
        self._change, self._n_awaited, self._arrived, self.now = change, 0, [], 0.0

    def send(self, site, message):
        self._n_awaited += 1
        super().send(site, message)

    def receive(self, timeout):
        receive = super().receive
        self._arrived += sorted(receive(60) for _ in range(self._n_awaited))
        self._n_awaited = 0
        if not self._arrived:
            self.now += timeout
            return None
        site, data = self._arrived.pop(0)
        data = self._change(site, data)
        return None if data is None else (site, data)

    @contextmanager
    def clock(self):
        """Let the coordinator's time be this transport's."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_exchange, "time", SimpleNamespace(monotonic=lambda: self.now))
            yield


@contextmanager
def changing(change):
    with Changing(sites_of(PLAIN, LABELS, NAMES_OF_ROWS), change) as transport, transport.clock():
        yield transport


def of_kind(kind, number=None, sites=("York",)):
    """Whether an answer is of a kind, and in one of some exchanges."""

    def holds(site, message):
        return site in sites and message.kind == f"{kind} answered" and number in (None, message.round)

    return holds


def altered(holds, alter):
    """A change of those answers for which something holds."""

    def change(site, data):
        message = Message.decode(data)
        if holds(site, message):
            message = alter(message)
            data = None if message is None else message.encode()
        return data

    return change


# Coordinators that die


RUNS = [
    {},
    {"fusion_unit": "step", "fusion_frequency": 4, "batch_size": 3, "topology": "random"},
    {"fusion_unit": "step", "fusion_frequency": 7, "solver": "adam", "max_iter": 2},
    {"early_stopping": True, "momentum": 0.9, "n_iter_no_change": 1, "tol": 0.05, "max_iter": 12},
    {"learning_rate": "adaptive", "tol": 0.2, "n_iter_no_change": 1, "max_iter": 12},
    {"topology": "average", "init": "independent", "random_state": None},
    {"drift_correction": "tracking", "fusion_momentum": 0.5, "fusion_unit": "step", "fusion_frequency": 6},
]


@pytest.mark.parametrize("params", RUNS, ids=str)
def test_a_coordinator_that_dies_goes_on_to_the_same_bits(params, tmp_path):
    file, n_kills = tmp_path / "run.npz", 0
    model, sites = classifier(**params), sites_of(PLAIN, LABELS, NAMES_OF_ROWS)
    state_is_lost = model.random_state is None
    if state_is_lost:
        model.set_params(random_state=np.random.RandomState(5))
    whole = clone(model).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS)
    while True:
        try:
            with Deadly(sites, 10 + 3 * n_kills) as transport:
                apart = fit_sites(clone(model), transport, checkpoint=file)
        except Killed:
            n_kills += 1
            assert file.exists()
            if state_is_lost:
                model.set_params(random_state=np.random.RandomState(n_kills))
        else:
            break
    assert n_kills > 1
    assert not file.exists()
    if state_is_lost:
        apart.random_state = whole.random_state
    assert_same(apart, whole)


@pytest.mark.parametrize("params", RUNS[:5], ids=str)
def test_a_run_whose_model_was_lost_before_it_was_saved_ends_once_more(params, tmp_path):
    model, sites, file = classifier(**params), sites_of(PLAIN, LABELS, NAMES_OF_ROWS), tmp_path / "run.npz"
    at_sites(model, sites, checkpoint=file)
    (over,) = tmp_path.iterdir()
    over.rename(file)
    spies = spied(sites)
    assert_same(at_sites(model, spies, checkpoint=file), clone(model).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))
    assert sum(Message.decode(request).kind == "train" for request in spies[0].requests) == 1
    assert [*tmp_path.iterdir()] == [over]


@contextmanager
def served(sites, folder, **options):
    """Let sites serve in threads, which end with the run."""
    threads = [threading.Thread(target=serve, args=(site, folder), kwargs=options, daemon=True) for site in sites]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_what_a_site_answered_a_coordinator_with_other_arguments_is_not_taken_for_its_answer_now(tmp_path):
    sites, file = sites_of(PLAIN, LABELS, NAMES_OF_ROWS), tmp_path / "run.npz"
    with pytest.raises(Killed), Deadly(sites, 10) as transport:
        fit_sites(classifier(), transport, checkpoint=file)
    options = dict(sites=3, checkpoint=file, patience=60)
    with served(sites, tmp_path):
        with FolderTransport(tmp_path) as transport, pytest.raises(RuntimeError, match="must have only labels among"):
            fit_sites(classifier(), transport, classes=[0, 1], **options)
        with FolderTransport(tmp_path) as transport:
            apart = fit_sites(classifier(), transport, **options)
    assert_same(apart, classifier().fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))


def test_a_network_too_large_for_a_site_ends_the_run_and_no_later_one(tmp_path):
    too_long = r"site '\w+' refuses to take part: the request must have at most 3000 bytes \(max_bytes\), got \d+$"
    with served(sites_of(PLAIN, LABELS, NAMES_OF_ROWS), tmp_path, max_bytes=3000):
        with FolderTransport(tmp_path) as transport, pytest.raises(RuntimeError, match=too_long):
            fit_sites(classifier(hidden_layer_sizes=(200,)), transport, sites=3, patience=60)
        with FolderTransport(tmp_path) as transport:
            apart = fit_sites(classifier(), transport, sites=3, patience=60)
    assert_same(apart, classifier().fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))


def test_a_checkpoint_that_cannot_be_renamed_costs_no_model(caplog, tmp_path):
    (tmp_path / "run.npz.over").mkdir()
    apart = at_sites(classifier(), sites_of(PLAIN, LABELS, NAMES_OF_ROWS), checkpoint=tmp_path / "run.npz")
    assert_same(apart, classifier().fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))
    assert "is over, but its checkpoint cannot be renamed" in caplog.text


MANY_EDGES = np.arange(6000).reshape(-1, 2) % 3


def graph_of(edges):
    return classifier(topology=GraphTopology(edges))


def saved_run(file, model=None, sites=None):
    """A run that was cut short after some epochs, in a file."""
    with Deadly(sites or sites_of(PLAIN, LABELS, NAMES_OF_ROWS), 14) as transport, pytest.raises(Killed):
        fit_sites(model or classifier(), transport, checkpoint=file)
    return file


@pytest.mark.parametrize(
    ("model", "sites", "match"),
    [
        (classifier(learning_rate_init=0.2), None, "with learning_rate_init '0.05' instead of '0.2'"),
        (classifier(random_state=4), None, "with random_state '3' instead of '4'"),
        (FusedMLPRegressor((6,)), None, "with estimator 'FusedMLPClassifier' instead of 'FusedMLPRegressor'"),
        (None, sites_of(PLAIN[1:], LABELS[1:], NAMES_OF_ROWS[1:]), r"with rows of peer '\w+' that number \d+ instead"),
        (None, sites_of(PLAIN, LABELS, NAMES_OF_ROWS, 2 * WEIGHT), "with rows at site 'Bath' that have the"),
        (None, sites_of(PLAIN, np.array([0, 1, 3])[LABELS], NAMES_OF_ROWS, WEIGHT), r"with classes .*2\].* instead of"),
        (None, sites_of(PLAIN[:, 1:], LABELS, NAMES_OF_ROWS, WEIGHT), "with number of features 5 instead of 4"),
        (None, sites_of(TABLE, LABELS, NAMES_OF_ROWS, WEIGHT), r"with features None instead of \['a', 'b'"),
        (None, sites_of(PLAIN.astype(np.float32), LABELS, NAMES_OF_ROWS, WEIGHT), "with dtype of X 'float64' instead"),
        (None, sites_of(csr_array(PLAIN), LABELS, NAMES_OF_ROWS, WEIGHT), "with sparse X False instead of True"),
        (None, sites_of(PLAIN.round(1), LABELS, NAMES_OF_ROWS, WEIGHT), "with rows at site 'Bath' that have the"),
    ],
)
def test_another_run_is_not_taken_up(model, sites, match, tmp_path):
    first = sites_of(PLAIN, LABELS, NAMES_OF_ROWS, WEIGHT)
    file = saved_run(tmp_path / "run.npz", sites=first)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=match) as error:
        at_sites(model or classifier(), sites or first, checkpoint=file)
    assert "remove this one to start afresh" in str(error.value)
    assert file.read_bytes() == before


def test_the_site_whose_rows_have_changed_is_named(tmp_path):
    model = make_pipeline(StandardScaler(), classifier())
    file = saved_run(tmp_path / "run.npz", model=clone(model))
    changed = PLAIN.copy()
    changed[np.flatnonzero(NAMES_OF_ROWS == "York")[-1], 2] += 1
    with pytest.raises(ValueError, match=r"of another run, with rows at site 'York' that have the checksum"):
        at_sites(model, sites_of(changed, LABELS, NAMES_OF_ROWS), checkpoint=file)


def test_other_rows_show_though_they_share_a_checksum(tmp_path, monkeypatch):
    monkeypatch.setattr(SiteRows, "checksum", "0000")
    model = make_pipeline(StandardScaler(), classifier())
    file = saved_run(tmp_path / "run.npz", model=clone(model), sites=sites_of(PLAIN, LABELS, NAMES_OF_ROWS))
    with pytest.raises(ValueError, match="of another run, with what the sites tell of their rows, in short '"):
        at_sites(model, sites_of(2 * PLAIN, LABELS, NAMES_OF_ROWS), checkpoint=file)


@pytest.mark.parametrize(
    ("model", "other", "name"),
    [
        (graph_of([(0, 1), (1, 2), (2, 0)] * 20), graph_of([(0, 1), (1, 2), (2, 0)] * 19 + [(0, 1)] * 3), "topology"),
        (graph_of(MANY_EDGES), graph_of(np.delete(MANY_EDGES, [1500, 1501, 1502], axis=0)), "topology"),
        (classifier(), make_pipeline(StandardScaler(), classifier()), "scaler"),
        (
            make_pipeline(StandardScaler(), classifier()),
            make_pipeline(StandardScaler(with_std=False), classifier()),
            "scaler",
        ),
    ],
)
def test_nor_is_one_with_another_topology_or_scaler(model, other, name, tmp_path):
    file = saved_run(tmp_path / "run.npz", model=clone(model))
    with pytest.raises(ValueError, match=f"is of another run, with {name} "):
        at_sites(other, sites_of(PLAIN, LABELS, NAMES_OF_ROWS), checkpoint=file)


@pytest.mark.parametrize("wanted", [4, 2, ["Bath", "York"], ["Bath", "Hull", "Leeds", "York"]])
def test_nor_is_one_of_other_sites_even_if_those_are_not_there(wanted, tmp_path):
    file = saved_run(tmp_path / "run.npz")
    match = re.escape(f"is of another run, with sites ['Bath', 'Leeds', 'York'] instead of {wanted}; ")
    with LocalTransport(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport, pytest.raises(ValueError, match=match):
        fit_sites(classifier(), transport, sites=wanted, checkpoint=file, patience=1)


@pytest.mark.parametrize("wanted", [None, 3, ["York", "Bath", "Leeds"]])
def test_a_run_goes_on_with_its_sites_though_there_are_more(wanted, tmp_path):
    file, sites = saved_run(tmp_path / "run.npz"), sites_of(PLAIN, LABELS, NAMES_OF_ROWS)
    with LocalTransport([*sites, Site(PLAIN, LABELS, name="Hull")]) as transport:
        apart = fit_sites(classifier(), transport, sites=wanted, checkpoint=file)
    assert_same(apart, classifier().fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))


def test_a_run_along_a_networkx_graph_goes_on(tmp_path):
    networkx = pytest.importorskip("networkx")
    file = saved_run(tmp_path / "run.npz", model=graph_of(networkx.path_graph(3)))
    apart = at_sites(graph_of(networkx.path_graph(3)), sites_of(PLAIN, LABELS, NAMES_OF_ROWS), checkpoint=file)
    assert_same(apart, graph_of([(0, 1), (1, 2)]).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))


class Chord:
    """A third party's topology that is no estimator: one pair."""

    def __init__(self, *ends):
        self.ends = ends

    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return [self.ends]


def test_a_run_along_a_topology_of_any_class_goes_on_if_it_is_the_same(tmp_path):
    sites = sites_of(PLAIN, LABELS, NAMES_OF_ROWS)
    file = saved_run(tmp_path / "run.npz", model=classifier(topology=Chord(0, 2)), sites=sites)
    with pytest.raises(ValueError, match=r"with topology 'Chord\(ends=\(0, 2\)\)' instead of 'Chord\(ends=\(1, 2\)\)'"):
        at_sites(classifier(topology=Chord(1, 2)), sites, checkpoint=file)
    apart = at_sites(classifier(topology=Chord(0, 2)), sites, checkpoint=file)
    assert_same(apart, classifier(topology=Chord(0, 2)).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))


class Preset(FusedMLPClassifier):
    """A user's subclass, which sets what is no parameter of its own."""

    size = 6

    def __init__(self, max_iter=6):
        super().__init__(self.size, max_iter=max_iter, n_networks=None, random_state=3)


def test_a_run_of_a_subclass_with_fewer_parameters_goes_on_if_what_it_sets_is_the_same(tmp_path, monkeypatch):
    sites = sites_of(PLAIN, LABELS, NAMES_OF_ROWS)
    file = saved_run(tmp_path / "run.npz", model=Preset(), sites=sites)
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="with hidden_layer_sizes '6' instead of '7'"):
        patch.setattr(Preset, "size", 7)
        at_sites(Preset(), sites, checkpoint=file)
    assert_same(at_sites(Preset(), sites, checkpoint=file), Preset().fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))


def test_more_epochs_may_be_asked_for_than_at_first_and_what_changes_nothing_may_change(tmp_path):
    file, sites = saved_run(tmp_path / "run.npz"), sites_of(PLAIN, LABELS, NAMES_OF_ROWS)
    others = dict(n_jobs=2, n_networks=5, partitioner="class", verbose=True, warm_start=True)
    apart = at_sites(classifier(max_iter=7, **others), sites, checkpoint=file)
    assert_same(apart, classifier(max_iter=7).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))


def test_files_that_are_no_checkpoints_are_refused_and_stay(tmp_path):
    file, sites = saved_run(tmp_path / "run.npz"), sites_of(PLAIN, LABELS, NAMES_OF_ROWS)
    whole = file.read_bytes()
    arrays = dict(np.load(file))
    for number, bad in enumerate(
        [
            b"",
            whole[: len(whole) // 2],
            whole[:-3],
            b"SKFUSION" * 100,
            {},
            {**arrays, "header": np.array("[]")},
            {**arrays, "header": np.array("{")},
            {**arrays, "header": np.array(json.dumps({**json.loads(str(arrays["header"])), "version": 2}))},
            {**arrays, "header": np.array(json.dumps({"version": 2, "what only version 2 has": 0}))},
            {**arrays, "weights": arrays["weights"][:, 1:]},
            {**arrays, "weights": np.full_like(arrays["weights"], np.nan)},
            {name: array for name, array in arrays.items() if name != "generators"},
        ]
    ):
        if isinstance(bad, dict):
            np.savez(file, **bad)
        else:
            file.write_bytes(bad)
        right = "of version 1, got 2" if number in (7, 8) else "as fit_sites writes it|with the"
        with pytest.raises(ValueError, match=rf"run.npz must be a (complete )?checkpoint,? ({right})") as error:
            at_sites(classifier(), sites, checkpoint=file)
        assert "pickle" not in str(error.value)  # as NumPy advises for what may be a stranger's file
        assert file.exists(), number


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Pickled:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    file = saved_run(tmp_path / "run.npz")
    np.savez(file, **{**np.load(file), "weights": np.array([Pickled()])})
    with pytest.raises(ValueError, match="must be a complete checkpoint"):
        at_sites(classifier(), sites_of(PLAIN, LABELS, NAMES_OF_ROWS), checkpoint=file)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("params", "n_messages", "begun"),
    [
        ({}, 14, 2),  # between two epochs
        ({"drift_correction": "tracking", "fusion_momentum": 0.5}, 14, 2),
        ({"fusion_unit": "step", "fusion_frequency": 10}, 24, 2),  # within one
    ],
    ids=str,
)
def test_a_run_does_not_go_on_to_fewer_epochs_than_it_has_begun(params, n_messages, begun, tmp_path):
    model, file = classifier(**params), tmp_path / "run.npz"
    with Deadly(sites_of(PLAIN, LABELS, NAMES_OF_ROWS), n_messages) as transport, pytest.raises(Killed):
        fit_sites(clone(model), transport, checkpoint=file)
    before, sites = file.read_bytes(), spied(sites_of(PLAIN, LABELS, NAMES_OF_ROWS))
    match = f"^max_iter must be at least {begun}, the epochs in checkpoint .*, got 1; otherwise name another file, or "
    with pytest.raises(ValueError, match=match):
        at_sites(clone(model).set_params(max_iter=begun - 1), sites, checkpoint=file)
    assert file.read_bytes() == before
    assert not any(site.requests for site in sites)
    apart = at_sites(clone(model).set_params(max_iter=begun), sites, checkpoint=file)
    whole = clone(model).set_params(max_iter=begun).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS)
    assert (apart.weights_ == whole.weights_).all()
    assert (apart.n_iter_, apart.loss_, apart.loss_curve_) == (whole.n_iter_, whole.loss_, whole.loss_curve_)
    later = [one.partial_fit(PLAIN, LABELS, groups=NAMES_OF_ROWS) for one in (apart, whole)]
    assert_same(*later)


@pytest.mark.parametrize("error", [OSError(errno.ESTALE, "Stale file handle"), MemoryError("no room")], ids=repr)
def test_what_goes_wrong_in_reading_is_not_the_checkpoints_fault(error, tmp_path, monkeypatch):
    file = saved_run(tmp_path / "run.npz")

    def read_bytes(path):
        raise error

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(type(error), match=re.escape(str(error))):
        at_sites(classifier(), sites_of(PLAIN, LABELS, NAMES_OF_ROWS), checkpoint=file)


def test_an_interrupt_leaves_a_model_and_the_checkpoint(tmp_path):
    sites, file = sites_of(PLAIN, LABELS, NAMES_OF_ROWS), tmp_path / "run.npz"

    class Interrupted(Deadly):
        def send(self, site, message):
            try:
                super().send(site, message)
            except Killed:
                raise KeyboardInterrupt from None

    with Interrupted(sites, 14) as transport, pytest.warns(UserWarning, match="Training interrupted by user"):
        model = fit_sites(classifier(), transport, checkpoint=file)
    assert len(model.history_) == 2
    assert {site.run for site in sites} != {None}  # they wait for the run to go on
    apart = at_sites(classifier(), sites, checkpoint=file)
    assert_same(apart, classifier().fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))
    assert {site.run for site in sites} == {None}


# Sites that die, lie or do not answer


def test_answers_that_come_twice_or_late_change_nothing():
    earlier, rng = [], np.random.default_rng(0)

    class Repeating(LocalTransport):
        def receive(self, timeout):
            if earlier and rng.random() < 0.5:
                return earlier[rng.integers(len(earlier))]
            answer = super().receive(timeout)
            if answer is not None:
                earlier.append(answer)
            return answer

    model = classifier(fusion_unit="step", fusion_frequency=5, early_stopping=True)
    with Repeating(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport:
        apart = fit_sites(clone(model), transport)
        assert len(earlier) > 50
        apart = fit_sites(clone(model), transport)  # with answers to another run among them
    assert_same(apart, model.fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))


@pytest.mark.parametrize("answers", ["well", "with garbage"])
def test_an_answer_of_a_site_that_was_not_asked_is_not_used(answers):
    class Busybody(LocalTransport):
        """Lets Hull answer whatever York does."""

        def __init__(self, sites):
            super().__init__(sites)
            self._earlier = None

        def receive(self, timeout):
            answer, self._earlier = self._earlier or super().receive(timeout), None
            if answer is not None and answer[0] == "York":
                message = replace(Message.decode(answer[1]), site="Hull")
                self._earlier = "Hull", message.encode() if answers == "well" else b"garbage"
            return answer

    with Busybody(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport:
        apart = fit_sites(classifier(), transport)
    assert_same(apart, classifier().fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))


def test_a_checkpoint_that_cannot_be_written_is_named_before_sites_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write everywhere
    spies, match = (
        spied(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)),
        "must be in a folder that may be written to: '.*run.npz'",
    )
    with pytest.raises(PermissionError, match=match):
        at_sites(classifier(), spies, checkpoint=tmp_path / "run.npz")
    assert not any(spy.requests for spy in spies)


def test_a_checkpoint_has_one_coordinator_at_a_time(tmp_path):
    sites, file, link = sites_of(PLAIN, LABELS, NAMES_OF_ROWS), tmp_path / "run.npz", tmp_path / "link"
    link.symlink_to(file)

    class Meanwhile(LocalTransport):
        def sites(self):
            taken = f"checkpoint .*link has a coordinator already, process {os.getpid()} .*use another checkpoint"
            with pytest.raises(RuntimeError, match=taken):
                at_sites(classifier(), sites, checkpoint=link)
            return super().sites()

    with Meanwhile(sites) as transport:
        fit_sites(classifier(), transport, checkpoint=file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "run.npz.over"]
    saved_run(file)
    assert not (tmp_path / "run.npz.lock").exists()
    assert_same(at_sites(classifier(), sites, checkpoint=link), classifier().fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))


def test_a_checkpoint_stays_where_it_is_if_the_working_directory_changes(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    class Moving(LocalTransport):
        def sites(self):
            os.chdir("elsewhere")
            return super().sites()

    with Moving(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport:
        fit_sites(classifier(), transport, checkpoint="run.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "run.npz.over"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_training_has_come_to_outlasts_the_drive_of_its_checkpoint(caplog, tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()

    class Unmounting(LocalTransport):
        def send(self, site, message):
            if Message.decode(message).kind == "end" and folder.is_dir():
                folder.rename(tmp_path / "away")
                folder.touch()  # so that what was in there cannot even be looked for
            super().send(site, message)

    model = make_pipeline(StandardScaler(), classifier())
    with Unmounting(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport:
        fit_sites(model, transport, checkpoint=folder / "run.npz")
    assert "its checkpoint cannot be renamed" in caplog.text
    assert "a file that is of no more use stays: " in caplog.text
    model.predict(PLAIN)


@pytest.mark.parametrize("error", [ConnectionError("gone"), RuntimeError("a transport's own"), KeyboardInterrupt()])
def test_what_training_has_come_to_outlasts_the_farewell(error, caplog, tmp_path):
    class Gone(LocalTransport):
        def send(self, site, message):
            if Message.decode(message).kind == "end":
                raise error
            super().send(site, message)

    with Gone(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport:
        apart = fit_sites(classifier(), transport, checkpoint=tmp_path / "run.npz")
    assert_same(apart, classifier().fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))
    reason = str(error) or "KeyboardInterrupt"
    assert f"not all sites may have heard that the run is over: {reason}" in caplog.text
    assert not (tmp_path / "run.npz").exists()


def test_a_lost_message_is_sent_again():
    rng = np.random.default_rng(0)

    class Losing(LocalTransport):
        resend_after, n_lost, latest = 0.05, 0, {}

        def send(self, site, message):
            again, self.latest[site] = self.latest.get(site) == message, message
            if rng.random() < 0.3:
                self.n_lost += 1
                if again:
                    raise OSError("the drive is away")
            else:
                super().send(site, message)

        def receive(self, timeout):
            return super().receive(0.01)

    with Losing(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport:
        apart = fit_sites(classifier(), transport)
    assert transport.n_lost > 2
    assert_same(apart, classifier().fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))


def test_what_goes_wrong_in_sending_again_ends_a_run_unless_the_drive_is_away():
    class Replaced(Changing):
        resend_after, n_sent = 30, 0

        def send(self, site, message):
            self.n_sent += Message.decode(message).kind == "train"
            if self.n_sent == 4:  # to three sites
                raise RuntimeError("another coordinator has come")
            super().send(site, message)

    with (
        Replaced(sites_of(PLAIN, LABELS, NAMES_OF_ROWS), altered_after(3, never)) as transport,
        transport.clock(),
        pytest.raises(RuntimeError, match="another coordinator has come"),
    ):
        fit_sites(classifier(), transport, patience=100)


def with_array(name, change):
    """An answer in which an array is changed, in place or for another."""

    def alter(message):
        arrays = dict(message.arrays)
        other = change(arrays[name])
        arrays[name] = arrays[name] if other is None else other
        return replace(message, arrays=arrays)

    return alter


def first_is(value):
    return lambda array: array.__setitem__((0,) * array.ndim, value)


LIES = [
    ("train", with_array("weights", first_is(np.nan)), "array 'weights' must be finite where the losses are"),
    ("train", with_array("weights", first_is(np.inf)), "array 'weights' must be finite"),
    ("train", with_array("weights", lambda w: w[:, 1:]), r"'weights' must be float64 of shape \(1, 57\), got"),
    ("train", with_array("weights", lambda w: w.astype(np.float32)), "'weights' must be float64"),
    ("train", with_array("weights", lambda w: np.vstack([w, w])), r"'weights' must be float64 of shape \(1, 57\)"),
    ("train", with_array("learning_rates", first_is(np.nan)), "'learning_rates' must be finite"),
    ("train", with_array("generators", lambda g: g[:, :5]), "'generators' must be uint64"),
    ("train", lambda m: replace(m, arrays={}), "'weights' must be .*, got none"),
    (
        "train",
        lambda m: replace(m, kind="describe answered"),
        "must answer 'train', got 'describe answered' from 'York'",
    ),
    ("train", lambda m: replace(m, site="Bath"), "must answer 'train', got 'train answered' from 'Bath'"),
    ("vote", with_array("counts", first_is(99)), "votes must not count more rows"),
    ("vote", with_array("counts", first_is(-1)), "votes must not count more rows"),
    ("vote", with_array("n_rows", first_is(-1)), "votes must not count more rows"),
    ("vote", with_array("n_rows", first_is(2**40)), "votes must not count more rows"),
    ("vote", with_array("values", first_is(np.nan)), "'values' must be finite"),
    ("validate", with_array("correct", first_is(1e9)), "the number of correct rows must be from 0 to that of all rows"),
    ("validate", with_array("correct", first_is(-1)), "the number of correct rows must be from 0 to that of all rows"),
    ("validate", with_array("weight", first_is(np.nan)), "'weight' must be finite"),
    ("count", lambda m: replace(m, content={}), "'n_deviations' must be int or NoneType"),
    ("count", lambda m: replace(m, content={**m.content, "n_deviations": -1}), "values that deviate must be from 0"),
    ("count", lambda m: replace(m, content={**m.content, "n_deviations": 10**6}), "values that deviate must be from 0"),
    ("count", lambda m: replace(m, content={**m.content, "held_out_weigh": 1}), "'held_out_weigh' must be bool, got 1"),
    ("describe", lambda m: replace(m, content={**m.content, "n_features": -1}), "'n_features' must be from 1"),
]


@pytest.mark.parametrize(("kind", "alter", "match"), LIES)
def test_an_answer_that_cannot_be_is_refused_by_name(kind, alter, match):
    model = classifier(early_stopping=True)
    with (
        changing(altered(of_kind(kind), alter)) as transport,
        pytest.raises(MessageError, match=f"the answer of site 'York' is refused: .*{match}"),
    ):
        fit_sites(model, transport)
    assert not hasattr(model, "weights_")


@pytest.mark.parametrize("name", ["n_rows", "weight", "squared_deviations", "squared_errors"])
def test_sums_that_cannot_be_are_refused_by_name(name):
    model = FusedMLPRegressor((6,), early_stopping=True, max_iter=2, random_state=0)
    with (
        changing(altered(of_kind("validate"), with_array(name, first_is(-1)))) as transport,
        pytest.raises(MessageError, match="the answer of site 'York' is refused: sums of squares must not be negative"),
    ):
        fit_sites(model, transport)


not_finite = with_array("finite", first_is(0))


@pytest.mark.parametrize(
    ("model", "alter"),
    [
        (FusedMLPClassifier, not_finite),
        (FusedMLPRegressor, lambda m: not_finite(with_array("squared_errors", first_is(np.inf))(m))),
    ],
    ids=["labels", "numbers"],
)
def test_answers_to_rows_held_out_that_are_not_finite_are_divergence(model, alter):
    with (
        changing(altered(of_kind("validate"), alter)) as transport,
        pytest.raises(ValueError, match=r"^the predictions of the peers stopped being finite in epoch 1"),
    ):
        fit_sites(model((6,), early_stopping=True, random_state=0), transport)


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [("target_variance", -1, "variances must not be negative"), ("target_mean", np.nan, "target_mean")],
)
def test_moments_of_targets_that_cannot_be_are_refused_by_name(name, value, match):
    with (
        changing(altered(of_kind("describe"), with_array(name, first_is(value)))) as transport,
        pytest.raises(MessageError, match=f"the answer of site 'York' is refused: .*{match}"),
    ):
        fit_sites(FusedMLPRegressor((6,), random_state=0), transport)


@pytest.mark.parametrize(
    "alter", [lambda m: replace(m, round=m.round + 1), lambda m: replace(m, round=2), lambda m: replace(m, run="2f1c")]
)
def test_an_answer_of_another_round_or_run_is_not_used(alter):
    with changing(altered(of_kind("train"), alter)) as transport, pytest.raises(TimeoutError, match="for site 'York'"):
        fit_sites(classifier(), transport, patience=100)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"SKFUSION" + bytes(100)])
def test_bytes_that_are_no_message_are_refused_by_name(data):
    with (
        changing(lambda site, answer: data if site == "Leeds" else answer) as transport,
        pytest.raises(MessageError, match="the answer of site 'Leeds' is refused: the "),
    ):
        fit_sites(classifier(), transport)


def test_a_site_that_cannot_read_a_message_is_named():
    class OfAnotherVersion(Site):
        def answer(self, request):
            return refused_unread(self.name, digest_of(request), "the version of the format must be 2, got 1")

    sites = [OfAnotherVersion(PLAIN, LABELS, name="York"), Site(PLAIN, LABELS, name="Bath")]
    with pytest.raises(RuntimeError, match="site 'York' refuses to take part: the version of the format must be 2"):
        at_sites(classifier(), sites)


def test_what_a_site_could_not_read_in_an_earlier_run_does_not_end_this_one(caplog):
    late = [("York", refused_unread("York", bytes(16), "the version of the format must be 2, got 1"))]

    class Delayed(LocalTransport):
        def receive(self, timeout):
            return late.pop() if late else super().receive(timeout)

    with Delayed(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport:
        apart = fit_sites(classifier(), transport)
    assert_same(apart, classifier().fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))
    assert "site 'York' cannot read a message of an earlier run" in caplog.text


def test_a_transport_that_damages_messages_is_told_of(caplog):
    class Garbling(LocalTransport):
        def send(self, site, message):
            super().send(site, message[: -1 if site == "York" else None])

    with (
        Garbling(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport,
        pytest.raises(TimeoutError, match="in vain for site 'York'"),
    ):
        fit_sites(classifier(), transport, patience=0.5)
    assert "site 'York' cannot read a message of an earlier run, or a damaged one: the header must be" in caplog.text


def test_what_a_site_says_is_told_in_a_line():
    def refuse(message):
        return replace(message, kind="refused", content={"reason": "\x1b[2J\n" + "x" * 10**6})

    with changing(altered(of_kind("vote"), refuse)) as transport, pytest.raises(RuntimeError) as error:
        fit_sites(classifier(), transport)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000


def test_what_fails_at_a_site_stays_there(caplog):
    class Failing(Site):
        def _vote(self, message):
            raise KeyError("patient 17")

    sites = [Failing(PLAIN, LABELS, name="York"), Site(PLAIN, LABELS, name="Bath")]
    with pytest.raises(RuntimeError, match="site 'York' refuses to take part: it failed; the site's own log says why"):
        at_sites(classifier(), sites)
    assert "patient 17" in caplog.text  # the site's, as it were


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda X, y: (X[:7], y[:7]), "peer 'York' must have .* it has 7"),
        (
            lambda X, y: (X[X.columns[::-1]], y),
            "its rows must have the values, the order and the columns that they had",
        ),
        (lambda X, y: (X.set_axis([*"cabde"], axis=1), y), "its rows must have"),
        (lambda X, y: (X[::-1], y[::-1]), "its rows must have"),
        (lambda X, y: (X, np.roll(y, 1)), "its rows must have"),
        (lambda X, y: (X.mask(X > 2, 0.5), y), "its rows must have .* undo that and start the site again"),
    ],
)
@pytest.mark.parametrize("as_labels", [np.array, lambda y: np.array([*"abc"], object)[y]])
def test_a_site_that_came_back_with_other_rows_is_refused(change, match, as_labels):
    sites = sites_of(TABLE, as_labels(LABELS), NAMES_OF_ROWS)
    york = Spy(sites[0])
    assert york.name == "York"
    own = NAMES_OF_ROWS == "York"

    def change_rows(site, data):
        if Message.decode(data).round == 4:
            york.site = Site(*change(TABLE[own], as_labels(LABELS)[own]), name="York")
        return data

    with (
        Changing([york, *sites[1:]], change_rows) as transport,
        pytest.raises(RuntimeError, match=f"'York' refuses to take part: {match}"),
    ):
        fit_sites(classifier(), transport)


def never(site, data):
    return None if site == "York" else data


def test_a_site_that_does_not_answer_is_named(caplog, tmp_path):
    file = tmp_path / "run.npz"
    asleep = altered_after(5, never)
    with changing(asleep) as transport, pytest.raises(TimeoutError, match=r"waited 100 s in vain for site 'York'"):
        fit_sites(classifier(), transport, patience=100, checkpoint=file)
    assert caplog.text.count("waiting for site 'York' since ") == 2  # after ten seconds and a minute more
    apart = at_sites(classifier(), sites_of(PLAIN, LABELS, NAMES_OF_ROWS), checkpoint=file)
    assert_same(apart, classifier().fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))


def altered_after(number, change):
    return lambda site, data: change(site, data) if Message.decode(data).round >= number else data


def between(first, last, change):
    return lambda site, data: change(site, data) if first <= Message.decode(data).round <= last else data


def test_going_on_without_a_site_that_comes_back(caplog):
    model = classifier(max_iter=6, topology="ring", solver="adam")
    with changing(between(4, 5, never)) as transport:  # training begins with 3
        apart = fit_sites(model, transport, patience=100, absent="skip")
    absent = [record["absent"] for record in apart.history_]
    assert absent[:3] == [[], ["York"], ["York"]]
    assert absent[-1] == []
    assert "going on without site 'York'" in caplog.text
    assert "site 'York' is back" in caplog.text
    for before, record in zip(apart.history_, apart.history_[1:], strict=False):
        if record["absent"]:
            assert record["losses"][2] == before["losses"][2]
            assert record["numbers_sent"][2] == 0 < record["numbers_sent"][0]
    epochs = np.array([6, 6, sum(not record["absent"] for record in apart.history_)])
    n_rows = np.unique(NAMES_OF_ROWS, return_counts=True)[1]
    assert apart._ensemble.state.samples_seen.tolist() == (epochs * n_rows).tolist()


@pytest.mark.parametrize("topology", ["ring", "hypercube", "average", "random"])
def test_going_on_without_a_site_is_training_of_the_others(topology):
    params = dict(init="shared", topology=topology, early_stopping=True, max_iter=3)
    with changing(altered_after(3, never)) as transport:
        apart = fit_sites(classifier(**params), transport, patience=100, absent="skip")
    assert [record["absent"] for record in apart.history_] == [["York"]] * 3
    *others, of_york = apart.history_[0]["losses"]  # which is not known
    assert of_york == pytest.approx(np.mean(others))
    assert np.isnan([record["validation_scores"][2] for record in apart.history_]).all()
    assert np.isfinite(apart.validation_scores_).all()
    still = classifier(**params, learning_rate_init=1e-300, fusion_rate=0).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS)
    never_trained = still.weights_[2]
    np.testing.assert_array_equal(apart.weights_[2], never_trained)
    assert (apart.weights_[:2] != never_trained).any(axis=1).all()
    if topology != "random":  # the two others have fused with one another
        assert min(apart.history_[-1]["numbers_sent"][:2]) > 0


@pytest.mark.parametrize("topology", [LineTopology("metropolis"), "average", "random"], ids=str)
def test_corrections_still_sum_to_zero_after_a_site_was_away(topology):
    model = classifier(max_iter=8, topology=topology, drift_correction="tracking", learning_rate_init=0.05)
    with changing(between(4, 6, never)) as transport:
        apart = fit_sites(model, transport, patience=100, absent="skip")
    assert ["York"] in [record["absent"] for record in apart.history_]
    corrections = apart._ensemble.drift.corrections
    assert np.abs(corrections).max() > 1e-3
    np.testing.assert_allclose(corrections.sum(axis=0), 0, atol=1e-10)


@pytest.mark.parametrize("first", [3, 13, 15, 17])  # the first epoch, and those around the best one
def test_an_epoch_whose_score_is_not_known_is_never_the_best(first):
    X, y = PLAIN[:20], PLAIN[:20, 0]  # a row of each site is held out, and R² takes two

    def trained(max_iter):
        model = FusedMLPRegressor((6,), max_iter=max_iter, early_stopping=True, random_state=3, learning_rate_init=0.05)
        sites = [Site(X[k::2], y[k::2], name=name) for k, name in enumerate(["Bath", "York"])]
        with Changing(sites, between(first, first + 1, never)) as transport, transport.clock():
            return fit_sites(model, transport, patience=100, absent="skip")

    whole = trained(30)
    best = int(np.nanargmax(whole.validation_scores_))
    assert whole.best_validation_score_ == whole.validation_scores_[best]
    assert np.isnan(whole.validation_scores_[(first - 3) // 2])
    assert whole.n_iter_ == best + 12  # as n_iter_no_change allows
    np.testing.assert_array_equal(trained(best + 1).weights_, whole.weights_)


@pytest.mark.parametrize("n_rounds", [0, 1, 2, 3])
def test_a_site_that_sits_an_epoch_out_does_so_after_a_restart_too(n_rounds, tmp_path):
    model, file = classifier(fusion_unit="step", fusion_frequency=10, max_iter=3), tmp_path / "run.npz"
    options = dict(patience=100, absent="skip", checkpoint=file)

    def stop(site, data):
        if Message.decode(data).round >= 8 + n_rounds:  # of the four that the second epoch has, from 7 on
            raise Killed
        return altered_after(4, never)(site, data)

    with changing(stop) as transport, pytest.raises(Killed):
        fit_sites(clone(model), transport, **options)
    with changing(altered_after(11, never)) as transport:
        apart = fit_sites(clone(model), transport, **options)
    with changing(altered_after(4, never)) as transport:
        whole = fit_sites(clone(model), transport, **options | {"checkpoint": None})
    assert_same(apart, whole)


def test_a_site_that_is_heard_of_again_is_waited_for_anew(monkeypatch):
    late = Message("train answered", "run", 1, "York").encode()  # to the question before
    due = Message("train answered", "run", 2, "York").encode()
    received = [(60, ("York", late)), (110, None), (150, ("York", due)), (151, None)]
    exchange, answers = asked(monkeypatch, lambda timeout, now: received.pop(0), {"York": "it was late"})
    assert answers == {"York": 150}
    assert exchange.absent.keys() == {"Bath"}


def asked(monkeypatch, receive, absent=(), sites=("Bath", "York"), **transport):
    """Ask sites with a patience of 100, where ``receive(timeout, now)`` returns the new time and an answer."""
    now = [0]

    def received(timeout):
        now[0], answer = receive(timeout, now[0])
        return answer

    transport = {"send": lambda site, message: None, "receive": received, "resend_after": np.inf} | transport
    monkeypatch.setattr(_exchange, "time", SimpleNamespace(monotonic=lambda: now[0]))
    exchange = _exchange.Exchange(SimpleNamespace(**transport), "run", patience=100)
    exchange.absent = dict(absent)
    questions = dict.fromkeys(sites, ({}, {}))
    return exchange, exchange.ask(2, "train", questions, lambda site, answer: now[0], needed=False)


def test_an_answer_that_came_behind_a_late_one_while_the_coordinator_slept_counts(monkeypatch):
    late, due = (Message("train answered", "run", number, "York").encode() for number in (1, 2))
    bath = Message("train answered", "run", 2, "Bath").encode()
    received = [(1000, ("York", late)), (2000, ("York", due)), (3000, ("Bath", bath))]
    exchange, answers = asked(monkeypatch, lambda timeout, now: received.pop(0))
    assert answers == {"York": 2000, "Bath": 3000}
    assert not exchange.absent


def test_a_message_is_sent_again_at_intervals_until_it_is_answered(monkeypatch):
    sent, bath = [], Message("train answered", "run", 2, "Bath").encode()

    def receive(timeout, now):
        return now + 1, ("Bath", bath) if now == 0 else None

    asked(monkeypatch, receive, send=lambda site, message: sent.append(site), resend_after=30)
    assert sorted(sent) == ["Bath", "York", "York", "York", "York"]


def test_a_site_that_sits_an_epoch_out_may_refuse_what_it_was_asked_before(monkeypatch):
    refused = Message("refused", "run", 1, "York", {"reason": "its rows are others"}).encode()
    bath = Message("train answered", "run", 2, "Bath").encode()
    received = [(1, ("York", refused)), (2, ("Bath", bath))]
    absent = {"York": "it was late"}
    exchange, answers = asked(monkeypatch, lambda timeout, now: received.pop(0), absent, ["Bath"])
    assert answers == {"Bath": 2}
    assert exchange.absent == absent


@pytest.mark.parametrize("seconds", [0.5, 0.01])
@pytest.mark.parametrize(("kind", "number"), [("train answered", 1), ("refused", 2), ("train answered", 2)])
def test_a_site_that_keeps_sending_does_not_keep_the_coordinator_waiting_for_another(
    kind, number, seconds, monkeypatch
):
    message = Message(kind, "run", number, "York", {"reason": "its rows are others"}).encode()
    due = Message("train answered", "run", 2, "York").encode()

    def receive(timeout, now):
        assert now < 200
        if now == 0:
            return seconds, ("York", due)
        return (now + timeout, None) if timeout < seconds else (now + seconds, ("York", message))

    exchange, answers = asked(monkeypatch, receive)
    assert answers.keys() == {"York"}
    assert "waited 100 s in vain for site 'Bath'" in exchange.absent["Bath"]


def test_a_site_that_refuses_in_every_round_is_told_of_once_and_is_not_back_until_it_takes_part(caplog):
    class Refusing(Site):
        def _train(self, message):
            if 4 <= message.round < 9:
                raise RefusalError("its rows are others")
            return super()._train(message)

    sites = [Site(PLAIN[::2], LABELS[::2], name="Bath"), Refusing(PLAIN[1::2], LABELS[1::2], name="York")]
    with Changing(sites, lambda site, data: data) as transport, caplog.at_level("INFO"):
        apart = fit_sites(classifier(max_iter=12), transport, patience=100, absent="skip")
    assert sum(bool(record["absent"]) for record in apart.history_) >= 5
    assert apart.history_[-1]["absent"] == []
    told = [text for record in caplog.records if "York" in (text := record.message) and record.module == "_exchange"]
    assert [text.split(":")[0] for text in told[:2]] == ["going on without site 'York'", "site 'York' is back"]
    assert len(told) <= 3  # the answer by which it is back may be late


@pytest.mark.parametrize("absent", ["raise", "skip"])
def test_answers_that_came_while_the_coordinator_slept_count(absent):
    class Sleeping(Changing):
        def receive(self, timeout):
            self.now += 1000
            return super().receive(timeout)

    sites = sites_of(PLAIN, LABELS, NAMES_OF_ROWS)
    with Sleeping(sites, lambda site, data: data) as transport, transport.clock():
        apart = fit_sites(classifier(), transport, patience=100, absent=absent)
    assert not any(record.get("absent") for record in apart.history_)
    np.testing.assert_array_equal(apart.weights_, at_sites(classifier(), sites).weights_)


@pytest.mark.parametrize("number", [0, 1, 2])  # describe, vote, count
def test_all_sites_must_answer_before_training(number):
    with (
        changing(altered_after(number, never)) as transport,
        pytest.raises(TimeoutError, match="waited 100 s in vain for site 'York'"),
    ):
        fit_sites(classifier(early_stopping=True), transport, patience=100, absent="skip")


@pytest.mark.parametrize(
    ("change", "options", "seconds"),
    [
        (altered(of_kind("end"), lambda message: None), {"patience": 7}, 7),
        (altered(of_kind("end"), lambda message: None), {"patience": 100}, 60),
        (altered_after(3, never), {"patience": 100, "absent": "skip"}, 100),
    ],
    ids=["impatient", "patient", "absent"],  # one that was absent in training is not waited for in the end
)
def test_the_end_of_a_run_is_not_waited_for_any_longer_than_an_answer(change, options, seconds):
    with changing(change) as transport:
        fit_sites(classifier(), transport, **options)
        assert seconds <= transport.now < seconds + 5


@pytest.mark.parametrize("error", [MessageError("it has come to pieces"), OSError("the drive is away")], ids=repr)
def test_what_goes_wrong_in_receiving_ends_a_run_that_goes_on_without_sites(error):
    class Broken(Changing):
        def receive(self, timeout):
            site, data = super().receive(timeout)
            if Message.decode(data).round == 4:
                raise error
            return site, data

    with (
        Broken(sites_of(PLAIN, LABELS, NAMES_OF_ROWS), lambda site, data: data) as transport,
        pytest.raises(type(error), match=str(error)),
    ):
        fit_sites(classifier(), transport, patience=100, absent="skip")


def test_someone_must_answer():
    with changing(altered_after(3, lambda site, data: None)) as transport, pytest.raises(TimeoutError, match="in vain"):
        fit_sites(classifier(), transport, patience=100, absent="skip")


@pytest.mark.parametrize(
    "error",
    [
        _exchange.SiteRefusedError("it has closed", "Bath"),
        _exchange.AbsentError({"York": "", "Bath": ""}, 3.0),
        MessageError("it is no message", "Bath"),
        MessageError("it is no message"),
    ],
    ids=str,
)
def test_errors_reach_the_parent_of_a_worker_process(error):
    error.add_note("in the study of 2026")
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))


def test_where_all_refuse_the_error_tells_why():
    class Refusing(Site):
        def _train(self, message):
            raise RefusalError("it has closed")

    sites = [Refusing(PLAIN, LABELS, name=name) for name in ("Bath", "York")]
    with pytest.raises(TimeoutError) as caught:
        at_sites(classifier(), sites, patience=60, absent="skip")
    assert "refuses to take part: it has closed" in str(caught.value.__cause__)


# What leaves a site


@pytest.mark.parametrize(
    ("model", "options", "asked"),
    [
        (classifier(max_iter=1), {}, {"labelled": True}),
        (FusedMLPRegressor((6,), max_iter=1), {}, {}),
        (make_pipeline(StandardScaler(), classifier(max_iter=1)), {}, {"labelled": True, "moments": True}),
        (classifier(max_iter=1, class_weight="balanced"), {}, {"labelled": True, "by_class": True}),
        (
            classifier(max_iter=1),
            {"classes": [0, 1, 2]},
            {"labelled": True, "classes": {"dtype": "int64", "values": [0, 1, 2]}},
        ),
    ],
    ids=["labels", "numbers", "scaler", "weights", "classes"],
)
def test_a_site_is_asked_for_what_is_needed_alone(model, options, asked):
    sites = spied(sites_of(PLAIN, LABELS, NAMES_OF_ROWS))
    at_sites(model, sites, **options)
    nothing = {"labelled": False, "classes": None, "by_class": False, "moments": False, "collect": True}
    assert Message.decode(sites[0].requests[0]).content == nothing | asked


@pytest.mark.parametrize("rows", [PLAIN, PLAIN.astype(np.float32), IMAGES, csr_array(np.where(PLAIN > 0, PLAIN, 0))])
@pytest.mark.parametrize("labelled", [True, False])
def test_no_row_leaves_a_site(rows, labelled):
    y = LABELS if labelled else NUMBERS[:, 0].astype(rows.dtype)
    common = dict(hidden_layer_sizes=(6,), max_iter=3, early_stopping=True, random_state=0, batch_size=4)
    model = FusedMLPClassifier(**common, class_weight="balanced") if labelled else FusedMLPRegressor(**common)
    sites = spied(sites_of(rows, y, NAMES_OF_ROWS, WEIGHT))
    model = make_pipeline(StandardScaler(with_mean=isinstance(rows, np.ndarray)), model)
    with LocalTransport(sites) as transport:
        fit_sites(model, transport)
    conversation = b"".join(part for site in sites for part in site.requests + site.answers)
    assert len(conversation) > 10_000
    X = rows if isinstance(rows, np.ndarray) else rows.toarray()
    scaled = model[0].transform(rows)
    scaled = scaled if isinstance(scaled, np.ndarray) else scaled.toarray()
    of_background = (np.linspace(-1, 1, 12) == X) if rows is IMAGES else np.zeros_like(X, bool)  # which is told
    for secret in (X[~of_background], scaled[~of_background], *([] if labelled else [y])):
        values = np.unique(secret[secret != 0])
        assert len(values) > 50
        for value in values:
            for dtype in (np.float32, np.float64):
                assert np.array(value, dtype).tobytes() not in conversation
            assert repr(value.item()).encode() not in conversation


@pytest.mark.parametrize(
    ("params", "n_there", "n_back"),
    [({}, 1, 1), ({"momentum": 0.9}, 2, 2), ({"solver": "adam"}, 3, 3), ({"drift_correction": "tracking"}, 2, 1)],
    ids=["sgd", "momentum", "adam", "drift"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_round_sends_each_network_there_and_back(dtype, params, n_there, n_back):
    sites = spied(sites_of(PLAIN.astype(dtype), LABELS, NAMES_OF_ROWS))
    model = at_sites(classifier(**params), sites)
    for site in sites:
        for messages, kind, n_arrays, longest in (
            (site.requests, "train", n_there, 1300),
            (site.answers, "train answered", n_back, 600),
        ):
            of_kind = [message for message in messages if Message.decode(message).kind == kind]
            assert len(of_kind) == len(model.history_)
            for message in of_kind:
                of_network = n_arrays * 57 * np.dtype(dtype).itemsize
                header_bytes = int.from_bytes(message[12:16], "little")
                assert len(message) == 16 + header_bytes + of_network + NUMBERS_PER_PEER * 8
                assert len(message) - of_network < longest


# What came of it


WINE, CANCER = load_wine(return_X_y=True), load_breast_cancer().data
AREA = np.delete(CANCER, 3, axis=1), CANCER[:, 3]
CALLED = "hardly better, if at all, than {}.*; scale X{}, as StandardScaler does, alike at all sites, or set learning_r"


def at_three_sites(model, X, y):
    return at_sites(model, sites_of(X, y, np.resize(["Bath", "Leeds", "York"], len(X))))


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    ("model", "rows", "complaint"),
    [
        (FusedMLPClassifier, WINE, CALLED.format("equal chances for all classes", "")),
        (FusedMLPRegressor, AREA, CALLED.format(r"the mean of y \(6.181e\+04\)", " and y")),
    ],
    ids=["classifier", "regressor"],
)
def test_training_that_is_of_no_use_is_warned_of(model, rows, complaint, early_stopping):
    model, (X, y) = model((10,), early_stopping=early_stopping, max_iter=100, tol=1e-3, random_state=0), rows
    with pytest.warns(ConvergenceWarning, match=complaint):
        at_three_sites(model, X, y)
    X, y = scale(X), y if is_classifier(model) else scale(y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        assert at_three_sites(model, X, y).score(X, y) > 0.9


@pytest.mark.parametrize("params", [{}, {"batch_size": 32}, {"max_iter": 1}, {"learning_rate_init": 1e-3}], ids=str)
def test_a_loss_that_is_huge_from_the_first_epoch_on_is_refused(params):
    with pytest.raises(ValueError, match=r"the loss diverged: it reached .*e\+.*X or y is not scaled"):
        at_three_sites(FusedMLPRegressor(activation="relu", random_state=0, **params), *AREA)


def test_a_penalty_that_exceeds_the_loss_of_the_mean_is_no_sign_that_nothing_was_learned():
    X, y = load_diabetes(return_X_y=True)
    model = FusedMLPRegressor(alpha=0.1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        fitted = at_three_sites(model, scale(X), y)
    assert fitted.loss_ > y.var() / 2
    assert fitted.score(scale(X), y) > 0.4


def test_a_penalty_that_batches_make_small_does_not_hide_that_nothing_was_learned():
    model = FusedMLPClassifier((10,), alpha=0.1, batch_size=20, learning_rate_init=1e-6, max_iter=20, random_state=0)
    with pytest.warns(ConvergenceWarning, match="hardly better, if at all, than equal chances"):
        at_three_sites(model, *WINE)  # a batch of 20 rows counts the penalty once


@pytest.mark.parametrize("level", [0.0, 1000.0])
def test_targets_that_are_all_alike_are_no_divergence(level):
    model = FusedMLPRegressor((4,), max_iter=20, random_state=0)
    at_three_sites(model, PLAIN, np.full(len(PLAIN), level))


# What is given


@pytest.mark.parametrize(
    ("estimator", "options", "error", "match"),
    [
        (LogisticRegression(), {}, TypeError, r"estimator must be .*; got LogisticRegression\(\)"),
        (make_pipeline(MinMaxScaler(), classifier()), {}, TypeError, "a pipeline of a StandardScaler and one of these"),
        (make_pipeline(StandardScaler(), StandardScaler(), classifier()), {}, TypeError, "a pipeline of a Standard"),
        (make_pipeline(StandardScaler(), LogisticRegression()), {}, TypeError, "a pipeline of a StandardScaler"),
        (classifier(alpha=-1), {}, ValueError, "alpha must be in"),
        (classifier(class_weight="balance"), {}, ValueError, "class_weight must be a dict, 'balanced' or None"),
        (classifier(class_weight={7: 1}), {}, ValueError, "class_weight must have keys among the classes of y"),
        (classifier(prediction=3), {}, ValueError, "prediction must be .* from 0 to 2; got 3"),
        (classifier(), {"patience": 0}, ValueError, r"patience must be in \(0, inf\], got 0"),
        (classifier(), {"patience": "long"}, TypeError, "patience must be a number"),
        (classifier(), {"absent": "ignore"}, ValueError, "absent must be one of 'raise', 'skip'; got 'ignore'"),
        (classifier(), {"absent": "skip"}, ValueError, "patience must be finite with absent='skip'.*got inf"),
        (classifier(), {"sites": "Bath"}, TypeError, "sites must be a number or a list of names, got 'Bath'"),
        (classifier(), {"sites": b"Bath"}, TypeError, "sites must be a number or a list of names, got b'Bath'"),
        (classifier(), {"sites": 0}, ValueError, "sites must be at least 1, got 0"),
        (classifier(), {"sites": []}, ValueError, "sites must hold at least one name, and each only once"),
        (classifier(), {"sites": ["Bath", "Bath"]}, ValueError, "at least one name, and each only once"),
        (classifier(), {"sites": ["../Bath"]}, ValueError, "a site's name must have"),
        (classifier(), {"sites": 2}, ValueError, r"sites=2, but there are 3: \['Bath', 'Leeds', 'York'\]; name those"),
        (
            classifier(),
            {"sites": 4, "patience": 0.2},
            TimeoutError,
            r"waited 0.2 s in vain for 1 more site;",
        ),
        (
            classifier(),
            {"sites": ["Bath", "Hull"], "patience": 0.2},
            TimeoutError,
            "waited 0.2 s in vain for site 'Hull'",
        ),
        (classifier(), {"classes": 3}, ValueError, "classes must be a list of all class labels, got 3"),
        (
            classifier(),
            {"classes": np.array([0, 1], "M8[D]")},
            ValueError,
            "classes must be numbers or strings.*M8|date",
        ),
        (classifier(), {"classes": [1]}, ValueError, "classes must have at least 2 classes, got 1 class: 1"),
        (
            classifier(),
            {"classes": [0, 1]},
            RuntimeError,
            "refuses to take part: y must have only labels among the",
        ),
        (FusedMLPRegressor(), {"classes": [0, 1]}, ValueError, "classes must be None for a regressor"),
        (classifier(), {"checkpoint": 3}, TypeError, "checkpoint must be a string or another path, got 3"),
        (classifier(), {"checkpoint": "/nowhere/run.npz"}, FileNotFoundError, "must be in a folder .*: '/nowhere/run"),
        (classifier(), {"checkpoint": "/"}, IsADirectoryError, "checkpoint must be a file: '/'"),
    ],
)
def test_wrong_arguments_are_named(estimator, options, error, match):
    with LocalTransport(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport, pytest.raises(error, match=match):
        fit_sites(estimator, transport, **options)


def test_a_closed_transport_is_named():
    with LocalTransport(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport:
        pass
    with pytest.raises(RuntimeError, match="the transport is closed; make another LocalTransport"):
        fit_sites(classifier(), transport)


@pytest.mark.parametrize("fuse_at", ["coordinator", "sites"])
@pytest.mark.parametrize(
    ("transport", "got"),
    [(sites_of(PLAIN, LABELS, NAMES_OF_ROWS), r"\[<"), (LocalTransport, "<class 'skf")],
    ids=["sites", "class"],
)
def test_what_is_no_transport_is_refused(transport, got, fuse_at):
    with pytest.raises(TypeError, match=rf"transport must be a transport, such as LocalTransport\(sites\), got {got}"):
        fit_sites(classifier(), transport, fuse_at=fuse_at)


@pytest.mark.parametrize(
    ("seconds", "error"), [(0, ValueError), (-1, ValueError), (np.nan, ValueError), ("1", TypeError)]
)
def test_when_a_transport_would_send_again_is_checked(seconds, error):
    with LocalTransport(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport:
        transport.resend_after = seconds
        with pytest.raises(error, match="resend_after of the transport must be"):
            fit_sites(classifier(), transport)


@pytest.mark.parametrize(
    "received", [b"an answer", ("Bath", "an answer"), ("Bath", None), (b"Bath", b""), ("Bath",), 7]
)
def test_what_a_transport_receives_is_checked(received):
    class Wrong(LocalTransport):
        def receive(self, timeout):
            return received

    with (
        Wrong(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport,
        pytest.raises(TypeError, match="a transport's receive must return None, or a site's name and bytes; got "),
    ):
        fit_sites(classifier(), transport)


def test_a_fit_that_fails_leaves_no_earlier_model_behind():
    model = classifier().fit(PLAIN, LABELS, groups=NAMES_OF_ROWS)
    with changing(altered_after(3, never)) as transport, pytest.raises(TimeoutError):
        fit_sites(model, transport, patience=100)
    assert not hasattr(model, "weights_")


def test_some_of_the_sites_may_be_named():
    sites = sites_of(PLAIN, LABELS, NAMES_OF_ROWS)
    two = NAMES_OF_ROWS != "Leeds"
    with LocalTransport(sites) as transport:
        apart = fit_sites(classifier(), transport, sites=["York", "Bath"])
    assert_same(apart, classifier().fit(PLAIN[two], LABELS[two], groups=NAMES_OF_ROWS[two]))


def test_a_topology_that_does_not_suit_the_number_of_peers_is_refused_before_training():
    sites = spied(sites_of(PLAIN, LABELS, NAMES_OF_ROWS))
    with pytest.raises(ValueError, match="power of two"):
        at_sites(classifier(topology=HypercubeTopology(incomplete="raise")), sites)
    assert not any(b'"plan"' in request for site in sites for request in site.requests)


def test_without_a_site_there_is_nothing_to_fit():
    with LocalTransport([]) as transport, pytest.raises(ValueError, match="no site is there yet; pass sites="):
        fit_sites(classifier(), transport)


@pytest.mark.parametrize(
    ("model", "rows", "y", "match"),
    [
        (classifier(), PLAIN, np.zeros(len(PLAIN), int), "y of all sites together must have at least 2 classes"),
        (classifier(), PLAIN, PLAIN[:, 0], "y must hold class labels"),
        (FusedMLPRegressor(), PLAIN, np.array(["a", "b", "c"])[LABELS], "y must hold finite numbers"),
        (
            make_pipeline(StandardScaler(), classifier()),
            PLAIN * 1e200,
            LABELS,
            r"site '\w+' refuses to take part: X must hold numbers so small that the scaler can square them",
        ),
        (
            make_pipeline(StandardScaler(), classifier()),
            np.where(NAMES_OF_ROWS == "Bath", 1e200, -1e200)[:, None],
            LABELS,
            "X of all sites together must hold numbers so small that the scaler can square them",
        ),
        (
            make_pipeline(StandardScaler(), classifier()),
            csr_array(PLAIN),
            LABELS,
            "must have with_mean=False",
        ),
        (
            classifier(early_stopping=True, class_weight={0: 0, 1: 0}),
            PLAIN,
            np.r_[2, LABELS[1:] % 2],
            "early_stop",
        ),
        (
            classifier(early_stopping=True, validation_fraction=0.99),
            PLAIN,
            LABELS,
            "early_stopping needs rows .* peer 'Bath' has",
        ),
        (classifier(class_weight={0: 0, 1: 0, 2: 0}), PLAIN, LABELS, "class_weight must not be 0 for all classes"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_refused(model, rows, y, match):
    with pytest.raises((ValueError, RuntimeError), match=match):
        at_sites(model, sites_of(rows, y, NAMES_OF_ROWS))


def test_a_weight_for_a_class_that_no_site_has_is_not_enough():
    model, sites = classifier(class_weight={0: 0, 1: 0}), sites_of(PLAIN, LABELS % 2, NAMES_OF_ROWS)
    with pytest.raises(ValueError, match="class_weight must not be 0 for all classes that sites have"):
        at_sites(model, sites, classes=[0, 1, 2])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s[1:], r"the sites' peers must stay \['Bath', 'Leeds', 'York'\].*got \['Bath', 'Leeds'\]"),
        (lambda s: sites_of(PLAIN[:, :4], LABELS, NAMES_OF_ROWS), "the sites' number of features must stay 5.*got 4"),
        (
            lambda s: sites_of(PLAIN.astype(np.float32), LABELS, NAMES_OF_ROWS),
            "dtype of X must stay 'float64'.*got 'float32'",
        ),
        (lambda s: sites_of(TABLE[[*"bacde"]], LABELS, NAMES_OF_ROWS), r"features must stay \['a', .*got \['b', 'a',"),
        (
            lambda s: sites_of(PLAIN, LABELS + 1, NAMES_OF_ROWS),
            "refuses .* y must have only labels among the classes",
        ),
    ],
)
def test_a_warm_start_with_other_sites_is_refused(change, match):
    sites = sites_of(TABLE, LABELS, NAMES_OF_ROWS)
    model = at_sites(classifier(warm_start=True), sites)
    before = model.weights_.copy()
    with LocalTransport(change(sites)) as transport, pytest.raises((ValueError, RuntimeError), match=match):
        fit_sites(model, transport)
    np.testing.assert_array_equal(model.weights_, before)


def test_a_warm_start_of_peers_from_elsewhere_needs_as_many_sites():
    model = classifier(warm_start=True).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS == "York")
    sites, match = sites_of(PLAIN, LABELS, NAMES_OF_ROWS), r"n_networks must stay 2, .* the rows were divided among 3"
    with LocalTransport(sites) as transport, pytest.raises(ValueError, match=match):
        fit_sites(model, transport)


@pytest.mark.parametrize("classes", [[0, 1, 2, 3], ["a", "b", "c"]])
def test_a_warm_start_with_other_classes_is_refused(classes):
    sites = sites_of(PLAIN, LABELS, NAMES_OF_ROWS)
    model = at_sites(classifier(warm_start=True), sites, classes=[0, 1, 2])
    with LocalTransport(sites) as transport:
        with pytest.raises(ValueError, match=r"classes must stay \[0, 1, 2\], since the peers' weights are kept; got"):
            fit_sites(model, transport, classes=classes)
        fit_sites(model, transport, classes=[2, 1, 0])
