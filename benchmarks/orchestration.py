"""What orchestration costs: 24 short trials by Augury, by a shell loop, and by arithmetic alone.

    python benchmarks/orchestration.py

(a) `augury run` on a fresh store, from the start of the process to its end;
(b) a shell loop over a plain single-process PyTorch script that does the same training, with
    torch's default threads;
(c) the ideal: the bare training time of the same trials on one thread, without imports, divided
    by the workers. It is measured on as many processes at once as there are workers, before and
    after (a), because a core is slower while its neighbours work.

Prints one JSON object on its last line.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NUM_TRIALS = 24
BATCH_SIZE = 32
NUM_TRAIN = 200
EPOCHS = int(os.environ.get("AUGURY_BENCH_EPOCHS", "170"))
SAMPLED = 3
"""Trials timed bare by each process, before (a) and again after it."""

STUDY = f"""
question: What does orchestration cost?
dataset: {{name: digits}}
subset: {{max_real: {NUM_TRAIN}}}
train: {{model: small_cnn, epochs: {EPOCHS}, batch_size: {BATCH_SIZE}}}
seeds: {list(range(NUM_TRIALS))}
"""

BARE = """
import json, sys, time
from pathlib import Path
import orchestrator as augury
from orchestrator.ledger import Ledger
from orchestrator.steps import THREADS
import torch, timm.optim, timm.scheduler
from tasks.packs import read_all
from tasks.train import train

class Unsaved:
    def load(self): return None
    def save_if_due(self, state): pass

torch.set_num_threads(THREADS)
study, store, out, first, count = sys.argv[1:]
planned = augury.plan([augury.load_study(study)], store)
specs = [s.spec for s in planned.plan.steps.values() if s.kind == "trial"]
pack = Ledger(store).fetch("pack", specs[0].cell.images.pack)
seconds = []
for index, spec in enumerate(specs[int(first):int(first) + int(count)]):
    folder = Path(out) / f"{first}-{index}"
    folder.mkdir(parents=True)
    started = time.perf_counter()
    read_all(train(spec, {spec.cell.images.pack: pack}, folder, Unsaved()))
    seconds.append(time.perf_counter() - started)
print(json.dumps(seconds))
"""


def bare_seconds(folder: Path, study: Path, store: Path, workers: int, name: str) -> list[float]:
    """Train a few of the trials with nothing around them, on all workers at once."""
    running = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", BARE, str(study), str(store), str(folder / name)),
                *(str(worker * SAMPLED), str(SAMPLED)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for worker in range(workers)
    ]
    found: list[float] = []
    for process in running:
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit("a bare training failed")
        found += json.loads(output.splitlines()[-1])
    return found


def timed(command: list[str] | str, folder: Path) -> float:
    """Seconds that a command takes, from outside."""
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        shell=isinstance(command, str),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    """Run all three and print the ratios."""
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = folder / "cost.yaml"
        study.write_text(STUDY)
        augury = [sys.executable, "-m", "orchestrator"]
        # A store of its own holds the pack for (c), so that (a) starts from nothing.
        other, store = folder / "other", folder / "store"
        few = [*augury, "run", str(study), "--set", "seeds=[99]", "--store", str(other)]
        timed([*few, "--set", "train.epochs=1"], folder)
        before = bare_seconds(folder, study, other, workers, "before")
        run_s = timed([*augury, "run", str(study), "--store", str(store)], folder)
        after = bare_seconds(folder, study, other, workers, "after")
        script = Path(__file__).with_name("_plain_training.py")
        loop = (
            f"for seed in $(seq 0 {NUM_TRIALS - 1}); do {sys.executable} {script} $seed {EPOCHS} "
            f"{BATCH_SIZE} {NUM_TRAIN} || exit 1; done"
        )
        loop_s = timed(loop, folder)
        records = [json.loads(path.read_text()) for path in store.glob("trial/*/done.json")]
    bare_s = statistics.mean(before + after)
    ideal_s = bare_s * NUM_TRIALS / workers
    print(
        json.dumps(
            {
                "trials": NUM_TRIALS,
                "workers": workers,
                "machine": platform.machine(),
                "bare_trial_s": round(bare_s, 2),
                "trial_in_run_s": round(
                    statistics.mean(r["result"]["seconds"] for r in records), 2
                ),
                "a_augury_s": round(run_s, 1),
                "b_shell_loop_s": round(loop_s, 1),
                "c_ideal_s": round(ideal_s, 1),
                "a_over_b": round(run_s / loop_s, 3),
                "c_over_a": round(ideal_s / run_s, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
