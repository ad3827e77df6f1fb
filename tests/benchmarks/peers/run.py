"""This engine and its peers on one workload after another, taking turns in one session.

    python tests/benchmarks/peers/run.py [--peers plain,ours] [--workloads 2nn,cnn,2nn-small]

A peer that is not this project gets an environment of its own in --environments, made on first use
from the requirements below; the others run in this one. Peers alternate within every
repetition of a workload. Prints medians of seconds a round after the first, seconds to the end of
the first round from the start of the process and from the engine's, and the peak memory of the
process tree (proportional set sizes, so that shared pages count once), and writes them with
versions and commit to the machine's file in results/measured/peers. A peer that fails is a row
with the reason.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from bench.atomic import write_text
from bench.environment import git_state, machine, versions
from bench.report.render import show
from bench.report.table import Column, Table, decimals
from bench.throughput.record import machine_slug

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
OUTPUT = ROOT / "results" / "measured" / "peers"
OURS = {"plain": "plain.py", "ours": "ours.py", "ours-2": "ours_workers.py"}
"""``ours-2`` is this engine with two worker processes."""
PEERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "flower": ("flower.py", ("flwr[simulation]>=1.20", "torch")),
    "pfl": ("pfl_research.py", ("pfl[pytorch]>=0.4", "torch")),
    "fedjax": (
        "fedjax_peer.py",
        # the last versions whose jax has what fedjax calls
        ("fedjax", "jax==0.4.30", "jaxlib==0.4.30", "optax==0.2.3", "dm-haiku==0.0.12",
         "chex==0.1.86", "numpy<2"),
    ),
}  # fmt: skip
"""Each peer's script and requirements."""
ROUNDS = {"2nn": 8, "cnn": 3, "2nn-small": 30}
"""Of one process; the first is not among the medians."""
REPETITIONS = 2
TIME_LIMIT = 300.0
SAMPLE_SECONDS = 0.1


def python_for(peer: str, environments: Path) -> Path:
    """The peer's interpreter, its environment made where it is not there yet."""
    if peer in OURS:
        return Path(sys.executable)
    python = environments / peer / "bin" / "python"
    done = environments / peer / "installed"
    if not done.exists():
        print(f"installing {peer}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", environments / peer], check=True)
        command = [python, "-m", "pip", "install", "--quiet", *PEERS[peer][1]]
        subprocess.run(command, check=True)
        done.touch()
    return python


