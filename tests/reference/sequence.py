"""References of the models over sequences (din, bst, bst_din): forward, loss and all gradients in
float64.

A case has a plain field, two dense inputs, and one or two pairs of a target and a history; one
sample has no history. Everything over events is written sample by sample and event by event,
without padding; what batch norm and Dice need is taken over all events of the batch. Gradients are
checked by differences.
"""
import zlib

import numpy as np
import torch
import torch.nn.functional as F

from pointwise import (Context, bce, check_by_differences, fill_gradients, mlp_shapes, out_shapes,
                       parameters, rand)
from tensors import TensorFile

SAMPLES, DENSE, LONGEST = 5, 2, 5
LENGTHS = [3, 0, 1, 5, 2]
ROWS, DIMS = {"profile": 4, "item": 6, "kind": 4}, {"profile": 2, "item": 3, "kind": 1}


def with_out(name, width, c):
    hidden = c.get("hidden", [])
    return {**mlp_shapes(name, width, dict(c, hidden=hidden)),
            **out_shapes(name + ".out", hidden[-1] if hidden else width)}


def full_mlp(g, name, x, c):
    return g.linear(name + ".out", g.mlp(name, x, dict(c, hidden=c.get("hidden", []))))


# -- Layers ----------------------------------------------------------------------------------------


def attention_shapes(c, d):
    return with_out("attention", 4 * d, c["attention"])


def target_attention(g, c, t, histories):
    """t [B, d]; histories: a [n, d] of each sample."""
    z = [torch.cat([t[b], h, t[b] - h, t[b] * h])
         for b, events in enumerate(histories) for h in events]
    a = full_mlp(g, "attention", torch.stack(z), c["attention"])[:, 0]
    rows, at = [], 0
    for events in histories:
        own = a[at:at + len(events)]
        at += len(events)
        if c.get("softmax") and len(events):
            own = own.softmax(0)
        rows.append(sum((s * h for s, h in zip(own, events)), torch.zeros(t.shape[1])))
    return torch.stack(rows)


def encoder_shapes(name, c, w):
    shapes, f = {}, c.get("feed_forward", w)
    for i in range(c["blocks"]):
        layer = "%s.layer%d" % (name, i)
        for part, out, width in (("attention.in", 3 * w, w), ("attention.out", w, w),
                                 ("feed_forward.in", f, w), ("feed_forward.out", w, f)):
            shapes.update({"%s.%s.weight" % (layer, part): (out, width),
                           "%s.%s.bias" % (layer, part): (out,)})
        for norm in ("norm1", "norm2") if c.get("norm", True) else ():
            shapes.update({"%s.%s.%s" % (layer, norm, k): (w,) for k in ("weight", "bias")})
    return shapes


def encoder(g, name, c, x):
    """One sample, x [n, w]; every element attends to every other."""
    def normal(layer, v):
        if not c.get("norm", True):
            return v
        mean, var = v.mean(1, keepdim=True), v.var(1, unbiased=False, keepdim=True)
        return (v - mean) / (var + 1e-5).sqrt() * g.p[layer + ".weight"] + g.p[layer + ".bias"]

    for i in range(c["blocks"]):
        layer = "%s.layer%d" % (name, i)
        q, k, v = g.linear(layer + ".attention.in", x).chunk(3, 1)
        d, heads = x.shape[1] // c["heads"], []
        for h in range(c["heads"]):
            s = slice(h * d, (h + 1) * d)
            heads.append((q[:, s] @ k[:, s].T / d**0.5).softmax(1) @ v[:, s])
        x = normal(layer + ".norm1", x + g.linear(layer + ".attention.out", torch.cat(heads, 1)))
        y = F.leaky_relu(g.linear(layer + ".feed_forward.in", x), 0.01)
        x = normal(layer + ".norm2", x + g.linear(layer + ".feed_forward.out", y))
    return x


def positions(g, count):
    """Of `count` events, oldest first; the target has position 0."""
    return g.p["position"][list(range(count, 0, -1))]


