"""Fixtures that several files of tests use."""

import pytest

from skfusion._training import engine


@pytest.fixture
def parallel_always(monkeypatch):
    """Threads however small the data, which would otherwise be too little work for them."""
    monkeypatch.setattr(engine, "_PARALLEL_ROUND", 0)
    monkeypatch.setattr(engine, "_PARALLEL_FIT", 0)
