"""Peers travel: as stock MLPClassifiers, to ONNX, through skops, and as files of weights that nobody has to trust."""

import copy
import errno
import io
import math
import os
import pickle
import signal
import stat
import tracemalloc
import zipfile
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import NAMES, NO_STEP, X, Y, model
from models import pandas_frame as framed
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import FusedMLPRegressor
from skfusion._replacing import replacing
from skfusion.partition import DirichletPartitioner, PredefinedPartitioner
from skfusion.topology import GraphTopology, HypercubeTopology, RandomTopology, RingTopology

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

RAW = load_iris().data
SPECIES = np.array(["setosa", "versicolor", "virginica"])
LABELS = {"three classes": Y, "two classes": Y > 0, "strings": SPECIES[Y], "objects": SPECIES.astype(object)[Y]}


model = partial(model, n_networks=3, max_iter=4, fusion_frequency=3)


# The consensus as an MLPClassifier


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_the_consensus_is_a_stock_mlp_that_predicts_as_we_do(loss, labels):
    fitted = model(loss=loss).fit(framed(X), LABELS[labels])
    mlp = fitted.consensus_
    assert type(mlp) is MLPClassifier
    np.testing.assert_array_equal(mlp.predict(framed(X)), fitted.predict(framed(X)))
    if loss == "log_loss":
        np.testing.assert_allclose(mlp.predict_proba(framed(X)), fitted.predict_proba(framed(X)), rtol=0, atol=1e-15)
    assert mlp.feature_names_in_.tolist() == NAMES
    assert mlp.loss_curve_ == fitted.loss_curve_
    assert (mlp.loss_, mlp.best_loss_, mlp.n_iter_) == (fitted.loss_, fitted.best_loss_, 4)
    assert mlp.t_ == 4 * len(X) == sum(peer.t_ for peer in fitted.peers_)


def test_the_consensus_is_a_copy_that_can_go_on_training():
    fitted = model().fit(X, Y)
    before = fitted.coefs_[0].copy()
    mlp = fitted.consensus_.partial_fit(X, Y)
    assert not np.array_equal(mlp.coefs_[0], before)
    np.testing.assert_array_equal(fitted.coefs_[0], before)


# ONNX


def in_onnx(mlp, rows):
    """Labels and scores of a converted model, computed by onnxruntime."""
    to_onnx = pytest.importorskip("skl2onnx").to_onnx
    runtime = pytest.importorskip("onnxruntime")
    converted = to_onnx(mlp, rows[:1], options={"zipmap": False})
    return runtime.InferenceSession(converted.SerializeToString()).run(None, {"X": rows})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("labels", ["three classes", "two classes", "strings"])
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_peers_and_consensus_score_the_same_in_onnx(loss, labels, dtype):
    rows = X.astype(dtype)
    fitted = model(loss=loss, init="independent").fit(rows, LABELS[labels])
    for prediction, mlp in [*enumerate(fitted.peers_), ("consensus", fitted.consensus_)]:
        predicted, scores = in_onnx(mlp, rows)
        np.testing.assert_array_equal(predicted, fitted.set_params(prediction=prediction).predict(rows))
        np.testing.assert_allclose(scores, mlp.predict_proba(rows), rtol=0, atol=4 * np.finfo(dtype).eps)
        assert scores.dtype == dtype


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_a_pipeline_trained_in_float64_takes_float32_rows_in_onnx(activation):
    scaler = StandardScaler().fit(RAW)
    fitted = model(activation=activation).fit(scaler.transform(RAW), Y)
    predicted, scores = in_onnx(make_pipeline(scaler, fitted.consensus_), RAW.astype(np.float32))
    np.testing.assert_array_equal(predicted, fitted.predict(X))
    np.testing.assert_allclose(scores, fitted.predict_proba(X), rtol=0, atol=1e-6)


def test_several_outputs_of_a_regressor_come_flat_from_onnx_as_those_of_a_stock_one():
    to_onnx, runtime = pytest.importorskip("skl2onnx").to_onnx, pytest.importorskip("onnxruntime")
    rows, numbers = X[:, :2].astype(np.float32), X[:, 2:]
    params = {"hidden_layer_sizes": (4,), "max_iter": 5, "random_state": 0}
    fused = FusedMLPRegressor(n_networks=2, **params).fit(rows, numbers)
    for mlp in (fused.consensus_, MLPRegressor(**params).fit(rows, numbers)):
        session = runtime.InferenceSession(to_onnx(mlp, rows[:1]).SerializeToString())
        (answer,) = session.run(None, {"X": rows})
        np.testing.assert_allclose(answer.reshape(len(rows), -1), mlp.predict(rows), rtol=0, atol=1e-6)


# skops

