"""Runs on OpenML tasks and the benchmark script, without the OpenML server."""

import importlib
import importlib.util
import logging
import os
import re
import shutil
import socket
import sys
import warnings
from functools import partial
from pathlib import Path

import forks
import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import BaggingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    PredefinedSplit,
    RandomizedSearchCV,
    StratifiedKFold,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeRegressor

import skfusion.classifier
from skfusion import FusedMLPClassifier
from skfusion.partition import DirichletPartitioner, PredefinedPartitioner
from skfusion.topology import (
    BaseTopology,
    GraphTopology,
    HypercubeTopology,
    RandomTopology,
    RingTopology,
    TorusTopology,
)

openml = pytest.importorskip("openml")

import arff  # noqa: E402
import openml_replay as replay  # noqa: E402
from openml.extensions.sklearn import SklearnExtension, cat, cont  # noqa: E402

from skfusion.openml import flow_to_model, model_to_flow, run_on_task  # noqa: E402

SCRIPT = Path(__file__).parents[1] / "examples" / "openml_benchmark.py"
CACHED = Path(openml.config.get_cache_directory())

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Estimator only predicted for"),
]


@pytest.fixture
def nowhere():
    """An address at which nobody listens, though the port is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def offline(tmp_path, monkeypatch, nowhere):
    """A client whose cache is empty and whose server is down; the folder of its cache."""
    monkeypatch.setenv("OPENML_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(openml.config, "_root_cache_directory", tmp_path / "cache")
    monkeypatch.setattr(openml.config, "connection_n_retries", 1)
    monkeypatch.setattr(openml.config, "server", f"{nowhere}{replay.API}")
    monkeypatch.setattr(openml.config, "apikey", "")
    return Path(openml.config.get_cache_directory())


@pytest.fixture
def cache(offline):
    """All tasks in the cache of a client whose server is down."""
    return replay.write_cache(offline)


@pytest.fixture
def server(offline, monkeypatch):
    """A server that the client talks to, with a key."""
    with replay.ReplayServer() as replaying:
        monkeypatch.setattr(openml.config, "server", replaying.url + replay.API)
        monkeypatch.setattr(openml.config, "apikey", "key")
        yield replaying


@pytest.fixture(scope="module")
def script():
    """The benchmark script as a module."""
    spec = importlib.util.spec_from_file_location("openml_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "agg")
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def benchmark(script, tmp_path, monkeypatch):
    """Call the script's main with a fast model; returns the exit status."""
    monkeypatch.setattr(script, "classifiers", lambda: {"bayes": GaussianNB()})
    monkeypatch.setattr(script, "draw", lambda *tables: script.plt.figure(figsize=(1, 1)))

    def call(*arguments):
        return script.main([*map(str, arguments), "--out", str(tmp_path / "out")])

    yield call
    logging.disable(logging.NOTSET)


@pytest.fixture
def fused_too(benchmark, script, monkeypatch):
    """The benchmark has another model as well."""
    models = {"fused, ring": fused(topology="ring"), "bayes": GaussianNB()}
    monkeypatch.setattr(script, "classifiers", lambda: models)


def fused(**params):
    return FusedMLPClassifier((5,), **{"n_networks": 2, "max_iter": 3, "batch_size": 8, "random_state": 0} | params)


def mixed(classifier):
    columns = [
        ("numeric", "passthrough", ["petal_length"]),
        ("nominal", OneHotEncoder(handle_unknown="ignore", sparse_output=False), cat),
    ]
    return make_pipeline(ColumnTransformer(columns), classifier)


# Flows

