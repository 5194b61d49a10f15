"""Keeping BLAS to one thread, so that sums are taken in the same order whatever runs beside them."""

import os
import threading
from contextlib import nullcontext
from functools import cache

from threadpoolctl import ThreadpoolController  # scikit-learn depends on it


class _OneBlasThread:
    """Keeps BLAS to one thread while any with statement runs in it.

    The limit holds for the whole process; the first of several fits in threads sets it and the last one lifts it.  In a
    child that is forked meanwhile, only the thread that forked lives on, and only its with statements count.
    """

    def __init__(self):
        self._lock, self._threads_within = threading.Lock(), []
        os.register_at_fork(
            before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._forget_other_threads
        )

    def __enter__(self):
        with self._lock:
            if not self._threads_within:
                _take_control()
                self._limit = _thread_pools().limit(limits=1, user_api="blas")
            self._threads_within.append(threading.get_ident())

    def __exit__(self, *exception):
        with self._lock:
            self._leave(threading.get_ident())

    def _leave(self, thread):
        self._threads_within.remove(thread)
        if not self._threads_within:
            _take_control()
            self._limit.restore_original_limits()
            _take_control()  # which leaves it to whoever comes next

    def _forget_other_threads(self):
        for thread in set(self._threads_within) - {threading.get_ident()}:
            while thread in self._threads_within:
                self._leave(thread)
        self._lock.release()


def _take_control():
    """Let this thread set the limit: threadpoolctl has OpenBLAS obey the first that does, and none beside it."""
    for library in _thread_pools().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):  # since version 3.8
            library.clear_controlling_thread(force=True)


@cache
def _thread_pools():
    return ThreadpoolController()


one_blas_thread = _OneBlasThread()


def steady_blas(n_networks, settings):
    """Return a context in which several peers train to the same bits, whatever the number of threads."""
    return one_blas_thread if n_networks > 1 and settings.batch_size > 1 else nullcontext()
