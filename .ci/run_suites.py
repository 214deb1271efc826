"""Runs every test program of a build and every Python test, and counts test cases.

A runner is a C++ test program (build/PRESET/tests/test_NAME, of tests/NAME/*_test.cc) or the Python
tests of a folder (tests/NAME/*_test.py). The output of a runner is shown when a test of it failed.
A program that crashes or hangs counts as one failed test more than it reported.
"""
import argparse
import glob
import json
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TIME_LIMIT_S = 900
LONG_LIMIT_S = 5400  # with --long
NOT_BUILT = 127
# Debian's Python, which has the h5py, faiss and hnswlib of dependencies.txt.
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def execute(command, environment, limit_s=TIME_LIMIT_S):
    """Returns (exit code or None when the time limit was reached, output)."""
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=limit_s, check=False)
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as expired:
        return None, (expired.stdout or b"").decode(errors="replace")


def sanitizer_options(preset):
    """How the programs of a sanitizer's preset are run: the first finding ends them, and what is
    not ours is left out as the files of .ci/sanitizers say."""
    def suppressions(name):
        return "suppressions=" + os.path.join(ROOT, ".ci", "sanitizers", name)
    return {
        "asan": {"ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
                 "LSAN_OPTIONS": suppressions("lsan.supp") + ":print_suppressions=0",
                 "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"},
        "tsan": {"TSAN_OPTIONS": suppressions("tsan.supp") +
                 ":halt_on_error=1:second_deadlock_stack=1:print_suppressions=0"},
    }.get(preset, {})


def count_gtest(results_path, output):
    """(passed, failed, skipped) of a gtest program; from its output when it left no results."""
    try:
        with open(results_path, encoding="utf-8") as file:
            cases = [case for suite in json.load(file)["testsuites"] for case in suite["testsuite"]]
        run = [case for case in cases if case["status"] == "RUN"]
        failed = sum(1 for case in run if case.get("failures"))
        skipped = sum(1 for case in run if case.get("result") == "SKIPPED")
        return len(run) - failed - skipped, failed, skipped
    except (OSError, ValueError, KeyError):
        return (len(re.findall(r"^\[       OK \]", output, re.M)),
                len(re.findall(r"^\[  FAILED  \] \S+ \(", output, re.M)), 0)


def run_gtest(program, build, options, environment):
    results = os.path.join(build, "results", os.path.basename(program) + ".json")
    os.makedirs(os.path.dirname(results), exist_ok=True)
    if os.path.exists(results):
        os.remove(results)
    command = [program, "--gtest_output=json:" + results, "--gtest_brief=0"]
    if options.filter:
        command.append("--gtest_filter=" + options.filter)
    if options.long:
        command.append("--gtest_also_run_disabled_tests")
    code, output = execute(command, environment, LONG_LIMIT_S if options.long else TIME_LIMIT_S)
    return code, output, count_gtest(results, output)


def run_python(path, environment):
    code, output = execute([PYTHON, "-m", "unittest", "-v", path], environment)
    ran = re.search(r"^Ran (\d+) tests?", output, re.M)
    notes = dict(re.findall(r"(failures|errors|skipped)=(\d+)", output))
    failed = int(notes.get("failures", 0)) + int(notes.get("errors", 0))
    skipped = int(notes.get("skipped", 0))
    total = int(ran.group(1)) if ran else 0
    return code, output, (max(0, total - failed - skipped), failed, skipped)


def report(name, seconds, code, output, counts, may_be_empty):
    """Prints a runner's line and, when it failed, its output. Returns (passed, failed)."""
    passed, failed, skipped = counts
    ended = ""
    if code is None:
        ended = f"; stopped after {seconds:.0f} s"
        failed += 1
    elif code != 0 and failed == 0:
        ended = f"; ended with code {code}" if code > 0 else f"; killed by signal {-code}"
        failed += 1
    elif passed + failed + skipped == 0 and not may_be_empty:
        ended = "; it ran no test"
        failed += 1
    if failed:
        print("\n".join("    " + line for line in output.splitlines()[-400:]))
    note = f", {skipped} skipped" if skipped else ""
    total = passed + failed
    print(f"  {name:<24} {passed} of {total} ok{note} ({seconds:.1f} s){ended}", flush=True)
    return passed, failed


def runners(build, only):
    """(name, function) of every runner wanted; C++ programs first."""
    folders = set(os.path.basename(os.path.dirname(path))
                  for path in glob.glob(os.path.join(ROOT, "tests", "*", "*_test.cc")))
    for folder in sorted(folders):
        if not only or folder in only:
            yield folder, os.path.join(build, "tests", "test_" + folder)
    for path in sorted(glob.glob(os.path.join(ROOT, "tests", "*", "*_test.py"))):
        if not only or os.path.basename(os.path.dirname(path)) in only:
            yield os.path.relpath(path, os.path.join(ROOT, "tests")), path


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--filter", default="")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--totals", required=True)
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    only = [name for name in options.only.split(",") if name]
    environment = dict(os.environ, EMPORIUM_BUILD=build, PYTHONDONTWRITEBYTECODE="1")
    # LibTorch and OpenBLAS with their own threads would fight with the lanes' and shards' threads.
    environment.setdefault("OMP_NUM_THREADS", "1")
    for name, value in sanitizer_options(os.path.basename(build)).items():
        environment.setdefault(name, value)
    passed = failed = 0
    known = set()
    for name, path in runners(build, only):
        known.add(name.split("/")[0])
        start = time.monotonic()
        if path.endswith(".py"):
            if options.filter:
                continue
            outcome = run_python(path, environment)
        elif os.path.exists(path):
            outcome = run_gtest(path, build, options, environment)
        else:
            outcome = (NOT_BUILT, f"{path} was not built", (0, 0, 0))
        good, bad = report(name, time.monotonic() - start, *outcome,
                           may_be_empty=bool(options.filter))
        passed += good
        failed += bad
    for name in only:
        if name not in known:
            print(f"  {name}: there is no such runner")
            failed += 1
    with open(options.totals, "w", encoding="utf-8") as file:
        file.write(f"{passed} {failed}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
