"""What came of training: an error where it diverged, and advice where it was of no use."""

import numpy as np

from skfusion._checks import shown

# Of more rows a sample is enough.
_MAX_ROWS = 10_000
_ROWS_AT_ONCE = 1000  # to copy, since all of the sample could take as much memory as the rows themselves
# By what share a loss must be below that of the best constant answer to count as better.
_MIN_GAIN = 0.01
# Training that goes on from good weights may raise the loss a little, but not by this share of the constant's.
_MIN_RISE = 0.1
# Training that works never reaches this many times the loss at its start and that of the best constant answer.
_DIVERGED = 1e6
# Peers whose loss on rows of their own is below this share of the constant's have learned.
_LEARNED = 0.5
# Networks start with coefficients far above this, but for those of layers with tens of thousands of units.
_VANISHED = 0.01
# By what factor a round must increase the disagreement for that to be more than rounding.
_GROWTH = 1.01


def divergence(what, ensemble):
    """Return the error that says what diverged, and why most likely."""
    unscaled = "X or y" if ensemble.network.output == "identity" else "the input"
    cause = _how_to_fuse(ensemble) or (
        f"{_how_to_correct(ensemble)}most likely learning_rate_init={ensemble.settings.learning_rate_init:g} or alpha "
        f"is too high, or {unscaled} is not scaled"
    )
    return ValueError(f"{what}; {cause}")


def _how_to_fuse(ensemble):
    """Return what to change if fusion has taken peers further from the consensus than that is long, or None."""
    last = _last_fused(ensemble)
    if last is None:
        return None
    before, after = last["disagreement_before_fusion"], last["disagreement_after_fusion"]
    if after <= _GROWTH * before:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.linalg.norm(ensemble.weights.mean(axis=0, dtype=np.float64))
    if after <= length:  # which is NaN where weights have overflowed
        return None
    return (
        f"fusion increases the peers' disagreement, in the last round from {before:.3g} to {after:.3g}: set "
        f"fusion_rate lower than {ensemble.settings.fusion_rate:g}, to what skfusion.diagnostics.diagnose finds good "
        f"for the topology with rule={ensemble.settings.fusion_rule!r}"
    )


def _how_to_correct(ensemble):
    """Return what to change if rounds may change the sum of the peers' corrections, which then grows, else nothing."""
    settings = ensemble.settings
    if settings.drift_correction is None or settings.fusion_rule == "simultaneous":
        return ""
    return (
        "where pairs fuse, set fusion_rule='simultaneous', since "
        f"drift_correction={settings.drift_correction!r} needs rounds that keep the mean of all peers; or "
    )


def _how_to_penalise(ensemble):
    """Return what to change if the penalty leaves no coefficients to learn with, else nothing."""
    alpha = ensemble.settings.l1 + ensemble.settings.l2
    coefs, _ = ensemble.network.layers(ensemble.weights.mean(axis=0))
    if alpha == 0 or max(np.abs(layer).max() for layer in coefs) > _VANISHED:
        return ""
    return f"set alpha lower than {alpha:g}, since the penalty takes all coefficients to 0 or next to it; or "


def _last_fused(ensemble):
    """Return the record of the last epoch in which the peers fused and their disagreement was finite, or None."""
    if len(ensemble.weights) == 1 or ensemble.settings.fusion_rate == 0:
        return None  # none fuse, although they may have in an earlier call, at another rate
    fused = (record for record in reversed(ensemble.history) if record["fusion_rounds"])
    return next((record for record in fused if np.isfinite(record["disagreement_after_fusion"])), None)


def called(peer, names=None):
    """Return what errors call a peer: its name if peers have names, as they do at sites, else its number."""
    return f"peer {peer if names is None else repr(names[peer])}"


def lost_weights(who, epoch, ensemble):
    """Return the error that a peer's weights have left the finite numbers in an epoch."""
    return divergence(f"the weights of {who} stopped being finite in epoch {epoch}", ensemble)


