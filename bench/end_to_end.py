"""Workloads W1, W1s, W2 and W3 beside PyTorch and, where it is installed, FBGEMM and TorchRec: ours
before and after the peers, so that what else the machine does meets both.

usage: end_to_end.py --build DIR --peers SCRIPTS [--peers_python PYTHON] [--workload W1,W1s,W2,W3]

SCRIPTS and PYTHON are those of bench/peers.
"""
import argparse
import os
import re
import subprocess
import sys

import job_runs


def output_of(command):
    print("$", " ".join(command), flush=True)
    done = subprocess.run(command, cwd=job_runs.ROOT, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    print(done.stdout, flush=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} ended with code {done.returncode}")
    return done.stdout


def ours(options, workload):
    text = output_of([os.path.join(options.build, "bench", "bench_train"),
                      f"--workload={workload}", "--windows=3"])
    found = re.search(r"^figure \w+_samples_per_s (\S+)$", text, re.M)
    return float(found.group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True)
    parser.add_argument("--peers", required=True)
    parser.add_argument("--peers_python", default=sys.executable)
    parser.add_argument("--workload", default="W1,W1s,W2,W3")
    options = parser.parse_args()
    for workload in options.workload.split(","):
        before = ours(options, workload)
        text = output_of([os.path.join("bench", "peers"), options.peers, "--python",
                          options.peers_python, "--workload", workload])
        best = re.search(rf"^best {workload} (\S+) (\S+)$", text, re.M)
        if best is None:
            sys.exit(f"no peer could be measured on {workload}")
        rate = (before + ours(options, workload)) / 2
        print(f"{workload}: {rate:.0f} samples/s, best peer {best.group(1)} {best.group(2)}")
        print(f"figure {workload.lower()}_over_best_peer {rate / float(best.group(2)):.4f}",
              flush=True)


if __name__ == "__main__":
    main()
