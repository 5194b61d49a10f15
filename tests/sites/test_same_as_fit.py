"""Training at sites comes to what fit makes of the same rows in one place, bit for bit."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from models import LaterTopology
from rows_at_sites import (
    IMAGES,
    LABELS,
    NAMES,
    NAMES_OF_ROWS,
    NUMBERS,
    PLAIN,
    WEIGHT,
    N,
    Spy,
    assert_same,
    at_sites,
    classifier,
    sites_of,
    spied,
)
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import FusedMLPClassifier, FusedMLPRegressor
from skfusion._moments import moments_of_rows
from skfusion._training import sparsify
from skfusion.callback import PeerScores
from skfusion.sites import LocalTransport, Site, _preparation, fit_sites
from skfusion.sites._scaling import fit_scaler
from skfusion.sites.message import Message

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Training"),
]
problems = st.fixed_dictionaries(
    {
        "sites": st.integers(1, 5),
        "mixing": st.integers(0, 99),
        "rows": st.sampled_from(["plain", "images", "sparse"]),
        "dtype": st.sampled_from([np.float32, np.float64]),
        "weighted": st.booleans(),
        "task": st.sampled_from(["labels", "strings", "two", "number", "numbers"]),
    }
)
parameters = st.fixed_dictionaries(
    {
        "topology": st.sampled_from(["ring", "random", "hypercube", "average"]),
        "fusion_rule": st.sampled_from(["sequential", "simultaneous"]),
        "fusion_rate": st.sampled_from([0.0, 0.3, 0.5]),
        "init": st.sampled_from(["shared", "independent"]),
        "solver": st.sampled_from(["sgd", "adam"]),
        "momentum": st.sampled_from([0.0, 0.9]),
        "batch_size": st.sampled_from([1, 7, 200]),
        "learning_rate": st.sampled_from(["constant", "invscaling", "adaptive"]),
        "shuffle": st.booleans(),
        "alpha": st.sampled_from([0.0, 0.01]),
        "l1_ratio": st.sampled_from([0.0, 0.5]),
        "early_stopping": st.booleans(),
        "prediction": st.sampled_from(["consensus", "vote", 0]),
        "tol": st.sampled_from([0.0, 0.05]),
        "n_iter_no_change": st.sampled_from([1, 10]),
    }
)
steps = st.sampled_from([{}, {"fusion_unit": "step", "fusion_frequency": 3}, {"fusion_frequency": 2}])
drifts = st.sampled_from(
    [{}, {}, {"drift_correction": "tracking"}, {"drift_correction": "tracking", "fusion_momentum": 0.5}]
)
classifying = st.fixed_dictionaries(
    {
        "loss": st.sampled_from(["log_loss", "squared_error"]),
        "class_weight": st.sampled_from([None, "balanced", "dict"]),
    }
)


@settings(max_examples=60)
@given(problems, parameters, steps, drifts, classifying)
def test_sites_train_what_fit_does(problem, parameters, steps, drift, classifying):
    shares = np.random.default_rng(problem["mixing"]).dirichlet(np.full(problem["sites"], 3.0))
    names = np.random.default_rng(problem["mixing"]).choice(NAMES[: problem["sites"]], size=N, p=shares)
    weight = WEIGHT if problem["weighted"] else None
    X = (IMAGES if problem["rows"] == "images" else PLAIN).astype(problem["dtype"])
    X = csr_array(np.where(abs(X) < 0.7, 0, X)) if problem["rows"] == "sparse" else X
    model, y = model_and_targets(problem["task"], classifying)
    model.set_params(**parameters, **steps)
    if drift:
        model.set_params(**drift, solver="sgd", momentum=0, l1_ratio=0)
    try:
        whole = clone(model).fit(X, y, groups=names, sample_weight=weight)
        event("fits")
    except ValueError as error:
        assume("diverged" not in str(error))  # which the coordinator judges by less
        with pytest.raises(ValueError) as refused:
            at_sites(model, sites_of(X, y, names, weight))
        peers = np.unique(names).tolist()  # which the coordinator calls by their names
        assert str(refused.value) == re.sub(r"peer (\d+)", lambda peer: f"peer {peers[int(peer[1])]!r}", str(error))
        return
    assert_same(at_sites(model, sites_of(X, y, names, weight)), whole)


def model_and_targets(task, classifying):
    common = dict(n_networks=None, hidden_layer_sizes=(6,), max_iter=4, random_state=3, learning_rate_init=0.05)
    if task.startswith("number"):
        return FusedMLPRegressor(**common), NUMBERS if task == "numbers" else NUMBERS[:, 0]
    y = {"labels": LABELS + 4, "strings": np.array(["a", "bb", "c"])[LABELS], "two": LABELS > 1}[task]
    if classifying["class_weight"] == "dict":
        classifying = classifying | {"class_weight": {y[0].item(): 2.5}}
    return FusedMLPClassifier(**common, **classifying), y


@pytest.mark.parametrize(
    ("X", "most", "sparse"),
    [(IMAGES, 2**31 - 1, True), (PLAIN, 2**31 - 1, False), (IMAGES, 10, False)],
    ids=["images", "plain", "too many"],
)
def test_sites_agree_on_the_background_that_fit_takes(X, most, sparse, monkeypatch):
    for module in (sparsify, _preparation):
        monkeypatch.setattr(module, "MAX_NONZEROS", most)
    sites = spied(sites_of(X, LABELS, NAMES_OF_ROWS))
    assert_same(at_sites(classifier(), sites), classifier().fit(X, LABELS, groups=NAMES_OF_ROWS))
    for site in sites:
        trained = [Message.decode(request) for request in site.requests if b'"train"' in request]
        assert len(trained) == 4
        assert all(("background" in request.arrays) == sparse for request in trained)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_site_may_hold_several_peers(early_stopping):
    wards = np.random.default_rng(1).choice(["a", "b", "c"], size=N)
    model = classifier(early_stopping=early_stopping, class_weight="balanced", topology="ring", batch_size=5)
    sites = sites_of(PLAIN, LABELS, NAMES_OF_ROWS, WEIGHT, wards)
    peers = np.array([f"{name}/{ward}" for name, ward in zip(NAMES_OF_ROWS, wards, strict=True)])
    apart = at_sites(model, sites)
    assert_same(apart, model.fit(PLAIN, LABELS, groups=peers, sample_weight=WEIGHT))
    assert apart.sites_ == sorted(set(peers.tolist()))


@pytest.mark.parametrize(
    ("rows", "scaler"),
    [
        (PLAIN, StandardScaler()),
        (PLAIN, StandardScaler(with_mean=False)),
        (PLAIN, StandardScaler(with_std=False)),
        (PLAIN, StandardScaler(with_mean=False, with_std=False)),
        (IMAGES, StandardScaler()),
        (PLAIN.astype(np.float32), StandardScaler()),
        (csr_array(IMAGES), StandardScaler(with_mean=False)),
    ],
    ids=["plain", "scale", "mean", "neither", "images", "float32", "sparse"],
)
def test_a_scaler_common_to_all_sites(rows, scaler):
    pipeline = make_pipeline(clone(scaler), classifier())
    sites = sites_of(rows, LABELS, NAMES_OF_ROWS)
    with LocalTransport(sites) as transport:
        assert fit_sites(pipeline, transport) is pipeline
    scaler, reference = pipeline[0], scaler.fit(rows)
    assert vars(scaler).keys() == vars(reference).keys()
    for name in ("mean_", "var_", "scale_", "n_samples_seen_", "n_features_in_"):
        if getattr(reference, name) is None:
            assert getattr(scaler, name) is None
        else:
            np.testing.assert_allclose(getattr(scaler, name), getattr(reference, name), rtol=1e-12)
    whole = clone(pipeline[1]).fit(scaler.transform(rows), LABELS, groups=NAMES_OF_ROWS)
    assert_same(pipeline[1], whole)
    np.testing.assert_array_equal(pipeline.predict(rows), whole.predict(scaler.transform(rows)))


def test_the_steps_that_a_pipeline_was_given_stay_as_they_are():
    steps = [("scale", StandardScaler()), ("learn", classifier())]
    given, before = Pipeline(steps), list(steps)
    with LocalTransport(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport:
        fit_sites(given, transport)
    assert steps == before
    assert hasattr(given["scale"], "mean_")


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("rows", [PLAIN, pd.DataFrame(PLAIN, columns=list("abcde"))], ids=type)
def test_columns_names_are_those_that_the_scaler_hands_on(rows, table):
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas" if table else "default"), classifier())
    with LocalTransport(sites_of(rows, LABELS, NAMES_OF_ROWS)) as transport:
        fit_sites(pipeline, transport)
    whole = clone(pipeline).fit(rows, LABELS, fusedmlpclassifier__groups=NAMES_OF_ROWS)
    assert hasattr(pipeline[1], "feature_names_in_") == table
    np.testing.assert_array_equal(
        *(getattr(one[1], "feature_names_in_", np.array([])) for one in (pipeline, whole)), strict=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline.predict(rows)


def test_what_a_sites_own_code_has_transformers_put_out_does_not_matter():
    class Configured(Spy):
        def answer(self, request):
            with config_context(transform_output="pandas"):
                return super().answer(request)

    model = make_pipeline(StandardScaler(), classifier(early_stopping=True))
    sites = sites_of(pd.DataFrame(PLAIN, columns=list("abcde")), LABELS, NAMES_OF_ROWS)
    assert_same(at_sites(model, [Configured(site) for site in sites])[1], at_sites(model, sites)[1])


def test_a_column_whose_variance_may_be_rounding_alone_is_not_scaled():
    rows = np.column_stack([PLAIN[:, 0], 1e15 + np.arange(N) % 2])
    scaler = fit_scaler(StandardScaler(), moments_of_rows(rows), None)
    np.testing.assert_allclose(scaler.scale_, StandardScaler().fit(rows).scale_, rtol=1e-12)
    assert scaler.scale_[1] == 1


def test_a_warm_start_goes_on_as_that_of_fit():
    model, sites = classifier(warm_start=True), sites_of(PLAIN, LABELS, NAMES_OF_ROWS)
    whole = clone(model).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS)
    with LocalTransport(sites) as transport:
        apart = fit_sites(fit_sites(clone(model), transport), transport)
    assert_same(apart, whole.fit(PLAIN, LABELS, groups=NAMES_OF_ROWS))
    assert len(apart.history_) == 8
    assert apart.n_iter_ == 4


def test_a_warm_start_asks_a_topology_for_no_round_that_is_past():
    sites = sites_of(PLAIN, LABELS, NAMES_OF_ROWS)
    fitted = at_sites(classifier(max_iter=1, warm_start=True), sites).set_params(topology=LaterTopology())
    with LocalTransport(sites) as transport:
        fit_sites(fitted, transport)
    assert [record["fusion_rounds"] for record in fitted.history_] == [1, 1]


def test_fit_and_fit_sites_may_take_turns():
    model, sites = classifier(warm_start=True), sites_of(PLAIN, LABELS, NAMES_OF_ROWS)
    whole = clone(model).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS)
    with LocalTransport(sites) as transport:
        first_here = fit_sites(clone(model).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS), transport)
        first_there = fit_sites(clone(model), transport).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS)
    assert_same(first_here, whole)
    assert_same(first_there, whole)


def test_rows_of_weight_0_might_as_well_be_elsewhere():
    weight = WEIGHT * (np.random.default_rng(1).random(N) < 0.7)
    whole = classifier().fit(PLAIN, LABELS, sample_weight=weight, groups=NAMES_OF_ROWS)
    assert_same(at_sites(classifier(), sites_of(PLAIN, LABELS, NAMES_OF_ROWS, weight)), whole)


def test_a_site_without_weights_counts_each_row_as_1():
    weight = np.where(NAMES_OF_ROWS == "Bath", WEIGHT, 1)
    sites = [
        Site(PLAIN[own], LABELS[own], name=name, sample_weight=WEIGHT[own] if name == "Bath" else None)
        for name in np.unique(NAMES_OF_ROWS)
        for own in [name == NAMES_OF_ROWS]
    ]
    whole = classifier().fit(PLAIN, LABELS, sample_weight=weight, groups=NAMES_OF_ROWS)
    assert_same(at_sites(classifier(), sites), whole)


def test_classes_known_beforehand_may_be_more_than_occur():
    apart = at_sites(classifier(), sites_of(PLAIN, LABELS, NAMES_OF_ROWS), classes=[0, 1, 2, 3])
    assert apart.classes_.tolist() == [0, 1, 2, 3]
    assert apart.predict_proba(PLAIN).shape == (N, 4)


@pytest.mark.parametrize("dtype", ["float16", "longdouble"])
def test_labels_may_be_floats_that_no_message_carries(dtype):
    labels = LABELS.astype(dtype)
    sites = sites_of(PLAIN, labels, NAMES_OF_ROWS)
    apart = at_sites(classifier(), sites)
    assert apart.classes_.tolist() == [0, 1, 2]
    assert_same(apart, at_sites(classifier(), sites, classes=np.arange(3, dtype=dtype)))
    assert_same(apart, classifier().fit(PLAIN, labels, groups=NAMES_OF_ROWS))


def test_a_site_may_lack_a_class():
    y = np.where((NAMES_OF_ROWS == "Bath") & (LABELS == 2), 1, LABELS)
    model = classifier(class_weight="balanced")
    assert_same(at_sites(model, sites_of(PLAIN, y, NAMES_OF_ROWS)), model.fit(PLAIN, y, groups=NAMES_OF_ROWS))


@pytest.mark.parametrize("name", ["Bath", "York"])
def test_a_sites_held_out_rows_may_all_have_no_weight(name):
    y = np.where(name == NAMES_OF_ROWS, 2, LABELS)
    model = classifier(class_weight={2: 0.0}, early_stopping=True)
    assert_same(at_sites(model, sites_of(PLAIN, y, NAMES_OF_ROWS)), model.fit(PLAIN, y, groups=NAMES_OF_ROWS))


def test_fitted_attributes_tell_of_sites():
    frame = pd.DataFrame(PLAIN, columns=list("abcde"))
    apart = at_sites(classifier(), sites_of(frame, LABELS, NAMES_OF_ROWS))
    whole = classifier().fit(frame, LABELS, groups=NAMES_OF_ROWS)
    assert apart.sites_ == ["Bath", "Leeds", "York"]
    assert [len(part) for part in apart.partition_] == [len(part) for part in whole.partition_]
    np.testing.assert_array_equal(np.concatenate(apart.partition_), np.arange(N))
    assert [own.tolist() for own in apart.ownership_.by_peer] == [own.tolist() for own in whole.ownership_.by_peer]
    np.testing.assert_array_equal(apart.feature_names_in_, whole.feature_names_in_)
    np.testing.assert_array_equal(apart.predict(frame), whole.predict(frame))
    assert set(vars(apart.fit(frame, LABELS, groups=NAMES_OF_ROWS))) == set(vars(whole))


def test_callbacks_and_messages_are_those_of_fit(capsys):
    model = classifier(verbose=True)
    scores = [PeerScores(PLAIN, LABELS), PeerScores(PLAIN, LABELS)]
    with LocalTransport(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport:
        fit_sites(clone(model).set_callbacks(scores[0]), transport)
    printed = capsys.readouterr().out
    clone(model).set_callbacks(scores[1]).fit(PLAIN, LABELS, groups=NAMES_OF_ROWS)
    assert capsys.readouterr().out == printed != ""
    assert scores[0].history == scores[1].history
    assert len(scores[0].history) == 4


class Epochs:
    """A callback that scikit-learn hands on to a pipeline's steps, and that ends training after two epochs."""

    max_propagation_depth = None

    def __init__(self):
        self.n_epochs, self.is_torn_down = 0, False

    def setup(self, estimator, context):
        """Nothing to prepare."""

    def teardown(self, estimator, context):
        self.is_torn_down = True

    def on_fit_task_begin(self, estimator, context):
        """Wait for the end of the epoch."""

    def on_fit_task_end(self, estimator, context):
        self.n_epochs += context.task_name == "epoch"
        return self.n_epochs == 2


