"""Everything about speed that needs a GPU, in one command, on a machine that has one.

    python tests/benchmarks/gpu_throughput.py [--parts PART,…] [--minutes M] [--data TREE]

In parts, each of which can be run alone:

throughput   ``bench throughput`` for DenseNet121 at 320 px in bf16: plain steps and CUDA graphs,
             batches of 16 to 256; added to the history under results/measured/throughput/
compiled     the same with the network compiled, at batch 16 and 128
run          a real ``bench run`` over packed radiographs, at batch 16 and at the best batch
federation   rounds of 5 and of 100 clients beside the same images trained centrally
several      rounds of ten clients of McMahan et al. 2017's networks, which may be trained at once,
             beside the same rounds one client after another
chexpert     three epochs over as many images as CheXpert has, in GPU memory
tests        the tests that need a GPU: graphs, compiled networks, bf16 against fp32

What was measured is kept in results/measured/gpu.json, part by part, and shown as a table of what
issue 4 asks for; exit code 1 where something is missed or not measured, 2 where there is no GPU.
``--minutes`` leaves out the parts that would not end in time: later calls make up for them. TREE is
a CheXpert tree; without one a phantom of 320-px films is written. ``--dry`` does it all in
miniature on the CPU, to see that it runs; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.gpu_verdicts import EPOCHS, fastest, tables, verdicts  # noqa: E402

RESULTS = ROOT / "results" / "measured" / "gpu.json"
SEVERAL_ROUNDS = 12
"""Of each way, after those in which it is chosen."""
ROUND_PAIRS = 2
"""Federated rounds with their central twins, after one pair that is not counted."""
EXPECTED = {
    "throughput": 120, "compiled": 180, "run": 120, "federation": 120, "several": 60,
    "chexpert": 120, "tests": 90,
}  # fmt: skip
"""Seconds, guessed, that ``--minutes`` is held against. CheXpert stops between two epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large everything is."""

    device: str
    backbone: str
    side: int
    batches: tuple[int, ...]
    """The first is the small batch that a bar is about."""
    compiled_batches: tuple[int, ...]
    steps: tuple[str, ...]
    compiled: str
    seconds: float
    patients: int
    images: int
    clients: tuple[tuple[int, int], ...]
    """(clients, whole batches each)."""
    workloads: tuple[str, ...]
    """Of the peers, as they are or with clients of unequal size."""
    tests: str
    """What pytest is to choose, by its -k."""


FULL = Scale(
    device="cuda",
    backbone="densenet121",
    side=320,
    batches=(16, 32, 64, 128, 256),
    compiled_batches=(16, 128),
    steps=("eager", "graph"),
    compiled="compiled",
    seconds=2.0,
    patients=5000,
    images=223_414,
    clients=((5, 40), (100, 3)),
    workloads=("2nn", "2nn-unequal", "2nn-small", "cnn"),
    tests="",
)
DRY = Scale(
    device="cpu",
    backbone="resnet10t",
    side=32,
    batches=(4, 8),
    compiled_batches=(4,),
    steps=("eager",),
    compiled="eager",
    seconds=0.05,
    patients=8,
    images=50,
    clients=((2, 1), (3, 1)),
    workloads=("2nn-small", "2nn-small-unequal"),
    tests="dropout",
)


class Session:
    """One call of this script: what it may use, and what is known so far."""

    def __init__(
        self, scale: Scale, known: dict[str, Any], folder: Path, data: Path | None
    ) -> None:
        self.scale = scale
        self.known = known
        self.folder = folder
        self.data = data
        self.deadline = float("inf")

    def fastest(self, batch: int | None = None) -> dict[str, Any]:
        """The fastest row, of that batch or of any; before any is known, a graph at batch 128."""
        found = fastest(self.known, batch)
        untried = {"batch": batch or self.scale.compiled_batches[-1], "step": self.scale.steps[-1]}
        return found or untried


def bench(*arguments: str) -> str:
    """Runs the command in this interpreter's environment; what it prints on stdout."""
    command = [sys.executable, "-c", "from bench.cli import main; main()", *arguments]
    print("$ bench", *arguments, file=sys.stderr, flush=True)
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def throughput(session: Session) -> dict[str, Any]:
    """Plain steps and graphs over the batch sizes."""
    return _sweep(session, session.scale.batches, session.scale.steps)


def compiled(session: Session) -> dict[str, Any]:
    """The compiled network, which takes about a minute to compile for each batch size."""
    return _sweep(session, session.scale.compiled_batches, (session.scale.compiled,))


def _sweep(session: Session, batches: tuple[int, ...], steps: tuple[str, ...]) -> dict[str, Any]:
    scale = session.scale
    text = bench(
        "throughput", f"--device={scale.device}", f"--backbone={scale.backbone}",
        f"--image-size={scale.side}", f"--batch={','.join(map(str, batches))}",
        f"--step={','.join(steps)}", "--precision=bf16", "--clients=0",
        f"--seconds={scale.seconds:g}", "--json", *(["--no-history"] if scale is DRY else []),
    )  # fmt: skip
    measured: dict[str, Any] = json.loads(text)
    return measured