FLOWS = {
    "names": FusedMLPClassifier((50, 20), topology="ring", partitioner="class", n_networks=None, momentum=0.9),
    "objects": fused(topology=HypercubeTopology(each_edge_once=True), partitioner=DirichletPartitioner(alpha=0.2)),
    "object without parameters": fused(topology=RingTopology()),
    "splitter": fused(partitioner=StratifiedKFold(4)),
    "list of rows' peers": fused(partitioner=PredefinedPartitioner([0, 1, 1])),
    "another name": fused(topology="star"),
    "another object": fused(topology=TorusTopology()),
    "edges": fused(topology=GraphTopology([(0, 1), (1, 2)])),
    "class weights": fused(class_weight={"a": 1.0, "b": 2.5}),
    "labels like JSON": fused(class_weight={"1": 1.0, "true": 2.5, "null": 3.0}),
    "text like JSON": SimpleImputer(strategy="constant", fill_value="1"),
    "no hidden layer": FusedMLPClassifier(()),
    "pipeline": make_pipeline(StandardScaler(), fused(topology=RandomTopology(replacement=True))),
    "columns by type": mixed(fused()),
    "bagging": BaggingClassifier(make_pipeline(MLPClassifier((7, 3)))),
    "search": RandomizedSearchCV(
        make_pipeline(StandardScaler(), fused()),
        {
            "fusedmlpclassifier__topology": ["ring", "random"],
            "fusedmlpclassifier__fusion_rate": [0.1, 0.55],
            "fusedmlpclassifier__hidden_layer_sizes": [(5,), (5, 4)],
        },
        n_iter=2,
    ),
    "search with objects": GridSearchCV(
        fused(topology=RandomTopology(), partitioner=DirichletPartitioner()),
        {"topology__replacement": [True, False], "partitioner__alpha": [0.1, 1.0]},
    ),
    "search over grids": RandomizedSearchCV(fused(), [{"topology": ["ring"]}, {"class_weight": [None, {"1": 2.0}]}]),
    "halving": HalvingGridSearchCV(fused(), {"topology": ["ring", "line"]}),
}


@pytest.mark.parametrize("model", FLOWS.values(), ids=FLOWS)
def test_flow_comes_back_equal(model, tmp_path):
    flow = model_to_flow(model)
    assert repr(flow_to_model(flow)) == repr(model)
    flow.to_filesystem(tmp_path)
    assert repr(flow_to_model(openml.flows.OpenMLFlow.from_filesystem(tmp_path))) == repr(model)


FRAME = pd.DataFrame(
    {
        "integer": [1],
        "float": [1.0],
        "small float": np.float32([1]),
        "text": ["a"],
        "object": pd.Series([(1,)], dtype=object),
        "nominal": pd.Categorical(["a"]),
        "truth": [True],
        "time": pd.to_datetime(["2030-01-01"]),
    }
)
SELECTORS = {
    "all": make_column_selector(),
    "pattern": make_column_selector("^t.*"),
    "pattern like JSON": make_column_selector("1"),
    "type": make_column_selector(dtype_include=np.number),
    "types": make_column_selector("t$", dtype_include=[object, bool, "category"], dtype_exclude=float),
    "name": make_column_selector(dtype_exclude="number"),
    "small": make_column_selector(dtype_include=(np.float32, np.datetime64)),
    "function": cont,
}


@pytest.mark.filterwarnings("ignore:.*object.*str")  # pandas' way of counting texts among objects will change
@pytest.mark.parametrize("selector", SELECTORS.values(), ids=SELECTORS)
@pytest.mark.parametrize("transformer", [StandardScaler(), "passthrough", "drop"], ids=str)
def test_selectors_come_back_and_select_the_same_columns(transformer, selector):
    before = dict(vars(selector))
    flow = model_to_flow(ColumnTransformer([("some", transformer, selector)]))
    assert vars(selector) == before
    ((name, step, again),) = flow_to_model(flow).transformers
    assert (name, repr(step)) == ("some", repr(transformer))
    assert type(again) is type(selector)
    assert list(again(FRAME)) == list(selector(FRAME))


def test_the_client_by_itself_makes_selectors_again_too():
    selector = SELECTORS["types"]
    flow = model_to_flow(ColumnTransformer([("some", StandardScaler(), selector)]))
    ((_, _, again),) = SklearnExtension().flow_to_model(flow).transformers
    assert again(FRAME) == selector(FRAME)


