"""Makes the CSV files of bench/jobs/product_search_*.textproto from the public files.

usage: product_search_data.py pairs|queries --data DIR --out DIR

A line of the data is a user, a query and an item that he bought under it; there are no times, so a
user's purchases stand in the order of the file. Items have no text but the words of the queries
under which they were bought in training (items.csv).

pairs: of the training lines, a fixed tenth of the pairs (user, item) is test and another twentieth
validation, each by its first line; all other lines of such a pair are dropped, so nobody meets the
item in his own history.
queries: the data's own test, whose queries training never has. A user's sequence is search,
purchase, search, purchase: a search has words and no item. A pair that was bought under several
queries is there once, by one of them that is drawn. A user with several test queries has a name
with the same sequence for each.
"""
import argparse
import gzip
import os
import random

import csv_files

SEED, LATER = 20260201, 10_000_000


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [line.split() for line in file]


def lines_of(path):
    """(user, number of the query, item) of each line."""
    for fields in read(path):
        if len(fields) == 4:
            user, query = fields[0].rsplit("_", 1)
            yield user, int(query), fields[2]


def by_user(lines):
    users = {}
    for user, query, item in lines:
        users.setdefault(user, []).append((query, item))
    return users


def write(out, name, head, rows):
    csv_files.write(out, name, head, rows)
    print("%s: %d rows" % (name, len(rows)))


def write_items(out, train, items, words):
    of_item = {item: {} for item in sorted(items)}
    for _, query, item in train:
        of_item[item].update(dict.fromkeys(words[query]))
    write(out, "items.csv", ["item", "words"],
          [[item, " ".join(own)] for item, own in of_item.items()])


def held_out(train, words, out):
    pairs = list(dict.fromkeys((user, item) for user, _, item in train))
    random.Random(SEED).shuffle(pairs)
    tenth, twentieth = len(pairs) // 10, len(pairs) // 20
    held = {pair: ("test.csv", 2000) for pair in pairs[:tenth]}
    held.update({pair: ("valid.csv", 1000) for pair in pairs[tenth:tenth + twentieth]})
    rows = {"train.csv": [], "valid.csv": [], "test.csv": []}
    for user, lines in by_user(train).items():
        place, written = {}, set()
        for query, item in lines:
            name, time = held.get((user, item), ("train.csv", None))
            if time is None:
                time = place.setdefault(item, len(place))
            elif item in written:
                continue
            written.add(item)
            rows[name].append([user, " ".join(words[query]), item, time])
    for name, of_file in rows.items():
        write(out, name, ["user", "query", "item", "time"], of_file)
    kept = [line for line in train if (line[0], line[2]) not in held]
    write_items(out, kept, {item for _, _, item in train}, words)


def sequence(name, pairs, start):
    """Rows of searches, each with the items that were bought under it."""
    for place, (query, items) in enumerate(pairs):
        yield [name, " ".join(query), "", start + 2 * place]
        for item in items:
            yield [name, "", item, start + 2 * place + 1]


def whole_queries(train, test, words, out):
    draw = random.Random(SEED)
    queries = {}
    for user, query, item in train:
        queries.setdefault(user, {}).setdefault(item, []).append(query)

    def part(query):
        """Half of its words, so that those of a new query count one by one."""
        return [word for word in words[query] if draw.random() < 0.5] or [draw.choice(words[query])]

    past = {user: [(part(draw.choice(asked)), [item]) for item, asked in of_item.items()]
            for user, of_item in queries.items()}
    asked = {}
    for user, query, item in test:
        asked.setdefault(user, {}).setdefault(query, []).append(item)
    rows = {"train.csv": [], "test.csv": []}
    start = 0
    for user, pairs in past.items():
        for n, tested in enumerate([[(words[query], items)] for query, items in
                                    asked.get(user, {}).items()] or [[]]):
            name = f"{user}_{n}" if n else user
            rows["train.csv"] += sequence(name, pairs, start)
            start += 2 * len(pairs)
            rows["test.csv"] += sequence(name, tested, LATER)
    for name, of_file in rows.items():
        write(out, name, ["user", "query", "item", "time"], of_file)
    write_items(out, train, {item for _, _, item in train}, words)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pairs", "queries"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    train = list(lines_of(os.path.join(options.data, "train.qrels.gz")))
    words = read(os.path.join(options.data, "query_text.txt.gz"))
    if options.what == "pairs":
        held_out(train, words, options.out)
    else:
        test = list(lines_of(os.path.join(options.data, "test.qrels.gz")))
        whole_queries(train, test, words, options.out)


if __name__ == "__main__":
    main()