def run(session: Session) -> dict[str, Any]:
    """Median training images/s of a centralised run's rounds after the first, by batch."""
    data = session.data or _phantom(session)
    small = session.scale.batches[0]
    best = session.fastest()
    chosen = {row["batch"]: row["step"] for row in (session.fastest(small), best)}
    speeds = {}
    for batch, step in chosen.items():
        results = session.folder / f"batch-{batch}"
        bench(
            "run", "fedavg", f"--data={data}", f"--results={results}", "--quiet",
            f"--device={session.scale.device}", "--against=none", "-k", "centralized and u-ones",
            "-s", f"batch_size={batch}", "-s", f"image_size={session.scale.side}",
            "-s", f"backbone={session.scale.backbone}", "-s", "rounds=3", "-s", "evaluate_every=3",
            "-s", "precision=bf16", "-s", f"compile={str('compiled' in step).lower()}",
        )  # fmt: skip
        (rounds,) = results.rglob("rounds.jsonl")
        lines = [json.loads(line) for line in rounds.read_text().splitlines()]
        record = json.loads((rounds.parent / "run.json").read_text())
        speeds[str(batch)] = {
            "images_per_second": statistics.median(x["images_per_second"] for x in lines[1:]),
            "first_round_seconds": lines[0]["seconds"],
            "images": lines[0]["examples"],
            "step": record["environment"]["step"],
            "step_reason": record["environment"]["step_reason"],
        }
    return {"best": best["batch"], "batches": speeds}


def _phantom(session: Session) -> Path:
    made = session.folder / "phantom"
    bench(
        "data", "phantom", "--output", str(made), "--size", str(session.scale.side), "--quiet",
        "--train-patients", str(session.scale.patients), "--valid-patients", "20",
        "--test-patients", "0",
    )  # fmt: skip
    return made


def federation(session: Session) -> dict[str, Any]:
    """Rounds of FedAvg ÷ the same images trained centrally, minus 1, at the best setting."""
    import torch

    from bench.throughput.workbench import Workbench
    from bench.training.device import prepare, resolve_device

    scale, best = session.scale, session.fastest()
    device = resolve_device(scale.device)
    prepare(device)
    setting = "compiled" if "compiled" in best["step"] else best["step"]
    work = Workbench(scale.backbone, scale.side, "bf16", device, setting)
    found = {}
    for clients, steps in scale.clients:
        rounds = work.rounds(best["batch"], clients, steps, session.folder / f"clients-{clients}")
        rounds.next()
        pairs = [rounds.next() for _ in range(ROUND_PAIRS)]
        overheads = [pair.federated / pair.centralized - 1 for pair in pairs]
        found[str(clients)] = {
            "overhead": statistics.median(overheads),
            "overheads": overheads,
            "images_a_client": steps * best["batch"],
            "round_seconds": [pair.federated for pair in pairs],
            "engine_seconds": [pair.engine for pair in pairs],
        }
    executed = work.execution
    del work, rounds
    _empty(torch)
    return {"batch": best["batch"], "step": executed.name, "clients": found}


def several(session: Session) -> dict[str, Any]:
    """By workload of the peers, seconds a round as the engine trains them, and one by one."""
    import torch

    from bench.training.ahead import TRIES
    from tests.benchmarks.several_rounds import rounds_of

    found = {}
    for workload in session.scale.workloads:
        both = rounds_of(workload, session.scale.device, session.folder / workload)
        for _ in range(2 * TRIES + 2):  # in which the engine makes up its mind
            both.chosen.next()
        both.alone.next()
        pairs = [(both.chosen.next(), both.alone.next()) for _ in range(SEVERAL_ROUNDS)]
        chosen, alone = (statistics.median(times) for times in zip(*pairs, strict=True))
        found[workload] = {
            "chosen_seconds": chosen,
            "alone_seconds": alone,
            "ratio": chosen / alone,
            "step_reason": both.chosen.reason,
        }
        del both
        _empty(torch)
    return found