@pytest.mark.parametrize("columns", [["1", "true", "null"], [0, 1], [True, False], "1", 2], ids=str)
@pytest.mark.parametrize("transformer", [StandardScaler(), "passthrough"], ids=str)
def test_columns_come_back_as_they_were(transformer, columns):
    ((_, _, again),) = flow_to_model(model_to_flow(ColumnTransformer([("1", transformer, columns)]))).transformers
    assert again == columns
    assert type(again) is type(columns)


def test_the_pages_models_run(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page, names = (SCRIPT.parents[1] / "docs" / "openml" / "index.md").read_text(), {}
    for block in re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL):
        assert "get_task(31)" in block or "task = " not in block
        exec(block.replace("get_task(31)", f"get_task({replay.CLASSIFICATION})"), names)
    assert_probabilities_fit(names["run"])


class StarTopology(BaseTopology):
    def pairs(self, n_networks, fusion_round=0, random_state=None):
        return [(0, other) for other in range(1, n_networks)]


REFUSED = {
    "objects in a grid": (GridSearchCV(fused(), {"topology": [RingTopology(), "random"]}), "write names there"),
    "objects in a halving": (HalvingGridSearchCV(fused(), {"topology": [RingTopology()]}), "write names there"),
    "objects in grids": (GridSearchCV(fused(), [{"topology": (RingTopology(),)}]), "write names there"),
    "class": (fused(topology=RingTopology), "write a string"),
    "array": (fused(partitioner=PredefinedPartitioner(np.array([0, 1]))), "a list of these"),
    "array within": (fused(partitioner=PredefinedSplit([0, 1])), r"PredefinedSplit\(.*: write a string"),
    "labels that are numbers": (fused(class_weight={0: 1.0}), "Can only use string as keys"),
    "lambda": (make_pipeline(FunctionTransformer(lambda X: X), GaussianNB()), "cannot be restored"),
    "same part twice": (make_pipeline(BaggingClassifier(fused()), fused()), "second occurence"),
    "generator": (fused(random_state=np.random.RandomState(0)), "write a string, a number"),
    "mask": (ColumnTransformer([("a", StandardScaler(), np.array([True]))]), "a make_column_selector"),
    "selector by a dtype object": (
        ColumnTransformer([("a", StandardScaler(), make_column_selector(dtype_include=np.dtype("O")))]),
        r"cannot store the dtype dtype\('O'\) .*: write its name",
    ),
    "class without a version": (fused(topology=StarTopology()), "move the class into a package"),
    "no estimator": ("ring", "must be a scikit-learn estimator"),
}


@pytest.mark.parametrize(("model", "message"), REFUSED.values(), ids=REFUSED)
def test_what_openml_cannot_store_is_refused(model, message):
    with pytest.raises(TypeError, match=message):
        model_to_flow(model)


def test_missing_client_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openml", None)
    monkeypatch.delitem(sys.modules, "skfusion.openml")
    with pytest.raises(ImportError, match="pip install"):
        importlib.import_module("skfusion.openml")


# Runs


def assert_probabilities_fit(run, labels=replay.LABELS):
    values, table = replay.probabilities(run, labels)
    best = values == values.max(axis=1, keepdims=True)
    predicted = np.equal.outer(table["prediction"].to_numpy(), np.array(labels, dtype=object))
    assert (best & predicted).any(axis=1).all()
    assert np.allclose(values.sum(axis=1), 1)


class RarelySees(ClassifierMixin, BaseEstimator):
    """Does not know the class setosa."""

    def fit(self, X, y):
        self.model_ = GaussianNB().fit(X[y != "setosa"], y[y != "setosa"].astype(str))
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


RarelySees.__module__ = "skfusion.classifier"  # a package with a version
skfusion.classifier.RarelySees = RarelySees  # from where it is made again
SEARCH = RandomizedSearchCV(mixed(fused()), {"fusedmlpclassifier__topology": ["ring", "hypercube"]}, n_iter=2, cv=2)
ESTIMATORS = {
    "fused": fused(),
    "vote": fused(prediction="vote", topology=RingTopology()),
    "sorted": GaussianNB(),
    "without predict_proba": RidgeClassifier(),
    "without a class": RarelySees(),
}


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_probabilities_are_in_the_columns_of_their_labels(estimator, cache):
    run = run_on_task(mixed(estimator), replay.CLASSIFICATION, avoid_duplicate_runs=False)
    assert_probabilities_fit(run)
    assert len(run.predictions) == 150


