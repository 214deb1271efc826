"""References of the nam model (models.md M10): forward, losses, gradients and what slots are told,
in float64.

A case has a plain field, two dense inputs, one or two pairs of a target and a history, and where it
says so the words of a query, kinds and ages of the events. Everything is written target by target
and event by event, without padding and without matrices over both. One sample has no history, and
two have the same target. Gradients are checked by differences.
"""
import math
import zlib

import numpy as np
import torch
import torch.nn.functional as F

from multi_task import CTR, JOINT, losses_of, whole
from pointwise import Context, bce, check_by_differences, labels_of, parameters, rand
from sequence import full_mlp, with_out
from tensors import TensorFile

SAMPLES, DENSE, BUCKETS = 5, 2, 10
LENGTHS = [3, 0, 1, 5, 2]
ROWS = {"profile": 4, "item": 6, "brand": 4, "word": 5, "action": 3}
DIMS = {"profile": 2, "item": 3, "brand": 1, "word": 2}
EDGES = [1.0, 7.0]
GATE, FALLBACK, TOWER = dict(hidden=[3]), dict(hidden=[4], activation="SILU"), dict(hidden=[3])


def used(c, side):
    return c["normalise"] != "NONE" and (c[side] != 0 or c.get("learn"))


def shapes_of(c):
    """Learned parameters, then statistics."""
    d = sum(DIMS[t] for t in c["pairs"])
    q = DIMS["word"] if c.get("query") else 0
    heads, width = c["heads"], c["width"]
    channels = width + 2 * heads
    shapes = {"attention.query": (width, d + q), "attention.key": (width, d),
              "attention.value": (width, d), "attention.shift": (heads,),
              "strength": (2 * heads, 2 * heads)}
    statistics = {}
    if c.get("gaps"):
        shapes["attention.gap"] = (len(EDGES) + 1, heads)
    for name, side in (("target", "alpha"), ("event", "beta")):
        if c["normalise"] != "NONE" and c.get("learn"):
            shapes["attention.%s.exponent" % name] = (1,)
        if c["normalise"] == "BATCH" and used(c, side):
            statistics["attention.%s.log_z" % name] = (heads,)
    if c["gate"] != "OPEN":
        out = channels if c["gate"] == "CHANNELS" else 1
        beside = q if c.get("strict") else BUCKETS + q + d
        shapes["gate.rarity"] = (1,)
        if beside == 0:
            shapes["gate.level"] = (out,)
        else:
            gate = with_out("gate", beside, GATE)
            gate["gate.out.weight"], gate["gate.out.bias"] = (out, GATE["hidden"][-1]), (out,)
            shapes.update(gate)
        fallback = with_out("fallback", d + q, FALLBACK)
        fallback["fallback.out.weight"] = (channels, FALLBACK["hidden"][-1])
        fallback["fallback.out.bias"] = (channels,)
        shapes.update(fallback)
    x = DIMS["profile"] + DENSE + d + q + channels + (1 if c.get("counted", True) else 0)
    for task in c.get("tasks", [dict(name="")]):
        shapes.update(with_out((task["name"] + "." if task["name"] else "") + "tower", x, TOWER))
    return shapes, statistics


class Events:
    """One batch's events: row, bias, number of their sample; and targets' x."""

    def __init__(self, g, c, target, rows, bias, sample):
        self.c, self.bias, self.sample = c, bias, sample
        self.x = target @ g.p["attention.query"].T
        self.k = rows @ g.p["attention.key"].T
        self.v = rows @ g.p["attention.value"].T
        self.dk = c["width"] // c["heads"]

    def score(self, b, e, h):
        part = slice(h * self.dk, (h + 1) * self.dk)
        s = (self.x[b, part] * self.k[e, part]).sum() / math.sqrt(self.dk) + self.bias[e, h]
        return s.clamp(-8, 8)


def log_mean_exp(values):
    return torch.stack(values).logsumexp(0) - math.log(len(values))