def chexpert(session: Session) -> dict[str, Any]:
    """Epochs over random images in the device's memory, the first with all that comes before it."""
    import numpy as np
    import torch

    from bench.models.backbone import build
    from bench.models.flat import FlatModel
    from bench.observations import OBSERVATIONS
    from bench.suites.scenario import Scenario
    from bench.training.device import prepare, resolve_device, resolve_precision
    from bench.training.execution import execution_named
    from bench.training.tasks import task_for
    from bench.training.trainer import Trainer

    scale, best = session.scale, session.fastest()
    device = resolve_device(scale.device)
    prepare(device)
    scenario = Scenario(
        observations=OBSERVATIONS,
        label_policy=tuple((name, "u-ones") for name in OBSERVATIONS),
        backbone=scale.backbone,
        image_size=scale.side,
    )
    images = torch.empty(scale.images, scale.side, scale.side, dtype=torch.uint8, device=device)
    for part in images.split(4096):
        part.random_(0, 256)
    labels = np.random.default_rng(0).integers(0, 2, (scale.images, len(OBSERVATIONS)))
    task = task_for(scenario)
    network = build(scale.backbone, outputs=task.outputs, image_size=scale.side, seed=0)
    trainer = Trainer(
        scenario,
        FlatModel(network, device),
        task,
        images,
        task.targets(labels.astype(np.float32), 0),
        device,
        resolve_precision("bf16", device, scale.backbone),
        execution_named("compiled" if "compiled" in best["step"] else best["step"], device),
    )
    seconds: list[float] = []
    while len(seconds) < EPOCHS and time.monotonic() + max(seconds, default=0) < session.deadline:
        done = trainer.train(
            np.arange(scale.images), epochs=1, batch_size=best["batch"],
            seed_address=(0, len(seconds) + 1, 0),
        )  # fmt: skip
        seconds.append(done.seconds)
        print(f"epoch {len(seconds)}: {done.seconds:.1f} s", file=sys.stderr, flush=True)
    executed = trainer.execution
    del trainer, images
    _empty(torch)
    return {
        "images": scale.images,
        "batch": best["batch"],
        "step": executed.name,
        "step_reason": executed.reason,
        "epoch_seconds": seconds,
    }


def _empty(torch: Any) -> None:
    """Gives the GPU's memory back, for commands that follow in other processes."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def tests(session: Session) -> dict[str, Any]:
    """The outcome of the tests marked ``gpu``; where pytest is missing, that."""
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-m", "gpu", "-rs",
            "-k", session.scale.tests, "tests/test_trainer_gpu.py", "tests/test_equivalences.py",
        ],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    print(done.stdout, file=sys.stderr)
    lines = done.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"exit_code": done.returncode, "summary": lines[-1] if lines else "", "failed": failed}


PARTS: dict[str, Callable[[Session], dict[str, Any]]] = {
    "throughput": throughput,
    "compiled": compiled,
    "run": run,
    "federation": federation,
    "several": several,
    "chexpert": chexpert,
    "tests": tests,
}


def begin(path: Path, scale: Scale) -> dict[str, Any]:
    """What is known of this machine from earlier calls, or nothing but the machine."""
    from bench.environment import git_state, machine, versions
    from bench.training.device import device_name, resolve_device

    here = {"machine": machine(device_name(resolve_device(scale.device))), "versions": versions()}
    known: dict[str, Any] = {}
    if path.exists():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if all(earlier[key] == here[key] for key in here):
            known = earlier
    return known | here | {"schema": 1, "git": git_state()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="of " + ", ".join(PARTS))
    parser.add_argument("--minutes", type=float, help="start nothing that would end later")
    parser.add_argument("--data", type=Path, help="a CheXpert tree; else $CHEXPERT_ROOT")
    parser.add_argument("--output", type=Path, help=f"default {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--dry", action="store_true", help="in miniature, on the CPU")
    asked = parser.parse_args(arguments)
    parts = asked.parts.split(",")
    if unknown := [name for name in parts if name not in PARTS]:
        parser.error(f"unknown parts {', '.join(unknown)}")
    import torch

    scale = DRY if asked.dry else FULL
    if scale is FULL and not torch.cuda.is_available():
        print("there is no CUDA device here, so there is nothing to measure", file=sys.stderr)
        return 2
    output = asked.output or (ROOT / ".cache" / "gpu-dry.json" if asked.dry else RESULTS)
    root = asked.data or (None if asked.dry else os.environ.get("CHEXPERT_ROOT"))
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        data = None if root is None else Path(root)
        session = Session(scale, begin(output, scale), Path(folder), data)
        if asked.minutes is not None:
            session.deadline = time.monotonic() + 60 * asked.minutes
        for name in parts:
            measure(session, name)
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(session.known, indent=1) + "\n", encoding="utf-8")
    rows = verdicts(
        session.known, scale.batches[0], [clients for clients, _ in scale.clients], scale.workloads
    )
    show(session.known, rows, dry=asked.dry)
    good = ("reached", "MISSED") if asked.dry else ("reached",)
    return 0 if all(row["verdict"] in good for row in rows) else 1


def show(known: dict[str, Any], rows: list[dict[str, Any]], *, dry: bool) -> None:
    """Prints the tables; in a dry run without verdicts."""
    from bench.report.render import render_many

    print(render_many(tables(known, rows, dry=dry), "table"), end="")


def measure(session: Session, name: str) -> None:
    """Runs a part, unless there is no time for it; one that fails leaves the others to go on."""
    started = time.monotonic()
    if started + EXPECTED[name] > session.deadline:
        print(f"{name}: no time left for it", file=sys.stderr)
        return
    print(f"== {name}", file=sys.stderr, flush=True)
    try:
        session.known[name] = PARTS[name](session)
    except Exception:  # whatever it was, the other parts are worth having
        traceback.print_exc()
        session.known[name] = None
    print(f"== {name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
