"""References of position towers: forward, loss and all gradients in float64.

A model of pointwise.py with a tower beside it: written from the formulas of models.md M6, one
sample after another. No place is hidden by chance; places that are not known (0) and places beyond
the last one are among the samples.
"""
import torch
import torch.nn.functional as F

import pointwise
from pointwise import MIXED, ONE
from tensors import TensorFile

PLACES, WIDTH = 3, 2
PLACE = [1, 3, 0, 7, 2]  # of each sample; 7 counts as the last


def tower_shapes(c):
    width = WIDTH + sum(c["dims"][t] for t in c.get("beside", {}))
    shapes = {"position.place": (PLACES + 1, WIDTH)}
    shapes.update(pointwise.mlp_shapes("position.mlp", width, dict(hidden=c["tower"])))
    shapes.update(pointwise.out_shapes("position.mlp.out", (c["tower"] or [width])[-1]))
    return shapes


def shapes_of(c, width):
    return {**pointwise.additive_shapes(c, width), **tower_shapes(c)}


def answer(g, c, place, rows):
    """f(place, rows) of one sample; no rows are zeros."""
    vector = g.p["position.place"][min(place, PLACES)]
    x = torch.cat([vector] + rows)
    if not rows:
        x = torch.cat([vector] + [torch.zeros(c["dims"][t]) for t in c.get("beside", {})])
    h = g.mlp("position.mlp", x[None], dict(hidden=c["tower"]))
    return g.linear("position.mlp.out", h)[0, 0]


def forward(g, c, e, lines, x_dense):
    own = len(pointwise.FIELDS)
    z = pointwise.additive(g, c, e[:own], lines, x_dense)
    if not g.training:  # what is scored knows nothing of places
        return z
    f = torch.stack([answer(g, c, place, [rows[b] for rows in e[own:]])
                     for b, place in enumerate(PLACE)])
    if c["form"] == "additive":
        return z + f - answer(g, c, 0, [])
    if not c["anchor"]:
        return F.logsigmoid(f) + F.logsigmoid(z)
    first = torch.tensor([place == 1 for place in PLACE])
    return torch.where(first, torch.zeros(len(PLACE)), -F.softplus(f)) + F.logsigmoid(z)


def losses_of(c, out, labels, w):
    """`out`: logits, or of a product log p."""
    if c["form"] == "additive":
        return pointwise.bce(c, out, labels, w)
    y, p = labels[0], out.exp()
    return [("bce", -(w * (y * p.log() + (1 - y) * (1 - p).log())).sum() / w.sum())]


DEVICE = dict(beside=dict(device=3))
CASES = {
    "additive_lr": dict(form="additive", dims=ONE, rows=True, tower=[3], weights=True),
    "additive_dnn_device": dict(DEVICE, form="additive", dims=dict(MIXED, device=2), hidden=[4],
                                tower=[4, 3]),
    "additive_wdl_device": dict(DEVICE, form="additive", dims=dict(MIXED, device=2), hidden=[4],
                                linear=True, tower=[]),
    "product_lr": dict(form="product", anchor=True, dims=ONE, rows=True, tower=[3]),
    "product_wdl_device": dict(DEVICE, form="product", anchor=True, dims=dict(MIXED, device=2),
                               hidden=[4], linear=True, tower=[3], weights=True),
    "product_free": dict(DEVICE, form="product", anchor=False, dims=dict(MIXED, device=2),
                         hidden=[4], tower=[3]),
}


def main(path):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    out = TensorFile()
    for name, c in CASES.items():
        pointwise.write_case(out, name, dict(c, of=(shapes_of, forward)), losses_of)
        out.put("%s/batch/place" % name, PLACE)
    out.write(path)
