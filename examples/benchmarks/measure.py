"""Measuring engines side by side: time in turns, peak memory in processes of their own."""

import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits


def in_turns(measures, seconds, at_least=5):
    """Take measures one after another, over and over, so that what disturbs the machine disturbs all.

    Parameters
    ----------
    measures : dict of str to callable
        Each returns a number.
    seconds : float
        How long to go on.
    at_least : int, default=5
        How often each is taken whatever time that takes.

    Returns
    -------
    dict of str to ndarray of shape (n_repetitions,)
    """
    taken = {name: [] for name in measures}
    began, repetition = time.perf_counter(), 0
    while repetition < at_least or time.perf_counter() - began < seconds:
        for name, measure in measures.items():
            taken[name].append(measure())
        repetition += 1
    return {name: np.array(values) for name, values in taken.items()}


def seconds_per_row(engines, seconds, at_least=5):
    """Time of training on a row by each engine, on one thread, in turns; a dict of name to ndarray."""
    with threadpool_limits(1):
        for engine in engines:
            engine.calibrate(seconds / 50)
        return in_turns({engine.name: engine.seconds_per_row for engine in engines}, seconds, at_least)


def ratio(values, others):
    """The median over repetitions of values / others."""
    return float(np.median(values / others))


def peak_memory(make_engine, case):
    """Bytes that an epoch takes at its peak, above a process that only loads the data and warms up on few others.

    Both are processes forked from a server that holds no data, since a child's peak starts at its parent's.

    Parameters
    ----------
    make_engine : class
        Of engine.
    case : Case

    Returns
    -------
    float
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, array in zip("Xy", case.load(), strict=True):
            np.save(Path(folder, name), array)
        alone, training = (_in_child(make_engine, case, folder, epochs) for epochs in (0, 1))
    return training - alone


def _in_child(*args):
    context = get_context("forkserver")
    context.set_forkserver_preload(["sklearn.neural_network", "matplotlib.pyplot", "pandas", "torch"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_peak, *args).result()


def _peak(make_engine, case, folder, epochs):
    X, y = (np.load(Path(folder, f"{name}.npy")) for name in "Xy")
    few = replace(case, network="digits")
    with threadpool_limits(1):
        make_engine(*few.load(), few).run(1)
        if epochs:
            make_engine(X, y, case).run(epochs)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
