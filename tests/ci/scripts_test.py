"""Set-up and the test runner, where they must not fail silently."""
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

GTEST_RESULTS = ('{"testsuites": [{"testsuite": ['
                 '{"name": "a", "status": "RUN", "result": "COMPLETED"},'
                 '{"name": "b", "status": "RUN", "result": "COMPLETED", "failures": [{}]},'
                 '{"name": "c", "status": "RUN", "result": "SKIPPED"},'
                 '{"name": "d", "status": "NOTRUN", "result": "SUPPRESSED"}]}]}')


class Sandbox(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def script(self, path, text):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)

    def bash(self, text, **environment):
        merged = dict(os.environ, HOME=self.directory, **environment)
        merged.pop("XDG_CACHE_HOME", None)
        done = subprocess.run(["bash", "-c", f"set -euo pipefail; root={ROOT}; source "
                               f"{ROOT}/.ci/lib.sh; {text}"], env=merged, cwd=self.directory,
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


class Download(Sandbox):
    WHEEL = "recbole-1.2.1-py3-none-any.whl"

    def fetch(self):
        fake = self.path("bin", "python3")
        self.script(fake, '#!/bin/sh\n[ "$3" = --version ] && exit 0\necho "no route to host" >&2\n'
                          "exit 1\n")
        return self.bash("fetch_wheel recbole; echo got $wheel",
                         PATH=self.path("bin") + ":" + os.environ["PATH"])

    def test_a_failed_download_names_the_package_and_how_to_go_on(self):
        code, output = self.fetch()
        self.assertEqual(code, 1)
        self.assertIn("no route to host", output)
        self.assertIn("could not download recbole==1.2.1", output)
        self.assertIn(self.WHEEL, output)
        self.assertIn("check the network and run this again", output)
        self.assertEqual([n for n in os.listdir(self.path(".cache/emporium/wheels"))], [])

    def test_a_file_with_another_hash_is_never_taken(self):
        self.script(self.path(".cache/emporium/wheels", self.WHEEL), "not a wheel")
        code, _ = self.fetch()
        self.assertEqual(code, 1)
        self.assertFalse(os.path.exists(self.path(".cache/emporium/wheels", self.WHEEL)))

    def test_every_listed_wheel_has_a_hash_and_a_file(self):
        code, output = self.bash("dependencies wheel build cuda data")
        self.assertEqual(code, 0)
        for line in output.splitlines():
            name, version, sha, file = line.split()
            self.assertRegex(sha, "^[0-9a-f]{64}$")
            self.assertTrue(file.startswith(name.replace("-", "_") + "-" + version), line)

    def test_setup_refuses_what_it_does_not_know(self):
        done = subprocess.run([".ci/setup", "--quick"], cwd=ROOT, capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("unknown argument --quick", done.stderr)
        self.assertIn("usage: .ci/setup", done.stderr)

    def test_a_wrong_libtorch_root_is_named(self):
        done = subprocess.run([".ci/setup"], cwd=ROOT, capture_output=True, text=True, check=False,
                              env=dict(os.environ, LIBTORCH_ROOT=self.directory))
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"LIBTORCH_ROOT={self.directory} holds no lib/libtorch_cpu.so", done.stderr)


class Runner(Sandbox):
    """run_suites.py over programs that only play gtest; folder names are those of tests/."""

    def suites(self, program, *more):
        self.script(self.path("tests", "test_proto"), program)
        done = subprocess.run([sys.executable, ".ci/run_suites.py", "--build", self.directory,
                               "--only", "proto", "--totals", self.path("totals"), *more], cwd=ROOT,
                              capture_output=True, text=True, check=False)
        with open(self.path("totals"), encoding="utf-8") as file:
            return done.returncode, done.stdout, file.read().split()

    def test_cases_are_counted_from_the_results(self):
        code, output, totals = self.suites(
            f"#!/bin/sh\ncat >${{1#--gtest_output=json:}} <<'E'\n{GTEST_RESULTS}\nE\n"
            "echo what went wrong\nexit 1\n")
        self.assertEqual((code, totals), (1, ["1", "1"]))
        self.assertIn("what went wrong", output)
        self.assertIn("1 of 2 ok, 1 skipped", output)

    def test_a_crash_counts_as_a_failure_and_shows_its_output(self):
        code, output, totals = self.suites(
            "#!/bin/sh\necho '[       OK ] A.one (0 ms)'\n"
            "echo 'check failed: here'\nkill -SEGV $$\n")
        self.assertEqual((code, totals), (1, ["1", "1"]))
        self.assertIn("killed by signal 11", output)
        self.assertIn("check failed: here", output)

    def test_long_forms_run_when_they_are_asked_for(self):
        program = ("#!/bin/sh\ncase $* in *also_run_disabled*) echo '[       OK ] A.long (0 ms)';; "
                   "esac\n")
        self.assertEqual(self.suites(program)[2], ["0", "1"])
        self.assertEqual(self.suites(program, "--long")[2], ["1", "0"])

    def test_results_of_an_earlier_run_are_not_counted(self):
        os.makedirs(self.path("results"))
        with open(self.path("results", "test_proto.json"), "w", encoding="utf-8") as file:
            file.write(GTEST_RESULTS)
        self.assertEqual(self.suites("#!/bin/sh\nexit 3\n")[2], ["0", "1"])

    def test_a_program_without_tests_fails(self):
        code, output, totals = self.suites("#!/bin/sh\nexit 0\n")
        self.assertEqual((code, totals), (1, ["0", "1"]))
        self.assertIn("it ran no test", output)

    def test_a_program_that_was_not_built_fails(self):
        done = subprocess.run([sys.executable, ".ci/run_suites.py", "--build", self.directory,
                               "--only", "proto,nonsense", "--totals", self.path("totals")],
                              cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("test_proto was not built", done.stdout)
        self.assertIn("nonsense: there is no such runner", done.stdout)


if __name__ == "__main__":
    unittest.main()