def test_probabilities_of_a_search_are_in_the_columns_of_their_labels(cache):
    run = run_on_task(SEARCH, replay.CLASSIFICATION, avoid_duplicate_runs=False, seed=1)
    assert_probabilities_fit(run)
    assert len(run.trace.trace_iterations) == 4


def test_the_model_stays_as_it_is(cache):
    model = mixed(RidgeClassifier())
    run_on_task(model, replay.CLASSIFICATION, avoid_duplicate_runs=False, seed=1)  # which the client sets
    assert model[-1].random_state is None


def test_a_run_that_fails_leaves_the_client_as_it_is(cache):
    extensions = openml.extensions.extensions[:]
    with pytest.raises(ValueError, match="contains NaN"):
        run_on_task(GaussianNB(), replay.CLASSIFICATION, avoid_duplicate_runs=False)
    assert openml.extensions.extensions == extensions


def test_probabilities_are_alike_in_other_processes(cache):
    get_reusable_executor().shutdown()  # whose workers may know of another cache
    one, two = (
        run_on_task(mixed(fused()), replay.CLASSIFICATION, avoid_duplicate_runs=False, n_jobs=n) for n in (1, 2)
    )
    assert one.data_content == two.data_content


def test_predictions_are_the_clients_own(cache):
    task = openml.tasks.get_task(replay.CLASSIFICATION)
    run, flow = run_on_task(mixed(fused()), task, avoid_duplicate_runs=False, return_flow=True)
    own = openml.runs.run_model_on_task(mixed(fused()), task, avoid_duplicate_runs=False)
    assert flow.name == own.flow_name
    assert (run.predictions.iloc[:, :6] == own.predictions.iloc[:, :6]).all(axis=None)
    assert (run.predictions != own.predictions).any(axis=None)  # for this the function is there


@pytest.mark.parametrize("labels", [["true", "false"], ["FALSE", "TRUE"]], ids="-".join)
def test_labels_that_look_like_booleans_stay_labels(labels, offline):
    replay.write_cache(offline, labels)
    run = run_on_task(mixed(GaussianNB()), replay.CLASSIFICATION, avoid_duplicate_runs=False)
    assert_probabilities_fit(run, labels)
    assert set(run.predictions["correct"]) == set(labels)


def test_labels_that_are_read_as_numbers_stay_labels(offline, monkeypatch):
    labels = ["3", "1", "2"]
    replay.write_cache(offline, labels)
    task = openml.tasks.get_task(replay.CLASSIFICATION)
    X, y = task.get_X_and_y(dataset_format="dataframe")
    monkeypatch.setattr(task, "get_X_and_y", lambda dataset_format: (X, y.astype(int)))
    run = run_on_task(mixed(GaussianNB()), task, avoid_duplicate_runs=False)
    assert_probabilities_fit(run, labels)
    assert (run.predictions["correct"] == y[run.predictions["row_id"]].to_numpy()).all()


@pytest.mark.parametrize("task", ["vowel", "²", 61.0, None, -3])
def test_task_is_a_task_or_an_id(task):
    with pytest.raises(ValueError, match="task must be an OpenML task or its id, got"):
        run_on_task(GaussianNB(), task)


def test_regression_is_as_the_clients(cache):
    model = make_pipeline(ColumnTransformer([("numeric", "passthrough", cont)]), DecisionTreeRegressor(random_state=0))
    run = run_on_task(model, replay.REGRESSION, avoid_duplicate_runs=False)
    assert len(run.predictions) == 150


