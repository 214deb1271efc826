"""Runs a job once for each seed and prints the mean of every metric of its evaluation, and with two
seeds or more its standard deviation over the seeds (NAME_sd).

usage: seed_means.py JOB --data DIR --build DIR --seeds 1,2,3
"""
import argparse
import collections
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
        for run in job_runs.train_seeds(options.build, options.job, [], options.seeds.split(","),
                                        options.data, place):
            for name, value in run.metrics.items():
                values[name].append(value)
            last = " ".join(f"{name} {value:.4f}" for name, value in run.metrics.items())
            print(f"seed {run.seed}: {last}")
    for name, of in sorted(values.items()):
        print(f"figure {name} {statistics.mean(of):.6f}")
        if len(of) > 1:
            print(f"figure {name}_sd {statistics.stdev(of):.6f}")


if __name__ == "__main__":
    main()
