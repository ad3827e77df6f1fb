"""What names of networks a suite takes, without importing what takes seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.models.densenet import DEPTHS
from bench.models.mcmahan import NETWORKS
from bench.suites import backbones
from bench.suites.backbones import BUILT, OWN, BackboneName, is_known, near
from bench.suites.kinds import Mismatch


def test_what_is_built_here_is_what_the_models_are():
    assert sorted(BUILT) == sorted({**DEPTHS, **NETWORKS})


def test_timm_has_no_network_of_a_name_of_ours():
    import timm

    assert not [name for name in OWN if timm.is_model(name)]


def test_its_sources_name_every_model_of_timm():
    import timm

    assert backbones._registered() == {*timm.list_models()}


@pytest.mark.parametrize(
    "name", ["densenet121", "2nn", "resnet50", "resnet50.a1_in1k", "convnext_tiny_in22ft1k"]
)
def test_a_name_that_there_is(name):
    """The last is one that timm has for old times' sake."""
    assert BackboneName().read(name) == name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("densnet121", "densenet121"),
        ("resnet81", "resnet18"),
        ("2n", "2nn"),
        ("2nn.x", "2nn"),
        ("qqqqqqqq", None),
    ],
)
def test_a_name_that_there_is_not(name, meant):
    with pytest.raises(Mismatch) as caught:
        BackboneName().read(name)
    assert caught.value.what == f"unknown backbone '{name}'"
    assert caught.value.mend == (meant and f"did you mean '{meant}'?")


def test_timm_is_imported_for_none_that_it_registers():
    code = "import sys; from bench.suites.backbones import is_known; "
    code += "print(is_known('resnet18'), is_known('densenet121'), 'timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False"]


def test_where_no_sources_of_timm_are_found_every_name_may_be_right(monkeypatch):
    is_known.cache_clear()
    monkeypatch.setattr(backbones, "_registered", frozenset)
    try:
        assert is_known("who-knows")
        assert near("densenet12") == "did you mean 'densenet121'?"
    finally:
        is_known.cache_clear()