class Memory(threading.Thread):
    """The most memory that a process and its descendants held at once, sampled."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._root = psutil.Process(pid)
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            try:
                tree = [self._root, *self._root.children(recursive=True)]
            except psutil.Error:
                return
            self.peak = max(self.peak, sum(map(_proportional, tree)))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _proportional(process: psutil.Process) -> int:
    try:
        held = process.memory_full_info()
    except psutil.Error:  # it has ended meanwhile
        return 0
    return int(getattr(held, "pss", held.rss))


def run(peer: str, workload: str, python: Path) -> dict[str, Any]:
    """One process of a peer: its laps and memory. Raises RuntimeError where it fails."""
    script = OURS.get(peer) or PEERS[peer][0]
    environment = os.environ | {
        "PEER_STARTED": repr(time.time()),
        "PEER_WORKLOAD": workload,
        "PYTHONPATH": os.pathsep.join(map(str, [HERE, ROOT] if peer in OURS else [HERE])),
        "RAY_USAGE_STATS_ENABLED": "0",
        "FLWR_TELEMETRY_ENABLED": "0",
    }
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [python, HERE / script, workload, str(ROUNDS[workload])],
            env=environment,
            stdout=out,
            stderr=err,
        )
        memory = Memory(process.pid)
        memory.start()
        try:
            code = process.wait(TIME_LIMIT)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise RuntimeError(f"took more than {TIME_LIMIT:.0f} s") from error
        finally:
            memory.stop()
        out.seek(0), err.seek(0)
        lines, complaints = out.read().splitlines(), err.read().strip().splitlines()
    if code or not lines:
        raise RuntimeError(complaints[-1][:300] if complaints else f"exit code {code}")
    return json.loads(lines[-1]) | {"peak_memory": memory.peak}


def measure(peers: list[str], workloads: list[str], environments: Path) -> list[dict[str, Any]]:
    """A row for each workload and peer."""
    pythons = {peer: python_for(peer, environments) for peer in peers}
    rows = []
    for workload in workloads:
        found: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
        reasons: dict[str, str] = {}
        for repetition in range(REPETITIONS):
            for peer in peers if repetition % 2 == 0 else reversed(peers):
                if peer in reasons:
                    continue
                print(f"{workload}: {peer}", file=sys.stderr, flush=True)
                try:
                    found[peer].append(run(peer, workload, pythons[peer]))
                except RuntimeError as error:
                    reasons[peer] = str(error)
        rows += [row(workload, peer, found[peer], reasons.get(peer)) for peer in peers]
    return rows


def row(
    workload: str, peer: str, found: list[dict[str, Any]], reason: str | None
) -> dict[str, Any]:
    """Medians over every round of every process."""
    laps = [lap for result in found for lap in result["rounds"]]
    firsts, engines = (
        [result[key] for result in found] for key in ("first_round", "engine_first_round")
    )
    return {
        "workload": workload,
        "peer": peer,
        "round_seconds": statistics.median(laps) if laps else None,
        "round_spread": [min(laps), max(laps)] if laps else None,
        "rounds": len(laps),
        "first_round_seconds": statistics.median(firsts) if firsts else None,
        "engine_first_round_seconds": statistics.median(engines) if engines else None,
        "peak_memory_bytes": max((r["peak_memory"] for r in found), default=None),
        "failed": reason,
    }


def installed(peer: str, environments: Path) -> str | None:
    """The peer's own version."""
    if peer in OURS:
        return None
    package = {"flower": "flwr"}.get(peer, peer)
    code = f"from importlib.metadata import version; print(version('{package}'))"
    done = subprocess.run(
        [python_for(peer, environments), "-c", code], capture_output=True, text=True
    )
    return done.stdout.strip() or None


def table(rows: list[dict[str, Any]], notes: tuple[str, ...]) -> Table:
    columns = (
        Column(key="workload", title="Workload"),
        Column(key="peer", title="Engine"),
        Column(key="round_seconds", title="s a round", write=decimals(4), align="right"),
        Column(key="first_round_seconds", title="First after, s", write=decimals(1), align="right"),
        Column(
            key="engine_first_round_seconds",
            title="Without imports, s",
            write=decimals(1),
            align="right",
        ),
        Column(
            key="peak_memory_bytes",
            title="Peak memory",
            write=lambda count: f"{count / 2**30:.2f} GiB",
            align="right",
        ),
        Column(key="failed", title="Remark", missing=""),
    )
    return Table(title="Peers, side by side", columns=columns, rows=tuple(rows), notes=notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    everyone = [*OURS, *PEERS]
    parser.add_argument("--peers", default=",".join(everyone))
    parser.add_argument("--workloads", default=",".join(ROUNDS))
    parser.add_argument("--environments", type=Path, default=ROOT / ".cache" / "peers")
    parser.add_argument("--output", type=Path, help="default: the machine's file")
    given = parser.parse_args()
    peers, workloads = given.peers.split(","), given.workloads.split(",")
    for word, known in [(p, everyone) for p in peers] + [(w, list(ROUNDS)) for w in workloads]:
        if word not in known:
            parser.error(f"'{word}' is none of {', '.join(known)}")
    compileall.compile_dir(ROOT / "bench", quiet=1)  # as pip did with the peers'
    here = machine(None)
    load = round(os.getloadavg()[0], 2)
    rows = measure(peers, workloads, given.environments.resolve())
    record = {
        "schema": 1,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(),
        "machine": here,
        "versions": versions() | {p: installed(p, given.environments) for p in peers if p in PEERS},
        "load": load,
        "repetitions": REPETITIONS,
        "rows": rows,
    }
    output = given.output or OUTPUT / f"{machine_slug(here)}.json"
    write_text(output, json.dumps(record, indent=2, allow_nan=False) + "\n")
    show(table(rows, (f"{here['cores']} cores, load {load} at the start.",)), "table")


if __name__ == "__main__":
    main()
