"""L1 with fusion: what the paper's zero rule does, by which a weight of exactly 0 takes the other network's value.

Each setting runs with the zero rule and without it, where zeros are averaged like other weights.  The library always
fuses with the zero rule, so networks train by partial_fit and fuse here.  Eight networks have random eighths and fuse
once an epoch, as in Table I.  MNIST is that of Fig. 2, ten networks with one digit each that fuse every second step,
but with 1000 rows of each digit and five epochs.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cells import output, parse_options, run_cells
from fig2 import RATE as CLASS_RATE
from monitor import errors, fit
from pieces import train_epoch, train_on_a_class_each
from protocol import EXPERIMENTS, FUSION_RATE, RULES, TOPOLOGIES, classifier
from splits import load_split
from style import LINES, NAMES, WIDTH, markdown, save

import skfusion

SHARES = {
    "breast-w": ("random",),
    "vowel": ("random",),
    "segment": ("random",),
    "splice": ("random",),
    "mnist_784": ("class",),
    "digits": ("random", "class"),
}
DATA = tuple(SHARES)[:-1]
EPOCHS = {"breast-w": 300, "vowel": 300, "segment": 300, "splice": 300, "mnist_784": 5, "digits": 10}
ALPHAS = (1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 1e-2)
MIXES = ("hypercube", "random")
ZEROS = ("give way", "averaged")
RATES = {"sequential": FUSION_RATE, "simultaneous": 0.5}
MEASURED = {
    "peers": "peers_mean",
    "consensus": "consensus",
    "zeros": "share_of_zeros",
    "revived in a round": "revived",
    "soon 0 again": "zero_again",
}
DRAWN = {"peers_mean": "test error", "share_of_zeros": "coefficients of 0", "revived": "of these, revived in a round"}
LABELS = {("all", "-"): NAMES["all"]} | {(mix, zeros): f"{mix}, zeros {zeros}" for mix in MIXES for zeros in ZEROS}
INTERVAL = 2  # steps between rounds of networks with a class each
ROWS = 1000  # of each class


def make_cells(options):
    """One run for each seed, data set, alpha, topology, rule and treatment of zeros, and those of all rows."""
    seeds = options.seed or range(1 if options.quick else 3)
    alphas = ALPHAS[1::2] if options.quick else ALPHAS
    settings = [("all", "-", "-"), *((mix, rule, zeros) for mix in MIXES for rule in RULES for zeros in ZEROS)]
    return [
        dict(data=data, shares=shares, setting=setting, rule=rule, zeros=zeros, alpha=alpha, seed=seed, epochs=epochs)
        for seed in seeds
        for data in options.data or DATA
        for shares in SHARES[data]
        for epochs in [options.epochs or EPOCHS[data] // (5 if options.quick else 1)]
        for alpha in alphas
        for setting, rule, zeros in settings
    ]


def run(data, shares, setting, rule, zeros, alpha, seed, epochs):
    """Errors in the end, and what became of weights that were exactly 0."""
    split = load_split(data, seed, background_zero=shares == "class")
    params = dict(alpha=alpha, l1_ratio=1.0, fusion_rate=0.0)
    if shares == "class":
        split = split.first_of_each_class(ROWS)
        params["loss"] = "log_loss"
    if setting == "all":
        model = fit(classifier(data, epochs, seed, n_networks=1, **params), split)
        return [
            errors(model, split)
            | dict(share_of_zeros=share_of_zeros(model), share_before_round=None, revived=None, zero_again=None)
        ]
    if shares == "class":
        params |= dict(n_networks=int(split.y_train.max()) + 1, learning_rate_init=CLASS_RATE)
    model = classifier(data, epochs, seed, **params)
    fusion = Fusion(TOPOLOGIES[setting], rule, zeros, np.random.RandomState(seed))
    for _ in train_between_rounds(model, split, shares, epochs, seed):
        fusion.fuse(model)
    return [errors(model, split) | {"share_of_zeros": share_of_zeros(model)} | fusion.summary()]


def train_between_rounds(model, split, shares, epochs, seed):
    """Train, and pause for each fusion round."""
    if shares == "class":
        yield from train_on_a_class_each(model, split, epochs, INTERVAL, np.random.default_rng(seed))
    else:
        for _ in range(epochs):
            yield train_epoch(model, split)


class Fusion:
    """Fuses the networks of a classifier, with the zero rule or without, and keeps count of coefficients of 0.

    Parameters
    ----------
    topology : BaseTopology
    rule : {"sequential", "simultaneous"}
    zeros : {"give way", "averaged"}
    random_state : RandomState
        Of the topology.
    """

    def __init__(self, topology, rule, zeros, random_state):
        self.topology, self.rule, self.random_state = topology, rule, random_state
        self.mix = skfusion.fuse if zeros == "give way" else average
        self.n_rounds, self.n_zeros, self.n_revived, self.n_zero_again = 0, 0, 0, 0
        self.revived = False

    def fuse(self, model):
        """Fuse for one round."""
        weights, coefficients = model.weights_.copy(), _are_coefficients(model)
        zero = (weights == 0) & coefficients
        pairs = self.topology.pairs(len(weights), self.n_rounds, self.random_state)
        model.weights_ = self.mix(weights, pairs, RATES[self.rule], self.rule)
        self.n_zero_again += (zero & self.revived).sum()
        self.revived = zero & (weights != 0)
        self.n_rounds += 1
        self.n_zeros += zero.sum()
        self.n_revived += self.revived.sum()
        self.share_before = float(zero[:, coefficients].mean())

    def summary(self):
        """Share of zeros before the last round, of those that a round revived, and of these that soon were 0 again."""
        revived_and_trained = self.n_revived - self.revived.sum()
        return {
            "share_before_round": round(self.share_before, 6),
            "revived": _share(self.n_revived, self.n_zeros),
            "zero_again": _share(self.n_zero_again, revived_and_trained),
        }


def average(weights, pairs, fusion_rate, rule):
    """Fuse as ``skfusion.fuse`` does, but zeros like other weights."""
    for first, second in pairs:
        old = weights[first].copy()
        weights[first] += fusion_rate * (weights[second] - old)
        weights[second] += fusion_rate * ((weights[first] if rule == "sequential" else old) - weights[second])
    return weights


def share_of_zeros(model):
    """Return the share of the networks' coefficients that are exactly 0."""
    return round(float((model.weights_[:, _are_coefficients(model)] == 0).mean()), 6)


