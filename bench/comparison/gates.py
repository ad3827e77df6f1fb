"""``bench check``: runs held against a committed reference, gate by gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.comparison.gate_auroc import auroc_gates
from bench.comparison.gate_bits import bit_gate, machine_differences
from bench.comparison.gate_throughput import throughput_gate
from bench.comparison.verdicts import CANNOT_TELL, Finding, exit_code
from bench.report.values import setting_text
from bench.results.ownership import actual_status
from bench.results.run import RUN_FILE, Run, find_runs
from bench.suites.gates import Gates

ALL_GATES = "all gates"
REFERENCES = Path("results/reference")
"""Where references are kept, a folder a suite, unless ``--reference`` says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The runs to be checked."""

    runs: tuple[Run, ...]
    whole: frozenset[str]
    """Suites given as folders: of these, a run that only the reference has is missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Everything that was found."""

    findings: tuple[Finding, ...]
    references: tuple[Path, ...]
    synthetic: bool

    def exit_code(self, *, strict: bool) -> int:
        """What ``bench check`` ends with."""
        return exit_code(self.findings, strict=strict)


def gather(paths: Sequence[Path]) -> Given:
    """The runs at or below the paths.

    Raises UsageError where a path does not exist and ResultsError where a run cannot be read.
    """
    runs: dict[Path, Run] = {}
    whole: set[str] = set()
    for path in paths:
        single = path.name == RUN_FILE or (path / RUN_FILE).is_file()
        for run in find_runs([path]):
            runs[run.folder] = run
            if not single:
                whole.add(run.suite)
    return Given(runs=tuple(runs.values()), whole=frozenset(whole))


def check(given: Given, reference: Path | None, thresholds: Mapping[str, Gates]) -> Check:
    """Holds every run against the reference run of its scenario.

    Parameters
    ----------
    reference
        The folder with the reference's runs; None for :data:`REFERENCES` / the suite's name.
    thresholds
        From a suite's name to its gates.
    """
    folders = {run.suite: reference or REFERENCES / run.suite for run in given.runs}
    kept = {folder: _runs_in(folder) for folder in dict.fromkeys(folders.values())}
    findings: list[Finding] = []
    for run in given.runs:
        folder = folders[run.suite]
        findings += _check_run(run, kept[folder], folder, thresholds[run.suite])
    for folder, known in kept.items():
        suites = {suite for suite in given.whole if folders[suite] == folder}
        findings += _missed(given.runs, known, folder, suites)
    everything = [*given.runs, *(run for known in kept.values() for run in known)]
    return Check(
        findings=tuple(findings),
        references=tuple(kept),
        synthetic=any(run.synthetic for run in everything),
    )


def _runs_in(folder: Path) -> list[Run]:
    return find_runs([folder]) if folder.exists() else []


def _check_run(run: Run, known: Sequence[Run], folder: Path, gates: Gates) -> list[Finding]:
    reference = find_reference(run, known)
    if isinstance(reference, str):
        return [_cannot_tell(run.name, f"{reference} in {folder}" if known else _absent(folder))]
    for title, side in (("run", run), ("reference", reference)):
        status = actual_status(side)
        if status != "done":
            error = f" ({side.error['type']}: {side.error['message']})" if side.error else ""
            return [_cannot_tell(run.name, f"the {title} is not finished: {status}{error}")]
    if differ := scenario_differences(run, reference):
        text = "not the reference's scenario: " + "; ".join(differ)
        return [_cannot_tell(run.name, text)]
    return [
        *auroc_gates(run, reference, gates.auroc),
        bit_gate(run, reference),
        throughput_gate(run, reference, gates.throughput),
    ]


def find_reference(run: Run, known: Sequence[Run]) -> Run | str:
    """The reference run of the same identity, else of the same name, else why there is none.

    Of several, one made on the same machine is taken before others: only there are bits promised.
    """
    for same in (lambda k: k.hash == run.hash, lambda k: k.name == run.name):
        if found := [k for k in known if same(k)]:
            return min(found, key=lambda k: (bool(machine_differences(run, k)), k.name != run.name))
    return "there is no run of this scenario"


def scenario_differences(run: Run, reference: Run) -> list[str]:
    """Why two runs of one name are not runs of one scenario; empty where they are."""
    if run.hash == reference.hash:
        return []
    differ = [
        f"{key} is {_cut(setting_text(key, now))}, was {_cut(setting_text(key, before))}"
        for key, before, now in _pairs(reference.scenario, run.scenario)
        if before != now
    ]
    before, now = (str(side.data.get("digest")) for side in (reference, run))
    if before != now:
        differ.append(f"the data is other data ({_cut(now)}, was {_cut(before)})")
    if run.semantics != reference.semantics:
        differ.append(f"semantics is {run.semantics}, was {reference.semantics}")
    return differ or [f"the identity is {run.hash}, was {reference.hash}"]


def _pairs(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(key, before.get(key), now.get(key)) for key in dict.fromkeys([*before, *now])]


def _cut(text: str) -> str:
    """Digests and long texts are shortened."""
    return text if len(text) <= 40 else text[:12] + "…"


def _missed(
    runs: Sequence[Run], known: Sequence[Run], folder: Path, suites: set[str]
) -> list[Finding]:
    """A reference run of a suite that was given whole, and that no run was held against."""
    hashes, names = {run.hash for run in runs}, {run.name for run in runs}
    return [
        _cannot_tell(reference.name, f"it is in {folder}, but not among the runs that were given")
        for reference in known
        if reference.suite in suites
        and reference.hash not in hashes
        and reference.name not in names
    ]


def _absent(folder: Path) -> str:
    return f"there is no reference in {folder}"


def _cannot_tell(run: str, reason: str) -> Finding:
    return Finding(run=run, gate=ALL_GATES, verdict=CANNOT_TELL, reason=reason)
