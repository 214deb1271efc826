"""A launched job whose disk is full for a while, or whose writes fail now and then: what counts as
saved is always whole, training goes on, and the model is the same."""
import contextlib
import json
import os
import shutil
import subprocess
import time

import chaos

DISK_MIB = 16  # the whole job takes about 5, of which each checkpoint takes 1.5
# What the job says when it ends because this one checkpoint may not be missing. It goes on with the
# same command.
KEPT = "which keep_best is to leave"
FALSE_SAVED = "false saved: "


@contextlib.contextmanager
def small_disk(path):
    """A file system of DISK_MIB in memory; gone afterwards with all that it holds."""
    os.makedirs(path)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", path],
                             stderr=subprocess.PIPE, text=True, check=False)
    if mounted.returncode != 0:
        raise OSError(f"cannot mount a small disk, which needs root: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
        os.rmdir(path)


def fill(path):
    """Takes all the room that is left."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)


class Checkpoints:
    """Watches a job's folder of checkpoints: each that has a manifest must be whole."""

    def __init__(self, shop, work_dir):
        self.shop = shop
        self.root = os.path.join(work_dir, "checkpoints")
        self.verified = set()

    def manifests(self):
        found = []
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self.root)):
                with contextlib.suppress(FileNotFoundError):
                    path = os.path.join(self.root, name, "MANIFEST")
                    found.append((path, os.stat(path).st_mtime_ns))
        return found

    def verify(self):
        for path, written in self.manifests():
            if (path, written) in self.verified:
                continue
            folder = os.path.dirname(path)
            done = subprocess.run([self.shop.program, "checkpoint", "verify", folder], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            # One that is no longer wanted loses its manifest first.
            if done.returncode == 0:
                self.verified.add((path, written))
            elif (path, written) in self.manifests():
                raise chaos.Failed(f"{FALSE_SAVED}{folder} has a manifest, and {done.stdout}")

    def verify_last(self, work_dir):
        """The newest checkpoint that the last status calls saved is there, with that digest."""
        with open(os.path.join(work_dir, "status.json"), encoding="utf-8") as file:
            saved = [c for c in json.load(file)["checkpoints"] if not c["error"]]
        if saved and chaos.digest_of(work_dir) != saved[-1]["content_digest"]:
            raise chaos.Failed(f"{FALSE_SAVED}checkpoint {saved[-1]['number']}; see {work_dir}")

    def temporary(self):
        return [name for _, _, names in os.walk(self.root) for name in names if ".tmp" in name]


def finish(launch, checkpoints, flags):
    """Waits for the end, verifies, and has the job go on that ended for want of a checkpoint that
    keep_best needs. How often it had to."""
    ended = 0
    try:
        while True:
            while not launch.over() and time.monotonic() < launch.end_by:
                checkpoints.verify()
                time.sleep(0.1)
            if launch.wait() != 1 or KEPT not in launch.printed():
                break
            ended += 1
            launch = checkpoints.shop.launch(*flags, work_dir=launch.work_dir)
        checkpoints.verify()
        checkpoints.verify_last(launch.work_dir)
        left = checkpoints.temporary()
        if len(left) > 1:
            raise chaos.Failed(f"temporary files are left: {left}; see {launch.work_dir}")
        launch.finish()
    except BaseException:
        launch.stop()
        raise
    return ended


def failures_of(status):
    return status["counters"]["failed_checkpoints"]


def newest_saved(status):
    return max((c["number"] for c in status["checkpoints"] if not c["error"]), default=0)


def full_disk(launch, checkpoints, filler, draw):
    """Fills the disk, waits until checkpoints have failed and steps were done since, makes room,
    and waits for a checkpoint that succeeds. How many failed."""
    before = launch.wait_for(lambda s: newest_saved(s) > 0, "the first checkpoint")
    if before is None:
        raise chaos.Failed("the job was over too soon")
    time.sleep(draw.uniform(0, 1))
    fill(filler)
    try:
        enough = failures_of(before) + draw.randint(1, 3)
        failed = launch.wait_for(lambda s: failures_of(s) >= enough, "checkpoints fail")
        if failed is None:
            return 0
        done = chaos.done_of(failed)
        if launch.wait_for(lambda s: chaos.done_of(s) > done, "training goes on") is None:
            return 0
        checkpoints.verify()
        if newest_saved(failed) > 0 and not checkpoints.manifests():
            raise chaos.Failed(f"no checkpoint is left; see {launch.work_dir}")
    finally:
        os.remove(filler)
    newest = max(c["number"] for c in failed["checkpoints"])
    launch.wait_for(lambda s: newest_saved(s) > newest, "a checkpoint succeeds again")
    return failures_of(failed)


def full_disk_trial(shop, draw):
    """One job on a disk that is full for a while. How many checkpoints failed; 0 when the job ended
    before, because it cannot do without one of them, and went on later."""
    flags = ("--workers=2", "--servers=2")
    with small_disk(shop.path(f"disk-{shop.runs}")) as disk:
        launch = shop.launch(*flags, work_dir=os.path.join(disk, "work"))
        checkpoints = Checkpoints(shop, launch.work_dir)
        try:
            failed = full_disk(launch, checkpoints, os.path.join(disk, "filler"), draw)
            finish(launch, checkpoints, flags)
        except BaseException:
            launch.stop()
            # The disk goes away.
            shutil.copytree(launch.work_dir, shop.path(f"broken-{shop.runs}"))
            raise
    return failed


def write_errors_trial(shop, draw):
    """One job whose servers or scheduler cannot write now and then. How many calls failed."""
    role = draw.choice(("server", "scheduler"))
    mean = draw.randint(20, 300) if role == "server" else draw.randint(3, 25)
    log = shop.path(f"write-errors-{shop.runs}")
    environment = shop.preloaded("write_errors.c")
    seed, most = draw.randrange(1 << 30), draw.randint(1, 12)
    environment["WRITE_ERRORS"] = f"{role} {seed} {mean} {most} {log}"
    flags = ("--workers=2", "--servers=2")
    launch = shop.launch(*flags, environment=environment)
    finish(launch, Checkpoints(shop, launch.work_dir), flags)
    if not os.path.exists(log):
        return 0
    with open(log, encoding="utf-8") as file:
        return len(file.readlines())
