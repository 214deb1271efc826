"""Makes the CSV files of bench/jobs/beauty_*.textproto from the public sequence files.

usage: sequences.py NAME --data DIR --out DIR

DIR holds NAME.txt, a line `user item item ...` in the order of time for each user, and
NAME_item2attributes.json, item -> numbers of attributes. events.csv: user, item, time (the place in
the line); items.csv: item, words (an attribute is a word such as a17).
"""
import argparse
import csv
import json
import os


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="such as Beauty")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    items = {}
    with open(os.path.join(options.data, options.name + ".txt"), encoding="utf-8") as source, \
            open(os.path.join(options.out, "events.csv"), "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["user", "item", "time"])
        for line in source:
            user, *sequence = line.split()
            for place, item in enumerate(sequence):
                items[item] = None
                writer.writerow([user, item, place])
    with open(os.path.join(options.data, options.name + "_item2attributes.json"),
              encoding="utf-8") as source:
        attributes = json.load(source)
    with open(os.path.join(options.out, "items.csv"), "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["item", "words"])
        for item in items:
            writer.writerow([item, " ".join(f"a{n}" for n in attributes.get(item, []))])


if __name__ == "__main__":
    main()