STRATEGIES = {
    "names": {},
    "objects": {"topology": RandomTopology(replacement=True), "partitioner": DirichletPartitioner(alpha=2)},
    "splitter": {"topology": HypercubeTopology(each_edge_once=True), "partitioner": StratifiedKFold(3)},
    "adam": {"solver": "adam"},
    "momentum": {"momentum": 0.9, "fusion_unit": "step", "fusion_frequency": 7},
    "generator": {"random_state": np.random.RandomState(3)},
}


def by_skops(fitted, path):
    """Save, look at what the file would have us trust, and load."""
    skops_io = pytest.importorskip("skops.io")
    skops_io.dump(fitted, path)
    untrusted = skops_io.get_untrusted_types(file=path)
    return untrusted, skops_io.load(path, trusted=untrusted)


@pytest.mark.parametrize("labels", ["three classes", "objects"])
@pytest.mark.parametrize("strategies", STRATEGIES)
def test_skops_restores_a_pipeline_that_predicts_and_learns_on_bit_for_bit(strategies, labels, tmp_path):
    y = LABELS[labels]
    fitted = make_pipeline(StandardScaler(), model(**copy.deepcopy(STRATEGIES[strategies]))).fit(framed(RAW), y)
    untrusted, loaded = by_skops(fitted, tmp_path / "model.skops")
    ours = [name for name in untrusted if name.startswith("skfusion.")]
    assert "skfusion.classifier.FusedMLPClassifier" in ours
    known = {"numpy.random.bit_generator.SeedSequence", "sklearn.model_selection._split.StratifiedKFold"}
    assert set(untrusted) - set(ours) <= known
    np.testing.assert_array_equal(loaded.predict_proba(framed(RAW)), fitted.predict_proba(framed(RAW)))
    assert loaded[-1].history_ == fitted[-1].history_
    for name in ("topology", "topology_", "partitioner", "partitioner_"):
        assert repr(getattr(loaded[-1], name)) == repr(getattr(fitted[-1], name))
    for _ in range(2):
        for each in (loaded, fitted):
            each[-1].partial_fit(each[:-1].transform(framed(RAW)), y)
    np.testing.assert_array_equal(loaded[-1].weights_, fitted[-1].weights_)
    for each in (loaded, fitted):
        each.set_params(fusedmlpclassifier__warm_start=True).fit(framed(RAW), y)
    np.testing.assert_array_equal(loaded[-1].weights_, fitted[-1].weights_)


@pytest.mark.parametrize("kind", ["Graph", "DiGraph", "MultiGraph", "MultiDiGraph"])
def test_skops_restores_what_fused_along_a_networkx_graph(kind, tmp_path):
    graph = getattr(pytest.importorskip("networkx"), kind)([(0, 1), (1, 2), (2, 0)])
    assert len(graph.edges) == len(graph.nodes) == 3  # whoever looks at a graph has it keep views of itself
    fitted = model(topology=GraphTopology(graph)).fit(X, Y)
    untrusted, loaded = by_skops(fitted, tmp_path / "model.skops")
    assert all(name.startswith(("skfusion.", "networkx.", "numpy.random.")) for name in untrusted)
    assert sorted(loaded.topology.graph.edges()) == sorted(graph.edges())
    assert loaded.topology_.graph == list(graph.edges())
    for each in (loaded, fitted):
        each.partial_fit(X, Y)
    np.testing.assert_array_equal(loaded.weights_, fitted.weights_)


def test_skops_loads_peers_and_consensus_without_trusting_anything(tmp_path):
    fitted = model().fit(X, Y)
    for mlp in (fitted.peers_[1], fitted.consensus_):
        untrusted, loaded = by_skops(mlp, tmp_path / "mlp.skops")
        assert untrusted == []
        np.testing.assert_array_equal(loaded.predict_proba(X), mlp.predict_proba(X))


# Assigning weights


def test_assigned_weights_are_those_that_predict():
    fitted, other = model().fit(X, Y), model(random_state=1).fit(X, Y)
    weights = other.weights_.copy()
    fitted.weights_ = weights
    np.testing.assert_array_equal(fitted.predict_proba(X), other.predict_proba(X))
    np.testing.assert_array_equal(fitted.peers_[2].predict_proba(X), other.peers_[2].predict_proba(X))
    weights[:] = 0  # ours are a copy
    np.testing.assert_array_equal(fitted.weights_, other.weights_)


