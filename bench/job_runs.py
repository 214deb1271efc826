"""What the measurements share: running a job with `emporium` and reading what it left."""
import collections
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Debian's Python, which has the packages of dependencies.txt.
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        text = file.read()
    model = re.search(r"^model name\s*: (.*)$", text, re.M)
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = int(file.readline().split()[1]) / 2**20
    return (f"{os.cpu_count()} x {model.group(1).strip() if model else 'unknown CPU'}, "
            f"{memory:.0f} GiB")


def emporium(build, *arguments):
    """Runs the command; its output, or the end of the program with it when the command fails."""
    command = [os.path.join(build, "emporium"), *arguments]
    print("$", " ".join(command), flush=True)
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, text=True, errors="replace",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\n{command[1]} ended with code {done.returncode}")
    return done.stdout


def changed_job(path, target, changes):
    """Writes the job at `path` to `target` with every (pattern, replacement) made at least once."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = file.read()
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text, flags=re.M)
        if count == 0:
            sys.exit(f"{path}: nothing matches {pattern}")
    with open(target, "w", encoding="utf-8") as file:
        file.write(text)
    return target


# One training. metrics: {name: value} of the last stage that reported rankings or logits. curve:
# mean loss of the steps of its points, of the first train stage.
Run = collections.namedtuple("Run", "seed metrics curve cpu_seconds memory_mib")


def outcome_of(work_dir):
    """Metrics and curve of a Run, from the last status."""
    with open(os.path.join(work_dir, "status.json"), encoding="utf-8") as file:
        stages = json.load(file)["stages"]
    found = {}
    for stage in stages:
        metrics = stage.get("metrics", {})
        if any(name.startswith(("ndcg@", "auc", "sampled")) for name in metrics):
            found = metrics
    if not found:
        sys.exit(f"{work_dir}/status.json holds no metrics of an evaluation")
    curves = [stage["curve"] for stage in stages if "curve" in stage]
    return found, [point["terms"]["loss"] for point in curves[0]] if curves else []


def train_seeds(build, path, changes, seeds, data, place):
    """Runs the job at `path` with `changes` once for each seed, below the folder `place`; yields a
    Run each."""
    for seed in seeds:
        work = os.path.join(place, f"seed{seed}")
        job = changed_job(path, work + ".textproto",
                          [(r"^seed: \d+", f"seed: {seed}"), *changes])
        command = [os.path.join(build, "emporium"), "run", job, "--data", os.path.abspath(data),
                   "--work_dir", work]
        print("$", " ".join(command), flush=True)
        with open(work + ".log", "w+", encoding="utf-8", errors="replace") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=subprocess.STDOUT)
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.terminate()
                process.wait()
                raise
            if status != 0:
                log.seek(0)
                code = os.waitstatus_to_exitcode(status)
                sys.exit(f"{log.read()}\n{command[1]} ended with code {code}")
        yield Run(seed, *outcome_of(work), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def last_digest(build, work_dir):
    """Digest of the newest checkpoint: the same for the same weights in any division."""
    listed = emporium(build, "checkpoint", "list", os.path.join(work_dir, "checkpoints"))
    digests = re.findall(r"digest ([0-9a-f]+)", listed)
    if not digests:
        sys.exit(f"{listed}\nno checkpoint with a digest in {work_dir}")
    return digests[-1]
