"""Makes the CSV files of bench/jobs/beauty_*, toys_*, bert4rec_* and tricdr_* of the public files.

usage: sequences.py beauty|toys|bert4rec|tricdr --data DIR --out DIR

beauty, toys: Beauty.txt or Toys_and_Games.txt (a user and his items a line, in the order of time)
and the *_item2attributes.json beside it. bert4rec: beauty.txt (a user and an item a line).

events.csv has user, item and time, which is the item's place in the user's sequence; items.csv has
every item and, as words, the ids of its attributes. Both have the first and the last that the file
lists of the item (mostly a brand and the narrowest category) in columns of their own.

tricdr: mix.txt.gz (a user and his items of both domains a line; ids up to 37868 are Toys, others
Games). Of each user and domain the last event is test, the one before validation. train.csv,
valid.csv and test.csv have user, item, time, domain, own and other: the user's events before this
one in its own domain and in the other, oldest first, without held-out ones of either domain, but
for validation events in test.csv. The same of one domain alone in toy_*.csv and game_*.csv. Times
put the files one behind the other; within one they are places in the user's sequence.
For leave-one-out sequences_toy.csv and sequences_game.csv have user, item, time and domain of one
domain. sequences_both.csv has two users for each of theirs, one a domain: the training events of
both domains before the two that are held out in that domain, then these.
"""
import argparse
import gzip
import json
import os

from csv_files import write

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


LAST_TOY, KEPT, LATER = 37868, 20, 1_000_000


def domain_of(item):
    return "toy" if int(item) <= LAST_TOY else "game"


def splits(items):
    """0 train, 1 validation, 2 test: of each of a user's items, by domain."""
    of, seen = [0] * len(items), {}
    for place in reversed(range(len(items))):
        domain = domain_of(items[place])
        of[place] = max(0, 2 - seen.get(domain, 0))
        seen[domain] = seen.get(domain, 0) + 1
    return of


def tricdr_rows(user, items, split):
    """(split, row) of one user's events."""
    for place, item in enumerate(items):
        allowed = 1 if split[place] == 2 else 0
        past = [items[k] for k in range(place) if split[k] <= allowed]
        domain = domain_of(item)
        own = [k for k in past if domain_of(k) == domain]
        other = [k for k in past if domain_of(k) != domain]
        time = place if split[place] == 0 else split[place] * LATER
        yield split[place], [user, item, time, domain, " ".join(own[-KEPT:]),
                             " ".join(other[-KEPT:])]


def time_of(turn, item):
    """The age of an earlier event tells whether it is of the same domain as a later one."""
    return 100 * turn + (50 if domain_of(item) == "game" else 0)


def both_rows(user, items, split):
    """The rows of a user of both domains, once for each domain."""
    for domain in ("toy", "game"):
        held = [k for k in range(len(items)) if split[k] > 0 and domain_of(items[k]) == domain]
        places = [k for k in range(held[0]) if split[k] == 0] + held
        for turn, k in enumerate(places):
            yield [f"{user}_{domain}", items[k], time_of(turn, items[k]), domain_of(items[k])]


def write_tricdr(data, out):
    with gzip.open(os.path.join(data, "mix.txt.gz"), "rt", encoding="utf-8") as file:
        users = [(line.split()[0], line.split()[1:]) for line in file]
    os.makedirs(out, exist_ok=True)
    for prefix, wanted in (("", ("toy", "game")), ("toy_", ("toy",)), ("game_", ("game",))):
        rows = [[], [], []]
        for user, items in users:
            own = [item for item in items if domain_of(item) in wanted]
            for split, row in tricdr_rows(user, own, splits(own)):
                rows[split].append(row)
        for name, of in zip(("train", "valid", "test"), rows):
            write(out, f"{prefix}{name}.csv", ["user", "item", "time", "domain", "own", "other"],
                  of)
        print("%s%d users, %d + %d + %d events" % (
            prefix and prefix + ": ", len(users), *(len(of) for of in rows)))
    head = ["user", "item", "time", "domain"]
    write(out, "sequences_both.csv", head,
          (row for user, items in users for row in both_rows(user, items, splits(items))))
    for domain in ("toy", "game"):
        write(out, f"sequences_{domain}.csv", head,
              ([user, item, time_of(turn, item), domain] for user, items in users
               for turn, item in enumerate(i for i in items if domain_of(i) == domain)))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=sorted(FILES) + ["bert4rec", "tricdr"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    if options.what == "tricdr":
        write_tricdr(options.data, options.out)
        return
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