@pytest.mark.skipif(not (CACHED / "tasks" / "3022" / "task.xml").exists(), reason="needs task 3022 in openml's cache")
def test_vowel_to_the_row(offline):
    for folder in ("tasks/3022", "datasets/307"):
        shutil.copytree(CACHED / folder, offline / folder)
    model = make_pipeline(ColumnTransformer([("numeric", StandardScaler(), cont)]), fused(max_iter=20))
    run = run_on_task(model, 3022, avoid_duplicate_runs=False)
    labels = openml.tasks.get_task(3022).class_labels
    assert labels != sorted(labels)
    values, table = replay.probabilities(run, labels)
    recomputed = np.array(labels)[values.argmax(axis=1)]
    assert (recomputed == table["prediction"]).all()
    measured = [run.fold_evaluations["predictive_accuracy"][0][fold] for fold in range(10)]
    assert np.mean(recomputed == table["correct"]) == pytest.approx(np.mean(measured))


@pytest.mark.parametrize(
    "model", [fused(topology=HypercubeTopology(each_edge_once=True)), SEARCH], ids=["objects", "search"]
)
def test_run_is_uploaded(model, server):
    model = mixed(model) if model is not SEARCH else model
    run = run_on_task(model, replay.CLASSIFICATION, upload_flow=True, avoid_duplicate_runs=False)
    assert run.publish().run_id == 1001
    flow = openml.flows.get_flow(run.flow_id)
    assert repr(flow_to_model(flow)) == repr(model)
    assert ("trace" in server.runs[0]) == (model is SEARCH)


def test_flow_that_the_server_knows_is_run_again(server):
    model = mixed(fused(topology=HypercubeTopology(each_edge_once=True)))
    extensions = openml.extensions.extensions[:]
    ids = [run_on_task(model, replay.CLASSIFICATION, upload_flow=True).flow_id for _ in range(2)]
    assert ids[0] == ids[1]
    assert openml.extensions.extensions == extensions


def test_stored_run_is_uploaded(server, tmp_path):
    model = mixed(fused(topology=HypercubeTopology(each_edge_once=True)))
    run_on_task(model, replay.CLASSIFICATION, avoid_duplicate_runs=False).to_filesystem(tmp_path / "run")
    run = openml.runs.OpenMLRun.from_filesystem(tmp_path / "run")
    run.flow = model_to_flow(run.model)
    assert repr(flow_to_model(openml.flows.get_flow(run.publish().flow_id))) == repr(model)


# The benchmark


def table(tmp_path):
    return (tmp_path / "out" / "results.csv").read_text().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("tune", [[], ["--tune"]], ids=["as they are", "tuned"])
def test_benchmark_compares_all_models(script, cache, tmp_path, monkeypatch, tune):
    monkeypatch.setattr(script, "N_NETWORKS", 4)
    monkeypatch.setitem(script.NETWORK, "max_iter", 2)
    monkeypatch.setitem(script.GRID, "classifier__fusion_frequency", [1])
    out = tmp_path / "out"
    if tune:
        monkeypatch.setattr(script, "classifiers", dict)
    assert script.main(["--tasks", str(replay.CLASSIFICATION), *tune, "--out", str(out)]) == 0
    logging.disable(logging.NOTSET)
    assert len(table(tmp_path)) == (2 if tune else 8)
    text = (out / "results.md").read_text()
    assert "mean rank" in text and "iris (61)" in text and ("fused, tuned" in text) == bool(tune)
    assert (out / "results.png").stat().st_size > 10_000
    for folder in (out / "runs" / str(replay.CLASSIFICATION)).iterdir():
        run = openml.runs.OpenMLRun.from_filesystem(folder)
        assert len(run.data_content) == 150
        assert (run.trace is not None) == bool(tune)


def test_benchmark_goes_on_where_it_was(benchmark, script, cache, tmp_path, monkeypatch):
    assert benchmark("--tasks", replay.CLASSIFICATION) == 0
    first = table(tmp_path)
    (tmp_path / "out" / "runs" / str(replay.CLASSIFICATION) / "ridge.partial").mkdir()  # as a killed run leaves it
    monkeypatch.setattr(script, "classifiers", lambda: {"bayes": GaussianNB(), "ridge": RidgeClassifier()})
    assert benchmark("--tasks", replay.CLASSIFICATION, replay.OTHER_DATA) == 0
    second = table(tmp_path)
    assert second[:2] == first
    assert [line.split(",")[:2] for line in second[2:]] == [["61", "ridge"], ["63", "bayes"], ["63", "ridge"]]


