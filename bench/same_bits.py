"""Trains a short job with both stages in several shapes of the cluster and compares the digests of
the final checkpoints with that of `emporium run`.

usage: same_bits.py --build DIR [--steps N]
"""
import argparse
import os
import sys
import tempfile

import job_runs

# workers, servers, shards per server, lanes
SHAPES = ((1, 1, 1, 1), (1, 2, 2, 2), (2, 3, 1, 1), (3, 1, 2, 1), (4, 1, 1, 2))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True)
    parser.add_argument("--steps", type=int, default=12, help="of each train stage")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="emporium-bits-") as place:
        data = os.path.join(place, "data")
        job_runs.emporium(options.build, "generate", data, "--users", "300", "--items", "200")
        job = job_runs.changed_job(
            "bench/jobs/generated.textproto", os.path.join(place, "short.textproto"),
            [(r"^  train \{$", f"  train {{\n    max_steps: {options.steps}"),
             (r"^.*(validate_every_epochs|early_stop).*$", ""),
             (r"^stage \{ name: \"(evaluate|export)\".*$", "")])
        work = os.path.join(place, "run")
        job_runs.emporium(options.build, "run", job, "--data", data, "--work_dir", work)
        expected = job_runs.last_digest(options.build, work)
        print(f"run: {expected}")
        # The digest must be able to tell runs apart: another seed is another result.
        other = job_runs.changed_job(job, os.path.join(place, "other.textproto"),
                                     [(r"^seed: \d+", "seed: 4711")])
        work = os.path.join(place, "other")
        job_runs.emporium(options.build, "run", other, "--data", data, "--work_dir", work)
        if job_runs.last_digest(options.build, work) == expected:
            sys.exit("another seed gave the same digest: the digest shows nothing")
        different = 0
        for workers, servers, shards, lanes in SHAPES:
            work = os.path.join(place, f"launch-{workers}-{servers}-{shards}-{lanes}")
            job_runs.emporium(options.build, "launch", job, "--data", data, "--work_dir", work,
                              "--workers", str(workers), "--servers", str(servers),
                              "--shards_per_server", str(shards), "--lanes", str(lanes))
            digest = job_runs.last_digest(options.build, work)
            print(f"{workers} workers x {servers * shards} shards x {lanes} lanes: {digest}")
            different += digest != expected
    print(f"figure shapes {len(SHAPES)}")
    print(f"figure different_digests {different}")


if __name__ == "__main__":
    main()
