"""The checks fail on what they are there for. Every tree here is made for the test."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


class TreeTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def write(self, path, text):
        full = os.path.join(self.directory.name, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)

    def check(self, name):
        return run(sys.executable, f".ci/check_{name}", "--tree", self.directory.name)


class Includes(TreeTest):
    def test_a_tree_that_follows_the_arrows(self):
        self.write("worker/a.cc", '#include "models/model.h"\n#include <vector>\n')
        self.write("cluster/b.cc", '#include "ps/table.h"\n')
        self.assertEqual(self.check("includes")[0], 0)

    def test_a_planted_wrong_include(self):
        self.write("ps/a.h", '#pragma once\n\n#include "worker/client.h"\n')
        code, output = self.check("includes")
        self.assertEqual(code, 1)
        self.assertIn("ps/a.h:3: ps may not include worker", output)

    def test_every_forbidden_arrow(self):
        for source, target in [("proto", "runtime"), ("runtime", "ps"), ("models", "runtime"),
                               ("models", "worker"), ("worker", "ps"), ("worker", "scheduler"),
                               ("scheduler", "ps"), ("ps", "scheduler"), ("ps", "cluster")]:
            with self.subTest(arrow=f"{source} -> {target}"):
                self.write(f"{source}/planted.cc", f'#include "{target}/x.h"\n')
                self.assertIn(f"{source} may not include {target}", self.check("includes")[1])
                os.remove(os.path.join(self.directory.name, source, "planted.cc"))

    def test_a_library_in_the_wrong_folder(self):
        self.write("worker/a.cc", "#include <torch/types.h>\n")
        self.assertIn("worker may not include <torch/types.h>", self.check("includes")[1])

    def test_gpu_code(self):
        self.write("models/a.cu", '#include "worker/lane.h"\n')
        self.write("ps/a.cc", "#include <cuda_runtime_api.h>\n")
        output = self.check("includes")[1]
        self.assertIn("models may not include worker", output)
        self.assertIn("ps may not include <cuda_runtime_api.h>", output)

    def test_a_path_that_does_not_start_at_the_root(self):
        self.write("ps/a.cc", '#include "table.h"\n')
        self.assertIn("write the path from the root", self.check("includes")[1])

    def test_arrows_are_listed(self):
        self.write("cluster/b.cc", '#include "ps/table.h"\n#include "ps/index.h"\n')
        code, output = run(sys.executable, ".ci/check_includes", "--arrows", "--tree",
                           self.directory.name)
        self.assertEqual(code, 0)
        self.assertIn("cluster -> ps (2)", output)


class Sizes(TreeTest):
    def test_the_limits(self):
        self.write("ps/a.cc", "\n" * 400)
        self.write("tests/ps/a_test.cc", "\n" * 600)
        self.assertEqual(self.check("sizes")[0], 0)
        self.write("ps/a.cc", "\n" * 401)
        self.write("tests/ps/a_test.cc", "\n" * 601)
        code, output = self.check("sizes")
        self.assertEqual(code, 1)
        self.assertIn("ps/a.cc: 401 lines, 400 are allowed", output)
        self.assertIn("tests/ps/a_test.cc: 601 lines, 600 are allowed", output)

    def test_the_ratchet_lets_a_file_shrink_and_never_grow(self):
        self.write(".ci/size_ratchet", "# why\nps/a.cc 500\n")
        for lines, expected in [(500, None), (501, "grew to 501 lines"),
                                (499, "shrank to 499 lines; lower its number"),
                                (400, "remove it from .ci/size_ratchet")]:
            with self.subTest(lines=lines):
                self.write("ps/a.cc", "\n" * lines)
                code, output = self.check("sizes")
                self.assertEqual(code, 1 if expected else 0)
                self.assertIn(expected or "within its limit", output)

    def test_a_ratchet_entry_without_a_file(self):
        self.write(".ci/size_ratchet", "ps/gone.cc 500\n")
        self.assertIn("not in the tree", self.check("sizes")[1])


class Banned(TreeTest):
    def test_words(self):
        for line in ["const char* x = getenv(name);", "std::this_thread::sleep_for(d);",
                     "T* t = new Thing(1);", "delete thing;", "int r = rand();", "// TODO: later"]:
            with self.subTest(line=line):
                self.write("ps/a.cc", line + "\n")
                self.assertIn("ps/a.cc:1", self.check("banned")[1])

    def test_what_only_looks_like_one(self):
        self.write(
    "ps/a.cc", 'Say("a new Thing(x) and getenv");  // a new thing\n'
    "Foo(const Foo&) = delete;\nint new_items(3);\n"
    "std::unique_ptr<Foo> foo(new Foo(1));\nreturn std::unique_ptr<Foo>(\n"
    "    new Foo(2));\n"
    "getenv(x);  // allowed: the only place that reads it\n")
        self.assertEqual(self.check("banned")[0], 0)

    def test_using_namespace_in_headers_only(self):
        self.write("ps/a.cc", "using namespace std;\n")
        self.assertEqual(self.check("banned")[0], 0)
        self.write("ps/a.h", "using namespace std;\n")
        self.assertEqual(self.check("banned")[0], 1)


class Reference(TreeTest):
    def test_docs_job_md_is_what_the_schema_says(self):
        code, output = run(sys.executable, "docs/make_job_md.py", "--check", "docs/job.md")
        self.assertEqual(code, 0, output)

    def test_every_field_of_the_schema_is_in_it(self):
        with open(os.path.join(ROOT, "proto/job.proto"), encoding="utf-8") as file:
            fields = re.findall(
    r"^\s+(?:optional|repeated)?\s*[\w.]+ (\w+) = \d+",
    file.read(),
     re.M)
        with open(os.path.join(ROOT, "docs/job.md"), encoding="utf-8") as file:
            reference = file.read()
        self.assertGreater(len(fields), 100)
        self.assertEqual([name for name in fields if f"| `{name}` |" not in reference], [])

    def test_a_stale_reference_is_noticed(self):
        self.write("job.md", "# Something else\n")
        code, output = run(sys.executable, "docs/make_job_md.py", "--check",
                           os.path.join(self.directory.name, "job.md"))
        self.assertEqual(code, 1)
        self.assertIn("is stale; run: python3 docs/make_job_md.py", output)


if __name__ == "__main__":
    unittest.main()
