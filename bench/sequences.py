"""Makes the CSV files of bench/jobs/beauty_*, toys_* and bert4rec_* from the public files.

usage: sequences.py beauty|toys|bert4rec --data DIR --out DIR

beauty, toys: Beauty.txt or Toys_and_Games.txt (a user and his items a line, in the order of time)
and the *_item2attributes.json beside it. bert4rec: beauty.txt (a user and an item a line).

events.csv has user, item and time, which is the item's place in the user's sequence; items.csv has
every item and, as words, the ids of its attributes. Both have the first and the last that the file
lists of the item (mostly a brand and the narrowest category) in columns of their own.
"""
import argparse
import csv
import json
import os

FILES = {"beauty": "Beauty", "toys": "Toys_and_Games"}


def sequences(path):
    """(user, items) of each line."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            user, *items = line.split()
            yield user, items


def joined(path):
    """(user, items) of a file with one item a line, users in the order of their first lines."""
    items_of = {}
    for user, items in sequences(path):
        items_of.setdefault(user, []).extend(items)
    return items_of.items()


def read(what, data):
    """Sequences and the attributes of each item."""
    if what == "bert4rec":
        return list(joined(os.path.join(data, "beauty.txt"))), {}
    name = os.path.join(data, FILES[what])
    with open(name + "_item2attributes.json", encoding="utf-8") as file:
        attributes = json.load(file)
    return list(sequences(name + ".txt")), attributes


def write(out, name, head, rows):
    with open(os.path.join(out, name), "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted(FILES) + ["bert4rec"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    users, attributes = read(options.what, options.data)
    items = sorted({item for _, of_user in users for item in of_user}, key=int)
    os.makedirs(options.out, exist_ok=True)
    ends = {item: [listed[0], listed[-1]] for item, listed in attributes.items() if listed}
    none = ["", ""]
    write(options.out, "events.csv", ["user", "item", "time", "first", "last"],
          ([user, item, place] + ends.get(item, none)
           for user, of_user in users for place, item in enumerate(of_user)))
    write(options.out, "items.csv", ["item", "attributes", "first", "last"],
          ([item, " ".join(str(a) for a in sorted(set(attributes.get(item, []))))]
           + ends.get(item, none) for item in items))
    print("%d users, %d items, %d events, %d items with attributes" % (
        len(users), len(items), sum(len(of_user) for _, of_user in users),
        sum(bool(attributes.get(item)) for item in items)))


if __name__ == "__main__":
    main()