def test_weights_that_a_shallow_copy_is_given_are_its_own(tmp_path):
    fitted, other = model().fit(X, Y), model(random_state=1).fit(X, Y)
    weights, probabilities = fitted.weights_.copy(), fitted.predict_proba(X)
    other.save_weights(tmp_path / "weights.npz")
    assigned, loaded = copy.copy(fitted), copy.copy(fitted)
    assigned.weights_ = other.weights_
    loaded.load_weights(tmp_path / "weights.npz")
    for theirs in (assigned, loaded):
        np.testing.assert_array_equal(theirs.predict_proba(X), other.predict_proba(X))
    np.testing.assert_array_equal(fitted.weights_, weights)
    np.testing.assert_array_equal(fitted.predict_proba(X), probabilities)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros((2, 51)), r"weights_ must have shape \(n_networks, n_parameters\) = \(3, 51\), got \(2, 51\)"),
        (np.zeros(51), r"weights_ must have shape .*\(3, 51\), got \(51,\)"),
        (np.full((3, 51), np.nan), "weights_ contains NaN"),
        (np.full((3, 51), -np.inf), "weights_ contains infinity"),
        (np.ma.masked_less(np.eye(3, 51), 1), "weights_ must hold no masked values, got 150 of 153"),
    ],
)
def test_weights_that_cannot_be_ours_are_refused(weights, message):
    fitted = model().fit(X, Y)
    before = fitted.weights_
    with pytest.raises(ValueError, match=message):
        fitted.weights_ = weights
    assert fitted.weights_ is before


# Files of weights


@pytest.fixture(scope="module")
def fitted():
    """Never changed."""
    return model(momentum=0.9).fit(framed(X), SPECIES[Y])


@pytest.fixture
def file(fitted, tmp_path):
    path = tmp_path / "weights.npz"
    fitted.save_weights(path)
    return path


def test_the_file_holds_plain_arrays(fitted, file):
    with np.load(file, allow_pickle=False) as entries:
        plain = {name: entries[name].tolist() for name in entries}
    assert plain == {
        "format_version": 1,
        "layer_sizes": [4, 6, 3],
        "activation": "tanh",
        "output": "softmax",
        "classes": SPECIES.tolist(),
        "feature_names": NAMES,
        "weights": fitted.weights_.tolist(),
    }


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_a_site_that_never_trained_predicts_from_a_file(loss, dtype, labels, tmp_path):
    rows, y = X.astype(dtype), LABELS[labels]
    there = model(loss=loss).fit(rows, y)
    there.save_weights(str(tmp_path / "weights"))  # the name stays as it is given
    here = model(loss=loss, n_networks=None).load_weights(tmp_path / "weights")
    np.testing.assert_array_equal(here.predict_proba(rows), there.predict_proba(rows))
    np.testing.assert_array_equal(here.predict(rows), there.predict(rows))
    np.testing.assert_array_equal(here.consensus_.predict(rows), there.predict(rows))
    assert here.weights_.dtype == dtype
    assert (here.n_iter_, here.history_, here.loss_curve_, here.n_features_in_) == (0, [], [], 4)
    assert here.out_activation_ == there.out_activation_
    assert not hasattr(here, "feature_names_in_")


def test_nothing_is_left_of_a_fit_that_failed_before_the_weights_came(tmp_path):
    model().fit(X, SPECIES[Y]).save_weights(tmp_path / "weights.npz")
    here = model(n_networks=200)
    with pytest.raises(ValueError, match="n_networks must be at most"):
        here.fit(framed(X), SPECIES[Y])
    here.set_params(n_networks=3).load_weights(tmp_path / "weights.npz")
    assert not hasattr(here, "feature_names_in_")


def test_feature_names_travel_along(fitted, file):
    here = model(momentum=0.9).load_weights(file)
    assert here.feature_names_in_.tolist() == NAMES
    np.testing.assert_array_equal(here.predict_proba(framed(X)), fitted.predict_proba(framed(X)))
    with pytest.raises(ValueError, match="feature names"):
        here.predict(framed(X)[NAMES[::-1]])


def test_features_without_names_may_be_those_of_any_names(fitted, file):
    nameless, there = model(random_state=1).fit(X, SPECIES[Y]), file.with_name("nameless.npz")
    nameless.save_weights(there)
    np.testing.assert_array_equal(copy.deepcopy(fitted).load_weights(there).weights_, nameless.weights_)
    np.testing.assert_array_equal(nameless.load_weights(file).weights_, fitted.weights_)


def test_one_that_was_not_fitted_trains_on_from_the_file(tmp_path):
    there, path = model(n_networks=1, shuffle=False).fit(X, Y), tmp_path / "weights.npz"
    there.save_weights(path)
    here = model(n_networks=1, shuffle=False, random_state=5).load_weights(path).partial_fit(X, Y)
    mlp = there.peers_[0].partial_fit(X, Y)
    np.testing.assert_allclose(here.coefs_[0], mlp.coefs_[0], rtol=1e-9, atol=1e-12)
    assert [record["epoch"] for record in here.history_] == [1]
    assert here.loss_ == here.loss_curve_[0]
    assert sorted(np.concatenate(here.partition_)) == list(range(len(X)))