def test_benchmark_on_fewer_rows_is_kept_apart(benchmark, cache, tmp_path):
    assert benchmark("--tasks", replay.CLASSIFICATION, "--max-rows", 60) == 0
    assert benchmark("--tasks", replay.CLASSIFICATION) == 0
    n_rows = [
        len(openml.runs.OpenMLRun.from_filesystem(tmp_path / "out/runs" / name / "bayes").data_content)
        for name in ("61-60-rows", "61")
    ]
    assert n_rows == [60, 150]
    assert "iris (61, at most 60 rows)" in (tmp_path / "out" / "results.md").read_text()


def test_benchmark_takes_awkward_columns_and_labels(script, cache, capsys, monkeypatch, tmp_path):
    path = cache / "datasets/61/dataset.arff"
    head, data = path.read_text().split("@DATA\n")
    rows = [",".join(["?", *row.split(",")[1:]]) for row in data.splitlines()]  # a column without any value
    rows[7] = rows[7].replace("narrow", "rare").replace("wide", "rare")  # a level that two folds train on
    path.write_text(head.replace("{narrow", "{rare,narrow") + "@DATA\n" + "\n".join(rows) + "\n")
    features = cache / "datasets/61/features.xml"
    features.write_text(
        features.read_text().replace(">virginica<", ">unseen</oml:nominal_value><oml:nominal_value>virginica<")
    )
    monkeypatch.setattr(script, "classifiers", lambda: {"fused": fused()})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert script.main(["--tasks", "61", "--out", str(tmp_path / "out")]) == 0
    logging.disable(logging.NOTSET)
    assert capsys.readouterr().err == ""
    run = openml.runs.OpenMLRun.from_filesystem(tmp_path / "out/runs/61/fused")
    assert len(run.data_content) == 150


def test_results_that_are_there_need_no_task(benchmark, cache, tmp_path):
    assert benchmark("--tasks", replay.CLASSIFICATION) == 0
    shutil.rmtree(cache)
    assert benchmark("--tasks", replay.CLASSIFICATION) == 0
    assert len(table(tmp_path)) == 2


@pytest.mark.usefixtures("fused_too")
def test_interrupted_benchmark_goes_on_where_it_was(benchmark, script, cache, capsys, monkeypatch, tmp_path):
    whole, calls = script.run_on_task, []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*args, **kwargs)

    monkeypatch.setattr(script, "run_on_task", interrupted)
    assert benchmark("--tasks", replay.CLASSIFICATION) == 130
    assert capsys.readouterr().err.split("\n") == ["", "interrupted; the same command goes on from here", ""]
    assert len(table(tmp_path)) == 2
    assert benchmark("--tasks", replay.CLASSIFICATION) == 0
    assert len(table(tmp_path)) == 3 and len(calls) == 3


def test_suite_is_downloaded_and_run(benchmark, server, tmp_path):
    assert benchmark("--suite", replay.SUITE) == 0
    assert {line.split(",")[0] for line in table(tmp_path)[1:]} == {"61", "63"}


def test_publish_asks_first(benchmark, server, monkeypatch, tmp_path):
    for answer in ("n", ""):
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        assert benchmark("--tasks", replay.CLASSIFICATION, "--publish") == 0
    assert server.runs == [] and server.flows == {}
    assert all(line.endswith(",") for line in table(tmp_path)[1:])


