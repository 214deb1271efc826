"""Reference of SASRec: loss, all gradients, user and item vectors in float64 by plain PyTorch.

Independent of Emporium's code on purpose: one user at a time without padding, nn.Transformer
layers under a causal mask, the softmax of one row at a time.
"""
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from tensors import TensorFile

D, HEADS, MAX_LENGTH = 8, 2, 9
TABLES = {"item": 12, "word": 6}
CASES = {
    # A sample is a user, the softmax is taken for any of his events, for some twice.
    "every_position": dict(attributes=0.7, cosine=True, positions=True, relative=True, scale=6.0,
                           learned=True, every=True, log_q=True, power=0.5, weights=True),
    "no_positions": dict(attributes=1.0, cosine=False, positions=False, relative=True, scale=0.5,
                         learned=False, every=True, log_q=False, power=0.0, weights=False),
    # A sample is asked after its last event.
    "last_event": dict(attributes=0.0, cosine=True, positions=True, relative=False, scale=3.0,
                       learned=False, every=False, log_q=True, power=0.0, weights=True),
}
LENGTHS = [5, 0, 1, 9, 3]


def make_batch(rng, c):
    """The columns of a batch (models/batch.h), as numpy arrays."""
    b, items = {}, 8
    b["items.id.index"] = rng.permutation(TABLES["item"])[:items]
    counts = rng.integers(0, 4, items)
    b["items.title.offset"] = np.concatenate([[0], np.cumsum(counts)])
    b["items.title.index"] = rng.integers(0, TABLES["word"], counts.sum())
    b["history.offset"] = np.concatenate([[0], np.cumsum(LENGTHS)])
    b["history.item"] = rng.integers(0, items, sum(LENGTHS))
    b["candidates.item"] = rng.permutation(items)[:7]
    b["candidates.sampled"] = np.array([1, 1, 0, 1, 1, 0, 1])
    b["candidates.log_q"] = np.where(b["candidates.sampled"] > 0, rng.uniform(-3, 0, 7), 0)
    rows = [0, 1, 3, 4, 5, 6, 6, 9, 10, 14, 15, 17] if c["every"] else list(range(len(LENGTHS)))
    b["candidates.event"] = np.array(rows if c["every"] else [], int)
    positives = rng.integers(1, 3, len(rows))
    positives[2] = 0  # a row without
    b["candidates.positive_offset"] = np.concatenate([[0], np.cumsum(positives)])
    b["candidates.positive"] = np.concatenate(
        [rng.permutation(7)[:n] for n in positives]).astype(int)
    masked, offset = [], [0]
    for r, n in enumerate(positives):
        own = b["candidates.positive"][b["candidates.positive_offset"][r]:][:n].tolist()
        masked += (own if n > 1 else []) + [k for k in rng.permutation(7)[:2] if k not in own]
        offset.append(len(masked))
    b["candidates.masked"], b["candidates.masked_offset"] = np.array(masked, int), np.array(offset)
    b["weight"] = rng.uniform(0.5, 2, len(LENGTHS)) if c["weights"] else np.zeros(0)
    return b


