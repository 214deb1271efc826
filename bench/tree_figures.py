"""Lines per folder, longest file and arrows between folders, as .ci/check_includes sees them.
Generated files, data and job files do not count."""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("proto", "runtime", "ps", "models", "worker", "scheduler", "cluster", "bench", "tests")
CODE = (".h", ".cc", ".proto", ".thrift", ".py", ".cmake", "CMakeLists.txt", "figures")


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        return sum(1 for _ in file)


def main():
    longest = (0, "")
    for folder in FOLDERS:
        total = 0
        for base, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if not name.endswith(CODE):
                    continue
                path = os.path.join(base, name)
                lines = lines_of(path)
                total += lines
                # Tests have their own limit; the schema is a reference, not code.
                if folder != "tests" and not name.endswith(".proto"):
                    longest = max(longest, (lines, os.path.relpath(path, ROOT)))
        print(f"figure lines_{folder} {total}")
    print(f"longest file: {longest[1]}")
    print(f"figure longest_file_lines {longest[0]}")
    done = subprocess.run([sys.executable, ".ci/check_includes", "--arrows"], cwd=ROOT, text=True,
                          capture_output=True, check=False)
    print(done.stdout, end="")
    print(f"figure arrows {len(re.findall(r'^[a-z]+ -> [a-z]+ ', done.stdout, re.M))}")
    print(f"figure wrong_arrows {len(re.findall(r'^.*:[0-9]+: ', done.stdout, re.M))}")


if __name__ == "__main__":
    main()
