"""A launched job whose processes are killed, stopped and cut off, for tests/chaos/run and its short
form. Everything is real: processes of `emporium launch`, signals, sockets and files."""
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROLES = ("worker", "server", "scheduler")
# A job takes about 15 s undisturbed; one that takes so long hangs.
JOB_LIMIT_S = 300


class Failed(Exception):
    """A promise was broken: the message says which, and where the logs lie."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def verb_of(pid):
    """What an emporium process was started as; None when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        return words[1].decode() if len(words) > 1 else None
    except OSError:
        return None


class Workshop:
    """Data, the job and what it comes to undisturbed; a folder for every disturbed run."""

    def __init__(self, build, job=os.path.join(HERE, "chaos.textproto"), keep=False,
                 write_data=None):
        self.program = os.path.join(build, "emporium")
        self.folder = tempfile.mkdtemp(prefix="emporium-chaos-")
        self.keep = keep
        self.job = job
        self.runs = 0
        (write_data or self.generate)(self.path("data"))
        self.digest = None

    def generate(self, folder):
        subprocess.run([self.program, "generate", folder, "--users=150", "--items=80", "--days=40"],
                       check=True, stdout=subprocess.DEVNULL)

    def preloaded(self, source):
        """The environment of processes into which tests/chaos/SOURCE is loaded first."""
        library = self.path(source.replace(".c", ".so"))
        if not os.path.exists(library):
            subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", library,
                            os.path.join(HERE, source), "-ldl"], check=True)
        return {"LD_PRELOAD": library}

    def path(self, name):
        return os.path.join(self.folder, name)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if not self.keep and kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def calm_digest(self):
        """The digest of the undisturbed job, in one process."""
        if self.digest is None:
            work_dir = self.path("calm")
            subprocess.run([self.program, "run", self.job, "--data", self.path("data"),
                            "--work_dir", work_dir], check=True, stdout=subprocess.DEVNULL)
            self.digest = digest_of(work_dir)
        return self.digest

    def launch(self, *flags, work_dir=None, environment=None):
        """A launch in a folder of its own; `work_dir`: in this one, where an earlier one may have
        been. `environment`: variables beside those that there are."""
        self.runs += 1
        work_dir = work_dir or self.path(f"run-{self.runs}")
        # Converted once: it is the same for all.
        calm = os.path.join(self.path("calm"), "dataset")
        dataset = os.path.join(work_dir, "dataset")
        if os.path.isdir(calm) and not os.path.isdir(dataset):
            os.makedirs(work_dir, exist_ok=True)
            linked = os.stat(calm).st_dev == os.stat(work_dir).st_dev
            subprocess.run(["cp", "-al" if linked else "-a", calm, dataset], check=True)
        return Launch(self, work_dir, self.path(f"run-{self.runs}.output"), flags, environment)


def digest_of(work_dir):
    """Content digest of the newest checkpoint that has a manifest."""
    root = os.path.join(work_dir, "checkpoints")
    for name in sorted(os.listdir(root), reverse=True):  # numbers have leading zeros
        try:
            with open(os.path.join(root, name, "MANIFEST"), "rb") as file:
                found = re.search(rb'content_digest: "([0-9a-f]{64})"', file.read())
            if found:
                return found.group(1).decode()
        except FileNotFoundError:
            continue
    raise Failed(f"no checkpoint in {root}")