def test_a_warm_start_goes_on_from_the_file(fitted, file):
    here = model(momentum=0.9, learning_rate_init=NO_STEP, fusion_rate=0, warm_start=True)
    here.load_weights(file).fit(framed(X), SPECIES[Y])
    np.testing.assert_array_equal(here.weights_, fitted.weights_)


def test_one_that_is_fitted_keeps_all_but_the_weights(fitted, file):
    here = copy.deepcopy(fitted)
    here.partial_fit(framed(X), SPECIES[Y])
    history, momenta = copy.deepcopy(here.history_), copy.deepcopy(here)
    assert here.load_weights(file) is here
    np.testing.assert_array_equal(here.predict_proba(framed(X)), fitted.predict_proba(framed(X)))
    assert here.history_ == history
    momenta.weights_ = fitted.weights_
    for each in (here, momenta):
        each.partial_fit(framed(X), SPECIES[Y])
    np.testing.assert_array_equal(here.weights_, momenta.weights_)


def test_loading_what_was_saved_changes_nothing_of_what_follows(fitted, file):
    here, straight = copy.deepcopy(fitted).load_weights(file), copy.deepcopy(fitted)
    for each in (here, straight):
        each.partial_fit(framed(X), SPECIES[Y])
    np.testing.assert_array_equal(here.weights_, straight.weights_)


