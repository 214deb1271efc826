"""References of the models that tell scenarios apart, in float64: sample by sample, every sample
with the parameters of its own scenario. Inputs, layers and the checks are those of pointwise.py and
sequence.py, the bottoms those of multi_task.py with a scenario for each task.

Of three scenarios one has no sample; where it says so, one has a single sample.
"""
import torch

import multi_task
import pointwise
import sequence
from multi_task import apply_with_out, mlp_with_out
from tensors import TensorFile

COUNT = 3
SCENARIO, SINGLE = [1, 0, 1, 0, 0], [0, 0, 2, 0, 1]
NAMES = ["scenario%d" % s for s in range(COUNT)]

# -- Towers ----------------------------------------------------------------------------------------


def towers_shapes(c, width):
    shapes = multi_task.shapes_of(c, width)
    for name in NAMES if c.get("mix") is not None else ():
        mlp_with_out(shapes, name + ".mix", width, c["mix"], COUNT)
    return shapes


def towers(g, c, e, lines, x_dense):
    z = multi_task.forward(g, c, e, lines, x_dense)  # [scenarios, samples]
    if c.get("mix") is None:
        return torch.stack([z[s, b] for b, s in enumerate(c["scenario"])])
    x, logits = torch.cat(e + [x_dense], 1), []
    others = g.stopped(z)
    for b, s in enumerate(c["scenario"]):
        w = apply_with_out(g, NAMES[s] + ".mix", x[b:b + 1], c["mix"])[0].softmax(0)
        logits.append(sum(w[i] * (z if i == s else others)[i, b] for i in range(COUNT)))
    return torch.stack(logits)


# -- STAR ------------------------------------------------------------------------------------------


def star_layers(c):
    return ["mlp.hidden%d" % i for i in range(len(c["hidden"]))] + ["mlp.out"]


def star_shapes(c, width):
    shapes, inner = {}, width
    if c.get("norm"):
        shapes.update({"norm.weight": (width,), "norm.bias": (width,)})
        for name in NAMES:
            parts = ("weight", "bias", "mean", "variance")
            shapes.update({"norm.%s.%s" % (name, part): (width,) for part in parts})
    for layer, out in zip(star_layers(c), c["hidden"] + [1]):
        for part in [""] + ["." + name for name in NAMES]:
            shapes[layer + part + ".weight"], shapes[layer + part + ".bias"] = (out, inner), (out,)
        if c.get("activation") == "PRELU" and layer != "mlp.out":
            shapes[layer + ".prelu.slope"] = (out,)
        if c.get("activation") == "DICE" and layer != "mlp.out":
            shapes.update({layer + ".dice." + k: (out,) for k in ("alpha", "mean", "variance")})
        inner = out
    shapes["scenario"] = (COUNT, 2)
    mlp_with_out(shapes, "auxiliary", 2 + width, c["auxiliary"], 1)
    return shapes


def partitioned(g, c, x):
    rows = [None] * len(x)
    for s, name in enumerate(NAMES):
        own = [b for b, of in enumerate(c["scenario"]) if of == s]
        if not own:
            continue
        norm, v = "norm." + name, x[own]
        mean, var = g.p[norm + ".mean"], g.p[norm + ".variance"]
        if g.training:
            mean, var = v.mean(0), ((v - v.mean(0))**2).mean(0)
            g.seen[norm + ".mean"] = mean
            if len(own) > 1:
                g.seen[norm + ".variance"] = var * len(own) / (len(own) - 1)
        scale = g.p["norm.weight"] * g.p[norm + ".weight"]
        shift = g.p["norm.bias"] + g.p[norm + ".bias"]
        for b, y in zip(own, (v - mean) / (var + 1e-5).sqrt() * scale + shift):
            rows[b] = y
    return torch.stack(rows)


def star(g, c, e, lines, x_dense):
    x = torch.cat(e + [x_dense], 1)
    h = partitioned(g, c, x) if c.get("norm") else x
    for layer in star_layers(c):
        rows = []
        for b, s in enumerate(c["scenario"]):
            own = layer + "." + NAMES[s]
            rows.append((g.p[layer + ".weight"] * g.p[own + ".weight"]) @ h[b] +
                        g.p[layer + ".bias"] + g.p[own + ".bias"])
        h = torch.stack(rows)
        if layer != "mlp.out":
            h = g.activation(layer, h, c.get("activation", "RELU"))
    beside = torch.cat([g.p["scenario"][c["scenario"]], x], 1)
    return (h + apply_with_out(g, "auxiliary", beside, c["auxiliary"]))[:, 0]


