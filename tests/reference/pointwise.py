"""References of the models that score samples: forward, loss and all gradients in float64.

A case has four fields (two of one table, one of another, one with lists of words, some empty) and,
where it says so, two dense inputs. What a model is stands in FORWARD; everything else is shared.
Running statistics get the "gradient" value - batch's value. Gradients are checked by differences.
"""
import zlib

import numpy as np
import torch
import torch.nn.functional as F

from tensors import TensorFile

SAMPLES, DENSE = 5, 2
ROWS = {"a": 4, "b": 5, "words": 6}
FIELDS = [("f0", "a"), ("f1", "a"), ("f2", "b"), ("f3", "words")]
MIXED, EQUAL, ONE = dict(a=3, b=2, words=4), dict(a=3, b=3, words=3), dict(a=1, b=1, words=1)


class Context:
    """What a forward function sees: parameters p, inputs x, and where to leave statistics."""

    def __init__(self, p, training, stops=None):
        self.p, self.training, self.seen = p, training, {}
        self.stops, self.at = stops if training else None, 0

    def stopped(self, x):
        """x without gradient. With `stops` as it was in the first pass, so that the loss is a
        function whose differences are the gradient."""
        if self.stops is None:
            return x.detach()
        if self.at == len(self.stops):
            self.stops.append(x.detach())
        self.at += 1
        return self.stops[self.at - 1]

    def linear(self, name, x):
        return F.linear(x, self.p[name + ".weight"], self.p[name + ".bias"])

    def normalised(self, name, x, eps):
        if self.training:
            self.seen[name + ".mean"] = x.mean(0)
            self.seen[name + ".variance"] = ((x - x.mean(0))**2).sum(0) / (len(x) - 1)
            mean, var = x.mean(0), ((x - x.mean(0))**2).mean(0)
        else:
            mean, var = self.p[name + ".mean"], self.p[name + ".variance"]
        return (x - mean) / (var + eps).sqrt()

    def mlp(self, name, x, c):
        for i in range(len(c["hidden"])):
            layer = "%s.hidden%d" % (name, i)
            x = self.linear(layer, x)
            if c.get("norm"):
                x = self.normalised(layer + ".norm", x, 1e-5)
                x = x * self.p[layer + ".norm.weight"] + self.p[layer + ".norm.bias"]
            x = self.activation(layer, x, c.get("activation", "RELU"))
        return x

    def activation(self, layer, x, kind):
        if kind == "PRELU":
            return torch.where(x > 0, x, self.p[layer + ".prelu.slope"] * x)
        if kind == "DICE":
            p = torch.sigmoid(self.normalised(layer + ".dice", x, 1e-9))
            return p * x + (1 - p) * self.p[layer + ".dice.alpha"] * x
        return {"RELU": torch.relu, "LEAKY_RELU": lambda v: torch.where(v > 0, v, 0.01 * v),
                "GELU": F.gelu, "SILU": lambda v: v * torch.sigmoid(v),
                "SIGMOID": torch.sigmoid}[kind](x)


def mlp_shapes(name, width, c):
    shapes = {}
    for i, h in enumerate(c["hidden"]):
        layer = "%s.hidden%d" % (name, i)
        shapes[layer + ".weight"], shapes[layer + ".bias"] = (h, width), (h,)
        if c.get("norm"):
            names = ("weight", "bias", "mean", "variance")
            shapes.update({layer + ".norm." + k: (h,) for k in names})
        if c.get("activation") == "PRELU":
            shapes[layer + ".prelu.slope"] = (h,)
        if c.get("activation") == "DICE":
            shapes.update({layer + ".dice." + k: (h,) for k in ("alpha", "mean", "variance")})
        width = h
    return shapes


def out_shapes(name, width):
    return {name + ".weight": (1, width), name + ".bias": (1,)}


# -- M1 --------------------------------------------------------------------------------------------


def additive_shapes(c, width):
    shapes = {}
    if c.get("hidden"):
        shapes.update(mlp_shapes("mlp", width, c))
        shapes.update(out_shapes("mlp.out", c["hidden"][-1]))
    else:
        shapes["bias"] = (1,)
    if c["dense"] and (c.get("linear") or c.get("rows")):
        shapes["linear.dense"] = (DENSE,)
    return shapes