def check_finite_answers(who, finite, ensemble):
    """Raise ValueError unless answers to rows are ``finite``, which finite weights do not ensure."""
    if not finite:
        raise divergence(f"the predictions of {who} stopped being finite in epoch {ensemble.progress.epoch}", ensemble)


def exhausted(settings, complaint):
    """Return a warning that ``max_iter`` was reached, and what to change; the complaint is a Yardstick's, or None."""
    reached = f"Maximum number of epochs (max_iter={settings.max_iter}) reached and training has not converged yet"
    if complaint is not None:
        return f"{reached}. So far it {complaint}; or set max_iter higher, if the loss still falls"
    stalled = "the validation score hardly rises" if settings.early_stopping else "the loss hardly falls"
    patient = settings.n_iter_no_change > settings.max_iter - 2  # so much that no tol would have ended training
    return f"{reached}; set max_iter higher, or {'n_iter_no_change lower' if patient else 'tol'} if {stalled} any more"


class Yardstick:
    """Measures training by the loss at its start and by that of the best constant answer.

    These are losses of what the estimator predicts, on rows of all peers, without the penalty.  The peers' losses on
    rows of their own would not do: a peer whose rows are all of one class has next to none.

    Parameters
    ----------
    ensemble : Ensemble
        Before training.
    data : Data
        To train on, as it is before it is sparsified.

    Attributes
    ----------
    start : float
        The loss before training.
    constant : float
        That of the best constant answer: the class frequencies, or the mean; 0 if all targets are alike.
    """

    def __init__(self, ensemble, data):
        self._X = data.X
        self._parts, weight = _sample(data)
        rows = np.concatenate(self._parts)
        self._target, self._weight = data.target[rows], None if weight is None else weight[rows]
        differ = (self._target != self._target[0]).any()
        self._best_constant = _best_constant(ensemble.network, self._target, self._weight)
        self.constant = self._loss(ensemble.network, self._best_constant) if differ else 0.0
        self.start = self._loss(ensemble.network, self._answers(ensemble))
        scale = self.constant or 1.0  # targets that are all alike may be met exactly, by luck
        self._limit = _DIVERGED * max(self.start + float(_penalties(ensemble).mean()), scale)

    def judge(self, ensemble, n_epochs):
        """Return what is wrong with what was learned, and what to change, or None.

        Parameters
        ----------
        ensemble : Ensemble
            After training.
        n_epochs : int
            How many epochs it took.

        Raises
        ------
        ValueError
            If training diverged.
        """
        self._check_peers(ensemble)
        answers = self._answers(ensemble)
        check_finite_answers("the peers together", np.isfinite(answers).all(), ensemble)
        loss, losses = self._loss(ensemble.network, answers), _losses(ensemble, n_epochs)
        highest = max(loss, *losses)
        if highest > self._limit and not self._is_better(loss):
            course = f"it rose from {self.start:.3g} at the start to {highest:.3g}"
            raise divergence(f"the loss diverged: {course} by epoch {ensemble.progress.epoch}", ensemble)
        stopped_early = n_epochs < ensemble.settings.max_iter
        return self._complaint(loss, answers, losses[-1], ensemble, stopped_early)

    def _missed(self, answers):
        """Return the outputs, if there are several numbers, that are predicted worse than by their means."""
        if self._target.ndim == 1 or self._target.shape[1] == 1:
            return []
        with np.errstate(over="ignore", invalid="ignore"):
            squares = [(self._target - other.astype(np.float64)) ** 2 for other in (answers, self._best_constant)]
            errors, spreads = (np.average(each, axis=0, weights=self._weight) for each in squares)
            return np.flatnonzero((spreads > 0) & (errors > (1 + _MIN_RISE) * spreads)).tolist()

    def _complaint(self, loss, answers, own_loss, ensemble, stopped_early):
        how_to_fuse = _how_to_fuse(ensemble)
        if self.constant and not self._is_better(loss):
            trivial = "the mean of y" if ensemble.network.output == "identity" else "the class frequencies"
            losses = f"with a loss of {loss:.4g} against {self.constant:.4g} for {trivial}"
            wrong = f"is hardly better than a constant answer, if at all, {losses}"
        elif loss > self.start + _MIN_RISE * self.constant:
            wrong = f"has raised the loss, from {self.start:.4g} to {loss:.4g}"
        elif how_to_fuse:
            wrong = "has driven the peers apart"
        elif missed := self._missed(answers):
            worse = f"predicts columns {shown(missed)} of y worse than their means do"
            fuse = ", or let the peers fuse more often" if len(ensemble.weights) > 1 else ""
            return f"{worse}; scale y, as StandardScaler does, so that each column counts as much{fuse}"
        else:
            return None
        on_plateau = stopped_early and abs(loss - self.constant) <= _MIN_GAIN * self.constant
        how_to_learn = _how_to_correct(ensemble) + _how_to_penalise(ensemble)
        return f"{wrong}; {how_to_fuse or how_to_learn + self._how_to_train(own_loss, ensemble, on_plateau)}"

    def _how_to_train(self, own_loss, ensemble, on_plateau):
        rate = f"set learning_rate_init lower than {ensemble.settings.learning_rate_init:g}"
        if on_plateau:  # where a lower rate alone would stop training all the sooner
            rate += ", or n_iter_no_change higher, to get across a plateau"
        scale = _how_to_scale(ensemble)
        if len(ensemble.weights) == 1 or own_loss > _LEARNED * self.constant:
            return f"{scale}, or {rate}"
        return (
            f"since the peers do learn their own rows (loss {own_loss:.3g}), let them fuse more, by fusion_rate, "
            f"fusion_frequency or fusion_unit='step'; or {scale}, or {rate}"
        )

    def _check_peers(self, ensemble):
        """Raise ValueError unless each peer has finite weights and finite answers to rows of its own."""
        _check_weights(ensemble)
        for peer, part in enumerate(self._parts):
            if len(part):
                answers = _answers(ensemble, self._X, part, peer)
                check_finite_answers(called(peer), np.isfinite(answers).all(), ensemble)

    def _is_better(self, loss):
        return loss < (1 - _MIN_GAIN) * self.constant

    def _answers(self, ensemble):
        ensemble.update_consensus()
        return _answers(ensemble, self._X, np.concatenate(self._parts), ensemble.settings.prediction)

    def _loss(self, network, answers):
        """Return the mean loss of answers to the rows, of shape (n_samples, n_answers) or (1, n_answers)."""
        target, answers = self._target, answers.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            if network.output == "identity":
                losses = 0.5 * ((answers - target) ** 2).mean(axis=1)
            else:
                of_class = np.broadcast_to(answers, (len(target), answers.shape[1]))[np.arange(len(target)), target]
                if network.output == "tanh":
                    share = network.layer_sizes[-1] / answers.shape[1]  # of two classes there is one output
                    losses = 0.5 * share * ((answers**2).sum(axis=1) - 2 * of_class + 1)
                else:
                    losses = -np.log(np.maximum(of_class, np.finfo(np.float64).tiny))
            return float(np.average(losses, weights=self._weight))


