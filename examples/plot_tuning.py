"""
Tuning rate and frequency
=========================

scikit-learn's searches tune fusion like any other parameter: a grid maps two parameters, and successive halving
searches many at once.
"""

# %%
# A grid of rates and intervals
# -----------------------------
# Eight peers with two digits each, in a pipeline.  Names with two underscores reach through the pipeline, and further
# into strategy objects.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skfusion import FusedMLPClassifier
from skfusion.partition import ClassPartitioner

warnings.simplefilter("ignore", ConvergenceWarning)  # a search compares equal numbers of epochs
X, y = load_digits(return_X_y=True)
model = make_pipeline(
    MinMaxScaler(),
    FusedMLPClassifier(
        (32,),
        partitioner=ClassPartitioner(classes_per_network=2),
        topology="random",
        fusion_unit="step",
        learning_rate_init=0.05,
        max_iter=10,
        n_iter_no_change=np.inf,
        random_state=0,
    ),
)
grid = {
    "fusedmlpclassifier__fusion_rate": [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0],
    "fusedmlpclassifier__fusion_frequency": [1, 3, 10, 30, 100],
}
search = GridSearchCV(model, grid, cv=3).fit(X, y)
print(search.best_params_)

# %%
# ``cv_results_`` holds the rows in the grid's order, so they fold into a map.

scores = search.cv_results_["mean_test_score"]
shape = [len(grid[name]) for name in sorted(grid)]  # ParameterGrid takes the names in sorted order
errors = 100 * (1 - scores.reshape(shape))
figure, panel = plt.subplots(figsize=(7, 4), layout="constrained")
image = panel.imshow(errors, cmap="Blues", norm="log", vmin=5, vmax=100, aspect="auto")
for (row, column), error in np.ndenumerate(errors):
    panel.text(column, row, f"{error:.1f}", ha="center", va="center", color="white" if error > 25 else "black")
panel.set_xticks(range(shape[1]), labels=grid["fusedmlpclassifier__fusion_rate"])
panel.set_yticks(range(shape[0]), labels=grid["fusedmlpclassifier__fusion_frequency"])
panel.set(title="Error of the consensus, 3-fold (%)", xlabel="fusion rate F", ylabel="steps between fusion rounds")
figure.colorbar(image, label="error (%)", ticks=[5, 10, 20, 50, 100], format="{x:g}")
plt.show()

# %%
# Successive halving
# ------------------
# ``HalvingRandomSearchCV`` starts with many candidates and few epochs, and lets the best third go on with three times
# as many.  Epochs are the resource: ``max_iter``.

distributions = {
    "fusedmlpclassifier__topology": ["ring", "random", "hypercube"],
    "fusedmlpclassifier__fusion_rate": [0.1, 0.3, 0.5, 0.7, 0.9],
    "fusedmlpclassifier__fusion_frequency": [1, 3, 10, 30],
    "fusedmlpclassifier__learning_rate_init": loguniform(1e-3, 1e-1),
}
halving = HalvingRandomSearchCV(
    model,
    distributions,
    n_candidates=27,
    resource="fusedmlpclassifier__max_iter",
    min_resources=2,
    max_resources=54,
    factor=3,
    cv=3,
    random_state=0,
).fit(X, y)
for name, value in halving.best_params_.items():
    print(f"{name.split('__')[1]:<20}{value}")
print(f"{'error':<20}{100 * (1 - halving.best_score_):.1f} %")

# %%
# Each dot is a candidate: most are given up after two epochs, one gets 54.

figure, panel = plt.subplots(figsize=(7, 4), layout="constrained")
results = halving.cv_results_
panel.plot(results["n_resources"], 100 * (1 - results["mean_test_score"]), "o", color="tab:blue", alpha=0.6)
panel.set(xlabel="epochs", ylabel="error of the consensus, 3-fold (%)", xscale="log", yscale="log")
panel.set_xticks(halving.n_resources_, labels=halving.n_resources_)
panel.set_yticks([1, 3, 10, 30, 100], labels=["1", "3", "10", "30", "100"])
panel.minorticks_off()
panel.grid(alpha=0.3)
for epochs, number in zip(halving.n_resources_, halving.n_candidates_, strict=True):
    panel.annotate(f"{number} left", (epochs, 1.2), ha="center")
panel.set(title="Successive halving: candidates", ylim=(1, 100), xlim=(1.4, 80))
plt.show()