def additive(g, c, e, lines, x_dense):
    logit = torch.zeros(SAMPLES)
    if c.get("hidden"):
        h = g.mlp("mlp", torch.cat(e + [x_dense], 1), c)
        logit = logit + g.linear("mlp.out", h)[:, 0]
    else:
        logit = logit + g.p["bias"]
    if c.get("fm"):  # the sum over pairs, as the definition has it
        for i in range(len(e)):
            for j in range(i):
                logit = logit + (e[i] * e[j]).sum(1)
    if c.get("rows"):
        logit = logit + torch.cat(e, 1).sum(1)
    if c.get("linear"):
        logit = logit + torch.cat(lines, 1).sum(1)
    if "linear.dense" in g.p:
        logit = logit + x_dense @ g.p["linear.dense"]
    return logit


# -- M2 --------------------------------------------------------------------------------------------


def cross_shapes(c, width):
    shapes = {}
    for i in range(c["layers"]):
        layer = "cross.layer%d." % i
        shapes[layer + "bias"] = (width,)
        if c["kind"] == "dcn":
            shapes[layer + "weight"] = (width,)
        elif c["kind"] == "dcn_v2":
            shapes[layer + "weight"] = (width, width)
        else:
            r, n = c["rank"], c["experts"]
            shapes.update({layer + "v": (n * r, width), layer + "c": (n, r, r),
                           layer + "u": (width, n * r)})
            if c.get("gates"):
                shapes[layer + "gate"] = (n, width)
    if c["kind"] == "dcn_mix" and not c.get("gates"):
        shapes["cross.gate"] = (c["experts"], width)
    out = 0
    if "stacked" in c["structure"]:
        shapes.update(mlp_shapes("stacked", width, c))
        out += c["hidden"][-1]
    else:
        out += width
    if "parallel" in c["structure"]:
        shapes.update(mlp_shapes("parallel", width, c))
        out += c["hidden"][-1]
    shapes.update(out_shapes("out", out))
    return shapes


def cross_layer(g, c, i, x0, x):
    """One sample at a time, as the formulas of models/layers/cross.h have it."""
    layer, rows = "cross.layer%d." % i, []
    for b in range(len(x)):
        if c["kind"] == "dcn":
            y = x0[b] * (x[b] @ g.p[layer + "weight"]) + g.p[layer + "bias"]
        elif c["kind"] == "dcn_v2":
            y = x0[b] * (g.p[layer + "weight"] @ x[b] + g.p[layer + "bias"])
        else:
            r = c["rank"]
            bend = torch.tanh if c.get("tanh", True) else (lambda v: v)
            gate = g.p[layer + "gate"] if c.get("gates") else g.p["cross.gate"]
            p = (gate @ x[b]).softmax(0)
            y = 0
            for k in range(c["experts"]):
                v = bend(g.p[layer + "v"][k * r:(k + 1) * r] @ x[b])
                v = bend(g.p[layer + "c"][k] @ v)
                y = y + p[k] * x0[b] * (g.p[layer + "u"][:, k * r:(k + 1) * r] @ v +
                                        g.p[layer + "bias"])
        rows.append(y + x[b])
    return torch.stack(rows)


def cross(g, c, e, lines, x_dense):
    x0 = torch.cat(e + [x_dense], 1)
    x = x0
    for i in range(c["layers"]):
        x = cross_layer(g, c, i, x0, x)
    parts = [g.mlp("stacked", x, c) if "stacked" in c["structure"] else x]
    if "parallel" in c["structure"]:
        parts.append(g.mlp("parallel", x0, c))
    return g.linear("out", torch.cat(parts, 1))[:, 0]


# -- The cases -------------------------------------------------------------------------------------

