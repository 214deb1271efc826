"""Converts a job's text and compares reading the column files with reading the text itself.

usage: read_speed.py --data DIR --build DIR     (DIR holds events_clean.csv.gz of onlineretail)
"""
import argparse
import gzip
import os
import shutil
import subprocess
import tempfile

import job_runs

COLUMNS = ("ts:int", "customer", "item", "country", "invoice")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--build", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="emporium-read-") as place:
        columns = os.path.join(place, "columns")
        job_runs.emporium(options.build, "convert", "bench/jobs/onlineretail.textproto", columns,
                          "--data", options.data)
        text = os.path.join(place, "events.csv")
        with gzip.open(os.path.join(options.data, "events_clean.csv.gz")) as packed, \
                open(text, "wb") as plain:
            shutil.copyfileobj(packed, plain)
        subprocess.run([os.path.join(options.build, "bench", "bench_read"),
                       text, columns, *COLUMNS], check=True)


if __name__ == "__main__":
    main()
