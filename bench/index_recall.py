"""recall@k of the HNSW index that the quick start's job exports: as the export states it, and as
Python's faiss finds it.

usage: index_recall.py --data DIR --build DIR
"""
import argparse
import os
import re
import subprocess
import sys

import job_runs


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--build", required=True)
    options = parser.parse_args()
    # The quick start's own run: it goes on where it stopped, so a finished one is not done again.
    work = os.path.join(job_runs.ROOT, "movielens.emporium")
    job_runs.emporium(options.build, "run", "bench/jobs/movielens.textproto", "--data",
                      os.path.abspath(options.data), "--work_dir", work)
    done = subprocess.run([job_runs.PYTHON, "tests/python/check_index.py",
                           os.path.join(work, "exports", "export"), "0"], cwd=job_runs.ROOT,
                          capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr)
    found = re.search(r"recall@(\d+) (\S+), stated (\S+)", done.stdout)
    if found is None:
        sys.exit("the index could not be searched from Python")
    print(f"figure python_faiss_recall@{found.group(1)} {found.group(2)}")
    print(f"figure export_recall@{found.group(1)} {found.group(3)}")


if __name__ == "__main__":
    main()