class LossesAlone:
    """Measures training whose rows are elsewhere by the peers' own losses: it says less than a Yardstick.

    Parameters
    ----------
    ensemble : Ensemble
        Before training.
    problem : Problem
    targets : Moments or None
        Of y in regression, as if all rows together had the weight 1; None where y holds labels.

    Attributes
    ----------
    constant : float
        The loss of a constant answer: the mean, or equal chances for all classes.
    """

    def __init__(self, ensemble, problem, targets):
        self._problem = problem
        if targets is None:
            self.constant = start = _loss_of_equal_chances(ensemble)
        else:
            with np.errstate(over="ignore"):
                self.constant = 0.5 * float(np.mean(targets.squared_deviations))
                start = 1 + self.constant + 0.5 * float(np.mean(targets.mean**2))  # 1 as first answers are not quite 0
        self._limit = _DIVERGED * (start + float(_penalties(ensemble).mean()))

    def judge(self, ensemble, n_epochs):
        """Return what is wrong with what was learned, and what to change, or None; raise ValueError if it diverged."""
        _check_weights(ensemble)
        losses = _losses(ensemble, n_epochs)
        enough = (1 - _MIN_GAIN) * self.constant
        if max(losses) > self._limit and losses[-1] >= enough:
            raise divergence(f"the loss diverged: it reached {max(losses):.3g}", ensemble)
        rate = f"set learning_rate_init lower than {ensemble.settings.learning_rate_init:g}"
        scale = f"{_how_to_scale(ensemble)}, alike at all sites"
        advice = f"{_how_to_correct(ensemble)}{_how_to_penalise(ensemble)}{scale}, or {rate}"
        if self.constant and losses[-1] - self._penalty(ensemble) >= enough:
            trivial = "the mean of y" if ensemble.network.output == "identity" else "equal chances for all classes"
            wrong = f"is hardly better, if at all, than {trivial} ({self.constant:.4g})"
        elif losses[-1] > (1 + _MIN_RISE) * losses[0]:
            wrong = f"has raised the loss, from {losses[0]:.4g} in its first epoch"
        else:
            return None
        return f"{wrong}, with a loss of {losses[-1]:.4g}; {advice}"

    def _penalty(self, ensemble):
        """Return what the penalty has added to the loss of the last epoch, or more."""
        problem = self._problem
        of_peers = _penalties(ensemble) * (problem.n_steps / problem.n_rows)
        return float(np.average(of_peers, weights=problem.lengths))


