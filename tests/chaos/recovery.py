"""How soon a launched job goes on after kill -9 of its worker, server or scheduler, seen from
outside: its status page, asked each 20 ms. The job has one of each, and a million rows."""
import os
import signal
import time

import chaos

JOB = os.path.join(chaos.HERE, "million.textproto")
ROWS = 1_000_000
FIELDS = 4  # columns of the job whose every value is a key of its own
POLL_S = 0.02
LIMIT_S = 60
# A launch starts what dies soon after its start with pauses, and a job goes back to the same
# checkpoint 20 times at most.
LIFE_S = 10.5
ROUNDS_OF_A_LAUNCH = 15


def write_data(folder):
    os.makedirs(folder)
    with open(os.path.join(folder, "events.csv"), "w", encoding="ascii") as file:
        file.write("time,label,a,b,c,d\n")
        for i in range(ROWS // FIELDS):
            file.write(",".join(map(str, (i, i * 7 % 11 % 2, *range(FIELDS * i, FIELDS * (i + 1)))))
                       + "\n")


class Clock:
    """Asks the status page until something holds; seconds since the kill."""

    def __init__(self, launch):
        self.launch = launch
        self.started = time.monotonic()

    def seconds(self):
        return time.monotonic() - self.started

    def wait(self, holds, what):
        """The status of which `holds`. `holds` gets None when nobody answers."""
        while self.seconds() < LIMIT_S:
            if self.launch.over():
                raise chaos.Failed(f"the job is over; see {self.launch.work_dir}")
            status = self.launch.status()
            if holds(status):
                return status
            time.sleep(POLL_S)
        raise chaos.Failed(f"{what}: not within {LIMIT_S} s; see {self.launch.work_dir}")

    def wait_for_more(self, done):
        self.wait(lambda s: s and chaos.done_of(s) > done, "training again")
        return self.seconds()


def after_worker(clock, victim, _):
    """Until steps are done that the dead worker cannot have done."""
    status = clock.wait(lambda s: s and all(n["process"] != victim for n in s["nodes"]),
                        "the worker is missed")
    return {"worker": clock.wait_for_more(chaos.done_of(status))}


def after_server(clock, _, before):
    """Until the job has gone back to its checkpoint and done a step from there."""
    returns = before["counters"]["returns"]
    status = clock.wait(lambda s: s and s["counters"]["returns"] > returns, "back at a checkpoint")
    return {"server": clock.wait_for_more(chaos.done_of(status))}


def after_scheduler(clock, _, before):
    """Until it answers, and until it knows of a step that neither it nor the dead one knew."""
    clock.wait(lambda s: s is None, "the scheduler is gone")
    status = clock.wait(lambda s: s is not None, "the scheduler answers")
    answers = clock.seconds()
    done = max(chaos.done_of(status), chaos.done_of(before))
    return {"scheduler_answers": answers, "scheduler": clock.wait_for_more(done)}


MEASURES = {"worker": after_worker, "server": after_server, "scheduler": after_scheduler}


def recover(launch, role):
    """{what: seconds} of one kill."""
    before = launch.wait_for(lambda s: s["state"] == "training", "training")
    victim = launch.children(role)[0]
    clock = Clock(launch)
    chaos.send(victim, signal.SIGKILL)
    return MEASURES[role](clock, victim, before)


def rounds(shop, draw, number):
    """Kills of each role in turn; {what: [seconds]}."""
    launch = shop.launch("--workers=1", "--servers=1", work_dir=shop.path("million"))
    seconds = {}
    try:
        status = launch.wait_for(lambda s: chaos.done_of(s) > chaos.AFTER_FIRST_STAGE,
                                 "the second stage")
        rows = [table["rows"] for table in status["tables"] if table["name"] == "rows"]
        if rows != [ROWS]:
            raise chaos.Failed(f"{rows} rows instead of {ROWS}")
        born = dict.fromkeys(MEASURES, time.monotonic())
        for _ in range(number):
            for role in MEASURES:
                time.sleep(max(draw.uniform(0.5, 1.5), born[role] + LIFE_S - time.monotonic()))
                for name, value in recover(launch, role).items():
                    seconds.setdefault(name, []).append(value)
                born[role] = time.monotonic()
    finally:
        launch.stop()
    return seconds


def recoveries(build, draw, number, keep):
    """{what: [seconds]} of so many kills of each role."""
    seconds = {}
    with chaos.Workshop(build, job=JOB, keep=keep, write_data=write_data) as shop:
        while number > 0:
            for name, values in rounds(shop, draw, min(number, ROUNDS_OF_A_LAUNCH)).items():
                seconds.setdefault(name, []).extend(values)
            number -= ROUNDS_OF_A_LAUNCH
    return seconds