def test_a_file_is_there_whole_or_not_at_all(fitted, file, monkeypatch):
    before = file.read_bytes()

    def full_disk(handle, **entries):
        handle.write(b"PK half a file")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match=r"No space left on device: '.*weights.npz'"):
        fitted.save_weights(file)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing/weights.npz", FileNotFoundError),
        ("folder", IsADirectoryError),
        ("file/weights.npz", NotADirectoryError),
        ("long" * 99, OSError),
    ],
)
def test_where_nothing_can_be_saved_is_named_as_it_was_given(name, error, fitted, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(error) as caught:
        fitted.save_weights(tmp_path / name)
    assert str(caught.value).endswith(f": {str(tmp_path / name)!r}")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("end", ["/", "/."])
@pytest.mark.parametrize("name", ["folder", "file", "missing"])
def test_what_is_named_as_a_folder_is_refused(name, end, fitted, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError, match=f"/{name}{end}'$"):
        fitted.save_weights(f"{tmp_path}/{name}{end}")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert (tmp_path / "file").stat().st_size == 0


def test_a_name_may_be_as_long_as_the_file_system_allows(fitted, tmp_path):
    path = tmp_path / ("w" * 255)
    fitted.save_weights(path)
    np.testing.assert_array_equal(clone(fitted).load_weights(path).weights_, fitted.weights_)


def test_saving_needs_weights(tmp_path):
    with pytest.raises(NotFittedError):
        model().save_weights(tmp_path / "weights.npz")
    assert os.listdir(tmp_path) == []


def test_classes_that_are_neither_numbers_nor_strings_are_not_saved(tmp_path):
    days = np.datetime64("2017-12-18") + Y.astype("timedelta64[D]")
    with pytest.raises(ValueError, match=r"classes_ must be numbers or strings to be saved, got \[datetime"):
        model().fit(X, days).save_weights(tmp_path / "weights.npz")
    assert os.listdir(tmp_path) == []


# Where a file of weights may be, and what else may be there


def test_a_symbolic_link_is_followed_and_stays(fitted, tmp_path):
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link.npz", tmp_path / "there" / "weights.npz"
    link.symlink_to(Path("there") / "weights.npz")
    for _ in range(2):  # the target is missing at first
        fitted.save_weights(link)
        assert link.is_symlink()
        assert not target.is_symlink()
        np.testing.assert_array_equal(clone(fitted).load_weights(target).weights_, fitted.weights_)
    assert os.listdir(target.parent) == [target.name]


def test_links_in_a_circle_are_refused(fitted, tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=r"symbolic links.*/a'"):
        fitted.save_weights(tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_link_that_is_not_followed_is_replaced_whatever_it_leads_to(tmp_path):
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    with replacing(link, follow_links=False) as file:
        file.write(b"whole")
    assert not link.is_symlink() and link.read_bytes() == b"whole"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_file_that_is_replaced_keeps_its_mode(mode, fitted, file):
    file.chmod(mode)
    fitted.save_weights(file)
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_nobody_else_can_read_what_replaces_a_private_file_before_it_has_its_mode(fitted, file, monkeypatch):
    file.chmod(0o600)
    modes = []
    monkeypatch.setattr(os, "fchown", lambda fd, *_: modes.append(stat.S_IMODE(os.fstat(fd).st_mode)))
    fitted.save_weights(file)
    assert modes == [0o600]


def test_a_new_file_has_the_mode_of_any_other(fitted, tmp_path):
    (tmp_path / "other").touch()
    fitted.save_weights(tmp_path / "weights.npz")
    assert (tmp_path / "weights.npz").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_file_that_is_replaced_keeps_its_owner(fitted, file):
    try:
        os.chown(file, 1234, 5678)
    except OSError:
        pytest.skip("only root gives files away, and in some containers nobody does")
    fitted.save_weights(file)
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 5678)


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_regular_file_is_neither_written_nor_read(linked, fitted, tmp_path):
    path = tmp_path / "weights.npz"
    os.mkfifo(path)
    if linked:
        (tmp_path / "link").symlink_to(path)
        path = tmp_path / "link"
    for method in (fitted.save_weights, model().load_weights):
        with pytest.raises(OSError, match=f"Not a regular file.*{path.name}'"):
            method(path)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_device_stays_a_device(fitted):
    ends = os.openpty()  # and not /dev/null, which others need
    path = os.ttyname(ends[1])
    with pytest.raises(OSError, match=f"Not a regular file.*{path}"):
        fitted.save_weights(path)
    assert stat.S_ISCHR(os.stat(path).st_mode)
    for end in ends:
        os.close(end)


def test_what_a_killed_process_leaves_behind_is_cleared_by_the_next_that_saves(fitted, file):
    before = file.read_bytes()
    pid = os.fork()
    if pid == 0:

        def killed(handle, **entries):
            handle.write(b"PK half a file")
            handle.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        try:
            np.savez = killed
            fitted.save_weights(file)
        finally:
            os._exit(1)  # or the child would go on with the tests
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert file.read_bytes() == before
    assert len(os.listdir(file.parent)) == 2
    fitted.save_weights(file.with_name("another.npz"))
    assert sorted(os.listdir(file.parent)) == ["another.npz", file.name]


def test_what_others_are_writing_is_not_cleared(fitted, file, monkeypatch):
    """One saves while another one is halfway."""
    savez, nested = np.savez, []

    def other_first(handle, **entries):
        if not nested:
            nested.append(True)
            fitted.save_weights(file.with_name("another.npz"))
        savez(handle, **entries)

    monkeypatch.setattr(np, "savez", other_first)
    fitted.save_weights(file)
    assert sorted(os.listdir(file.parent)) == ["another.npz", file.name]


def test_processes_that_save_at_once_all_leave_whole_files(fitted, tmp_path):
    path = tmp_path / "weights.npz"
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for _ in range(20):
                    fitted.save_weights(path)
                    clone(fitted).load_weights(path)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert os.listdir(tmp_path) == [path.name]


# Files that are not what they should be


def as_npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


NOT_NPZ = {
    "empty": lambda whole: b"",
    "text": lambda whole: b"4,6,3\n",
    "pickle": lambda whole: pickle.dumps({"weights": [1.0]}),
    "npy": lambda whole: as_npy(np.zeros((3, 51))),
    "cut short": lambda whole: whole[: len(whole) // 2],
    "cut short by a byte": lambda whole: whole[:-1],
}


@pytest.mark.parametrize("case", NOT_NPZ)
def test_what_is_no_whole_npz_file_is_refused(case, file):
    file.write_bytes(NOT_NPZ[case](file.read_bytes()))
    with pytest.raises(ValueError, match=r"weights\.npz must be a complete \.npz file.*it is not, or was cut short"):
        model().load_weights(file)


def changed(**entries):
    return lambda good: good | entries


def with_weight(value):
    def change(good):
        good["weights"][1, 3] = value
        return good

    return change


class Harmful:
    """Would make a file if it were unpickled."""

    def __reduce__(self):
        return open, ("harm", "w")


BAD_ENTRIES = {
    "missing": (lambda good: {k: v for k, v in good.items() if k != "weights"}, r"must have an entry 'weights', got"),
    "later version": (changed(format_version=2), "entry 'format_version' of .* must be 1, got 2"),
    "no version": (changed(format_version="one"), "'format_version' of .* must be 0-dimensional and hold integers"),
    "pickled": (
        changed(weights=np.array([Harmful()])),
        "'weights' of .* without pickled objects; reading it fails: Object arrays cannot be loaded",
    ),
    "pickled classes": (changed(classes=SPECIES.astype(object)), "'classes' of .* without pickled objects"),
    "nan": (with_weight(np.nan), r"'weights\[1, 3\]' of .* must be finite, got nan"),
    "infinite": (with_weight(-np.inf), r"'weights\[1, 3\]' of .* must be finite, got -inf"),
    "one network": (lambda good: good | {"weights": good["weights"][0]}, r"must be 2-dimensional .* got float64 of"),
    "no network": (lambda good: good | {"weights": good["weights"][:0]}, r"shape \(n_networks, 51\).*got \(0, 51\)"),
    "too few weights": (lambda good: good | {"weights": good["weights"][:, 1:]}, r", 51\), as layer_.*got \(3, 50\)"),
    "integers": (lambda good: good | {"weights": good["weights"].astype(int)}, "hold floats, got int64"),
    "half floats": (lambda good: good | {"weights": good["weights"].astype("f2")}, "float64, got 'float16'"),
    "float32": (
        lambda good: good | {"weights": good["weights"].astype("f4")},
        "must be float64, the dtype.*got float32",
    ),
    "networks": (lambda good: good | {"weights": good["weights"][:2]}, r"3 networks, .*\(n_networks\); got 2"),
    "no units": (changed(layer_sizes=[4, 0, 3]), r"'layer_sizes' of .* at least 1, got \(4, 0, 3\)"),
    "one layer": (changed(layer_sizes=[4]), r"'layer_sizes' of .* two or more integers of at least 1, got \(4,\)"),
    "too many units": (changed(layer_sizes=[4, 10**18, 3]), r"n_networks, 8\d{18}\), as layer_sizes says"),
    "layer sizes": (
        changed(layer_sizes=[4, 4, 4, 3], weights=np.ones((3, 55))),
        r"must be \[4, 6, 3\].*\[4, 4, 4, 3\]",
    ),
    "activation": (changed(activation="relu"), "'activation' of .* must be 'tanh', as in this estimator.*got 'relu'"),
    "what activation": (changed(activation="gelu"), "'activation' of .* must be one of .*'relu'; got 'gelu'"),
    "output": (changed(output="tanh"), "'output' of .* must be 'softmax', as in this estimator.*got 'tanh'"),
    "classes": (changed(classes=["setosa", "versicolor", "xiphium"]), r"'classes' of .*virginica'\], as in.*xiphium"),
    "other labels": (changed(classes=[0, 1, 2]), r"'classes' of .* must be \['setosa', .*got \[0, 1, 2\]"),
    "two classes": (changed(classes=["setosa", "virginica"]), "'classes' of .* must be 3 classes, one for each"),
    "one class twice": (changed(classes=["setosa"] * 3), "'classes' of .* sorted and distinct, got"),
    "unsorted": (changed(classes=SPECIES[::-1]), "'classes' of .* sorted and distinct, got"),
    "names": (changed(feature_names=NAMES[::-1]), r"'feature_names' of .* must be \['sepal length', .*got \['petal w"),
    "a name": (changed(feature_names=["petal width"]), "'feature_names' of .* must be 4 names"),
}


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_a_wrong_entry_is_named_and_nothing_is_changed(case, fitted, file, monkeypatch):
    monkeypatch.chdir(file.parent)
    change, message = BAD_ENTRIES[case]
    with np.load(file) as entries:
        np.savez(file, **change(dict(entries)))
    here = copy.deepcopy(fitted)
    with pytest.raises(ValueError, match=message):
        here.load_weights(file)
    np.testing.assert_array_equal(here.weights_, fitted.weights_)
    assert not os.path.exists("harm")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hidden_layer_sizes": (7,)}, r"'layer_sizes' of .* must be \[4, 7, 3\], .*got \[4, 6, 3\]"),
        ({"activation": "relu"}, "'activation' of .* must be 'relu'"),
        ({"loss": "squared_error"}, "'output' of .* must be 'tanh'"),
        ({"n_networks": 8}, r"must hold 8 networks.*\(n_networks\); got 3"),
        ({"prediction": 3}, "prediction must be .* from 0 to 2; got 3"),
        ({"fusion_rate": 2}, r"fusion_rate must be in \[0, 1\], got 2"),
    ],
    ids=str,
)
def test_parameters_of_one_that_is_not_fitted_must_be_those_of_the_file(params, message, file):
    here = model(**params)
    with pytest.raises(ValueError, match=message):
        here.load_weights(file)
    with pytest.raises(NotFittedError):
        here.predict(X)


