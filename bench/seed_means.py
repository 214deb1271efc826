"""Runs a job once for each seed and prints the mean of every metric of its evaluation, and with two
seeds or more its standard deviation over the seeds (NAME_sd).

usage: seed_means.py JOB --data DIR --build DIR --seeds 1,2,3
"""
import argparse
import collections
import os
import statistics
import tempfile

import job_runs


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job")
    parser.add_argument("--data", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--seeds", default="1,2,3")
    options = parser.parse_args()
    values = collections.defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="emporium-quality-") as place:
        for seed in options.seeds.split(","):
            job = job_runs.changed_job(options.job, os.path.join(place, f"seed{seed}.textproto"),
                                       [(r"^seed: \d+", f"seed: {seed}")])
            work = os.path.join(place, f"seed{seed}")
            job_runs.emporium(options.build, "run", job, "--data", os.path.abspath(options.data),
                              "--work_dir", work)
            for name, value in job_runs.metrics_of(work).items():
                values[name].append(value)
            last = " ".join(f"{name} {of[-1]:.4f}" for name, of in values.items())
            print(f"seed {seed}: {last}")
    for name, of in sorted(values.items()):
        print(f"figure {name} {statistics.mean(of):.6f}")
        if len(of) > 1:
            print(f"figure {name}_sd {statistics.stdev(of):.6f}")


if __name__ == "__main__":
    main()