def _how_to_scale(ensemble):
    """Return the advice to scale the rows, and numbers to learn."""
    return "scale X" + (" and y" if ensemble.network.output == "identity" else "") + ", as StandardScaler does"


def _losses(ensemble, n_epochs):
    """Return the losses of the last epochs."""
    return [epoch["loss"] for epoch in ensemble.history[-n_epochs:]]


def _check_weights(ensemble):
    """Raise ValueError unless each peer has finite weights."""
    for peer, weights in enumerate(ensemble.weights):
        if not np.isfinite(weights).all():
            raise lost_weights(called(peer), ensemble.progress.epoch, ensemble)


def _loss_of_equal_chances(ensemble):
    """Return the loss of the same answer for each class."""
    n_classes = len(ensemble.classes)
    return 0.5 * (1 - 1 / n_classes) if ensemble.network.output == "tanh" else float(np.log(n_classes))


def _sample(data):
    """Return a sample of each peer's rows that have a weight, as parts, and the weights of all rows."""
    weight, parts = data.sample_weight, data.parts
    if weight is not None:
        parts = [part[weight[part] > 0] for part in parts]
    if not any(map(len, parts)):  # so that nothing can be learned
        weight, parts = None, data.parts
    share = min(1, _MAX_ROWS / sum(map(len, parts)))
    counts = [int(np.ceil(share * len(part))) for part in parts]
    some = [part[np.linspace(0, len(part) - 1, n).astype(int)] for part, n in zip(parts, counts, strict=True)]
    return some, weight


def _answers(ensemble, X, rows, prediction):
    """Return an ensemble's answers to some of the rows of X."""
    portions = [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
    with np.errstate(over="ignore", invalid="ignore"):  # of a vote, where training has diverged
        return np.concatenate([ensemble.answers(X[portion], prediction) for portion in portions])


def _best_constant(network, target, weight):
    """Return the one answer to all rows that has the lowest loss, of shape (1, n_answers)."""
    if network.output == "identity":
        return np.average(target.astype(np.float64), axis=0, weights=weight)[np.newaxis]
    counts = np.bincount(target, weights=weight, minlength=max(2, network.layer_sizes[-1]))
    return counts[np.newaxis] / counts.sum()


def _penalties(ensemble):
    """Return each network's penalty in the loss of a batch of one row, or more, as if intercepts were penalised."""
    settings = ensemble.settings
    with np.errstate(over="ignore"):  # one network after another, since all at once would be copied
        norms = [(np.vdot(weights, weights), np.abs(weights).sum()) for weights in ensemble.weights]
        squares, magnitudes = np.array(norms, np.float64).T
        return 0.5 * settings.l2 * squares + settings.l1 * magnitudes