# -- Models ----------------------------------------------------------------------------------------


def din_shapes(c, width, d):
    return {**attention_shapes(c, d), **with_out("mlp", width + 2 * d, c["mlp"])}


def din(g, c, x, t, histories):
    return torch.cat([x, t, target_attention(g, c, t, histories)], 1)


def bst_shapes(c, width, d):
    dp = c.get("position_width", d)
    shapes = {"position": (LONGEST + 1, dp)} if dp else {}
    shapes.update(encoder_shapes("encoder", c, d + dp))
    out = (d + dp) * (LONGEST + 1 if c["output"] == "FLATTEN" else 1)
    return {**shapes, **with_out("mlp", width + out, c["mlp"])}


def bst(g, c, x, t, histories):
    rows = []
    for b, events in enumerate(histories):
        elements = torch.cat([events, t[b:b + 1]])
        if "position" in g.p:
            p = torch.cat([positions(g, len(events)), g.p["position"][:1]])
            elements = torch.cat([elements, p], 1)
        y = encoder(g, "encoder", c, elements)
        if c["output"] == "FLATTEN":
            back = torch.cat([y.flip(0), torch.zeros(LONGEST + 1 - len(y), y.shape[1])])
            rows.append(back.reshape(-1))
        else:
            rows.append({"TARGET": y[-1], "MEAN": y.mean(0), "SUM": y.sum(0)}[c["output"]])
    return torch.cat([x, torch.stack(rows)], 1)


def bst_din_shapes(c, width, d):
    shapes = {"position": (LONGEST + 1, d)} if c.get("positions", True) else {}
    shapes.update(encoder_shapes("encoder", c, d))
    if c.get("summary"):
        shapes.update(encoder_shapes("summary", c, d))
    shapes.update(attention_shapes(c, d))
    return {**shapes, **with_out("mlp", width + 3 * d, c["mlp"])}


def bst_din(g, c, x, t, histories):
    encoded, summary = [], []
    for b, events in enumerate(histories):
        placed, target = events, t[b:b + 1]
        if "position" in g.p:
            placed, target = events + positions(g, len(events)), target + g.p["position"][:1]
        encoded.append(encoder(g, "encoder", c, placed) if len(events) else events)
        if c.get("summary"):
            summary.append(encoder(g, "summary", c, torch.cat([placed, target]))[-1])
        else:
            summary.append(encoded[-1].mean(0) if len(events) else torch.zeros(t.shape[1]))
    return torch.cat([x, t, target_attention(g, c, t, encoded), torch.stack(summary)], 1)


# -- The cases -------------------------------------------------------------------------------------

DIN, BST, BST_DIN = (din_shapes, din), (bst_shapes, bst), (bst_din_shapes, bst_din)
ONE, TWO = ["item"], ["item", "kind"]
CASES = {
    "din": dict(of=DIN, pairs=ONE, attention=dict(hidden=[4]), mlp=dict(hidden=[3])),
    "din_softmax": dict(of=DIN, pairs=TWO, softmax=True, mlp=dict(hidden=[3]), weights=True,
                        attention=dict(hidden=[4, 3], activation="PRELU")),
    "din_dice": dict(of=DIN, pairs=TWO, attention=dict(hidden=[4], norm=True, activation="DICE"),
                     mlp=dict(hidden=[3], activation="DICE")),
    "din_linear": dict(of=DIN, pairs=ONE, attention=dict(), mlp=dict()),
    "bst": dict(of=BST, pairs=TWO, blocks=2, heads=2, output="TARGET", mlp=dict(hidden=[3])),
    "bst_mean": dict(of=BST, pairs=ONE, blocks=1, heads=1, position_width=2, output="MEAN",
                     feed_forward=3, mlp=dict(hidden=[3], activation="LEAKY_RELU")),
    "bst_sum": dict(of=BST, pairs=TWO, blocks=2, heads=4, position_width=0, output="SUM",
                    mlp=dict(hidden=[3])),
    "bst_flatten": dict(of=BST, pairs=ONE, blocks=1, heads=2, position_width=1, output="FLATTEN",
                        norm=False, mlp=dict(hidden=[3])),
    "bst_din": dict(of=BST_DIN, pairs=TWO, blocks=2, heads=2, attention=dict(hidden=[4]),
                    mlp=dict(hidden=[3])),
    "bst_din_target": dict(of=BST_DIN, pairs=ONE, blocks=1, heads=3, summary=True, softmax=True,
                           attention=dict(hidden=[4]), mlp=dict(hidden=[3])),
    "bst_din_bare": dict(of=BST_DIN, pairs=ONE, blocks=1, heads=1, positions=False, norm=False,
                         attention=dict(), mlp=dict(hidden=[3])),
}


