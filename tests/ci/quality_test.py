"""bench/quality: its rows fit the jobs, its table says what was measured. Results are made up."""
import importlib.machinery
import os
import sys
import tempfile
import types
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))


def load_quality():
    loader = importlib.machinery.SourceFileLoader("quality", os.path.join(ROOT, "bench", "quality"))
    module = types.ModuleType("quality")
    module.__file__ = os.path.join(ROOT, "bench", "quality")
    loader.exec_module(module)
    return module


class Quality(unittest.TestCase):
    def setUp(self):
        self.quality = load_quality()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.place = directory.name

    def line(self, row, label, values, seeds=(1, 2, 3)):
        return {"row": row, "label": label, "seeds": list(seeds), "values": values,
                "cpu_seconds": 12, "memory_mib": 300, "date": "2026-01-02",
                "machine": "a machine"}

    def test_every_change_of_a_row_matches_its_job(self):
        for name, row in self.quality.ROWS.items():
            self.assertEqual(len({entry.label for entry in row.entries}), len(row.entries), name)
            for entry in row.entries:
                with self.subTest(row=name, model=entry.label):
                    self.quality.job_runs.changed_job(
                        os.path.join("bench", "jobs", entry.job + ".textproto"),
                        os.path.join(self.place, "job.textproto"),
                        [(r"^seed: \d+", "seed: 5"), *entry.changes])

    def test_results_are_kept_and_their_table_follows(self):
        results = {("frappe", "LR"): self.line("frappe", "LR", {"auc": [0.93, 0.94, 0.95],
                                                               "logloss": [0.3, 0.3, 0.3]}),
                   ("frappe", "FM"): self.line("frappe", "FM", {"auc": [0.96]}, seeds=(1,))}
        self.quality.write_results(results, self.place)
        self.assertEqual(self.quality.read_results(self.place), results)
        with open(os.path.join(self.place, "quality.md"), encoding="utf-8") as file:
            text = file.read()
        self.assertIn("| LR | 0.9400 ± 0.0100 | 0.3000 ± 0.0000 | AUC 0.9336: met |", text)
        self.assertIn("| FM | 0.9600 | - |", text)
        self.assertIn("Measured: 1 seeds, 2026-01-02, a machine; 3 seeds", text)
        self.assertNotIn("## Q6", text)

    def test_a_goal_that_is_missed_is_said_to_be(self):
        entry = self.quality.ROWS["frappe"].entries[0]
        line = self.line("frappe", "LR", {"auc": [0.9]})
        self.assertEqual(self.quality.short_of(entry, line), [("auc", 0.9, 0.9336)])
        self.assertIn("AUC 0.9336: short", "\n".join(
            self.quality.row_text("frappe", self.quality.ROWS["frappe"], {("frappe", "LR"): line})))
        line = self.line("frappe", "LR", {"auc": [0.95]})
        self.assertEqual(self.quality.short_of(entry, line), [])

    def test_floors_stand_above_the_models(self):
        row = self.quality.ROWS["onlineretail"]
        label = row.entries[0].label
        line = self.line("onlineretail", label, {
            "hr@10": [0.5], "ndcg@10": [0.15],
            "floor_pop7d_hr@10": [0.4], "floor_pop7d_ndcg@10": [0.1]})
        text = self.quality.row_text("onlineretail", row, {("onlineretail", label): line})
        self.assertIn("| floor: popularity, 7 days | 0.4000 | 0.1000 | | | | |", text)

    def test_unknown_rows_are_refused(self):
        sys.argv = ["quality", "nothing", "--data", "."]
        with self.assertRaises(SystemExit) as ended, open(os.devnull, "w", encoding="utf-8") as out:
            sys.stderr, kept = out, sys.stderr
            try:
                self.quality.main()
            finally:
                sys.stderr = kept
        self.assertEqual(ended.exception.code, 2)


if __name__ == "__main__":
    unittest.main()
