"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import inspect
import pkgutil
import re

import pytest
from numpydoc.docscrape import ClassDoc

import skfusion
from skfusion import FusedMLPClassifier, FusedMLPRegressor

MODULES = [module.name for module in pkgutil.walk_packages(skfusion.__path__, "skfusion.")]
EXTRAS = {"skfusion.sites.flower": "flwr", "skfusion.sites.nvflare": "nvflare"}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    assert doctest.testmod(importlib.import_module(name)).failed == 0


# Where the two estimators differ in what they do.
OWN_TEXT = {
    "consensus_",
    "early_stopping",
    "history_",
    "init",
    "learning_rate",
    "loss_, best_loss_",
    "n_layers_, n_outputs_, out_activation_",
    "n_networks",
    "partitioner",
    "peers_",
    "prediction",
    "validation_scores_, best_validation_score_",
}


def test_the_estimators_describe_what_they_share_in_the_same_words():
    classifier, regressor = (
        {entry.name: entry.desc for section in ("Parameters", "Attributes") for entry in ClassDoc(estimator)[section]}
        for estimator in (FusedMLPClassifier, FusedMLPRegressor)
    )
    shared = classifier.keys() & regressor.keys()
    assert {name for name in shared if classifier[name] != regressor[name]} == OWN_TEXT


@pytest.mark.parametrize("estimator", [FusedMLPClassifier, FusedMLPRegressor])
def test_groups_of_parameters_are_those_of_the_signature_in_its_order(estimator):
    groups, _, _ = estimator.__doc__.partition("    Parameters\n")
    in_groups = re.findall(r"``(\w+)``", groups)
    assert in_groups == list(inspect.signature(estimator).parameters)
    documented = [name for entry in ClassDoc(estimator)["Parameters"] for name in entry.name.split(", ")]
    assert in_groups == documented