M1, M2 = (additive_shapes, additive), (cross_shapes, cross)
CASES = {
    "lr": dict(of=M1, dims=ONE, dense=True, rows=True, weights=True),
    "fm": dict(of=M1, dims=EQUAL, dense=True, linear=True, fm=True),
    "dnn": dict(of=M1, dims=MIXED, dense=True, hidden=[4, 3]),
    "dnn_norm": dict(of=M1, dims=MIXED, dense=True, hidden=[4, 3], norm=True),
    "dnn_dice": dict(of=M1, dims=MIXED, dense=False, hidden=[4], activation="DICE"),
    "dnn_leaky_relu": dict(of=M1, dims=MIXED, dense=False, hidden=[4], activation="LEAKY_RELU"),
    "dnn_prelu": dict(of=M1, dims=MIXED, dense=False, hidden=[4], activation="PRELU"),
    "dnn_gelu": dict(of=M1, dims=MIXED, dense=False, hidden=[4], activation="GELU"),
    "dnn_silu": dict(of=M1, dims=MIXED, dense=False, hidden=[4], activation="SILU"),
    "dnn_sigmoid": dict(of=M1, dims=MIXED, dense=False, hidden=[4], activation="SIGMOID"),
    "wdl": dict(of=M1, dims=MIXED, dense=True, linear=True, hidden=[4]),
    "deepfm_norm": dict(of=M1, dims=EQUAL, dense=True, linear=True, fm=True, hidden=[4], norm=True),
    "dcn_cross_only": dict(of=M2, kind="dcn", layers=2, structure="cross_only"),
    "dcn_stacked": dict(of=M2, kind="dcn", layers=1, structure="stacked", hidden=[3]),
    "dcn_v2_cross_only": dict(of=M2, kind="dcn_v2", layers=2, structure="cross_only", weights=True),
    "dcn_v2_parallel": dict(of=M2, kind="dcn_v2", layers=2, structure="parallel", hidden=[4, 3],
                            norm=True),
    "dcn_v2_both": dict(of=M2, kind="dcn_v2", layers=1, structure="stacked_parallel", hidden=[3]),
    "dcn_mix": dict(of=M2, kind="dcn_mix", layers=2, structure="stacked", hidden=[3], rank=2,
                    experts=3),
    "dcn_mix_gates": dict(of=M2, kind="dcn_mix", layers=2, structure="parallel", hidden=[3], rank=2,
                          experts=2, gates=True, tanh=False),
}


def rand(*shape):
    return torch.randn(*shape).mul(0.4).float().double()


def parameters(shapes):
    p = {}
    for name, shape in shapes.items():
        p[name] = rand(*shape)
        if name.endswith("variance"):
            p[name] = p[name].abs() + 0.5
        elif name.endswith("norm.weight"):
            p[name] = p[name] + 1
        p[name].requires_grad_(not is_statistic(name))
    return p


def is_statistic(name):
    return name.endswith((".mean", ".variance"))


def fill_gradients(tensors):
    """Zeros for what nothing of the batch reads."""
    for v in tensors.values():
        v.grad = torch.zeros_like(v) if v.grad is None else v.grad


def check_by_differences(loss, tensors, seed):
    """Central differences of a few elements of every tensor against its gradient."""
    rng, step = np.random.default_rng(seed), 1e-6
    for name, t in tensors.items():
        flat, gradient = t.data.view(-1), t.grad.view(-1)
        for i in rng.choice(len(flat), min(4, len(flat)), replace=False):
            old = float(flat[i])
            flat[i] = old + step
            up = loss().item()
            flat[i] = old - step
            down = loss().item()
            flat[i] = old
            slope = (up - down) / (2 * step)
            assert abs(slope - float(gradient[i])) < 1e-6, (name, i, slope, float(gradient[i]))


def bce(c, z, labels, w):
    y = labels[0]
    return [("bce", -(w * (y * F.logsigmoid(z) + (1 - y) * F.logsigmoid(-z))).sum() / w.sum())]