# -- PEPNet ----------------------------------------------------------------------------------------


def gate_shapes(shapes, name, width, hidden, out):
    shapes.update({name + ".in.weight": (hidden, width), name + ".in.bias": (hidden,),
                   name + ".out.weight": (out, hidden), name + ".out.bias": (out,)})


def gate(g, name, x):
    return 2 * torch.sigmoid(g.linear(name + ".out", torch.relu(g.linear(name + ".in", x))))


def pepnet_shapes(c, width):
    shapes = {"scenario": (COUNT, 2)}
    gate_shapes(shapes, "inputs_gate", 2 + width, 3, width)
    mlp_with_out(shapes, "mlp", width, c["hidden"], 1)
    read = width + sum(c["dims"][pointwise.FIELDS[f][1]] for f in c["personal"])
    for i, inner in enumerate([width] + c["hidden"] if c["personal"] else []):
        gate_shapes(shapes, "gate%d" % i, read, 3, inner)
    return shapes


def pepnet(g, c, e, lines, x_dense):
    x = torch.cat(e + [x_dense], 1)
    of_scenario = torch.cat([g.p["scenario"][c["scenario"]], g.stopped(x)], 1)
    fitted = x * gate(g, "inputs_gate", of_scenario)
    if not c["personal"]:
        return apply_with_out(g, "mlp", fitted, c["hidden"])[:, 0]
    read = torch.cat([e[f] for f in c["personal"]] + [g.stopped(fitted)], 1)
    h = fitted
    for i in range(len(c["hidden"])):
        h = torch.relu(g.linear("mlp.hidden%d" % i, h * gate(g, "gate%d" % i, read)))
    return g.linear("mlp.out", h * gate(g, "gate%d" % len(c["hidden"]), read))[:, 0]


# -- SFPNet ----------------------------------------------------------------------------------------


def sfpnet_shapes(c, width, d):
    features, pooled = 2, d * (2 if c.get("spread", True) else 1)  # the profile and the target
    shapes, context = {"scenario": (COUNT, d)}, features * d + pooled + d
    for l in range(c["blocks"]):
        block = "block%d." % l
        if c.get("adaptive", True):
            gate_shapes(shapes, block + "gates", context, c["gate"], (features + 1) * d)
        if c.get("tailoring", True):
            mlp_with_out(shapes, block + "features", context, c["residual"]["hidden"],
                         features * d)
            mlp_with_out(shapes, block + "events", d + context, c["residual"]["hidden"], d)
            for norm in ("features.norm", "events.norm"):
                shapes.update({block + norm + "." + k: (d,) for k in ("weight", "bias")})
    shapes.update(sequence.attention_shapes(c, d))
    dense = width - d
    shapes.update(sequence.with_out("mlp", dense + features * d + d + pooled + d, c["mlp"]))
    return shapes


def pool(c, events):
    """Mean and spread of one sample's events [n, d], as the formulas have them."""
    if len(events) == 0:
        mean, square = torch.zeros(events.shape[1]), torch.zeros(events.shape[1])
    else:
        mean, square = events.mean(0), (events**2).mean(0)
    spread = ((square - mean**2).clamp(min=0) + 1e-6).sqrt()
    return torch.cat([mean, spread]) if c.get("spread", True) else mean


def layer_norm(g, name, v):
    mean, var = v.mean(-1, keepdim=True), v.var(-1, unbiased=False, keepdim=True)
    return (v - mean) / (var + 1e-5).sqrt() * g.p[name + ".weight"] + g.p[name + ".bias"]


def sfp_block(g, c, block, e, events, scenario):
    """One sample: e [features, d], events [n, d]."""
    d, stopped = e.shape[1], g.stopped if c.get("stop", True) else (lambda v: v)
    mlp = lambda name, v: sequence.full_mlp(g, block + name, v, c["residual"])
    if c.get("adaptive", True):
        read = torch.cat([stopped(e).reshape(-1), stopped(pool(c, events)), scenario])
        delta = gate(g, block + "gates", read).reshape(-1, d)
        e, events = e * delta[:-1], events * delta[-1]
    if c.get("tailoring", True):
        context = torch.cat([e.reshape(-1), pool(c, events), scenario])
        e = layer_norm(g, block + "features.norm", e + mlp("features", context).reshape(-1, d))
        fitted = [layer_norm(g, block + "events.norm", b + mlp("events", torch.cat([b, context])))
                  for b in events]
        events = torch.stack(fitted) if fitted else events
    return e, events


