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
# A launch does not start a process again that has lived for less than LONG_LIFE_S so often in a
# row. Without a server or the scheduler it ends, saying this; the same command goes on.
SHORT_LIVES = 5
LONG_LIFE_S = 10
GAVE_UP = f"died {SHORT_LIVES} times soon after its start, see"


class Failed(Exception):
    """A promise was broken: the message says which, and where the logs lie."""


def free_port():
    """One that the system gives nobody who does not ask for it: it is to stay free between the
    death of a scheduler and the start of the next."""
    while True:
        port = random.randrange(15_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def words_of(pid):
    """What a process was started with; nothing when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
            return file.read().split("\0")
    except OSError:
        return []


def verb_of(pid):
    """What an emporium process was started as; None when it is gone."""
    words = words_of(pid)
    return words[1] if len(words) > 1 else None


def name_of(pid):
    """What the launch calls the process."""
    names = [word[len("--name="):] for word in words_of(pid) if word.startswith("--name=")]
    return names[0] if names else verb_of(pid)


def age_s(pid):
    """Seconds since a process was started; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    except OSError:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


class Workshop:
    """Data, the job and what it comes to undisturbed; a folder for every disturbed run. `changes`:
    (before, after) of what is different in the job's text."""

    def __init__(self, build, job=os.path.join(HERE, "chaos.textproto"), keep=False,
                 write_data=None, changes=()):
        self.program = os.path.join(build, "emporium")
        self.folder = tempfile.mkdtemp(prefix="emporium-chaos-")
        self.keep = keep
        self.job = self.changed(job, changes) if changes else job
        self.runs = 0
        (write_data or self.generate)(self.path("data"))
        self.digest = None

    def generate(self, folder):
        subprocess.run([self.program, "generate", folder, "--users=150", "--items=80", "--days=40"],
                       check=True, stdout=subprocess.DEVNULL)

    def changed(self, job, changes):
        with open(job, encoding="utf-8") as file:
            text = file.read()
        for before, after in changes:
            if text.count(before) != 1:
                raise ValueError(f"{job} has not once {before!r}")
            text = text.replace(before, after)
        path = self.path(os.path.basename(job))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

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
        """Whether it is over within a while."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        return self.over()

    def gave_up(self):
        """Whether it is over because one of its processes died again and again."""
        return self.process.poll() == 1 and GAVE_UP in self.printed()

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

    def finish(self, check=None):
        """Waits for the end; Failed unless the job succeeded with the digest of the calm one.
        `check`: of what else is told the working directory before it goes."""
        code = self.wait()
        if code != 0:
            raise Failed(f"the job ended with code {code}; see {self.work_dir}\n" +
                         self.printed()[-2000:])
        digest = digest_of(self.work_dir)
        if digest != self.shop.calm_digest():
            raise Failed(f"digest {digest[:16]} instead of {self.shop.calm_digest()[:16]}; see "
                         f"{self.work_dir}")
        if check is not None:
            check(self.work_dir)
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


AFTER_FIRST_STAGE = 1_000_000


def done_of(status):
    """Steps that the stage in work has done, in an order that grows with the job."""
    stages = [i for i, stage in enumerate(status["stages"]) if stage["state"] == "running"]
    return stages[0] * AFTER_FIRST_STAGE + status["stages"][stages[0]]["done"] if stages else 0


def random_shape(draw):
    return [f"--workers={draw.randint(1, 3)}", f"--servers={draw.randint(1, 2)}",
            f"--shards_per_server={draw.randint(1, 2)}", f"--lanes={draw.randint(1, 2)}"]


class Killer:
    """Kills processes of one launch. Workers are spared that it would not start again: the job
    would go on without them."""

    def __init__(self, launch):
        self.launch = launch
        self.short_lives = {}  # by name, in a row

    def kill(self, draw, role):
        """Kills a process of a role if there is one."""
        ages = {pid: age_s(pid) for pid in self.launch.children(role)}
        pids = [pid for pid, age in ages.items()
                if age is not None and (role != "worker" or self.is_long(age) or
                                        self.short_lives.get(name_of(pid), 0) < SHORT_LIVES - 1)]
        if not pids:
            return False
        pid = draw.choice(pids)
        name = name_of(pid)
        if not send(pid, signal.SIGKILL):
            return False
        self.short_lives[name] = (0 if self.is_long(ages[pid])
                                  else self.short_lives.get(name, 0) + 1)
        return True

    @staticmethod
    def is_long(age):
        return age > LONG_LIFE_S + 1


def kills_of_launch(launch, draw, kills, pause_s, role):
    """Kills until there were so many or the launch is over. How many of each role were killed."""
    killed = dict.fromkeys(ROLES, 0)
    killer = Killer(launch)
    while sum(killed.values()) < kills and not launch.over():
        time.sleep(draw.uniform(*pause_s))
        for _ in range(2 if draw.random() < 0.2 else 1):
            which = role or draw.choice(ROLES)
            killed[which] += killer.kill(draw, which)
    return killed


def kill_trial(shop, draw, kills, pause_s=(0.2, 2.5), role=None):
    """One job under random kills, sometimes two at once. When one process was killed too often for
    its launch, the same command is entered again. How many of each role were killed."""
    killed = dict.fromkeys(ROLES, 0)
    flags = random_shape(draw)
    late = draw.random() < 0.25  # else the stages after the first would seldom see one
    launch = shop.launch(*flags)
    while True:
        with launch:
            # One that goes on has begun when its scheduler listens.
            launch.wait_for(lambda s: sum(killed.values()) > 0 or done_of(s) >= AFTER_FIRST_STAGE
                            or (not late and s["state"] == "training"), "training")
            some = kills_of_launch(launch, draw, kills - sum(killed.values()), pause_s, role)
            killed = {each: killed[each] + some[each] for each in ROLES}
            launch.wait()
            if not launch.gave_up():
                launch.finish()
                return killed
        launch = shop.launch(*flags, work_dir=launch.work_dir)


def failpoint_trial(shop, name, nth):
    """One job with a process that dies when it passes a failpoint for the `nth` time. Whether it
    did."""
    role = name.split(".")[0]
    process = "scheduler" if role in ("scheduler", "any") else f"{role}-0"
    # Before it listens nobody starts a scheduler again: the launch has not begun.
    while_starting = {"scheduler.before_save": 2, "scheduler.saved": 2, "any.file_written": 1,
                      "any.file_renamed": 1}
    nth += while_starting.get(name, 0)
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
        status = launch.wait_for_training()
        if status is None:
            raise Failed("the job was over too soon")
        time.sleep(draw.uniform(0, 1))
        victim = draw.choice(launch.children(role))
        before = status["counters"]["lost_nodes"]
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


def failpoints():
    """The names of runtime/failpoint.h."""
    path = os.path.join(os.path.dirname(os.path.dirname(HERE)), "runtime", "failpoint.h")
    with open(path, encoding="utf-8") as file:
        return re.findall(r'std::string_view\("([a-z_.]+)"\)', file.read())


def draws(seed):
    return random.Random(seed)
