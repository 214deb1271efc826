"""bench/quality on small made-up data in the form of the public sets: two rows from data to table,
and the losses of the first steps beside those that were recorded.

usage: smoke_test.py               (by ./run_tests --only quality)
       smoke_test.py --record      (writes curves.json anew; EMPORIUM_BUILD names the build)
"""
import csv
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CURVES = os.path.join(HERE, "curves.json")
STEPS = 12
# Row -> its models that are tried.
TRIED = {"frappe": ["LR", "DCNv2"], "beauty": ["SASRec with attributes"]}
FIELDS = ["user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather",
          "country", "city"]


def make_frappe(folder, draw):
    """Rows whose label hangs on user and item together."""
    os.makedirs(folder)
    for name, rows in (("train", 9000), ("valid", 500), ("test", 700)):
        with gzip.open(os.path.join(folder, name + ".csv.gz"), "wt", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["label"] + FIELDS)
            for _ in range(rows):
                user, item = draw.randrange(80), draw.randrange(60)
                label = int(draw.random() < (0.8 if (user + item) % 3 == 0 else 0.1))
                writer.writerow([label, f"u{user}", f"i{item}"] +
                                [f"{field}{draw.randrange(4)}" for field in FIELDS[2:]])


def make_sequences(folder, draw):
    """Users who go round in circles of their own; items of a circle share attributes."""
    os.makedirs(folder)
    with open(os.path.join(folder, "Beauty.txt"), "w", encoding="utf-8") as file:
        for user in range(1, 401):
            circle, start = draw.randrange(8), draw.randrange(12)
            items = [1 + circle * 12 + (start + step) % 12 for step in range(5 + draw.randrange(5))]
            print(user, *items, file=file)
    with open(os.path.join(folder, "Beauty_item2attributes.json"), "w", encoding="utf-8") as file:
        json.dump({str(item): [1 + (item - 1) // 12, 20 + item % 5] for item in range(1, 97)}, file)


def measure(place):
    """{(row, model): its line}"""
    draw = random.Random(3)
    data = os.path.join(place, "data")
    make_frappe(os.path.join(data, "frappe_x1"), draw)
    make_sequences(os.path.join(data, "amazon_sequences"), draw)
    models = [argument for row in TRIED.values() for model in row for argument in ("--only", model)]
    done = subprocess.run(
        [sys.executable, os.path.join(ROOT, "bench", "quality"), *TRIED, *models, "--data", data,
         "--build", os.environ["EMPORIUM_BUILD"], "--seeds", "1,2", "--max_steps", str(STEPS),
         "--results", place],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False)
    if done.returncode not in (0, 1):  # 1: short of the goals
        raise RuntimeError(done.stdout)
    with open(os.path.join(place, "quality.jsonl"), encoding="utf-8") as file:
        return {(line["row"], line["label"]): line for line in map(json.loads, file)}


class Smoke(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as place:
            cls.lines = measure(place)
            with open(os.path.join(place, "quality.md"), encoding="utf-8") as file:
                cls.table = file.read()
        with open(CURVES, encoding="utf-8") as file:
            cls.recorded = json.load(file)

    def test_rows_become_lines_of_the_table(self):
        self.assertEqual(set(self.lines), {(row, model) for row in TRIED for model in TRIED[row]})
        for (row, model), line in self.lines.items():
            with self.subTest(row=row, model=model):
                self.assertEqual(line["seeds"], [1, 2])
                self.assertGreater(line["memory_mib"], 10)
                self.assertIn(f"| {model} | ", self.table)
        values = self.lines["beauty", "SASRec with attributes"]["values"]
        self.assertIn("floor_knn_ndcg@10", values)
        self.assertIn("sampled99_hr@10", values)
        self.assertIn("| floor: item-kNN | ", self.table)

    def test_losses_are_those_that_were_recorded(self):
        for (row, model), line in self.lines.items():
            for seed, curve in zip(line["seeds"], line["curves"]):
                with self.subTest(row=row, model=model, seed=seed):
                    recorded = self.recorded[row][model][str(seed)]
                    self.assertEqual(len(curve), len(recorded))
                    for step, (loss, kept) in enumerate(zip(curve, recorded)):
                        # Not its bits: processors with other vector units sum in other orders.
                        self.assertAlmostEqual(loss / kept, 1, delta=1e-3, msg=f"step {step}")

    def test_seeds_differ(self):
        for line in self.lines.values():
            self.assertNotEqual(*line["curves"])


def record():
    curves = {row: {} for row in TRIED}
    with tempfile.TemporaryDirectory() as place:
        for (row, model), line in measure(place).items():
            curves[row][model] = {str(seed): [round(loss, 6) for loss in curve]
                                  for seed, curve in zip(line["seeds"], line["curves"])}
    with open(CURVES, "w", encoding="utf-8") as file:
        json.dump(curves, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    if "--record" in sys.argv:
        record()
    else:
        unittest.main()
