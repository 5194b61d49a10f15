"""
Second-hand learning
====================

Ten peers are each shown a single digit.  By fusing their weights every second step, each of them learns to recognise
all ten, about as well as one network that was shown every digit (as in Fig. 2 of the paper).
"""

# %%
# Training and test rows
# ----------------------

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.callback import ProgressBar
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skfusion import FusedMLPClassifier
from skfusion.callback import PeerScores

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.25, stratify=y, random_state=0)

# %%
# Three ways to train
# -------------------
# All networks start from the same weights.  A callback scores each network on the test rows after each epoch.

common = dict(hidden_layer_sizes=(64, 32), learning_rate_init=0.05, max_iter=100, n_iter_no_change=np.inf)
fused = dict(n_networks=None, partitioner="class", fusion_unit="step", fusion_frequency=2)
models = {
    "ten peers, one digit each": FusedMLPClassifier(**common, **fused, random_state=0),
    "one network, all digits": FusedMLPClassifier(**common, n_networks=1, random_state=0),
    "one digit, never fused": FusedMLPClassifier(**common, **fused | {"fusion_rate": 0.0}, random_state=0),
}
warnings.simplefilter("ignore", ConvergenceWarning)  # all run for the same number of epochs
errors = {}
for name, model in models.items():
    scores = PeerScores(X_test, y_test)
    model.set_callbacks(ProgressBar(), scores).fit(X_train, y_train)
    errors[name] = 100 * (1 - np.array([record["peers"] for record in scores.history]))

# %%
# What they learned
# -----------------

print(f"{'test error in %':<28}{'best':>8}{'mean':>8}{'worst':>8}")
for name, error in errors.items():
    print(f"{name:<28}{error[-1].min():8.1f}{error[-1].mean():8.1f}{error[-1].max():8.1f}")

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, error), style in zip(errors.items(), ("-", "--", ":"), strict=True):
    epochs = np.arange(1, len(error) + 1)
    (line,) = axes.plot(epochs, error.mean(axis=1), style, label=f"{name}: {error[-1].mean():.1f} %")
    axes.fill_between(epochs, error.min(axis=1), error.max(axis=1), color=line.get_color(), alpha=0.25, linewidth=0)
axes.set(xlabel="epoch", ylabel="test error (%)", yscale="log", xlim=(1, None), ylim=(1, 100))
axes.set_yticks([1, 3, 10, 30, 100], labels=["1", "3", "10", "30", "100"])
axes.set_title("Mean over networks; the band runs from the best to the worst")
axes.grid(alpha=0.3)
axes.legend(loc="upper right", bbox_to_anchor=(1, 0.95))
figure.savefig("second_hand_learning.png", dpi=150)
print("saved second_hand_learning.png")
plt.show()