def _are_coefficients(model):
    """Tell which of a network's parameters are coefficients, not intercepts, which have no penalty."""
    layers = zip(model.coefs_, model.intercepts_, strict=True)
    return np.concatenate([np.repeat([True, False], [coef.size, intercept.size]) for coef, intercept in layers])


def _share(part, whole):
    return round(float(part / whole), 6) if whole else None


def measured(cells):
    """Return errors and shares in per cent for each data set and alpha, means over seeds, topologies and rules."""
    keys = ["data", "shares", "alpha"]
    columns = {"all rows": cells[cells["setting"] == "all"].groupby(keys, sort=False)["peers_mean"].mean()}
    for name, column in MEASURED.items():
        for zeros in ZEROS:
            columns[f"{name}, {zeros}"] = cells[cells["zeros"] == zeros].groupby(keys, sort=False)[column].mean()
    return (100 * pd.DataFrame(columns)).round(3).join(differences(cells, keys)).reset_index()


def differences(cells, keys):
    """Return the peers' error with the zero rule less that without, in points: mean and standard error over seeds."""
    keys = [*keys, "seed"]
    fused = cells[cells["setting"] != "all"]
    wide = fused.pivot_table(index=keys, columns="zeros", values="peers_mean", sort=False)
    runs = (100 * (wide[ZEROS[0]] - wide[ZEROS[1]])).groupby(keys[:-1], sort=False)
    return pd.DataFrame({"difference": runs.mean().round(3), "standard error": runs.sem().round(3)})


def printed(frame):
    """Return what was measured as it is printed; where there are two numbers, with the zero rule and without it."""
    rows = pd.DataFrame({"data": _titles(frame), "alpha": frame["alpha"].map("{:g}".format)})
    rows["all rows"] = frame["all rows"].map("{:.2f}".format)
    for name in MEASURED:
        pair = [frame[f"{name}, {zeros}"].map("{:.2f}".format).replace("nan", "-") for zeros in ZEROS]
        rows[name] = pair[0] + " / " + pair[1]
    rows.insert(4, "difference", _with_error(frame))
    return rows


def by_setting(cells):
    """Return the differences over all alphas as text: a row for each data set, a column for each topology and rule."""
    frame = differences(cells, ["data", "shares", "setting", "rule"]).reset_index()
    rows = pd.DataFrame({"data": _titles(frame), "fused": frame["setting"] + ", " + frame["rule"]})
    rows = rows.assign(difference=_with_error(frame)).set_index(["data", "fused"])["difference"]
    return rows.unstack().rename_axis(columns=None).reset_index()


def _titles(frame):
    suffixes = frame["shares"].map({"random": "", "class": ", a class each"})
    return frame["data"].map(lambda name: EXPERIMENTS[name].title) + suffixes


def _with_error(frame):
    spread = frame["standard error"].map(" ± {:.2f}".format).replace(" ± nan", "")  # of a single seed
    return frame["difference"].map("{:+.2f}".format) + spread


def draw(cells):
    """Draw error, share of zeros and share of revived zeros against alpha, a row of panels for each data set."""
    names = cells[["data", "shares"]].drop_duplicates()
    figure, panels = plt.subplots(
        len(names), len(DRAWN), figsize=(WIDTH, 2 * len(names) + 1), squeeze=False, layout="constrained", sharex=True
    )
    for row, (data, shares), title in zip(panels, names.to_numpy(), _titles(names), strict=True):
        here = cells[(cells["data"] == data) & (cells["shares"] == shares)]
        for panel, column in zip(row, DRAWN, strict=True):
            for setting, zeros in [("all", "-"), *((mix, zeros) for mix in MIXES for zeros in ZEROS)]:
                runs = here[(here["setting"] == setting) & (here["zeros"] == zeros)].groupby("alpha")[column].mean()
                look = LINES[setting] | {"markersize": 4, "label": LABELS[setting, zeros]}
                if zeros == "averaged":
                    look |= {"markerfacecolor": "white", "linewidth": 0.8, "markersize": 7}
                panel.plot(100 * runs, **look, zorder=2 if zeros == "averaged" else 3)
            panel.set_xscale("log")
            panel.grid(alpha=0.3)
        row[0].set_ylabel(f"{title}\n%")
    for panel, title in zip(panels[0], DRAWN.values(), strict=True):
        panel.set_title(title, size=10)
    for panel in panels[-1]:
        panel.set_xlabel("alpha")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def main(argv=None):
    options = parse_options(__doc__, argv)
    cells = run_cells(output(options, "l1_cells.csv"), make_cells(options), run, options.n_jobs)
    frame, settings = measured(cells), by_setting(cells)
    frame.to_csv(output(options, "l1.csv"), index=False)
    settings.to_csv(output(options, "l1_by_setting.csv"), index=False)
    print(markdown(printed(frame)), markdown(settings), sep="\n\n")
    save(draw(cells), output(options, "l1.png"))


if __name__ == "__main__":
    main()
