"""Makes the CSV files of bench/jobs/retrotech_*.textproto from the public *_sessions.gz.

usage: retrotech_data.py --data DIR --out DIR

One row for each document that a session of a query was shown. Sessions, of all queries together,
are split 72/8/20 into training, validation and test by a fixed seed.

pair: query and document, all that the models know. place: 1 is the first, as a number and as a
text; query_place groups the impressions of one place of one query. served_place: the place in
training, "none" in validation and test, for a model that takes it as an input.
"""
import argparse
import collections
import csv
import glob
import gzip
import os
import random

import csv_files

HEAD = ["session", "pair", "query_place", "place", "place_text", "served_place", "clicked"]


def sessions(data):
    """{(query, session): rows} in the files' order; rows without the served place."""
    found = collections.OrderedDict()
    for path in sorted(glob.glob(os.path.join(data, "*_sessions.gz"))):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                query, place = row["query"], int(float(row["rank"])) + 1
                session = f"{query}|{row['sess_id']}"
                found.setdefault(session, []).append(
                    [session, f"{query}|{row['clicked_doc_id']}", f"{query}|{place}", place,
                     f"p{place}", int(row["clicked"] == "True")])
    return found


def write(out, name, of, served):
    rows = [row[:5] + [row[4] if served else "none"] + row[5:] for session in of for row in session]
    csv_files.write(out, name, HEAD, rows)
    clicks = sum(row[-1] for row in rows)
    print(f"{name}: {len(of)} sessions, {len(rows)} rows, click rate {clicks / len(rows):.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    found = list(sessions(options.data).values())
    random.Random(20260101).shuffle(found)
    n = len(found)
    write(options.out, "train.csv", found[:n * 72 // 100], True)
    write(options.out, "valid.csv", found[n * 72 // 100:n * 80 // 100], False)
    write(options.out, "test.csv", found[n * 80 // 100:], False)


if __name__ == "__main__":
    main()