def estimates(events, c, training):
    """Of every target and event, by head; None where there is none."""
    heads, count = range(c["heads"]), len(events.sample)
    target, event = [None] * SAMPLES, [None] * count
    if not training or c["normalise"] not in ("BATCH", "RUNNING"):
        return target, event
    for b in range(SAMPLES):
        others = [e for e in range(count) if events.sample[e] != b]
        if used(c, "alpha") and others:
            target[b] = [log_mean_exp([events.score(b, e, h) for e in others]) for h in heads]
    for e in range(count):
        if used(c, "beta"):
            event[e] = [log_mean_exp([events.score(b, e, h) for b in range(SAMPLES)])
                        for h in heads]
    return target, event


def normaliser(g, c, name, side, estimate, known):
    """exponent * logZ, by head. `known`: numbers, by head."""
    if not used(c, side):
        return [0] * c["heads"]
    log_z = known
    if c["normalise"] == "BATCH":
        log_z = estimate or list(g.p["attention.%s.log_z" % name])
    if c["normalise"] == "RUNNING" and estimate:
        log_z = [(1 - c["mix"]) * k + c["mix"] * e for k, e in zip(known, estimate)]
    exponent = torch.sigmoid(g.p["attention.%s.exponent" % name][0]) if c.get("learn") else c[side]
    return [exponent * z for z in log_z]


def attention(g, c, events, target, event, known_target, known_event):
    """[h_u; aux] of every sample."""
    rows = []
    for b in range(SAMPLES):
        own = [e for e in range(len(events.sample)) if events.sample[e] == b]
        attended, sums, highest = [], [], []
        for h in range(c["heads"]):
            if not own:
                attended.append(torch.zeros(events.dk))
                sums.append(torch.tensor(0.0))
                highest.append(torch.tensor(0.0))
                continue
            z_t = normaliser(g, c, "target", "alpha", target[b], known_target[b])[h]
            s = torch.stack([events.score(b, e, h) - z_t + g.p["attention.shift"][h]
                             - normaliser(g, c, "event", "beta", event[e], known_event[e])[h]
                             for e in own])
            if c["weight"] == "SOFTMAX":
                s = s.log_softmax(0)
            w = {"SIGMOID": torch.sigmoid(s), "SOFTMAX": s.exp(),
                 "CAPPED_EXP": s.exp().clamp(max=10)}[c["weight"]]
            part = slice(h * events.dk, (h + 1) * events.dk)
            attended.append(sum(w[i] * events.v[e, part] for i, e in enumerate(own)))
            sums.append(w.sum())
            highest.append(s.amax())
        aux = g.p["strength"] @ torch.stack(sums + highest)
        rows.append(torch.cat(attended + [aux]))
    return torch.stack(rows)


def gated(g, c, u, tq, q, stopped, iif):
    if c["gate"] == "OPEN":
        return u
    by_rarity = iif * F.softplus(g.p["gate.rarity"])
    if c.get("strict") and not c.get("query"):
        level = g.p["gate.level"]
    else:
        bucket = F.one_hot((iif[:, 0] * BUCKETS).long().clamp(max=BUCKETS - 1), BUCKETS).double()
        beside = [q] if c.get("query") else []
        level = full_mlp(g, "gate", torch.cat(
            beside if c.get("strict") else [bucket] + beside + [stopped], 1), GATE)
    gate = torch.sigmoid(by_rarity + level)
    return gate * u + (1 - gate) * full_mlp(g, "fallback", tq, FALLBACK)


def observed(slots, places, estimate, first, rows):
    """Adds the log of the mean of the exponentials of each row's estimates."""
    values, mask = slots
    for row in range(rows):
        own = [estimate[i] for i, place in enumerate(places) if place == row and estimate[i]]
        for h in range(len(own[0]) if own else 0):
            values[row, first + h] = log_mean_exp([o[h] for o in own]).item()
            mask[row] += 2**(first + h)


BASE = dict(pairs=["item"], heads=1, width=4, normalise="NONE", alpha=0.5, beta=0.5, mix=0.1,
            weight="SIGMOID", gate="ONE")