def sfpnet(g, c, x, t, histories):
    d, features, fitted, parts = t.shape[1], [], [], []
    for b, events in enumerate(histories):
        e, scenario = torch.stack([x[b, :d], t[b]]), g.p["scenario"][c["scenario"][b]]
        for l in range(c["blocks"]):
            e, events = sfp_block(g, c, "block%d." % l, e, events, scenario)
        features.append(e)
        fitted.append(events)
        parts.append(torch.cat([x[b, d:], e.reshape(-1), scenario, pool(c, events)]))
    target = torch.stack([e[1] for e in features])
    return torch.cat([torch.stack(parts), sequence.target_attention(g, c, target, fitted)], 1)


# -- The cases -------------------------------------------------------------------------------------

TASKS = [dict(name=name) for name in NAMES]
TOWERS = dict(of=(towers_shapes, towers), tasks=TASKS, scenario=SCENARIO, tower=[2],
              dims=dict(a=2, b=2, words=2))
STAR = dict(of=(star_shapes, star), dims=dict(a=2, b=1, words=2), auxiliary=[2])
PEPNET = dict(of=(pepnet_shapes, pepnet), dims=dict(a=2, b=1, words=2), scenario=SCENARIO)
CASES = {
    "scenario_bottom": dict(TOWERS, kind="shared_bottom", weights=True),
    "scenario_mmoe": dict(TOWERS, kind="mmoe", experts=3, gate=[2]),
    "scenario_ple": dict(TOWERS, kind="ple", layers=2, own=1, shared=1, gate=[], all=True),
    "hmoe": dict(TOWERS, kind="mmoe", experts=2, gate=[2], mix=[2], scenario=SINGLE),
    "star": dict(STAR, hidden=[3, 2], scenario=SCENARIO),
    "star_norm": dict(STAR, hidden=[3], norm=True, activation="PRELU", scenario=SCENARIO,
                      weights=True),
    "star_single": dict(STAR, hidden=[3], norm=True, activation="DICE", scenario=SINGLE),
    "pepnet": dict(PEPNET, hidden=[3, 2], personal=[0, 3], weights=True),
    "pepnet_inputs_alone": dict(PEPNET, hidden=[3], personal=[]),
}
SFPNET = dict(of=(sfpnet_shapes, sfpnet), scenario=SCENARIO, pairs=sequence.TWO,
              dims=dict(profile=4), blocks=1, gate=3, mlp=dict(hidden=[3]),
              attention=dict(hidden=[2]), residual=dict(hidden=[2]))
SEQUENCES = {
    "sfpnet": dict(SFPNET, blocks=2, residual=dict(hidden=[3]), attention=dict(hidden=[4]),
                   weights=True),
    "sfpnet_open": dict(SFPNET, pairs=sequence.ONE, dims=dict(profile=3), residual=dict(hidden=[]),
                        attention=dict(), softmax=True, stop=False, scenario=SINGLE),
    "sfpnet_mean": dict(SFPNET, blocks=2, gate=2, spread=False, mlp=dict(),
                        residual=dict(hidden=[3, 2], activation="SILU")),
    "sfpnet_no_gates": dict(SFPNET, adaptive=False),
    "sfpnet_no_residual": dict(SFPNET, tailoring=False),
}


def write_pointwise(out, name, c):
    """The scenarios stand in for tasks; the labels are of one."""
    kind = dict(c, of=(lambda _, width: c["of"][0](c, width),
                       lambda g, _, e, lines, x: c["of"][1](g, c, e, lines, x)))
    kind.pop("tasks", None)
    pointwise.write_case(out, name, kind)


def main(path):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    out = TensorFile()
    for name, c in CASES.items():
        write_pointwise(out, name, c)
    for name, c in SEQUENCES.items():
        sequence.write_case(out, name, c)
    out.write(path)
