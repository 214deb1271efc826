"""What kills cost a launched job that trains for long: its steps a second with one process killed
each minute, over those without. Half of the time without comes before and half after, so that a
machine that becomes slower or faster meanwhile does not show."""
import signal
import time

import chaos

KILL_EVERY_S = 60
# elastic.JOB without an end, and with a checkpoint after 10 to 20 s on two cores.
CHANGES = (("epochs: 1\n", "epochs: 1000000\n"), ("every_steps: 100 ", "every_steps: 450 "))
# Nobody is killed in the last part of a minute, so that what it costs falls into the minute.
QUIET_S = 15


def look(launch):
    """(time, steps done, number of the newest checkpoint)."""
    status = launch.wait_for_training()
    if status is None:
        raise chaos.Failed(f"the job is over; see {launch.work_dir}\n" + launch.printed()[-2000:])
    return (time.monotonic(), chaos.done_of(status),
            max((c["number"] for c in status["checkpoints"]), default=0))


class Part:
    """Of the time: how many steps were done, and how many seconds it took."""

    def __init__(self):
        self.seconds = self.steps = self.checkpoints = 0

    def add(self, before, after):
        self.seconds += after[0] - before[0]
        self.steps += after[1] - before[1]
        self.checkpoints += after[2] - before[2]

    def rate(self):
        return self.steps / self.seconds


def kill_each_minute(launch, draw, minutes):
    """One process in each, of each role in turn. How many were killed."""
    killed = 0
    started = time.monotonic()
    for minute in range(minutes):
        begins = started + KILL_EVERY_S * minute
        time.sleep(max(0, begins + draw.uniform(0, KILL_EVERY_S - QUIET_S) - time.monotonic()))
        pids = launch.children(chaos.ROLES[minute % len(chaos.ROLES)])
        killed += bool(pids) and chaos.send(draw.choice(pids), signal.SIGKILL)
        time.sleep(max(0, begins + KILL_EVERY_S - time.monotonic()))
    return killed


def goodput_trial(shop, draw, minutes):
    """{figure: value} of one launch, `minutes` with kills and as many without."""
    calm, disturbed = Part(), Part()
    launch = shop.launch("--workers=2", "--servers=1", "--lanes=1")
    try:
        launch.wait_for(lambda s: s["checkpoints"], "the first checkpoint")
        marks = [look(launch)]
        time.sleep(30 * minutes)
        marks.append(look(launch))
        killed = kill_each_minute(launch, draw, minutes)
        marks.append(look(launch))
        time.sleep(30 * minutes)
        marks.append(look(launch))
    finally:
        launch.stop()
    calm.add(marks[0], marks[1])
    disturbed.add(marks[1], marks[2])
    calm.add(marks[2], marks[3])
    return {"goodput_kills": killed, "goodput_calm_steps_per_s": calm.rate(),
            "goodput_steps_per_s": disturbed.rate(), "goodput": disturbed.rate() / calm.rate(),
            "goodput_checkpoint_s": calm.seconds / max(calm.checkpoints, 1)}
