"""How runs came to be, as tables: their settings, and source, versions, machine and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.table import Column, Table
from bench.report.values import setting_text
from bench.results.run import Run

DIGITS = 16
"""Of a digest that are shown; they tell two apart."""


def settings_tables(runs: Sequence[Run]) -> list[Table]:
    """The scenarios: what they have in common, and what sets them apart."""
    return _parted(
        "Settings",
        runs,
        [
            {key.replace("_", " "): setting_text(key, v) for key, v in r.scenario.items()}
            for r in runs
        ],
    )


def provenance_tables(runs: Sequence[Run]) -> list[Table]:
    """Source, versions, machine and data: what the runs have in common, and what not."""
    return _parted("Provenance", runs, [_provenance(run) for run in runs])


def _parted(title: str, runs: Sequence[Run], parts: Sequence[Mapping[str, str]]) -> list[Table]:
    """One table of what is the same for all, and one with a column for each thing that is not."""
    keys = list(dict.fromkeys(key for part in parts for key in part))
    varying = [key for key in keys if len({part.get(key) for part in parts}) > 1]
    tables = []
    if len(varying) < len(keys):
        tables.append(
            Table(
                title=title if len(runs) == 1 else f"{title} of all runs",
                columns=(Column(key="key", title="What"), Column(key="value", title="Value")),
                rows=tuple({"key": k, "value": parts[0][k]} for k in keys if k not in varying),
            )
        )
    if varying:
        columns = [Column(key="run", title="Scenario")]
        columns += [Column(key=f"part:{key}", title=key) for key in varying]
        rows = tuple(
            {"run": run.name, **{f"part:{key}": part.get(key) for key in varying}}
            for run, part in zip(runs, parts, strict=True)
        )
        tables.append(Table(title=f"{title} by run", columns=tuple(columns), rows=rows))
    return tables


def _provenance(run: Run) -> dict[str, str]:
    """Flat, in the order of a methods section; what was not recorded is not there."""
    git, data, environment = run.git, run.data, run.environment
    partition = data.get("partition") or {}
    sizes = partition.get("sizes") or []
    found: dict[str, Any] = {
        "suite": run.suite,
        "identity": run.hash,
        "commit": _commit(git),
        "started": run.timestamps.get("started"),
        "finished": run.timestamps.get("finished"),
        "machine": _machine(environment),
        "device": environment.get("device"),
        "precision": environment.get("precision"),
        "workers": environment.get("workers"),
        "threads": environment.get("threads"),
        "versions": ", ".join(
            f"{name} {version}"
            for name, version in (environment.get("versions") or {}).items()
            if version
        ),
        "data": data.get("name"),
        "data digest": _digest(data.get("digest")),
    }
    for split, counts in (data.get("splits") or {}).items():
        found[f"{split} split"] = ", ".join(f"{n:,} {what}" for what, n in counts.items())
    for site, own in (data.get("sites") or {}).items():
        found[f"site {site}"] = _site(own)
    found |= {
        "partition": partition.get("description"),
        "clients": f"{len(sizes)}, of {min(sizes):,} to {max(sizes):,} images" if sizes else None,
        "partition fingerprint": _digest(partition.get("fingerprint")),
        "weights SHA-256": _digest(run.weights_sha256),
        **{f"{s} scores SHA-256": _digest(value) for s, value in run.scores_sha256.items()},
    }
    return {key: str(value) for key, value in found.items() if value not in (None, "")}


def _site(own: Mapping[str, Any]) -> str:
    """``nih621-320, synthetic, c71e87e4bbeffe4f…, train 411 images, valid 210 images``."""
    splits = [f"{name} {counts['images']:,} images" for name, counts in own["splits"].items()]
    made = ["synthetic"] if own["synthetic"] else []
    return ", ".join([own["name"], *made, f"digest {_digest(own['digest'])}", *splits])


def _commit(git: Mapping[str, Any]) -> str:
    if not git.get("commit"):
        return "unknown: not run from a checkout"
    state = {True: ", with uncommitted changes", False: "", None: ", state unknown"}
    return f"{git['commit'][:12]}{state[git.get('dirty')]}"


def _digest(value: str | None) -> str | None:
    return value if value is None or len(value) <= DIGITS else f"{value[:DIGITS]}…"


def _machine(environment: Mapping[str, Any]) -> str | None:
    machine = environment.get("machine") or {}
    parts = [
        machine.get("gpu"),
        machine.get("processor"),
        f"{machine['cores']} cores" if machine.get("cores") else None,
        f"{machine['memory_gib']} GiB" if machine.get("memory_gib") else None,
        machine.get("system"),
    ]
    return ", ".join(str(part) for part in parts if part) or None
