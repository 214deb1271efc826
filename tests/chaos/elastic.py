"""A launched job whose workers become more and fewer while it runs, and how soon those that join
have their first push accepted."""
import os
import subprocess
import sys
import time

import chaos

JOB = os.path.join(chaos.HERE, "epoch.textproto")
SAMPLES = 480_000
KEYS = 2  # of a sample, which no other has
# Debian's Python, which has the h5py of dependencies.txt.
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def write_data(folder):
    os.makedirs(folder)
    with open(os.path.join(folder, "events.csv"), "w", encoding="ascii") as file:
        file.write("time,label,a,b\n")
        for i in range(SAMPLES):
            file.write(f"{i},{i * 7 % 11 % 2},{KEYS * i},{KEYS * i + 1}\n")


def every_sample_once(work_dir):
    """Of a job of JOB: each row of its last checkpoint was updated and sighted once, and no
    sample's row is missing."""
    root = os.path.join(work_dir, "checkpoints")
    last = os.path.join(root, max(os.listdir(root)))
    read = subprocess.run([PYTHON, os.path.join(chaos.HERE, "sightings.py"), last], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    expected = " ".join(map(str, (KEYS * SAMPLES, 1, 1, 1.0, 1.0)))
    if read.stdout.strip() != expected:
        raise chaos.Failed(f"rows, updates and sightings in {last}: {read.stdout.strip()} instead "
                           f"of {expected}")


def workers_of(status):
    return [node for node in status["nodes"] if node["kind"] == "worker"]


class Joins:
    """Watches workers that are there: seconds until the first accepted push of those that were not
    there at first."""

    def __init__(self, at_first):
        self.begun = {node["process"]: None for node in workers_of(at_first)}  # seconds since 1970
        # By process, in seconds: since it was up (program and data loaded), and since its start.
        self.after_up = {}
        self.after_start = {}

    def look(self, status):
        """Whether all that are there have had a push accepted."""
        waits = False
        for node in workers_of(status):
            pid = node["process"]
            age = chaos.age_s(pid)
            if age is not None:
                self.begun.setdefault(pid, time.time() - age)
            if self.begun.get(pid) is None or pid in self.after_up:
                continue
            if "first_push_unix_ms" in node:
                pushed = node["first_push_unix_ms"]
                self.after_up[pid] = (pushed - node["started_unix_ms"]) / 1000
                self.after_start[pid] = pushed / 1000 - self.begun[pid]
            else:
                waits = True
        return not waits

    def look_for(self, launch, seconds):
        until = time.monotonic() + seconds

        def passed(status):
            self.look(status)
            return time.monotonic() >= until
        launch.wait_for(passed, "time passes")


def scale(launch, workers):
    """Whether the job, not over yet, has so many workers now."""
    done = subprocess.run([launch.shop.program, "scale", launch.shop.job, "--work_dir",
                           launch.work_dir, f"--workers={workers}"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    # A job that ends takes nothing any more.
    if done.returncode != 0:
        if not launch.ends():
            raise chaos.Failed(f"scale: {done.stdout}; see {launch.work_dir}")
        return False
    return launch.wait_for(lambda s: len(workers_of(s)) == workers,
                           f"{workers} workers") is not None


def scale_trial(shop, draw, plan, work_for_all=False, check=None):
    """The number of workers changes at random moments while the job runs, as `plan` says.
    `work_for_all`: each of the most has work; then the next change waits until all of them have
    begun. (How many changes there were before the job was over, its joins.)"""
    changes = 0
    with shop.launch(f"--workers={plan[0]}", "--lanes=1") as launch:
        joins = Joins(launch.wait_for_training() or {"nodes": []})
        for workers in plan[1:]:
            joins.look_for(launch, draw.uniform(0.1, 1.5))
            if launch.over() or not scale(launch, workers):
                break
            changes += 1
            if work_for_all and workers == max(plan):
                launch.wait_for(joins.look, f"a push of each of {workers} workers")
        if work_for_all:
            launch.wait_for(joins.look, "a push of each worker that joined last")
        launch.finish(check)
    return changes, joins


def random_plan(draw):
    """From 2 to 8 to 3 workers, then 0 to 2 changes more."""
    return [2, 8, 3] + [draw.randint(1, 8) for _ in range(draw.randint(0, 2))]