@pytest.mark.parametrize("path", [None, 5, b"weights.npz"])
def test_what_is_no_path_is_refused(path, fitted):
    for method in (fitted.save_weights, model().load_weights):
        with pytest.raises(TypeError, match=f"^path must be a string or another path, got {path}"):
            method(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz"):
        model().load_weights(tmp_path / "nothing.npz")


@pytest.mark.parametrize(("shape", "n_bytes"), [((10**7, 10**7), 0), ((3, 51), 3 * 51 * 8 + 8)], ids=["more", "less"])
def test_a_header_that_promises_more_or_less_than_the_file_holds_is_refused(shape, n_bytes, fitted, file):
    with np.load(file) as entries:
        others = {name: entries[name] for name in entries if name != "weights"}
    np.savez(file, **others)
    with zipfile.ZipFile(file, "a") as archive, archive.open("weights.npy", "w") as entry:
        entry.write(npy_header("<f8", shape) + bytes(n_bytes))
    with pytest.raises(ValueError, match=r"'weights' of .* must be a complete array.*its header announces"):
        copy.deepcopy(fitted).load_weights(file)


def npy_header(descr, shape):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


BOMBS = {  # entries of 64 MiB, which take 64 KiB in the file
    "format_version": ("<i8", (2**23,)),
    "layer_sizes": ("<i8", (2**23,)),
    "activation": (f"<U{2**24}", ()),
    "classes": ("<U1", (2**24,)),
    "feature_names": ("<U1", (2**24,)),
    "weights": ("<f8", (3, 2**23 // 3)),
}


def test_what_is_small_may_be_packed_as_tightly_as_it_can_be(tmp_path):
    path, network = tmp_path / "weights.npz", {"layer_sizes": [4, 2000, 3], "activation": "tanh", "output": "softmax"}
    np.savez_compressed(path, format_version=1, classes=SPECIES, weights=np.zeros((3, 16003)), **network)
    assert 100 * path.stat().st_size < 3 * 16003 * 8
    assert not model((2000,)).load_weights(path).weights_.any()


@pytest.mark.parametrize("name", BOMBS)
def test_what_unpacks_to_many_times_its_size_is_refused_before_it_does(name, fitted, file):
    descr, shape = BOMBS[name]
    with np.load(file) as entries:
        others = {other: entries[other] for other in entries if other != name}
    np.savez_compressed(file, **others)
    size = math.prod(shape) * np.dtype(descr).itemsize
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive, archive.open(f"{name}.npy", "w") as entry:
        entry.write(npy_header(descr, shape))
        for start in range(0, size, 2**24):
            entry.write(bytes(min(2**24, size - start)))
    assert file.stat().st_size < 2**17
    for here in (copy.deepcopy(fitted), model(n_networks=None)):
        tracemalloc.start()
        with pytest.raises(ValueError, match=f"entry '{name}' of .* 64 times the file's size") as caught:
            here.load_weights(file)
        assert tracemalloc.get_traced_memory()[1] < 2**24
        tracemalloc.stop()
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("classes", np.array([str(k) for k in range(10**6)]), "must be 3 classes, one for each output, got 1000000"),
        ("classes", np.array(["a" * 10**6, "b", "c"]), r"\['setosa', .*got \['aaa"),
        ("feature_names", np.array(["a" * 10**6] * 4), r"\['sepal length', .*got \['aaa"),
        ("layer_sizes", np.arange(1, 10**5), r"shape \(n_networks, \d+\), as layer_sizes says"),
        ("activation", np.array("a" * 10**6), "must be one of .*got 'aaa"),
        ("weights", np.ones((3, 10**6)), r"shape \(n_networks, 51\).*got \(3, 1000000\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_messages_are_short_however_long_entries_are(name, array, message, fitted, file):
    with np.load(file) as entries:
        np.savez(file, **dict(entries) | {name: array})
    with pytest.raises(ValueError, match=message) as caught:
        copy.deepcopy(fitted).load_weights(file)
    assert len(str(caught.value)) < 1000


def test_many_entries_make_no_long_message(file):
    with zipfile.ZipFile(file, "w") as archive:
        for k in range(10**4):
            archive.writestr(f"{k}.npy", b"")
    with pytest.raises(ValueError, match="must have an entry 'format_version', got the entries") as caught:
        model().load_weights(file)
    assert len(str(caught.value)) < 1000


def test_hidden_layers_of_another_size_are_refused_before_there_are_any(file):
    tracemalloc.start()
    with pytest.raises(ValueError, match="'layer_sizes'"):
        model((10**7,)).load_weights(file)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_numpy_does_not_write_is_refused(compression, file):
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"'format_version' of .* compressed as NumPy never does"):
        model().load_weights(file)


def test_a_file_may_be_compressed(fitted, file):
    with np.load(file) as entries:
        np.savez_compressed(file, **entries)
    np.testing.assert_array_equal(model(momentum=0.9).load_weights(file).weights_, fitted.weights_)


# Finite weights that are of no use

TOO_LARGE = {
    "all": lambda weights: np.full_like(weights, np.finfo(weights.dtype).max),
    "of one unit": lambda weights: weights + np.finfo(weights.dtype).max / 50 * (np.arange(weights.shape[1]) % 6 == 2),
    "with changing signs": lambda weights: np.finfo(weights.dtype).max * np.resize([1, -1], weights.shape),
    "of the last layer": lambda weights: np.where(
        np.arange(weights.shape[1]) < 30, weights, 0.9 * np.finfo(weights.dtype).max
    ),
    "in sum": lambda weights: weights + np.finfo(weights.dtype).max / 2 * (np.arange(weights.shape[1]) == 50),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", TOO_LARGE)
def test_weights_whose_network_would_answer_nan_are_refused(case, dtype, tmp_path):
    path, here = tmp_path / "weights.npz", model().fit(X.astype(dtype), Y)
    before = here.weights_
    large = TOO_LARGE[case](before).astype(dtype)
    assert np.isfinite(large).all()
    here.save_weights(path)
    with np.load(path) as entries:
        np.savez(path, **dict(entries) | {"weights": large})
    for each in (here, model()):
        with pytest.raises(
            ValueError, match=r"entry 'weights' of .* must be so small that no sum of them overflows, got"
        ):
            each.load_weights(path)
    with pytest.raises(ValueError, match="weights_ must be so small that no sum of them overflows, got up to"):
        here.weights_ = large
    assert here.weights_ is before


@pytest.mark.parametrize(
    ("activation", "saturates"), [("tanh", True), ("logistic", True), ("relu", False), ("identity", False)]
)
def test_weights_may_be_large_before_units_that_saturate(activation, saturates):
    here = model(activation=activation).fit(X.astype(np.float32), Y)
    large = np.tile(np.where(np.arange(51) < 30, 1e34, 1e3), (3, 1))  # in the first layer, and in the last
    with nullcontext() if saturates else pytest.raises(ValueError, match="so small that no sum of them overflows"):
        here.weights_ = large


@settings(max_examples=100)
@given(data=st.data())
def test_what_is_accepted_answers_every_row_with_finite_numbers(data):
    activation = data.draw(st.sampled_from(["identity", "logistic", "tanh", "relu"]))
    here = model((4, 3), activation=activation, max_iter=1).fit(X.astype(np.float32), Y)
    exponents = data.draw(st.lists(st.integers(0, 38), min_size=3, max_size=3))
    scale = np.repeat(10.0 ** np.array(exponents), [4 * 4 + 4, 4 * 3 + 3, 3 * 3 + 3])
    try:
        here.weights_ = np.minimum(here.weights_ * scale, np.finfo(np.float32).max)
    except ValueError:
        return
    rows = np.random.default_rng(0).choice([-1000, 0, 1000], (50, 4)).astype(np.float32)
    for prediction in ("consensus", "vote", 0):
        assert np.isfinite(here.set_params(prediction=prediction).predict_proba(rows)).all()


@pytest.mark.parametrize("order", ["<", ">"])
def test_byte_order_and_memory_order_do_not_matter(order, fitted, file):
    with np.load(file) as entries:
        weights = np.asfortranarray(entries["weights"].astype(f"{order}f8"))
        np.savez(file, **dict(entries) | {"weights": weights})
    here = copy.deepcopy(fitted).load_weights(file)
    np.testing.assert_array_equal(here.predict_proba(framed(X)), fitted.predict_proba(framed(X)))
    here.partial_fit(framed(X), SPECIES[Y])


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_gives_the_same_weights(data, fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "weights.npz"
    fitted.save_weights(path)
    damaged = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(damaged))
    here = model(momentum=0.9)
    try:
        here.load_weights(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        np.testing.assert_array_equal(here.weights_, fitted.weights_)
        assert here.classes_.tolist() == SPECIES.tolist()


# Sites


def test_sites_that_exchange_files_end_where_one_process_does(tmp_path):
    common = {"shuffle": False, "fusion_rate": 0.3, "fusion_rule": "sequential", "fusion_frequency": 1, "max_iter": 3}
    peer_of_row = np.arange(len(X)) % 2
    together = model(n_networks=2, partitioner=PredefinedPartitioner(peer_of_row), topology="ring", **common).fit(X, Y)
    sites = [model(n_networks=1, **common) for _ in range(2)]
    for fusion_round in range(3):
        files = [tmp_path / f"site{number}_round{fusion_round}.npz" for number in range(2)]
        for number, site in enumerate(sites):
            rows = peer_of_row == number
            site.partial_fit(X[rows], Y[rows], classes=range(3)).save_weights(files[number])
        for number, site in enumerate(sites):
            weights = np.vstack([clone(site).load_weights(path).weights_ for path in files])
            site.weights_ = RingTopology().fuse(weights, 0.3)[[number]]
    np.testing.assert_array_equal(np.vstack([site.weights_ for site in sites]), together.weights_)