def test_callbacks_of_a_pipeline_reach_the_estimator_as_in_fit():
    callbacks = Epochs(), Epochs()
    here, apart = (make_pipeline(StandardScaler(), classifier()).set_callbacks(callback) for callback in callbacks)
    here.fit(PLAIN, LABELS, fusedmlpclassifier__groups=NAMES_OF_ROWS)
    with LocalTransport(sites_of(PLAIN, LABELS, NAMES_OF_ROWS)) as transport:
        fit_sites(apart, transport)
    assert [callback.n_epochs for callback in callbacks] == [here[-1].n_iter_, apart[-1].n_iter_] == [2, 2]
    assert all(callback.is_torn_down for callback in callbacks)


@pytest.mark.parametrize("model", [classifier(max_iter=1), make_pipeline(StandardScaler(), classifier(max_iter=1))])
def test_warnings_name_the_line_that_fits(model):
    sites = sites_of(PLAIN, LABELS, NAMES_OF_ROWS)
    with LocalTransport(sites) as transport, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_sites(clone(model), transport)
    assert [warning.filename for warning in caught] == [__file__]


AFTER_EACH_STEP = FusedMLPRegressor((), n_networks=None, random_state=0, learning_rate_init=1e5, fusion_unit="step")


@pytest.mark.parametrize(
    ("model", "rows", "y"),
    [
        (classifier(learning_rate_init=1e300), PLAIN, LABELS),
        (AFTER_EACH_STEP, PLAIN * 1e153, NUMBERS),  # the loss before the first step is finite still
    ],
)
def test_divergence_is_reported_as_by_fit_but_names_the_site(model, rows, y):
    model = clone(model)
    with pytest.raises(ValueError, match="stopped being finite in epoch 1") as here:
        model.fit(rows, y, groups=NAMES_OF_ROWS)
    with pytest.raises(ValueError, match="stopped being finite in epoch 1") as there:
        at_sites(model, sites_of(rows, y, NAMES_OF_ROWS))
    assert str(here.value).replace("peer 0", "peer 'Bath'") == str(there.value)


def test_moments_that_overflow_are_divergence_too():
    model = FusedMLPRegressor((), solver="adam", random_state=0)
    with pytest.raises(ValueError, match=r"^the weights of peer 'Bath' stopped being finite in epoch 1"):
        at_sites(model, sites_of(1e10 * PLAIN.astype(np.float32), NUMBERS, NAMES_OF_ROWS))
