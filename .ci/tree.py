"""What the checks share: the files of the tree, what they include, and a cache of clean results.

A result is remembered by the content of the file, of all of ours that it includes, and of the
check's own settings; so a second run looks only at what changed.
"""
import concurrent.futures
import functools
import hashlib
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("proto", "runtime", "ps", "models", "worker", "scheduler", "cluster")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def files(root=ROOT, folders=FOLDERS, endings=(".h", ".cc", ".cu")):
    """Paths relative to `root`, sorted: hidden and built files left out."""
    found = []
    for folder in folders:
        for base, directories, names in os.walk(os.path.join(root, folder)):
            directories[:] = [d for d in directories if not d.startswith(".") and d != "__pycache__"
                              and not d.endswith(".emporium")]
            found += [os.path.relpath(os.path.join(base, name), root)
                      for name in names if name.endswith(endings)]
    return sorted(found)


def includes(path, root=ROOT):
    """[(line number, '<' or '"', included path)] of one file."""
    with open(os.path.join(root, path), encoding="utf-8") as file:
        text = file.read()
    return [(text.count("\n", 0, match.start(2)) + 1, match.group(1), match.group(2))
            for match in INCLUDE.finditer(text)]


@functools.lru_cache(maxsize=None)
def _local_includes(path):
    """Files of ours that `path` includes; a generated header stands for its schema."""
    local = set()
    for _, kind, name in includes(path):
        if kind != '"':
            continue
        if name.endswith(".pb.h"):
            name = name[:-len(".pb.h")] + ".proto"
        elif name in ("proto/Scheduler.h", "proto/control_types.h"):
            name = "proto/control.thrift"
        if os.path.exists(os.path.join(ROOT, name)):
            local.add(name)
    return frozenset(local)


@functools.lru_cache(maxsize=None)
def _digest(path):
    with open(os.path.join(ROOT, path), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def closure(path):
    """`path` and every file of ours that it includes, directly or not."""
    seen, waiting = set(), [path]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            if name.endswith((".h", ".cc", ".cu")):
                waiting += _local_includes(name)
    return sorted(seen)


def check_each(name, paths, command, settings, limit_s=900):
    """Runs `command(path)` for every path that is not known to be clean. Returns failures."""
    cache = os.path.join(ROOT, "build", "checks", name)
    os.makedirs(cache, exist_ok=True)

    def check(path):
        content = "\n".join([settings] + [f"{p} {_digest(p)}" for p in closure(path)])
        stamp = os.path.join(cache, hashlib.sha256(content.encode()).hexdigest())
        if os.path.exists(stamp):
            return path, True, 0, ""
        try:
            done = subprocess.run(command(path), cwd=ROOT, stdin=subprocess.DEVNULL, check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s)
        except subprocess.TimeoutExpired:
            return path, False, 1, f"not done after {limit_s} s"
        if done.returncode == 0:
            with open(stamp, "w", encoding="utf-8") as file:
                file.write(path + "\n")
        return path, False, done.returncode, done.stdout.decode(errors="replace")

    failures = known = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for path, cached, code, output in pool.map(check, paths):
            known += cached
            if code != 0:
                failures += 1
                print(f"{path}:\n{output.rstrip()}", flush=True)
    print(f"{name}: {len(paths)} files, {known} unchanged, {failures} with findings")
    return failures


def version(tool):
    return subprocess.run([tool, "--version"], capture_output=True, check=True).stdout.decode()


def fail(message):
    sys.exit("error: " + message)
