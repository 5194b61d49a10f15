"""Keeping BLAS to one thread, so that sums are taken in the same order whatever runs beside them."""

import threading
from functools import cache

from threadpoolctl import ThreadpoolController  # scikit-learn depends on it


class _OneBlasThread:
    """Keeps BLAS to one thread while any with statement runs in it.

    The limit holds for the whole process; the first of several fits in threads sets it and the last one lifts it.
    """

    def __init__(self):
        self._lock, self._n_entered = threading.Lock(), 0

    def __enter__(self):
        with self._lock:
            if self._n_entered == 0:
                self._limit = _thread_pools().limit(limits=1, user_api="blas")
            self._n_entered += 1

    def __exit__(self, *exception):
        with self._lock:
            self._n_entered -= 1
            if self._n_entered == 0:
                self._limit.restore_original_limits()


@cache
def _thread_pools():
    return ThreadpoolController()


one_blas_thread = _OneBlasThread()