def write_case(out, name, c):
    seed = zlib.crc32(name.encode()) % 1000
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tables = ["profile"] + c["pairs"]
    dims = {**DIMS, **c.get("dims", {})}
    table = {t: rand(ROWS[t], dims[t]).requires_grad_() for t in tables}
    x_dense = rand(SAMPLES, DENSE)
    label = torch.tensor(rng.integers(0, 2, (1, SAMPLES))).double()
    weight = torch.tensor(rng.uniform(0.5, 2, SAMPLES).astype(np.float32)).double()
    offset = np.concatenate([[0], np.cumsum(LENGTHS)])
    one = {t: rng.integers(0, ROWS[t], SAMPLES) for t in tables}
    events = {t: rng.integers(0, ROWS[t], offset[-1]) for t in c["pairs"]}
    d = sum(dims[t] for t in c["pairs"])
    shapes, forward = c["of"]
    p, stops = parameters(shapes(c, dims["profile"] + DENSE, d)), []

    def run(training):
        g = Context(p, training, stops)
        x = torch.cat([table["profile"][one["profile"]], x_dense], 1)
        t = torch.cat([table[k][one[k]] for k in c["pairs"]], 1)
        histories = [torch.cat([table[k][events[k][begin:end]] for k in c["pairs"]], 1)
                     for begin, end in zip(offset, offset[1:])]
        z = full_mlp(g, "mlp", forward(g, c, x, t, histories), c["mlp"])[:, 0]
        return z.unsqueeze(0), g.seen

    w = weight if c.get("weights") else torch.ones(SAMPLES)

    def loss():
        return bce(c, run(True)[0], label, w)[0][1]

    value = loss()
    value.backward()
    learned = {k: v for k, v in {**p, **table}.items() if v.requires_grad}
    fill_gradients(learned)
    check_by_differences(loss, learned, seed)
    with torch.no_grad():
        _, seen = run(True)
        scores, _ = run(False)
    out.put("%s/batch/dense" % name, x_dense)
    out.put("%s/batch/label" % name, label)
    out.put("%s/batch/weight" % name, weight if c.get("weights") else torch.zeros(0))
    out.put("%s/batch/offset" % name, offset)
    if "scenario" in c:
        out.put("%s/batch/scenario" % name, np.array(c["scenario"]))
    for t in tables:
        out.put("%s/batch/one.%s" % (name, t), one[t])
    for t in c["pairs"]:
        out.put("%s/batch/events.%s" % (name, t), events[t])
    for key, v in p.items():
        out.put("%s/dense/%s" % (name, key), v)
        out.put("%s/dense_gradient/%s" % (name, key), v - seen[key] if key in seen else v.grad)
    for key, v in table.items():
        out.put("%s/rows/%s" % (name, key), v)
        out.put("%s/row_gradient/%s" % (name, key), v.grad)
    for term in ("bce", "loss"):
        out.put("%s/loss/%s" % (name, term), value.reshape(1))
    out.put("%s/logits" % name, scores)


def main(path):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    out = TensorFile()
    for name, c in CASES.items():
        write_case(out, name, c)
    out.write(path)
