#!/usr/bin/env python3
"""What a checkpoint of a million rows on one shard costs a launched job that goes on meanwhile.

usage: bench/checkpoint_pause.py --build DIR [--checkpoints N]

One worker and one server with one shard; a checkpoint each some thousand steps. The server notes
when a step was applied, when its cut was taken and when its files were written
(runtime/failpoint.h). Of each checkpoint: the time between the last step before the cut and the
first after it, beyond the median time of a step; samples a second while files are written, over
those between checkpoints; memory of the server beyond what it had at the cut.
"""
import argparse
import os
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "chaos"))
import chaos  # noqa: E402
import recovery  # noqa: E402

EVERY_STEPS = 1500
PLACES = ("server.step_applied", "server.checkpoint_cut", "server.checkpoint_done")
WARM_UP = 1  # checkpoints that are not counted: the fill stage's, which the next stage waits for
LIMIT_S = 900


def job_file(folder):
    with open(recovery.JOB, encoding="ascii") as file:
        text = file.read()
    path = os.path.join(folder, "paused.textproto")
    with open(path, "w", encoding="ascii") as file:
        file.write(text + f"checkpoint {{ every_steps: {EVERY_STEPS} }}\n")
    return path


class Memory(threading.Thread):
    """Resident bytes of a process over time."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid = pid
        self.samples = []  # (ns, bytes)
        self.start()

    def run(self):
        try:
            while True:
                with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:
                    pages = int(file.read().split()[1])
                self.samples.append((time.monotonic_ns(), pages * os.sysconf("SC_PAGE_SIZE")))
                time.sleep(0.02)
        except (OSError, IndexError):
            return

    def within(self, begin, end):
        return [b for ns, b in self.samples if begin <= ns <= end]


def read_trace(path):
    events = {name: [] for name in PLACES}
    with open(path, encoding="ascii") as file:
        for line in file:
            name, ns = line.split()
            events[name].append(int(ns))
    return events


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def judge(events, memory):
    steps = events[PLACES[0]]
    gaps = [b - a for a, b in zip(steps, steps[1:])]
    median = percentile(gaps, 0.5)
    saves = list(zip(events[PLACES[1]], events[PLACES[2]]))[WARM_UP:]
    pauses, during, extra = [], [], []
    between_steps = between_ns = 0
    for i, (cut, done) in enumerate(saves):
        before = max(t for t in steps if t <= cut)
        after = min(t for t in steps if t > cut)
        pauses.append((after - before - median) / 1e6)
        during.append((sum(cut < t <= done for t in steps), done - cut))
        if i + 1 < len(saves):
            until = max(t for t in steps if t <= saves[i + 1][0])
            between_steps += sum(done < t <= until for t in steps)
            between_ns += until - done
        resident = memory.within(cut, done)
        if resident:
            extra.append(max(resident) - resident[0])
    calm = between_steps / between_ns
    rate = sum(n for n, _ in during) / sum(ns for _, ns in during)
    table = memory.within(saves[0][0], saves[0][1])[0]
    print(f"figure checkpoints {len(saves)}")
    print(f"figure step_ms_p50 {median / 1e6:.2f}")
    print(f"figure checkpoint_pause_ms_p50 {percentile(pauses, 0.5):.1f}")
    print(f"figure checkpoint_pause_ms_p99 {percentile(pauses, 0.99):.1f}")
    print(f"figure checkpoint_s {percentile([ns / 1e9 for _, ns in during], 0.5):.2f}")
    print(f"figure samples_during_over_between {rate / calm:.3f}")
    print(f"figure server_mb {table / 1e6:.0f}")
    print(f"figure extra_mb_max {max(extra) / 1e6:.0f}")
    print(f"figure extra_over_goal {max(extra) / (0.1 * table + (128 << 20)):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--checkpoints", type=int, default=30)
    arguments = parser.parse_args()
    with chaos.Workshop(os.path.abspath(arguments.build), job=recovery.JOB,
                        write_data=recovery.write_data) as shop:
        shop.job = job_file(shop.folder)
        trace = shop.path("trace")
        with shop.launch("--workers=1", "--servers=1",
                         f"--failpoint=server-0={','.join(PLACES)}@{trace}") as launch:
            launch.wait_for(lambda s: chaos.done_of(s) > 1_000_000, "the second stage", 300)
            memory = Memory(launch.children("server")[0])
            until = time.monotonic() + LIMIT_S
            while time.monotonic() < until and not launch.over():
                if len(read_trace(trace)[PLACES[2]]) > arguments.checkpoints + WARM_UP:
                    break
                time.sleep(1)
            launch.stop()
        judge(read_trace(trace), memory)


if __name__ == "__main__":
    main()
