"""Reference of DeepFM: forward, loss and all gradients in float64 by plain PyTorch."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from tensors import TensorFile

DIM, SAMPLES, DENSE = 4, 6, 2
TABLES = {"a": 5, "b": 7, "words": 6}  # fields a, a again under another name, b, words (pooled)
FIELDS = [("f0", "a"), ("f1", "a"), ("f2", "b"), ("f3", "words")]
CASES = {
    "full": dict(linear=True, fm=True, hidden=[5, 3], dense=True, weights=True, pool="mean"),
    "mlp": dict(linear=False, fm=False, hidden=[5], dense=True, weights=False, pool="sqrt"),
    "fm": dict(linear=True, fm=True, hidden=[], dense=False, weights=False, pool="sum"),
}


def write_case(out, name, c, seed):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    rand = lambda *shape: torch.randn(*shape).mul(0.4).float().double()
    table = {t: rand(n, DIM).requires_grad_() for t, n in TABLES.items()}
    linear = rand(sum(TABLES.values()), 1).requires_grad_()
    start = dict(zip(TABLES, np.concatenate([[0], np.cumsum(list(TABLES.values()))])))
    dense = {}
    width = len(FIELDS) * DIM + (DENSE if c["dense"] else 0)
    for i, h in enumerate(c["hidden"]):
        dense["mlp.hidden%d.weight" % i], dense["mlp.hidden%d.bias" % i] = rand(h, width), rand(h)
        width = h
    if c["hidden"]:
        dense["mlp.out.weight"], dense["mlp.out.bias"] = rand(1, width), rand(1)
    else:
        dense["bias"] = rand(1)
    if c["linear"] and c["dense"]:
        dense["linear.dense"] = rand(DENSE)
    for p in dense.values():
        p.requires_grad_()
    x_dense = rand(SAMPLES, DENSE) if c["dense"] else torch.zeros(SAMPLES, 0)
    label = torch.tensor(rng.integers(0, 2, SAMPLES)).double()
    weight = torch.tensor(rng.uniform(0.5, 2, SAMPLES).astype(np.float32)).double()

    vectors, lines = [], []
    for field, t in FIELDS:
        counts = rng.integers(0, 4, SAMPLES) if t == "words" else np.ones(SAMPLES, int)
        offset = np.concatenate([[0], np.cumsum(counts)])
        index = torch.tensor(rng.integers(0, TABLES[t], offset[-1]))
        out.put("%s/batch/field.%s.index" % (name, field), index)
        out.put("%s/batch/field.%s.offset" % (name, field), offset)
        begin = torch.tensor(offset[:-1])
        mode = "mean" if c["pool"] == "mean" and t == "words" else "sum"
        v = F.embedding_bag(index, table[t], begin, mode=mode)
        if c["pool"] == "sqrt" and t == "words":
            v = v / torch.tensor(np.maximum(counts, 1)).double().sqrt()[:, None]
        vectors.append(v)
        lines.append(F.embedding_bag(index + int(start[t]), linear, begin, mode="sum"))
    e = torch.stack(vectors, 1)
    logit = torch.zeros(SAMPLES)
    if c["hidden"]:
        h = torch.cat([e.flatten(1), x_dense], 1)
        for i in range(len(c["hidden"])):
            h = torch.relu(F.linear(h,
    dense["mlp.hidden%d.weight" % i],
     dense["mlp.hidden%d.bias" % i]))
        logit = logit + F.linear(h, dense["mlp.out.weight"], dense["mlp.out.bias"])[:, 0]
    else:
        logit = logit + dense["bias"]
    if c["fm"]:  # the sum over pairs, as the definition has it
        for i in range(len(FIELDS)):
            for j in range(i):
                logit = logit + (e[:, i] * e[:, j]).sum(1)
    if c["linear"]:
        logit = logit + torch.cat(lines, 1).sum(1)
        if c["dense"]:
            logit = logit + x_dense @ dense["linear.dense"]
    w = weight if c["weights"] else torch.ones(SAMPLES)
    loss = F.binary_cross_entropy_with_logits(logit, label, weight=w, reduction="sum") / w.sum()
    loss.backward()

    out.put("%s/batch/dense" % name, x_dense)
    out.put("%s/batch/label" % name, label)
    out.put("%s/batch/weight" % name, weight if c["weights"] else torch.zeros(0))
    for key, p in dense.items():
        out.put("%s/dense/%s" % (name, key), p)
        out.put("%s/dense_gradient/%s" % (name, key), p.grad)
    for key, p in dict(table, linear=linear).items():
        out.put("%s/rows/%s" % (name, key), p)
        out.put("%s/row_gradient/%s" % (name, key), p.grad if p.grad is not None else p * 0)
    out.put("%s/loss/loss" % name, loss.reshape(1))
    out.put("%s/logits" % name, logit)


def main(path):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    out = TensorFile()
    for i, (name, c) in enumerate(CASES.items()):
        write_case(out, name, c, 31 + i)
    out.write(path)
