"""The estimators at their defaults beside scikit-learn's, on eight data sets as they come and scaled.

Prints mean scores on three held-out folds, accuracies and R², and how often a fit warned or was refused.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from results import machine, parser, print_table, write
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_friedman1,
    make_moons,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skfusion import FusedMLPClassifier, FusedMLPRegressor


def mean_area():
    """The mean area of breast cancer, from 144 to 2501, to predict from the other features."""
    X, _ = load_breast_cancer(return_X_y=True)
    return np.delete(X, 3, axis=1), X[:, 3]


CLASSES = {
    "iris": lambda: load_iris(return_X_y=True),
    "wine": lambda: load_wine(return_X_y=True),
    "breast cancer": lambda: load_breast_cancer(return_X_y=True),
    "digits": lambda: load_digits(return_X_y=True),
    "moons": lambda: make_moons(500, noise=0.2, random_state=0),
}
NUMBERS = {
    "diabetes": lambda: load_diabetes(return_X_y=True),
    "Friedman 1": lambda: make_friedman1(500, noise=1.0, random_state=0),
    "mean area": mean_area,
}


@dataclass
class Scores:
    """What became of the fits on each fold."""

    values: list
    n_warned: int = 0
    n_refused: int = 0

    def __str__(self):
        mean = f"{np.mean(self.values):.3f}" if self.values else ""
        notes = [f"{n} {what}" for n, what in ((self.n_warned, "w"), (self.n_refused, "r")) if n]
        return f"{mean} ({', '.join(notes)})" if notes else mean


def cross_validate(model, X, y, folds):
    """Score on each fold, except where fit refuses; counts the fits that say that they are no use."""
    scores = Scores([])
    for train, test in folds:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            try:
                scores.values.append(clone(model).fit(X[train], y[train]).score(X[test], y[test]))
            except ValueError:
                scores.n_refused += 1
        scores.n_warned += any("hardly better" in str(warning.message) for warning in caught)
    return scores


def scaled(model, regression):
    """Return the model with standardised rows, and in regression standardised targets."""
    pipeline = make_pipeline(StandardScaler(), model)
    return TransformedTargetRegressor(pipeline, transformer=StandardScaler()) if regression else pipeline


def row(name, load, quick):
    """Compare on one data set."""
    X, y = load()
    regression = name in NUMBERS
    if regression:
        peers, mlp = FusedMLPRegressor(random_state=0), MLPRegressor(random_state=0)
    else:
        peers, mlp = FusedMLPClassifier(random_state=0), MLPClassifier(random_state=0)
    cells = {"data": name, "score": "R²" if regression else "accuracy"}
    if quick:
        peers.max_iter = mlp.max_iter = 3
    splitter = (KFold if regression else StratifiedKFold)(3, shuffle=True, random_state=0)
    folds = list(splitter.split(X, y))[: 1 if quick else None]
    columns = {
        "skfusion, raw": peers,
        "skfusion, scaled": scaled(peers, regression),
        "one network, scaled": scaled(clone(peers).set_params(n_networks=1), regression),
        "MLP, raw": mlp,
        "MLP, scaled": scaled(mlp, regression),
    }
    return cells | {column: str(cross_validate(model, X, y, folds)) for column, model in columns.items()}


def main():
    options = parser(__doc__).parse_args()
    with threadpool_limits(1):
        rows = [row(name, load, options.quick) for name, load in (CLASSES | NUMBERS).items()]
    described = machine()
    print_table(f"Defaults ({described['cpu']}, {described['cores']} cores)", rows)
    print("\nw: fits that warned of being hardly better than a constant answer; r: fits that were refused")
    if options.out:
        write(options.out, "defaults", rows, [])


if __name__ == "__main__":
    main()
