"""Samples a second of workload W1 through `emporium launch` (a server with one shard and a worker
with one lane, processes that speak over loopback TCP) beside `emporium run` in the same shape, in
turn.

usage: launch_speed.py --build DIR [--data DIR] [--rounds N] [--steps N]

A run's first stage fills the tables; the second is measured, from its begin to its checkpoint.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

import job_runs

SAMPLES_PER_STEP = 8192
WARM_STEPS = 37  # one pass over the data


def rate_of(work_dir, steps):
    with open(os.path.join(work_dir, "status.json"), encoding="utf-8") as file:
        status = json.load(file)
    begin = [e["unix_ms"] for e in status["events"] if e["text"] == "stage 'train' begins"]
    end = [c["unix_ms"] - c["pause_ms"] for c in status["checkpoints"] if c["stage"] == "train"]
    if not begin or not end:
        sys.exit(f"{work_dir}/status.json does not say when the stage began and ended")
    return steps * SAMPLES_PER_STEP / ((end[-1] - begin[-1]) / 1e3)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True)
    parser.add_argument("--data", default=os.path.join(job_runs.ROOT, "build", "bench-data"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    # Makes the data where it is not there yet.
    subprocess.run([os.path.join(options.build, "bench", "bench_train"), "--workload=W1",
                    f"--data={options.data}", "--windows=1", "--window_seconds=0.1"],
                   cwd=job_runs.ROOT, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    rates = {"run": [], "launch": []}
    with tempfile.TemporaryDirectory(prefix="emporium-launch-") as place:
        job = job_runs.changed_job(
            "bench/jobs/w1.textproto", os.path.join(place, "w1.textproto"),
            [(r'^stage \{\n  name: "train"\n((?:.*\n)*?\})$',
              r'stage {\n  name: "warm"\n\1\nstage {\n  name: "train"\n\1'),
             (r"epochs: 1000", f"epochs: 1000\n    max_steps: {options.steps}"),
             (r"lanes: 2 shards_per_server: 2", "lanes: 1 shards_per_server: 1")])
        with open(job, encoding="utf-8") as file:
            text = file.read()
        with open(job, "w", encoding="utf-8") as file:
            file.write(text.replace(f"max_steps: {options.steps}", f"max_steps: {WARM_STEPS}", 1))
        for number in range(options.rounds):
            for verb in rates:
                work = os.path.join(place, f"{verb}-{number}")
                shape = ["--workers", "1", "--servers", "1"] if verb == "launch" else []
                job_runs.emporium(options.build, verb, job, "--data",
                                  os.path.join(options.data, "ctr"), "--work_dir", work, *shape)
                rates[verb].append(rate_of(work, options.steps))
                print(f"{verb}: {rates[verb][-1]:.0f} samples/s", flush=True)
    ratios = [launched / run for run, launched in zip(rates["run"], rates["launch"])]
    print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} - {max(ratios):.3f})")
    print(f"figure launch_over_run {statistics.median(ratios):.4f}")


if __name__ == "__main__":
    main()
