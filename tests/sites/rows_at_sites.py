"""Rows for the tests of sites, and what says that two estimators cannot be told apart."""

from dataclasses import fields

import numpy as np
from sklearn.base import clone

from skfusion import FusedMLPClassifier
from skfusion.sites import LocalTransport, Site, fit_sites

RNG = np.random.default_rng(0)
N = 90
NAMES = ["York", "Bath", "Leeds", "Hull", "Zürich"]
PLAIN = RNG.normal(size=(N, 5))
IMAGES = np.where(RNG.random((N, 12)) < 0.8, np.linspace(-1, 1, 12), RNG.normal(size=(N, 12)))
LABELS = RNG.integers(3, size=N)
NUMBERS = np.column_stack([PLAIN[:, 0] + PLAIN[:, 1] ** 2, np.sin(PLAIN[:, 2])])
WEIGHT = RNG.choice([0.3, 1, 7], size=N)
NAMES_OF_ROWS = np.array(["Bath", "Leeds", "York"])[RNG.integers(3, size=N)]


def classifier(**params):
    defaults = dict(hidden_layer_sizes=(6,), n_networks=None, max_iter=4, random_state=3, learning_rate_init=0.05)
    return FusedMLPClassifier(**defaults | params)


def sites_of(X, y, names, weight=None, wards=None, **options):
    """The sites that have these rows, which come in any order."""
    return [
        Site(
            X[names == name],
            y[names == name],
            name=name,
            sample_weight=None if weight is None else weight[names == name],
            groups=None if wards is None else wards[names == name],
            **options,
        )
        for name in np.unique(names)[::-1]
    ]


def at_sites(model, sites, **options):
    with LocalTransport(sites) as transport:
        return fit_sites(clone(model), transport, **options)


def assert_same(apart, whole):
    """Check that two fitted estimators cannot be told apart, but for the seconds that it took."""
    for of in (lambda model: model._ensemble.state, lambda model: model._ensemble.drift):
        for field in fields(of(whole)) if of(whole) is not None else ():
            if field.name != "generators":
                np.testing.assert_array_equal(getattr(of(apart), field.name), getattr(of(whole), field.name))
    for mine, theirs in zip(apart.history_, whole.history_, strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine.keys() - {"seconds"}:
            np.testing.assert_array_equal(mine[name], theirs[name])
    left = {"history_", "partition_", "sites_", "ownership_", "topology_", "partitioner_", "validation_scores_"}
    public = {name for name in vars(whole) if name.endswith("_") and not name.startswith("_")} - left
    assert public <= vars(apart).keys()
    for name in public:
        np.testing.assert_array_equal(getattr(apart, name), getattr(whole, name))


class Spy:
    """A site that keeps what reaches and leaves it."""

    def __init__(self, site):
        self.site, self.requests, self.answers = site, [], []

    name = property(lambda self: self.site.name)
    run = property(lambda self: self.site.run)

    def answer(self, request):
        self.requests.append(request)
        self.answers.append(self.site.answer(request))
        return self.answers[-1]


def spied(sites):
    return [Spy(site) for site in sites]


class Killed(BaseException):
    """What no code catches: as good as a kill -9, within a process."""


class Deadly(LocalTransport):
    """A transport that ends the coordinator after so many messages."""

    def __init__(self, sites, n_messages):
        super().__init__(sites)
        self._left = n_messages

    def send(self, site, message):
        if not self._left:
            raise Killed
        self._left -= 1
        super().send(site, message)
