"""What several files of tests use: settings of hypothesis, how joblib's processes start, and fixtures."""

import forks
import pytest
from hypothesis import settings
from joblib.externals.loky.backend.context import set_start_method

settings.register_profile("without deadline", settings.default, deadline=None)  # a busy machine proves nothing
settings.load_profile("without deadline")
set_start_method(forks.FORKING.get_start_method())  # or each of loky's workers would import the library anew


@pytest.fixture
def parallel_always(monkeypatch):
    """Threads however small the data, which would otherwise be too little work for them."""
    monkeypatch.setattr("skfusion._training.engine._PARALLEL_ROUND", 0)
    monkeypatch.setattr("skfusion._training.engine._PARALLEL_FIT", 0)
