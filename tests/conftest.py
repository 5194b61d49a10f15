"""Fixtures that several files of tests use."""

import pytest


@pytest.fixture
def parallel_always(monkeypatch):
    """Threads however small the data, which would otherwise be too little work for them."""
    monkeypatch.setattr("skfusion._training.engine._PARALLEL_ROUND", 0)
    monkeypatch.setattr("skfusion._training.engine._PARALLEL_FIT", 0)
