"""A launched job in a network of its own, in which packets between two of its processes are lost
for a while, in one direction or both. Needs root and iptables."""
import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import time

import chaos

CLONE_NEWNET = 0x40000000
# The groups of tests/chaos/node_groups.c.
GROUPS = {f"{verb}-{i}": first + i
          for verb, first in (("worker", 21000), ("server", 22000)) for i in range(8)}


def switch_network(call, argument):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, call)(*argument) != 0:
        raise OSError(ctypes.get_errno(), f"{call}: a network of its own needs root")


@contextlib.contextmanager
def own_network():
    """This process, and those that it starts, in a new network that has only a loopback; it is gone
    with the last of them."""
    for program in ("ip", "iptables"):
        if shutil.which(program) is None:
            raise OSError(f"{program} is missing; run .ci/setup --for test")
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        switch_network("unshare", (CLONE_NEWNET,))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            switch_network("setns", (before, CLONE_NEWNET))
    finally:
        os.close(before)


def iptables(*words):
    subprocess.run(["iptables", "-w", *map(str, words)], check=True)


def mark_connections(nodes):
    """A connection bears the group of the node that made it."""
    for node in nodes:
        iptables("-t", "mangle", "-A", "OUTPUT", "-p", "tcp", "--syn", "-m", "owner", "--gid-owner",
                 GROUPS[node], "-j", "CONNMARK", "--set-mark", GROUPS[node])


def cut(node, ports, ways):
    """Loses what `node` sends to `ports` ("there"), what it gets from there ("back"), or both."""
    for port in ports:
        if ways in ("there", "both"):
            iptables("-A", "OUTPUT", "-p", "tcp", "--dport", port, "-m", "owner", "--gid-owner",
                     GROUPS[node], "-j", "DROP")
        if ways in ("back", "both"):
            iptables("-A", "OUTPUT", "-p", "tcp", "--sport", port, "-m", "connmark", "--mark",
                     GROUPS[node], "-j", "DROP")


def heal():
    iptables("-F", "OUTPUT")


def lost_packets():
    """How many the cuts have taken so far."""
    listed = subprocess.run(["iptables", "-nvxL", "OUTPUT"], stdout=subprocess.PIPE, text=True,
                            check=True).stdout
    return sum(int(line.split()[0]) for line in listed.splitlines() if " DROP " in line)


def ports_of(launch, status, node):
    """Where the scheduler listens, or the shards of a server in work."""
    if node == "scheduler":
        with open(os.path.join(launch.work_dir, "scheduler.json"), encoding="utf-8") as file:
            return [int(json.load(file)["control"].rsplit(":", 1)[1])]
    return [int(endpoint.rsplit(":", 1)[1]) for endpoint in node["shards"]]


def random_cut(launch, status, draw):
    """(who, ports, ways, name): a node from the scheduler, or a worker from one of the shards."""
    ways = draw.choice(("there", "back", "both"))
    servers = [n for n in status["nodes"] if n["kind"] == "server" and n["shards"]]
    if draw.random() < 0.4 and servers:
        worker = f"worker-{draw.randint(0, 1)}"
        port = draw.choice(ports_of(launch, status, draw.choice(servers)))
        return worker, [port], ways, f"{worker} and a shard"
    node = draw.choice(("worker-0", "worker-1", "server-0", "server-1"))
    return node, ports_of(launch, status, "scheduler"), ways, f"{node} and the scheduler"


def partition_trial(shop, draw, cuts=3, longest_s=8):
    """One job whose network is cut in two several times, for 1 to `longest_s` seconds. How often
    packets were lost."""
    nodes = [f"{verb}-{i}" for verb in ("worker", "server") for i in range(2)]
    done = 0
    story = []
    with own_network():
        launch = shop.launch("--workers=2", "--servers=2",
                             environment=shop.preloaded("node_groups.c"))
        try:
            mark_connections(nodes)
            for _ in range(cuts):
                status = launch.wait_for_training()
                if status is None:
                    break
                time.sleep(draw.uniform(0, 1))
                seconds = draw.uniform(1, longest_s)
                node, ports, ways, name = random_cut(launch, status, draw)
                story.append(f"{name}, {ways}, {seconds:.1f} s")
                cut(node, ports, ways)
                time.sleep(seconds)
                done += lost_packets() > 0
                heal()
            launch.finish()
        except chaos.Failed as failed:
            raise chaos.Failed(f"{failed}; cut: {'; '.join(story)}") from None
        finally:
            launch.stop()
    return done
