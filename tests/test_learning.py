"""What fusion is for, on scikit-learn's digits: peers learn what only others were shown."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler

from skfusion import FusedMLPClassifier

NAMES = ["ring", "random", "hypercube"]
EPOCHS = 100


def split(seed):
    X, y = load_digits(return_X_y=True)
    return train_test_split((X / 16).astype(np.float32), y, test_size=0.25, stratify=y, random_state=seed)


def network(seed, **params):
    return FusedMLPClassifier(
        (64, 32), random_state=seed, max_iter=EPOCHS, tol=0, n_iter_no_change=EPOCHS, **{"n_networks": 8} | params
    )


# Eight peers, a random eighth of the rows each

SEEDS = range(3)
not_converged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def mean_accuracy(**params):
    """Mean over seeds and peers."""
    scores = []
    for seed in SEEDS:
        X, X_test, y, y_test = split(seed)
        model = network(seed, learning_rate_init=0.03, **params).fit(X, y)
        scores.append(model.peer_scores(X_test, y_test).mean())
    return np.mean(scores)


@pytest.fixture(scope="module")
def all_rows():
    return mean_accuracy(n_networks=1)


@pytest.fixture(scope="module")
def an_eighth():
    return mean_accuracy(fusion_rate=0)


@not_converged
@pytest.mark.parametrize("topology", NAMES)
def test_peers_with_an_eighth_of_the_rows_each_do_as_well_as_one_network_with_all(topology, all_rows, an_eighth):
    fused = mean_accuracy(topology=topology)
    assert fused > all_rows - 0.01
    assert fused > an_eighth + 0.03  # of the .055 that lie between


# Ten peers, one digit each


@not_converged
@pytest.mark.parametrize(("topology", "seed"), [*zip(NAMES, SEEDS, strict=True)])
def test_peers_that_see_one_digit_each_learn_all_ten(topology, seed):
    X, X_test, y, y_test = split(seed)
    model = network(
        seed,
        n_networks=10,
        partitioner="class",
        topology=topology,
        fusion_unit="step",
        fusion_frequency=2,
        learning_rate_init=0.01,
    )
    model.set_params(max_iter=50).fit(X, y)
    assert all(len(np.unique(y[rows])) == 1 for rows in model.partition_)
    assert model.peer_scores(X_test, y_test).min() >= 0.95
    assert model.score(X_test, y_test) >= 0.95


@not_converged
def test_peers_that_see_one_digit_each_and_never_fuse_know_that_digit_alone():
    X, X_test, y, _ = split(0)
    model = network(0, n_networks=10, partitioner="class", fusion_rate=0, learning_rate_init=0.01)
    model.set_params(max_iter=10).fit(X, y)
    for digit, peer in enumerate(model.peers_):
        assert set(peer.predict(X_test)) == {digit}


@pytest.mark.slow  # downloads vowel from OpenML, and takes a minute
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_eight_peers_on_vowel_split_by_speaker_end_within_a_point_of_one_network(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    datasets = pytest.importorskip("datasets")
    try:
        X, y = datasets.load_arrays("vowel")
    except SystemExit as error:
        pytest.skip(str(error))
    X = MinMaxScaler((-1, 1)).fit(X[:528]).transform(X)  # as in the paper, as are the settings

    common = {"loss": "squared_error", "alpha": 0, "learning_rate_init": 0.04, "max_iter": 1000, "tol": 0}

    def mean_score(**params):
        scores = []
        for seed in range(5):
            model = FusedMLPClassifier((50, 20), n_iter_no_change=1000, random_state=seed, **common, **params)
            scores.append(model.fit(X[:528], y[:528]).peer_scores(X[528:], y[528:]).mean())
        return np.mean(scores)

    all_rows, alone = mean_score(n_networks=1), mean_score(fusion_rate=0.0)
    for topology in NAMES:
        fused = mean_score(topology=topology)
        assert fused > all_rows - 0.01
        assert fused > alone + 0.1
