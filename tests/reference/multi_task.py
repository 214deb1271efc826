"""References of the models with several tasks: the towers' logits, every task's loss, the weighted
whole and all gradients in float64. Inputs, layers and the checks are those of pointwise.py."""
import torch
import torch.nn.functional as F

import pointwise
from tensors import TensorFile

CTR = dict(name="ctr")
BUY = dict(name="buy")
LONG = dict(name="long", kind="log1p", given="ctr")
CVR = dict(name="cvr", given="ctr")
JOINT = dict(name="cvr", given="ctr", entire=True)
DEEP = dict(name="deep", given="cvr", entire=True)


def mlp_with_out(shapes, name, width, hidden, out):
    shapes.update(pointwise.mlp_shapes(name, width, dict(hidden=hidden)))
    last = hidden[-1] if hidden else width
    shapes[name + ".out.weight"], shapes[name + ".out.bias"] = (out, last), (out,)


def apply_with_out(g, name, x, hidden):
    return g.linear(name + ".out", g.mlp(name, x, dict(hidden=hidden)))


def shapes_of(c, width):
    shapes, names, h = {}, [t["name"] for t in c["tasks"]], c.get("expert", [3])
    kind = c["kind"]
    if kind == "shared_bottom":
        shapes.update(pointwise.mlp_shapes("bottom", width, dict(hidden=h)))
    if kind == "mmoe":
        for e in range(c["experts"]):
            shapes.update(pointwise.mlp_shapes("expert%d" % e, width, dict(hidden=h)))
        for name in names:
            mlp_with_out(shapes, name + ".gate", width, c["gate"], c["experts"])
    if kind == "ple":
        own, shared, inner = c["own"], c["shared"], width
        for l in range(c["layers"]):
            for name in names:
                pre = "layer%d.%s." % (l, name)
                for e in range(own):
                    shapes.update(pointwise.mlp_shapes(pre + "expert%d" % e, inner, dict(hidden=h)))
                mlp_with_out(shapes, pre + "gate", inner, c["gate"], own + shared)
            pre = "layer%d.shared." % l
            for e in range(shared):
                shapes.update(pointwise.mlp_shapes(pre + "expert%d" % e, inner, dict(hidden=h)))
            if l + 1 < c["layers"]:
                seen = shared + (own * len(names) if c["all"] else 0)
                mlp_with_out(shapes, pre + "gate", inner, c["gate"], seen)
            inner = h[-1]
    tower_in = width if kind == "esmm" else h[-1]
    for name in names:
        mlp_with_out(shapes, name + ".tower", tower_in, c["tower"], 1)
    if c.get("weights_by") == "uncertainty":
        shapes["task_weight"] = (len(names),)
    return shapes


def mix(g, name, x, hidden, experts):
    p = apply_with_out(g, name, x, hidden).softmax(1)
    return sum(p[:, e:e + 1] * f for e, f in enumerate(experts))


def forward(g, c, e, lines, x_dense):
    x, names, h = torch.cat(e + [x_dense], 1), [t["name"] for t in c["tasks"]], c.get("expert", [3])
    expert = lambda name, v: g.mlp(name, v, dict(hidden=h))
    if c["kind"] == "esmm":
        y = [x] * len(names)
    elif c["kind"] == "shared_bottom":
        y = [expert("bottom", x)] * len(names)
    elif c["kind"] == "mmoe":
        f = [expert("expert%d" % i, x) for i in range(c["experts"])]
        y = [mix(g, n + ".gate", x, c["gate"], f) for n in names]
    else:
        y, common = [x] * len(names), x
        for l in range(c["layers"]):
            pre = "layer%d." % l
            own = [[expert(pre + "%s.expert%d" % (n, i), y[k]) for i in range(c["own"])]
                   for k, n in enumerate(names)]
            shared = [expert(pre + "shared.expert%d" % i, common) for i in range(c["shared"])]
            if l + 1 < c["layers"]:
                seen = (sum(own, []) if c["all"] else []) + shared
                new = mix(g, pre + "shared.gate", common, c["gate"], seen)
            y = [mix(g, pre + n + ".gate", y[k], c["gate"], own[k] + shared)
                 for k, n in enumerate(names)]
            common = new
    return torch.stack([apply_with_out(g, n + ".tower", y[k], c["tower"])[:, 0]
                        for k, n in enumerate(names)])


MODEL = (shapes_of, forward)
SMALL = dict(of=MODEL, dims=dict(a=2, b=2, words=2), tower=[2])
CASES = {
    "shared_bottom": dict(SMALL, kind="shared_bottom", tasks=[CTR, BUY]),
    "shared_bottom_uncertainty": dict(SMALL, kind="shared_bottom", tasks=[CTR, LONG],
                                      weights_by="uncertainty", weights=True),
    "mmoe": dict(SMALL, kind="mmoe", experts=3, gate=[2], tasks=[CTR, BUY], task_weights=[1, 0.5]),
    "mmoe_regression": dict(SMALL, kind="mmoe", experts=2, gate=[], tasks=[CTR, LONG],
                            weights=True),
    "mmoe_given": dict(SMALL, kind="mmoe", experts=2, gate=[], tasks=[CTR, CVR]),
    "mmoe_ordinal": dict(SMALL, kind="mmoe", experts=2, gate=[], tasks=[CTR, JOINT, DEEP]),
    "ple": dict(SMALL, kind="ple", layers=2, own=2, shared=1, gate=[], all=True, tasks=[CTR, BUY]),
    "ple_shared_only": dict(SMALL, kind="ple", layers=2, own=1, shared=2, gate=[2], all=False,
                            tasks=[CTR, BUY]),
    "esmm": dict(SMALL, kind="esmm", tasks=[CTR, JOINT], weights=True),
}


def losses_of(c, z, labels, w):
    """[(name, loss)] by the definitions, one sample after another."""
    names = [t["name"] for t in c["tasks"]]
    result = []
    for k, task in enumerate(c["tasks"]):
        total, weight = 0, 0
        for b in range(z.shape[1]):
            y, value = labels[k, b], None
            if task.get("entire"):
                chain = [k]
                while c["tasks"][chain[-1]].get("entire"):
                    chain.append(names.index(c["tasks"][chain[-1]]["given"]))
                p, y = 1, 1
                for j in chain:
                    p, y = p * torch.sigmoid(z[j, b]), y * labels[j, b]
                value = -(y * p.log() + (1 - y) * (1 - p).log())
            elif "given" in task and labels[names.index(task["given"]), b] == 0:
                continue
            elif task.get("kind") == "log1p":
                value = (z[k, b] - y)**2
            else:
                value = -(y * F.logsigmoid(z[k, b]) + (1 - y) * F.logsigmoid(-z[k, b]))
            total, weight = total + w[b] * value, weight + w[b]
        result.append((task["name"], total / weight))
    return result


def whole(c, p, terms):
    lambdas = c.get("task_weights", [1] * len(terms))
    if c.get("weights_by") == "uncertainty":
        return sum(torch.exp(-p["task_weight"][k]) * v + p["task_weight"][k]
                   for k, (_, v) in enumerate(terms))
    return sum(lambdas[k] * v for k, (_, v) in enumerate(terms))


def main(path):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    out = TensorFile()
    for name, c in CASES.items():
        pointwise.write_case(out, name, c, losses_of, whole)
    out.write(path)