@pytest.mark.usefixtures("fused_too")
def test_publish_uploads_each_run_once(benchmark, server, monkeypatch, tmp_path):
    assert benchmark("--tasks", replay.CLASSIFICATION) == 0
    monkeypatch.setattr("builtins.input", lambda question: "y")
    for _ in range(2):
        assert benchmark("--tasks", replay.CLASSIFICATION, "--publish") == 0
    assert [line.split(",")[-1] for line in table(tmp_path)[1:]] == ["1001", "1002"]
    assert len(server.runs) == 2
    uploaded = server.runs[0]
    assert "<oml:task_id>61</oml:task_id>" in uploaded["description"]
    assert '<oml:value>"ring"</oml:value>' in uploaded["description"]
    stored = (tmp_path / "out/runs/61/fused-ring/predictions.arff").read_text()
    assert arff.loads(uploaded["predictions"])["data"] == arff.loads(stored)["data"]
    assert any("skfusion.classifier.FusedMLPClassifier" in name for name, _ in server.flows)


@pytest.mark.usefixtures("fused_too")
def test_publish_reports_what_the_server_refuses(benchmark, server, monkeypatch, capsys):
    monkeypatch.setattr("builtins.input", lambda question: "y")
    monkeypatch.setattr(server, "add_flow", lambda text: 5)
    assert benchmark("--tasks", replay.CLASSIFICATION, "--publish") == 1
    assert [line[:33] for line in capsys.readouterr().err.splitlines()] == [
        "task 61, fused, ring, not uploade",
        "task 61, bayes, not uploaded: the",
    ]


@pytest.mark.parametrize("extra", [["--max-rows", 5], []], ids=["few rows", "no key"])
def test_publish_needs_whole_tasks_and_a_key(benchmark, cache, extra, capsys):
    with pytest.raises(SystemExit, match="2"):
        benchmark("--tasks", replay.CLASSIFICATION, "--publish", *extra)
    assert "--publish needs" in capsys.readouterr().err


# What goes wrong


def drop_last_lines(path, n_lines=20):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-n_lines]))


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BROKEN = {
    "task": ("tasks/61/task.xml", cut_in_half, "its copy is broken (ExpatError"),
    "a fold": (
        "tasks/61/datasplits.arff",
        partial(drop_last_lines, n_lines=150),
        "its copy is broken (rows or folds are missing)",
    ),
    "some splits": ("tasks/61/datasplits.arff", drop_last_lines, "its copy is broken (rows or folds are missing)"),
    "some rows": ("datasets/61/dataset.arff", drop_last_lines, "its copy is broken (rows or folds are missing)"),
    "data": ("datasets/61/dataset.arff", cut_in_half, "its copy is broken ("),
    "features": ("datasets/61/features.xml", cut_in_half, "its copy is broken (ExpatError"),
    "description": ("datasets/61/description.xml", cut_in_half, "cannot be reached"),  # downloaded again
}


def assert_one_line(capsys, start):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(start), lines
    return lines[0]