TWO = ["item", "brand"]
CASES = {
    "din": dict(BASE, gate="OPEN", counted=False),
    "none": dict(BASE, query=True, action=True, gaps=True, heads=2),
    "clipped": dict(BASE, pairs=TWO, action=True, large=True, heads=2, strict=True),
    "frequency": dict(BASE, pairs=TWO, normalise="FREQUENCY", alpha=1, beta=0.25, query=True,
                      gate="CHANNELS", weights=True),
    "frequency_target": dict(BASE, normalise="FREQUENCY", beta=0, weight="CAPPED_EXP", large=True,
                             action=True, gate="OPEN", learn=False),
    "batch": dict(BASE, normalise="BATCH", heads=2, learn=True, action=True, gaps=True),
    "batch_event": dict(BASE, normalise="BATCH", alpha=0, beta=1, query=True, strict=True),
    "running": dict(BASE, normalise="RUNNING", mix=0.3, heads=2, width=6, query=True, action=True,
                    gaps=True, gate="CHANNELS", tasks=[CTR, JOINT], pairs=TWO),
    "running_learned": dict(BASE, normalise="RUNNING", alpha=0, beta=1, learn=True,
                            weight="CAPPED_EXP", weights=True),
    "running_softmax": dict(BASE, normalise="RUNNING", weight="SOFTMAX", heads=2, query=True),
}


class Case:
    def __init__(self, name, c):
        self.c, self.seed = c, zlib.crc32(name.encode()) % 1000
        torch.manual_seed(self.seed)
        rng = np.random.default_rng(self.seed)
        self.tables = (["profile"] + c["pairs"] + (["word"] if c.get("query") else []) +
                       (["action"] if c.get("action") else []))
        dims = dict(DIMS, action=c["heads"])
        self.table = {t: rand(ROWS[t], dims[t]).requires_grad_() for t in self.tables}
        if c.get("large"):
            self.table["action"].data[0] += 12
        self.x_dense = rand(SAMPLES, DENSE)
        self.label = labels_of(rng, c.get("tasks", [dict(name="")]))
        self.weight = torch.tensor(rng.uniform(0.5, 2, SAMPLES).astype(np.float32)).double()
        self.offset = np.concatenate([[0], np.cumsum(LENGTHS)])
        count = self.offset[-1]
        self.sample = np.repeat(np.arange(SAMPLES), LENGTHS)
        self.one = {t: rng.integers(0, ROWS[t], SAMPLES) for t in ["profile"] + c["pairs"]}
        self.one["item"][3] = self.one["item"][0]
        self.events = {t: rng.integers(0, ROWS[t], count) for t in c["pairs"]}
        self.action = rng.integers(0, ROWS["action"], count)
        self.age = rng.choice([0.5, 1, 3, 7, 9], count)
        words = [1, 2, 0, 3, 1]
        self.word_offset = np.concatenate([[0], np.cumsum(words)])
        self.words = rng.integers(0, ROWS["word"], self.word_offset[-1])
        self.popularity = rng.choice([0, 1, 3, 20, 60], ROWS["item"]).astype(np.float64)
        self.slot_width = 1 + 2 * c["heads"]
        self.slots = rng.normal(0, 1, (ROWS["item"], self.slot_width)).astype(np.float32)
        shapes, statistics = shapes_of(c)
        self.p = parameters(shapes)
        self.p.update({k: rand(*s) for k, s in statistics.items()})
        self.statistics = statistics
        self.stopped = self.targets().detach().clone()

    def targets(self):
        return torch.cat([self.table[k][self.one[k]] for k in self.c["pairs"]], 1)

    def known(self, places, first):
        c = self.c
        if c["normalise"] == "FREQUENCY":
            return [[math.log(1 + self.popularity[i])] * c["heads"] for i in places]
        return [list(self.slots[i, first:first + c["heads"]].astype(float)) for i in places]

    def run(self, training):
        c, g = self.c, Context(self.p, training)
        t = self.targets()
        q = torch.zeros(SAMPLES, 0)
        if c.get("query"):
            q = F.embedding_bag(torch.tensor(self.words), self.table["word"],
                                torch.tensor(self.word_offset[:-1]), mode="mean")
        tq = torch.cat([t, q], 1)
        bias = torch.zeros(len(self.sample), c["heads"])
        if c.get("action"):
            bias = bias + self.table["action"][self.action]
        if c.get("gaps"):
            bias = bias + self.p["attention.gap"][np.searchsorted(EDGES, self.age, side="right")]
        rows = torch.cat([self.table[k][self.events[k]] for k in c["pairs"]], 1)
        events = Events(g, c, tq, rows, bias, self.sample)
        self.target, self.event = estimates(events, c, training)
        known = [self.known(self.one["item"], 1), self.known(self.events["item"], 1 + c["heads"])]
        u = attention(g, c, events, self.target, self.event, *known)
        total = self.popularity.sum() + 10
        iif = torch.tensor([[math.log((total + 1) / (self.popularity[i] + 1)) / math.log(total + 1)]
                            for i in self.one["item"]])
        personal = gated(g, c, u, tq, q, self.stopped, iif)
        x = [self.table["profile"][self.one["profile"]], self.x_dense, tq, personal]
        x = torch.cat(x + ([iif] if c.get("counted", True) else []), 1)
        for name, of in (("target", self.target), ("event", self.event)):
            if training and "attention.%s.log_z" % name in self.statistics:
                seen = [torch.stack(e) for e in of if e]
                g.seen["attention.%s.log_z" % name] = torch.stack(seen).mean(0).detach()
        tasks = c.get("tasks", [dict(name="")])
        z = [full_mlp(g, (k["name"] + "." if k["name"] else "") + "tower", x, TOWER)[:, 0]
             for k in tasks]
        return torch.stack(z), g.seen


