"""What several files of tests use: settings of hypothesis, and fixtures."""

import pytest
from hypothesis import settings

settings.register_profile("without deadline", settings.default, deadline=None)  # a busy machine proves nothing
settings.load_profile("without deadline")


@pytest.fixture
def parallel_always(monkeypatch):
    """Threads however small the data, which would otherwise be too little work for them."""
    monkeypatch.setattr("skfusion._training.engine._PARALLEL_ROUND", 0)
    monkeypatch.setattr("skfusion._training.engine._PARALLEL_FIT", 0)