@pytest.mark.parametrize(("name", "damage", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_cache_is_one_line_and_the_next_task_runs(benchmark, cache, capsys, tmp_path, name, damage, message):
    damage(cache / name)
    assert benchmark("--tasks", replay.CLASSIFICATION, replay.OTHER_DATA) == 1
    assert message in assert_one_line(capsys, "task 61: ")
    assert {line.split(",")[0] for line in table(tmp_path)[1:]} == {"63"}


def test_unknown_and_regression_tasks_are_a_line_each(benchmark, server, capsys, tmp_path):
    assert benchmark("--tasks", replay.UNKNOWN, replay.REGRESSION, replay.OTHER_DATA) == 1
    assert capsys.readouterr().err.splitlines() == [
        "task 404: the server answers: Unknown task - None (code 151)",
        "task 62: is not a classification task, but Supervised Regression",
    ]
    assert len(table(tmp_path)) == 2


@pytest.mark.parametrize(
    "path",
    [
        f"{replay.API}/task/61",
        f"{replay.API}/data/features/61",
        "/data/v1/download/61/iris.arff",
        "/api_splits/get/61/Task_61_splits.arff",
    ],
)
def test_interrupted_download_is_one_line_and_repeated(benchmark, server, capsys, tmp_path, path):
    server.cut.add(path)
    assert benchmark("--tasks", replay.CLASSIFICATION, replay.OTHER_DATA) == 1
    assert_one_line(capsys, "task 61: the download was interrupted")
    server.cut.clear()
    assert benchmark("--tasks", replay.CLASSIFICATION) == 0
    assert len(table(tmp_path)) == 3


def test_server_down_is_one_line(benchmark, cache, capsys, nowhere):
    assert benchmark("--tasks", replay.UNKNOWN, replay.OTHER_DATA) == 1
    assert_one_line(capsys, f"task 404: the server {nowhere}/api/v1/xml cannot be reached")
    assert benchmark("--suite", 99) == 1
    assert_one_line(capsys, f"suite 99: the server {nowhere}/api/v1/xml cannot be reached")


def test_task_that_is_given_twice_fails_once(benchmark, cache, capsys):
    assert benchmark("--tasks", replay.UNKNOWN, replay.UNKNOWN) == 1
    assert_one_line(capsys, "task 404: the server")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("datasets/61/description.xml", ">ARFF<", ">Sparse_ARFF<", "task 61: has sparse data"),
        ("datasets/61/dataset.arff", "wide,setosa", "wide,?", "task 61: has 41 rows without a label"),
        ("datasets/61/dataset.arff", "{narrow,wide}", "STRING", "task 61: has columns that are neither numeric nor"),
    ],
    ids=["sparse", "no label", "text"],
)
def test_data_that_the_pipeline_cannot_take_are_one_line(benchmark, cache, capsys, name, old, new, message):
    path = cache / name
    path.write_text(path.read_text().replace(old, new))
    assert benchmark("--tasks", replay.CLASSIFICATION) == 1
    assert_one_line(capsys, message)


def test_suite_without_tasks_is_one_line(benchmark, server, capsys):
    server.documents[f"{replay.API}/study/{replay.SUITE}"] = replay.suite([]).replace("<oml:tasks></oml:tasks>", "")
    assert benchmark("--suite", replay.SUITE) == 1
    assert_one_line(capsys, "suite 7: ")


def test_folder_of_something_else_is_left_alone(benchmark, cache, capsys, tmp_path):
    other = tmp_path / "out" / "results.csv"
    other.parent.mkdir()
    other.write_text("a,b\n1,2\n")
    assert benchmark("--tasks", replay.CLASSIFICATION) == 1
    assert "is not a table of this script's results" in assert_one_line(capsys, "--out ")
    assert other.read_text() == "a,b\n1,2\n"
    shutil.rmtree(other.parent)
    other.parent.write_text("")
    assert benchmark("--tasks", replay.CLASSIFICATION) == 1
    assert "FileExistsError" in assert_one_line(capsys, "--out ")


def test_rows_are_at_least_one(benchmark, capsys):
    with pytest.raises(SystemExit, match="2"):
        benchmark("--tasks", replay.CLASSIFICATION, "--max-rows", 0)
    assert "--max-rows must be at least 1, got 0" in capsys.readouterr().err


def test_model_that_fails_is_one_line(benchmark, script, cache, capsys, monkeypatch, tmp_path):
    models = {"fused, bad rate": fused(fusion_rate=2), "bayes": GaussianNB()}
    monkeypatch.setattr(script, "classifiers", lambda: models)
    assert benchmark("--tasks", replay.CLASSIFICATION) == 1
    assert_one_line(capsys, "task 61, fused, bad rate: ValueError: fusion_rate must be")
    assert len(table(tmp_path)) == 2


def test_script_exits_with_its_status(cache, tmp_path, nowhere):
    config = tmp_path / "config" / "openml" / "config"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(f"server = {nowhere}{replay.API}\nconnection_n_retries = 1\n")
    environment = {name: os.environ[name] for name in ("OPENML_CACHE_DIR", "XDG_CONFIG_HOME", "no_proxy")}
    process = forks.start(SCRIPT, "--tasks", replay.UNKNOWN, folder=tmp_path, log=tmp_path / "log", **environment)
    code, told = forks.exit_code(process), (tmp_path / "log").read_text()
    assert code == 1, told
    assert told.startswith(f"task 404: the server {nowhere}") and told.count("\n") == 1