def write_case(out, name, c):
    case = Case(name, c)
    w = case.weight if c.get("weights") else torch.ones(SAMPLES)

    def terms():
        z = case.run(True)[0]
        return losses_of(c, z, case.label, w) if "tasks" in c else bce(c, z, case.label, w)

    def loss():
        return whole(c, case.p, terms()) if "tasks" in c else terms()[0][1]

    value = loss()
    value.backward()
    learned = {k: v for k, v in {**case.p, **case.table}.items() if v.requires_grad}
    for v in learned.values():  # a row that nothing reads
        v.grad = torch.zeros_like(v) if v.grad is None else v.grad
    check_by_differences(loss, learned, case.seed)
    with torch.no_grad():
        _, seen = case.run(True)
        told = (np.zeros((ROWS["item"], case.slot_width)), np.zeros(ROWS["item"]))
        if c["normalise"] == "RUNNING":
            observed(told, case.one["item"], case.target, 1, ROWS["item"])
            observed(told, case.events["item"], case.event, 1 + c["heads"], ROWS["item"])
        of_terms = terms()
        scores, _ = case.run(False)
    put = lambda key, v: out.put("%s/%s" % (name, key), v)
    put("batch/dense", case.x_dense)
    put("batch/label", case.label)
    put("batch/weight", case.weight if c.get("weights") else torch.zeros(0))
    put("batch/offset", case.offset)
    for t in ["profile"] + c["pairs"]:
        put("batch/one.%s" % t, case.one[t])
    for t in c["pairs"]:
        put("batch/events.%s" % t, case.events[t])
    put("batch/words", case.words)
    put("batch/word_offset", case.word_offset)
    put("batch/action", case.action)
    put("batch/age", case.age)
    put("popularity", case.popularity)
    put("popularity_total", np.array([case.popularity.sum() + 10]))
    put("slots", case.slots)
    put("observed", told[0])
    put("observed_mask", told[1])
    for key, v in case.p.items():
        put("dense/" + key, v)
        put("dense_gradient/" + key, v - seen[key] if key in seen else v.grad)
    for key, v in case.table.items():
        put("rows/" + key, v)
        put("row_gradient/" + key, v.grad)
    for term, v in of_terms + [("loss", value)]:
        put("loss/" + term, v.reshape(1))
    put("logits", scores)


def main(path):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    out = TensorFile()
    for name, c in CASES.items():
        write_case(out, name, c)
    out.write(path)