class Reference(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.tables = nn.ParameterDict({t: torch.zeros(n, D) for t, n in TABLES.items()})
        self.position = nn.Parameter(torch.zeros(MAX_LENGTH, D)) if c["positions"] else None
        self.norm = nn.LayerNorm(D)
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(D, HEADS, 12, 0.0, "gelu", batch_first=True)
            for _ in range(2))
        self.bias = nn.ParameterList(
            torch.zeros(MAX_LENGTH, HEADS) for _ in range(2 if c["relative"] else 0))
        self.scale = nn.Parameter(torch.zeros(1)) if c["learned"] else None

    def named(self):
        """Emporium's names of all dense parameters."""
        out = {"norm.weight": self.norm.weight, "norm.bias": self.norm.bias}
        if self.position is not None:
            out["position"] = self.position
        for i, layer in enumerate(self.encoder):
            pre = "encoder.layer%d." % i
            out[pre + "attention.in.weight"] = layer.self_attn.in_proj_weight
            out[pre + "attention.in.bias"] = layer.self_attn.in_proj_bias
            for ours, module in (("attention.out", layer.self_attn.out_proj),
                                 ("norm1", layer.norm1), ("feed_forward.in", layer.linear1),
                                 ("feed_forward.out", layer.linear2), ("norm2", layer.norm2)):
                out[pre + ours + ".weight"], out[pre + ours + ".bias"] = module.weight, module.bias
            if self.c["relative"]:
                out[pre + "attention.relative_bias"] = self.bias[i]
        if self.scale is not None:
            out["scale"] = self.scale
        return out

    def items(self, b):
        e = self.tables["item"][b["items.id.index"]]
        if not self.c["attributes"]:
            return e
        words = F.embedding_bag(b["items.title.index"], self.tables["word"],
                                b["items.title.offset"][:-1], mode="mean")
        return e + self.c["attributes"] * words

    def states(self, b, e):
        """[events, D], one user after another."""
        out = [torch.zeros(0, D)]
        for begin, end in zip(b["history.offset"][:-1].tolist(), b["history.offset"][1:].tolist()):
            n = end - begin
            if n == 0:
                continue
            x = e[b["history.item"][begin:end]]
            if self.position is not None:
                x = x + self.position[:n]
            x = self.norm(x).unsqueeze(0)
            for i, layer in enumerate(self.encoder):
                mask = torch.full((n, n), -math.inf).triu(1).expand(HEADS, n, n)
                if self.c["relative"]:
                    distance = torch.arange(n)[:, None] - torch.arange(n)[None, :]
                    mask = mask + self.bias[i][distance.clamp(min=0)].permute(2, 0, 1)
                x = layer(x, src_mask=mask)
            out.append(x[0])
        return torch.cat(out)

    def normal(self, x):
        return F.normalize(x, dim=1, eps=1e-6) if self.c["cosine"] else x

    def factor(self):
        return self.scale.exp().clamp(0.01, 100) if self.scale is not None else self.c["scale"]

    def last(self, b, states):
        offset = b["history.offset"].tolist()
        return torch.stack([states[end - 1] if end > begin else torch.zeros(D)
                            for begin, end in zip(offset[:-1], offset[1:])])

    def loss(self, b):
        e = self.items(b)
        states = self.states(b, e)
        u = states[b["candidates.event"]] if self.c["every"] else self.last(b, states)
        v = self.normal(e)[b["candidates.item"]]
        s = self.factor() * (self.normal(u) @ v.T)
        of_event = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
        total, weight = 0, 0
        for r in range(len(u)):
            own = b["candidates.positive"][b["candidates.positive_offset"][r]:
                                           b["candidates.positive_offset"][r + 1]].tolist()
            masked = b["candidates.masked"][b["candidates.masked_offset"][r]:
                                            b["candidates.masked_offset"][r + 1]].tolist()
            if not own:
                continue
            terms = {}
            for i in range(v.shape[0]):
                if i in own:
                    terms[i] = s[r, i]
                elif b["candidates.sampled"][i] and i not in masked:
                    draws = math.exp(b["candidates.log_q"][i]) if self.c["log_q"] else math.inf
                    terms[i] = s[r, i] - math.log(1 - math.exp(-draws))
            sample = int(of_event[b["candidates.event"][r]]) if self.c["every"] else r
            row_weight = len(own)**self.c["power"]
            if self.c["weights"]:
                row_weight = row_weight * b["weight"][sample]
            lse = torch.stack(list(terms.values())).logsumexp(0)
            total = total + row_weight * torch.stack([lse - terms[i] for i in own]).mean()
            weight = weight + row_weight
        return total / weight


def write_case(out, name, c, seed):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Reference(c)
    dense = model.named()
    with torch.no_grad():  # away from every starting point: zeros would hide mistakes
        for p in model.parameters():
            p.copy_(torch.randn(p.shape).mul(0.3).float())
        for key, p in dense.items():
            if key == "scale":
                p.add_(math.log(c["scale"]))
            if "norm" in key and key.endswith("weight"):
                p.add_(1)
    batch = make_batch(rng, c)
    b = {k: torch.from_numpy(np.asarray(v)) if v.dtype.kind == "i" else
         torch.from_numpy(v.astype(np.float32).astype(np.float64)) for k, v in batch.items()}
    loss = model.loss(b)
    loss.backward()
    for key, value in b.items():
        out.put("%s/batch/%s" % (name, key), value)
    for key, p in dense.items():
        out.put("%s/dense/%s" % (name, key), p)
        out.put("%s/dense_gradient/%s" % (name, key), p.grad)
    for key, p in model.tables.items():
        out.put("%s/rows/%s" % (name, key), p)
        out.put("%s/row_gradient/%s" % (name, key), p.grad if p.grad is not None else p * 0)
    out.put("%s/loss" % name, loss.reshape(1))
    with torch.no_grad():
        e = model.items(b)
        out.put("%s/user_vectors" % name,
                model.factor() * model.normal(model.last(b, model.states(b, e))))
        out.put("%s/item_vectors" % name, model.normal(e))


def main(path):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    out = TensorFile()
    for i, (name, c) in enumerate(CASES.items()):
        write_case(out, name, c, 41 + i)
    out.write(path)