class Launch:
    """A launch that runs."""

    def __init__(self, shop, work_dir, output, flags, environment):
        self.shop = shop
        self.work_dir = work_dir
        self.port = free_port()
        self.output_path = output
        with open(output, "wb") as file:
            self.process = subprocess.Popen(
                [shop.program, "launch", shop.job, "--data", shop.path("data"),
                 "--work_dir", work_dir, f"--http_port={self.port}", *flags],
                stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})})
        self.end_by = time.monotonic() + JOB_LIMIT_S

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        """A trial that did not come to its end leaves no process behind."""
        if kind is not None:
            self.stop()

    def over(self):
        return self.process.poll() is not None

    def ends(self):
        """Whether it is over within a moment."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        return self.over()

    def children(self, role=None):
        """Process ids of the launch's children, all or those of a role."""
        try:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children",
                      encoding="ascii") as file:
                pids = [int(pid) for pid in file.read().split()]
        except OSError:
            return []
        return [pid for pid in pids if verb_of(pid) in ((role,) if role else ROLES)]

    def status(self):
        """The scheduler's status; None when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=2) as page:
                return json.load(page)
        except (OSError, ValueError):
            return None

    def wait_for(self, holds, what, limit_s=120):
        """Polls the status until `holds` of it; returns it. None when the job is over before."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if self.over():
                return None
            status = self.status()
            if status is not None and holds(status):
                return status
            time.sleep(0.02)
        raise Failed(f"{what}: not within {limit_s} s; see {self.work_dir}")

    def wait_for_training(self):
        return self.wait_for(lambda s: s["state"] == "training" and done_of(s) > 0, "training")

    def printed(self):
        with open(self.output_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait(self):
        """Waits for the end; the exit code."""
        try:
            return self.process.wait(max(1, self.end_by - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.stop()
            raise Failed(f"the job hangs; see {self.work_dir}") from None

    def finish(self):
        """Waits for the end; Failed unless the job succeeded with the digest of the calm one."""
        code = self.wait()
        if code != 0:
            raise Failed(f"the job ended with code {code}; see {self.work_dir}\n" +
                         self.printed()[-2000:])
        digest = digest_of(self.work_dir)
        if digest != self.shop.calm_digest():
            raise Failed(f"digest {digest[:16]} instead of {self.shop.calm_digest()[:16]}; see "
                         f"{self.work_dir}")
        if not self.shop.keep:
            shutil.rmtree(self.work_dir)
            os.remove(self.output_path)

    def stop(self):
        for pid in self.children():
            send(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


def send(pid, which):
    try:
        os.kill(pid, which)
        return True
    except ProcessLookupError:
        return False


def done_of(status):
    """Steps that the stage in work has done, in an order that grows with the job."""
    stages = [i for i, stage in enumerate(status["stages"]) if stage["state"] == "running"]
    return stages[0] * 1_000_000 + status["stages"][stages[0]]["done"] if stages else 0


def workers_of(status):
    return sum(1 for node in status["nodes"] if node["kind"] == "worker")


def random_shape(draw):
    return [f"--workers={draw.randint(1, 3)}", f"--servers={draw.randint(1, 2)}",
            f"--shards_per_server={draw.randint(1, 2)}", f"--lanes={draw.randint(1, 2)}"]


def kill_trial(shop, draw, kills, pause_s=(0.2, 2.5), role=None):
    """One job under random kills, sometimes two at once. How many of each role were killed."""
    killed = dict.fromkeys(ROLES, 0)
    with shop.launch(*random_shape(draw)) as launch:
        launch.wait_for(lambda s: s["state"] == "training", "training")
        while sum(killed.values()) < kills and not launch.over():
            time.sleep(draw.uniform(*pause_s))
            for _ in range(2 if draw.random() < 0.2 else 1):
                which = role or draw.choice(ROLES)
                pids = launch.children(which)
                if pids and send(draw.choice(pids), signal.SIGKILL):
                    killed[which] += 1
        launch.finish()
    return killed


def failpoint_trial(shop, name, draw):
    """One job with a process that dies at a failpoint. Whether the place was passed."""
    role = name.split(".")[0]
    process = "scheduler" if role in ("scheduler", "any") else f"{role}-0"
    # Before it listens nobody starts a scheduler again: the launch has not begun.
    while_starting = {"scheduler.before_save": 2, "scheduler.saved": 2, "any.file_written": 1,
                      "any.file_renamed": 1}
    nth = draw.choice((1, 1, 2, 3, 7)) + while_starting.get(name, 0)
    with shop.launch("--workers=2", "--servers=2", f"--failpoint={process}={name}:{nth}") as launch:
        while not launch.over() and time.monotonic() < launch.end_by:
            time.sleep(0.1)
        passed = f"{process} was killed by signal 9" in launch.printed()
        launch.finish()
    return passed


def zombie_trial(shop, draw, role):
    """A process is stopped past its lease, taken for dead, and goes on. What it then says must be
    refused and the job be as if nothing had been."""
    with shop.launch("--workers=2", "--servers=2") as launch:
        if launch.wait_for_training() is None:
            raise Failed("the job was over too soon")
        time.sleep(draw.uniform(0, 1))
        pids = launch.children(role)
        victim = draw.choice(pids)
        before = launch.status()["counters"]["lost_nodes"]
        stopped = time.monotonic()
        send(victim, signal.SIGSTOP)
        lost = launch.wait_for(lambda s: s["counters"]["lost_nodes"] > before, "taken for dead", 30)
        noticed_s = time.monotonic() - stopped
        time.sleep(draw.uniform(0, 1))
        send(victim, signal.SIGCONT)
        if lost is None:
            raise Failed("the job was over before the stopped process was missed")
        launch.finish()
    return noticed_s


def scale_trial(shop, draw, plan):
    """The number of workers changes while the job runs, as `plan` says."""
    with shop.launch(f"--workers={plan[0]}", "--lanes=1") as launch:
        launch.wait_for_training()
        for workers in plan[1:]:
            time.sleep(draw.uniform(0.3, 1.5))
            if launch.over():
                break
            scaled = subprocess.run([shop.program, "scale", shop.job, "--work_dir", launch.work_dir,
                                     f"--workers={workers}"], stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True, check=False)
            # A job that ends takes nothing any more.
            if scaled.returncode != 0:
                if not launch.ends():
                    raise Failed(f"scale: {scaled.stdout}; see {launch.work_dir}")
                break
            there = launch.wait_for(lambda s, n=workers: workers_of(s) == n, f"{workers} workers")
            if there is None:
                break
        launch.finish()


def random_plan(draw):
    return [2, 8, 3] if draw.random() < 0.3 else [draw.randint(1, 8) for _ in range(3)]


def failpoints():
    """The names of runtime/failpoint.h."""
    path = os.path.join(os.path.dirname(os.path.dirname(HERE)), "runtime", "failpoint.h")
    with open(path, encoding="utf-8") as file:
        return re.findall(r'std::string_view\("([a-z_.]+)"\)', file.read())


def draws(seed):
    return random.Random(seed)
