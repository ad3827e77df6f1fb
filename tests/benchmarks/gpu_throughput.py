"""Everything about speed that needs a GPU, in one command, on a machine that has one.

    python tests/benchmarks/gpu_throughput.py [--data TREE]

Runs the tests that need a GPU; ``bench throughput`` for DenseNet121 at 320 px over batch sizes,
with 5 and with 100 clients, which adds to the history under results/measured/throughput/; and
a real ``bench run`` over packed radiographs at batch 16 and at the best batch. TREE is a CheXpert
tree; without one a phantom of 320-px films is written first. Ends with a line for each bar of speed
and exit code 1 where one is missed, 2 where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SIDE, BATCHES, SMALL_BATCH = 320, "16,32,64,128,256", 16
PHANTOM_PATIENTS = 2500
CHEXPERT_IMAGES = 223_414
EPOCHS = 3
BAR_BEST, BAR_SMALL = 3000.0, 2000.0
"""Training images/s on an H200, at the best batch and at batch 16."""
BAR_OVERHEAD = 0.03
"""Of a federated round over the same images trained centrally."""
BAR_SECONDS = 240.0
"""Three epochs of a CheXpert-sized set at the best batch."""


def bench(*arguments: str) -> str:
    """Runs the command in this interpreter's environment; what it prints on stdout."""
    command = [sys.executable, "-c", "from bench.cli import main; main()", *arguments]
    print("$ bench", *arguments, file=sys.stderr, flush=True)
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def throughput(batches: str, clients: int) -> dict[str, Any]:
    """A session on the GPU, kept in its history."""
    text = bench(
        "throughput", "--device=cuda", "--backbone=densenet121", f"--image-size={SIDE}",
        f"--batch={batches}", "--precision=bf16", f"--clients={clients}", "--seconds=5", "--json",
    )  # fmt: skip
    session: dict[str, Any] = json.loads(text)
    for row in session["rows"]:
        speed, overhead = row["training_images_per_second"], row["federated_overhead"]
        shown = row["remark"] if speed is None else f"{speed:,.0f} images/s"
        extra = "" if overhead is None else f", {clients} clients {overhead:+.1%}"
        print(f"batch {row['batch']}: {shown}{extra}", file=sys.stderr)
    return session


def run_speed(data: Path, batch: int, folder: Path) -> float:
    """Median training images/s of a centralised run's rounds after the first."""
    results = folder / f"batch-{batch}"
    bench(
        "run", "fedavg", f"--data={data}", f"--results={results}", "--device=cuda", "--quiet",
        "--against=none", "-k", "centralized and u-ones", "-s", f"batch_size={batch}",
        "-s", f"image_size={SIDE}", "-s", "rounds=3", "-s", "evaluate_every=3",
        "-s", "precision=bf16",
    )  # fmt: skip
    (rounds,) = results.rglob("rounds.jsonl")
    lines = [json.loads(line) for line in rounds.read_text().splitlines()]
    return statistics.median(line["images_per_second"] for line in lines[1:])


def tree(asked: Path | None, folder: Path) -> Path:
    """The radiographs to train on."""
    root = asked or os.environ.get("CHEXPERT_ROOT")
    if root is not None:
        return Path(root)
    made = folder / "phantom"
    bench(
        "data", "phantom", "--output", str(made), "--size", str(SIDE), "--quiet",
        "--train-patients", str(PHANTOM_PATIENTS), "--valid-patients", "50", "--test-patients", "0",
    )  # fmt: skip
    return made


def verdicts(sessions: list[dict[str, Any]], speeds: dict[int, float]) -> bool:
    """A line a bar; whether all were reached."""
    first = sessions[0]["rows"]
    rates = {row["batch"]: row["training_images_per_second"] or 0.0 for row in first}
    best = max(rates.values())
    best_run, small_run = max(speeds.values()), speeds[SMALL_BATCH]
    lines = [
        (f"best batch: {best:,.0f} images/s", best >= BAR_BEST),
        (
            f"batch {SMALL_BATCH}: {rates[SMALL_BATCH]:,.0f} images/s",
            rates[SMALL_BATCH] >= BAR_SMALL,
        ),
        (f"bench run, best batch: {best_run:,.0f} images/s", best_run >= BAR_BEST),
        (f"bench run, batch {SMALL_BATCH}: {small_run:,.0f} images/s", small_run >= BAR_SMALL),
    ]
    seconds = EPOCHS * CHEXPERT_IMAGES / best_run
    lines.append((f"{EPOCHS} epochs of CheXpert: {seconds:.0f} s", seconds <= BAR_SECONDS))
    for session in sessions:
        clients = session["settings"]["clients"]
        found = [row["federated_overhead"] for row in session["rows"]]
        measured = [value for value in found if value is not None]
        text = f"{max(measured):+.1%} at most" if measured else "not measured"
        lines.append(
            (f"overhead of {clients} clients: {text}", max(measured, default=1.0) <= BAR_OVERHEAD)
        )
    print(f"\n{sessions[0]['machine']['gpu']}")
    for text, reached in lines:
        print(f"{'reached' if reached else 'MISSED ':8} {text}")
    return all(reached for _, reached in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, help="a CheXpert tree; else $CHEXPERT_ROOT")
    data = parser.parse_args().data
    import torch

    if not torch.cuda.is_available():
        print("there is no CUDA device here, so there is nothing to measure", file=sys.stderr)
        return 2
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "gpu"], cwd=ROOT, check=True)
    sessions = [throughput(BATCHES, 5)]
    chosen = sessions[0]["recommended"]
    best = chosen[0]["batch"] if chosen else SMALL_BATCH
    sessions.append(throughput(f"{SMALL_BATCH},{best}", 100))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = tree(data, folder)
        speeds = {batch: run_speed(root, batch, folder) for batch in {SMALL_BATCH, best}}
    return 0 if verdicts(sessions, speeds) else 1


if __name__ == "__main__":
    sys.exit(main())