def labels_of(rng, tasks):
    """[tasks, samples]; a task that is given another has a positive among its samples."""
    names, labels = [t["name"] for t in tasks], []
    for k, task in enumerate(tasks):
        label = rng.integers(0, 2, SAMPLES)
        if k == 0 and len(tasks) > 1:
            label = np.array([1, 0, 1, 1, 0])
        if task.get("kind") == "log1p":
            label = np.log1p(rng.integers(0, 9, SAMPLES)).astype(np.float32)
        elif "given" in task:
            label[np.flatnonzero(labels[names.index(task["given"])])[0]] = 1
        labels.append(label)
    return torch.tensor(np.stack(labels)).double()


def write_case(out, name, c, losses_of=bce, whole=lambda c, p, terms: terms[0][1]):
    seed = zlib.crc32(name.encode()) % 1000
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    c.setdefault("dims", MIXED)
    c.setdefault("dense", True)
    table = {t: rand(n, c["dims"][t]).requires_grad_() for t, n in ROWS.items()}
    beside = c.get("beside", {})  # further fields {name: rows}, each with a table of its own
    start = dict(zip(ROWS, np.concatenate([[0], np.cumsum(list(ROWS.values()))])))
    if c.get("linear"):
        table["linear"] = rand(sum(ROWS.values()), 1).requires_grad_()
    table.update({t: rand(n, c["dims"][t]).requires_grad_() for t, n in beside.items()})
    x_dense = rand(SAMPLES, DENSE) if c["dense"] else torch.zeros(SAMPLES, 0)
    label = labels_of(rng, c.get("tasks", [dict(name="")]))
    weight = torch.tensor(rng.uniform(0.5, 2, SAMPLES).astype(np.float32)).double()
    fields = {}
    for field, t in FIELDS + [(t, t) for t in beside]:
        counts = rng.integers(0, 3, SAMPLES) if t == "words" else np.ones(SAMPLES, int)
        offset = np.concatenate([[0], np.cumsum(counts)])
        index = torch.tensor(rng.integers(0, len(table[t]), offset[-1]))
        out.put("%s/batch/field.%s.index" % (name, field), index)
        out.put("%s/batch/field.%s.offset" % (name, field), offset)
        fields[field] = (t, index, torch.tensor(offset[:-1]))
    shapes, forward = c["of"]
    width = sum(c["dims"][t] for _, t in FIELDS) + (DENSE if c["dense"] else 0)
    p, stops = parameters(shapes(c, width)), []

    def run(training):
        e = [F.embedding_bag(i, table[t], o, mode="mean") for t, i, o in fields.values()]
        lines = [] if "linear" not in table else [
            F.embedding_bag(i + int(start[t]), table["linear"], o, mode="sum")
            for t, i, o in [fields[field] for field, _ in FIELDS]]
        g = Context(p, training, stops)
        return forward(g, c, e, lines, x_dense), g.seen

    w = weight if c.get("weights") else torch.ones(SAMPLES)

    def loss():
        return whole(c, p, losses_of(c, run(True)[0], label, w))

    value = loss()
    value.backward()
    learned = {k: v for k, v in {**p, **table}.items() if v.requires_grad}
    fill_gradients({**p, **table})
    check_by_differences(loss, learned, seed)
    with torch.no_grad():
        _, seen = run(True)
        scores, _ = run(False)
        terms = losses_of(c, run(True)[0], label, w)
    out.put("%s/batch/dense" % name, x_dense)
    out.put("%s/batch/label" % name, label)
    out.put("%s/batch/weight" % name, weight if c.get("weights") else torch.zeros(0))
    if "scenario" in c:
        out.put("%s/batch/scenario" % name, np.array(c["scenario"]))
    for key, v in p.items():
        out.put("%s/dense/%s" % (name, key), v)
        out.put("%s/dense_gradient/%s" % (name, key), v - seen[key] if key in seen else v.grad)
    for key, v in table.items():
        out.put("%s/rows/%s" % (name, key), v)
        out.put("%s/row_gradient/%s" % (name, key), v.grad)
    for term, v in terms + [("loss", value)]:
        out.put("%s/loss/%s" % (name, term), v.reshape(1))
    out.put("%s/logits" % name, scores)


def main(path):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    out = TensorFile()
    for name, c in CASES.items():
        write_case(out, name, c)
    out.write(path)
