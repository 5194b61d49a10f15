"""What the experiments and the benchmarks watch of a fit."""


class EachEpoch:
    """A scikit-learn callback that looks at each epoch when it ends, and does nothing else."""

    def setup(self, estimator, context):
        """Nothing to prepare."""

    def teardown(self, estimator, context):
        """Nothing to release."""

    def on_fit_task_begin(self, estimator, context):
        """Wait for the end of the epoch."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        """Look at an epoch; training stops where ``look`` returns True."""
        return context.task_name == "epoch" and bool(self.look(fitted_estimator))

    def look(self, fitted):
        """Look at the estimator as if training had ended with this epoch."""
        raise NotImplementedError
