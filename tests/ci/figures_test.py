"""bench/figures: goals, exit codes, its table. Measurements here are made up, never Emporium's."""
import contextlib
import importlib.machinery
import io
import os
import sys
import tempfile
import types
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def load_figures():
    loader = importlib.machinery.SourceFileLoader("figures", os.path.join(ROOT, "bench", "figures"))
    module = types.ModuleType("figures")
    module.__file__ = os.path.join(ROOT, "bench", "figures")
    loader.exec_module(module)
    return module


class Figures(unittest.TestCase):
    def setUp(self):
        self.figures = load_figures()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.figures.TABLE = os.path.join(directory.name, "figures.md")
        self.figures.SUMMARY = os.path.join(directory.name, "reliability.md")
        with open(self.figures.SUMMARY, "w", encoding="utf-8") as file:
            file.write("| ID | what | measured |\n|---|---|---|\n"
                       "| A | one | ? |\n| - | two | by eye |\n")

    def measurement(self, code, *figures, needs_data=False):
        return self.figures.Measurement("made up", ["{python}", "-c", code],
                                        [self.figures.Figure(*f) for f in figures], needs_data)

    def run_with(self, measurements, *identifiers, write=False, data=None):
        self.figures.MEASUREMENTS = measurements
        options = types.SimpleNamespace(data=data, build="build", write=write, verbose=False,
                                        recorded=False)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = self.figures.run(identifiers, options)
        return code, out.getvalue().splitlines(), err.getvalue()

    def test_goals(self):
        for value, goal, met in [(0.15, ">= 0.15", True), (0.1499, ">= 0.15", False),
                                  (5, "<= 5", True),
                                 (5.1, "<= 5", False), (0, "= 0", True), (1, "= 0", False),
                                 (-3, "", True)]:
            with self.subTest(value=value, goal=goal):
                self.assertEqual(self.figures.is_met(value, goal), met)

    def test_lines_and_exit_code(self):
        good = self.measurement("print('figure speed 12.5'); print('figure size 3')",
                                ("speed", ">= 10"), ("size", ""))
        short = self.measurement("print('figure speed 9')", ("speed", ">= 10"))
        self.assertEqual(self.run_with({"G": good}, "G"),
                         (0, ["G speed 12.5 >=10 ok", "G size 3 - ok"], ""))
        code, lines, _ = self.run_with({"G": good, "S": short}, "S", "G")
        self.assertEqual((code, lines[0]), (1, "S speed 9 >=10 short"))

    def test_what_cannot_be_measured_is_said(self):
        broken = self.measurement("print('no disk'); raise SystemExit(4)", ("speed", ""))
        code, lines, errors = self.run_with({"B": broken}, "B")
        self.assertEqual((code, lines), (2, []))
        self.assertIn("no disk", errors)
        self.assertIn("ended with code 4", errors)
        silent = self.measurement("pass", ("speed", ""))
        self.assertIn("did not print it", self.run_with({"B": silent}, "B")[2])
        data = self.measurement("pass", ("speed", ""), needs_data=True)
        self.assertIn("needs --data", self.run_with({"B": data}, "B")[2])

    def test_the_table_keeps_other_rows_and_replaces_its_own(self):
        def result(value):
            return self.measurement(f"print('figure speed {value}')", ("speed", ">= 10"))
        self.run_with({"A": result(11), "B": result(12)}, "B", "A", write=True)
        self.run_with({"A": result(9), "B": result(12)}, "A", write=True)
        with open(self.figures.TABLE, encoding="utf-8") as file:
            rows = [line for line in file if line.startswith(("| A |", "| B |"))]
        self.assertEqual(len(rows), 2)
        self.assertIn("| A | speed | 9 | >=10 | short |", rows[0])
        self.assertIn("| B | speed | 12 | >=10 | ok |", rows[1])
        with open(self.figures.SUMMARY, encoding="utf-8") as file:
            lines = file.read().splitlines()
        self.assertRegex(lines[2], r"^\| A \| one \| speed 9 \(short\); [-0-9]{10} \|$")
        self.assertEqual(lines[3], "| - | two | by eye |")

    def test_the_summary_says_what_the_table_says(self):
        table, measurements = self.figures.figure_table, self.figures.MEASUREMENTS
        rows = table.read(os.path.join(ROOT, "docs", "figures.md"), measurements)
        with open(os.path.join(ROOT, "docs", "reliability.md"), encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(table.summarized(text, measurements, rows), text)

    def test_every_entry_is_whole(self):
        for identifier, entry in self.figures.MEASUREMENTS.items():
            with self.subTest(identifier=identifier):
                self.assertTrue(entry.about and entry.figures)
                script = entry.command[1] if entry.command[0] == "{python}" else None
                self.assertTrue(script is None or os.path.exists(os.path.join(ROOT, script)))
                for figure in entry.figures:
                    self.figures.is_met(0.0, figure.goal)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    unittest.main()
