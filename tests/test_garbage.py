"""Garbage is looked for again after an import, however it ended, unless it was not before."""

from __future__ import annotations

import gc

import pytest

from bench.garbage import uncollected


@pytest.fixture(autouse=True)
def _as_it_was():
    before = gc.isenabled()
    yield
    (gc.enable if before else gc.disable)()


@pytest.mark.parametrize("on", [True, False])
def test_garbage_collection_is_off_inside_and_as_it_was_after(on):
    (gc.enable if on else gc.disable)()
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled() == on


def test_an_import_that_fails_leaves_it_on():
    gc.enable()
    with pytest.raises(ModuleNotFoundError), uncollected():
        import no_such_module  # noqa: F401
    assert gc.isenabled()
