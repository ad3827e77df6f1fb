"""The bit-equality gate of ``bench check``, and the exit codes of all gates together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.comparison.gate_auroc import auroc_gates
from bench.comparison.gate_bits import bit_gate, first_difference, why_not_promised
from bench.comparison.verdicts import Finding, exit_code, summary
from bench.results.run import Run, scores_file
from bench.suites.gates import AurocGate
from tests.runs_on_disk import (
    ELSEWHERE,
    ENVIRONMENT,
    STEADY,
    some_rounds,
    some_scores,
    write_run,
)


@pytest.fixture
def reference(tmp_path: Path) -> Run:
    return write_run(tmp_path / "reference")


def flip_a_bit(run: Run) -> None:
    """The lowest bit of one score, as another order of a sum would."""
    scored = run.scores("valid")
    scored.scores.view(np.uint32)[0, 17, 3] ^= 1
    scored.save(run.folder / scores_file("valid"))


def test_the_same_bits_pass(tmp_path: Path, reference: Run) -> None:
    found = bit_gate(write_run(tmp_path), reference)
    assert (found.verdict, found.measured) == ("pass", "identical")


def test_one_flipped_bit_fails_and_is_named(tmp_path: Path, reference: Run) -> None:
    run = write_run(tmp_path)
    flip_a_bit(run)
    found = bit_gate(run, reference)
    assert found.verdict == "regression"
    assert "bit-equality was promised and is broken: 1 of 1,000 scores differ" in found.reason
    assert "Edema of patient00017/study1, by " in found.reason
    assert all(f.verdict == "pass" for f in auroc_gates(run, reference, AurocGate()))


def test_other_weights_or_a_split_kept_as_digest_only_fail(tmp_path: Path) -> None:
    digests = {"test": "1" * 64}
    before = write_run(tmp_path / "reference")
    before = replace(before, scores_sha256=before.scores_sha256 | digests)
    rounds = some_rounds(STEADY)
    rounds[4]["loss"] += 1e-9
    run = write_run(tmp_path, weights="b" * 64, rounds=rounds)
    run = replace(run, scores_sha256=run.scores_sha256 | {"test": "2" * 64})
    assert bit_gate(run, before).reason.endswith(
        "broken: the scores of 'test' differ; the weights differ; the loss differs from round 5 on"
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"machine": ELSEWHERE["machine"]}, "other processor (Processor A, now Processor B)"),
        ({"threads": 4}, "other threads (2, now 4)"),
        ({"precision": "bf16"}, "other precision (fp32, now bf16)"),
        ({"device": "cuda"}, "the device is cuda, not cpu; other device (cpu, now cuda)"),
        (
            {"versions": {**ENVIRONMENT["versions"], "torch": "2.12.0"}},
            "other torch (2.11.0, now 2.12.0)",
        ),
        ({"machine": {}}, "the machine is not recorded"),
    ],
)
def test_where_bits_are_not_promised_it_says_why(
    tmp_path: Path, reference: Run, changes: dict[str, object], reason: str
) -> None:
    run = write_run(tmp_path, environment={**ENVIRONMENT, **changes}, scores=some_scores(seed=9))
    found = bit_gate(run, reference)
    assert (found.verdict, found.reason) == ("not promised", reason)
    assert why_not_promised(reference, reference) == []


def test_bits_are_promised_whatever_number_of_workers(tmp_path: Path, reference: Run) -> None:
    run = write_run(tmp_path, environment={**ENVIRONMENT, "workers": 4})
    assert bit_gate(run, reference).verdict == "pass"


def test_two_gpus_of_one_kind_promise_nothing(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / s, environment={**ENVIRONMENT, "device": "cuda"}) for s in "ab"]
    assert bit_gate(*runs).verdict == "not promised"


def test_a_reference_that_was_altered_is_no_measure(tmp_path: Path, reference: Run) -> None:
    flip_a_bit(reference)
    found = bit_gate(write_run(tmp_path), reference)
    assert found.verdict == "cannot tell"
    assert "not those its run.json records" in found.reason


def test_bits_of_zero_and_nan() -> None:
    a, b = some_scores(), some_scores()
    a.scores[0, 0, 0] = b.scores[0, 0, 0] = np.nan
    assert first_difference(a, b) is None
    a.scores[0, 0, 0], b.scores[0, 0, 0] = 0.0, -0.0
    assert first_difference(a, b) is not None


@pytest.mark.parametrize(
    ("found", "lenient", "strict"),
    [
        (["pass", "not promised", "undefined"], 0, 0),
        (["pass", "inconclusive"], 0, 4),
        (["pass", "cannot tell"], 4, 4),
        (["pass", "cannot tell", "regression", "inconclusive"], 1, 1),
        (["not promised", "undefined"], 4, 4),
        ([], 4, 4),
    ],
)
def test_exit_codes(found: list[str], lenient: int, strict: int) -> None:
    findings = [Finding(run="r", gate="g", verdict=verdict, reason="") for verdict in found]
    assert exit_code(findings) == lenient
    assert exit_code(findings, strict=True) == strict


def test_the_summary_names_the_worst_first() -> None:
    found = ["pass", "regression", "pass", "inconclusive", "regression"]
    findings = [Finding(run="r", gate="g", verdict=verdict, reason="") for verdict in found]
    assert summary(findings) == "2 regressions, 1 inconclusive, 2 pass"
