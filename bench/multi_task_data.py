"""Makes the CSV files of bench/jobs/adult_*.textproto and taobao_*.textproto from the public files.

usage: multi_task_data.py adult|taobao --data DIR --out DIR

adult: adult.data.gz is training, of which every tenth row validates; adult.test.gz is the test.
Labels: income above 50 K, never married; all columns but marital and fnlwgt are inputs, numbers in
bins.
taobao: one row for each view, labels whether the user put the item into the cart and bought it;
rows are split 72/8/20 into training, validation and test by a fixed seed. Beside user and item, in
bins of their logarithms: how many views each has, and how many carts and buys (of the training
files) that no row is about, because they are of items that were not viewed. And for each label,
in bins of equal size, its share among the user's other training rows, each weighed by how alike its
item is to the row's (alike_shares.py, which needs SciPy).
"""
import argparse
import collections
import csv
import gzip
import math
import os
import random

import csv_files

ADULT = ["age", "workclass", "fnlwgt", "education", "education_num", "marital", "occupation",
         "relationship", "race", "sex", "gain", "loss", "hours", "country", "income"]
ADULT_INPUTS = ["age", "workclass", "education", "education_num", "occupation", "relationship",
                "race", "sex", "gain", "loss", "hours", "country"]
TAOBAO_COUNTS = ["user_views", "item_views", "user_carts", "item_carts", "user_buys", "item_buys"]
TAOBAO_SHARES = ["alike_carts", "alike_buys"]
BINNED = {"age": 5, "gain": 1000, "loss": 200, "hours": 5}


def adult_rows(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in csv.reader(file, skipinitialspace=True):
            if len(line) != len(ADULT):
                continue
            row = dict(zip(ADULT, line))
            for name, width in BINNED.items():
                row[name] = str(int(row[name]) // width)
            income = int(row["income"].startswith(">50K"))
            single = int(row["marital"] == "Never-married")
            yield [income, single] + [row[name] for name in ADULT_INPUTS]


def adult(data, out):
    rows = list(adult_rows(os.path.join(data, "adult.data.gz")))
    head = ["income_above", "never_married"] + ADULT_INPUTS
    write(out, "train.csv", head, [row for i, row in enumerate(rows) if i % 10 != 9])
    write(out, "valid.csv", head, [row for i, row in enumerate(rows) if i % 10 == 9])
    write(out, "test.csv", head, list(adult_rows(os.path.join(data, "adult.test.gz"))))


def pairs(path):
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        for line in file:
            user, *items = line.split()
            for item in items:
                yield user, item


def counts(kept):
    """How often each user and each item occurs."""
    return [collections.Counter(side) for side in zip(*kept)]


def taobao(data, out):
    from alike_shares import alike_shares  # adult does without SciPy
    at = lambda name: os.path.join(data, name)
    carts = set(pairs(at("cart_train.txt.gz")))
    known_buys = set(pairs(at("buy_train.txt.gz")))
    buys = known_buys | set(pairs(at("buy_test.txt")))
    views = list(pairs(at("view_train.txt.gz")))
    viewed = set(views)
    of = [counts(views), counts(carts - viewed), counts(known_buys - viewed)]
    rows = [[user, item, int((user, item) in carts), int((user, item) in buys)] +
            [str(int(3 * math.log2(1 + count[key])))
             for user_count, item_count in of
             for count, key in ((user_count, user), (item_count, item))]
            for user, item in views]
    random.Random(20260101).shuffle(rows)
    head, n = ["user", "item", "cart", "buy"] + TAOBAO_COUNTS + TAOBAO_SHARES, len(rows)
    train = n * 72 // 100
    for row, *bins in zip(rows, *alike_shares(rows, train, (2, 3))):
        row.extend(map(str, bins))
    write(out, "train.csv", head, rows[:train])
    write(out, "valid.csv", head, rows[train:n * 80 // 100])
    write(out, "test.csv", head, rows[n * 80 // 100:])


def write(out, name, head, rows):
    csv_files.write(out, name, head, rows)
    rates = [sum(row[head.index(label)] for row in rows) / len(rows)
             for label in head if isinstance(rows[0][head.index(label)], int)]
    print("%s: %d rows, label rates %s" % (name, len(rows), " ".join("%.4f" % r for r in rates)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["adult", "taobao"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    {"adult": adult, "taobao": taobao}[options.what](options.data, options.out)


if __name__ == "__main__":
    main()
