"""Names that our pages link to in the documentation of others, told to intersphinx without asking the network."""

import zlib
from pathlib import Path

from sklearn.experimental import enable_halving_search_cv  # noqa: F401  (the gallery looks all names up)

# For each project: where its documentation is, and a page's address there, of a class or function of that name.
SITES = {
    "numpy": ("https://numpy.org/doc/stable/", "reference/{generated}{name}.html"),
    "sklearn": ("https://scikit-learn.org/stable/", "modules/generated/{name}.html"),
}
CLASSES = (
    "numpy.random.SeedSequence",
    "sklearn.base.BaseEstimator",
    "sklearn.callback.ProgressBar",
    "sklearn.callback.ScoringMonitor",
    "sklearn.compose.TransformedTargetRegressor",
    "sklearn.ensemble.BaggingClassifier",
    "sklearn.exceptions.ConvergenceWarning",
    "sklearn.inspection.DecisionBoundaryDisplay",
    "sklearn.linear_model.SGDClassifier",
    "sklearn.model_selection.GridSearchCV",
    "sklearn.model_selection.GroupKFold",
    "sklearn.model_selection.HalvingRandomSearchCV",
    "sklearn.model_selection.LeaveOneGroupOut",
    "sklearn.model_selection.StratifiedKFold",
    "sklearn.neural_network.MLPClassifier",
    "sklearn.neural_network.MLPRegressor",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing.StandardScaler",
)
FUNCTIONS = (
    "numpy.savez",
    "sklearn.base.clone",
    "sklearn.utils.check_random_state",
)


def mapping(folder):
    """Write the inventories into a folder, and return the ``intersphinx_mapping`` that names them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for project in SITES:
        (folder / f"{project}.inv").write_bytes(inventory(project))
    return {project: (address, str(folder / f"{project}.inv")) for project, (address, _) in SITES.items()}


def inventory(project):
    """Return a project's inventory, in the second version of Sphinx's format."""
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n# Compressed with zlib\n"
    kinds = {"class": CLASSES, "function": FUNCTIONS}
    lines = [
        f"{name} py:{kind} 1 {page_of(name)}#{name} -\n"
        for kind, names in kinds.items()
        for name in names
        if name.startswith(f"{project}.")
    ]
    return head.encode() + zlib.compress("".join(lines).encode())


def page_of(name):
    """Return a name's page, below its project's address."""
    generated = "random/bit_generators/generated/" if name.startswith("numpy.random.") else "generated/"
    return SITES[name.partition(".")[0]][1].format(name=name, generated=generated)
