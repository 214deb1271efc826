"""Reference of the two-tower model: forward, losses and all gradients in float64 by plain PyTorch.

Independent of Emporium's code on purpose: one user at a time without padding, nn.Transformer
layers, F.embedding_bag, autograd through the textbook form of each loss.
"""
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from tensors import TensorFile

D = 8  # width of rows
MAX_LENGTH = 10
TABLES = {"item": (9, D), "word": (7, D), "action": (3, D), "module": (4, 3), "device": (2, 2)}
CASES = {
    "softmax_transformer": dict(tower="transformer", width=6, residual=True, title=1.0, action=True,
                                query=True, gaps=[1, 7, 30], cosine=True, counters=2, scale=1.0,
                                loss="softmax", log_q=True, power=0.5, weights=False),
    "pair_context_a": dict(tower="transformer", width=6, residual=True, title=1.0, action=True,
                           query=False, gaps=[], cosine=True, counters=2, scale=2.0, loss="pair",
                           context="A", weights=True),
    "list_context_b": dict(tower="transformer", width=D, residual=False, title=0.0, action=False,
                           query=False, gaps=[3], cosine=False, counters=0, scale=0.5, loss="list",
                           context="B", weights=False),
    "pairwise_age": dict(tower="age", width=D, residual=False, title=2.0, ages=[3, 7, 14],
                         max_count=3, cosine=True, counters=2, scale=10.0, loss="pairwise",
                         weights=False),
    "softmax_age": dict(tower="age", width=D, residual=True, title=2.0, ages=[3, 7, 14],
                        max_count=3, cosine=True, counters=3, scale=4.0, loss="softmax",
                        log_q=False, power=0.5, weights=True),
}


def ragged(rng, lists, most, rows, least=0):
    counts = rng.integers(least, most + 1, lists)
    offset = np.concatenate([[0], np.cumsum(counts)])
    return rng.integers(0, rows, offset[-1]), offset


def make_batch(rng, c):
    """The columns of a batch (models/batch.h), as numpy arrays."""
    b = {}
    n, items, cands = 5, 8, 7
    b["items.id.index"] = rng.permutation(TABLES["item"][0])[:items]
    b["items.title.index"], b["items.title.offset"] = ragged(rng, items, 3, TABLES["word"][0])
    lengths = np.array([4, 0, 1, 7, 3])
    b["history.offset"] = np.concatenate([[0], np.cumsum(lengths)])
    events = lengths.sum()
    b["history.item"] = rng.integers(0, items, events)
    b["history.age_days"] = rng.uniform(0, 40, events).round(2)
    b["history.count"] = rng.integers(1, 6, events)
    b["history.action.index"] = rng.integers(0, TABLES["action"][0], events)
    counts = np.zeros(events, int)
    if c.get("query"):
        searches = rng.permutation(events)[:4]
        b["history.item"][searches] = -1
        counts[searches] = [1, 3, 0, 2]  # one search without known words
    b["history.query.offset"] = np.concatenate([[0], np.cumsum(counts)])
    b["history.query.index"] = rng.integers(0, TABLES["word"][0], counts.sum())
    b["candidates.item"] = rng.permutation(items)[:cands]
    b["candidates.sampled"] = np.array([1, 1, 0, 1, 1, 0, 1])
    b["candidates.log_q"] = np.where(b["candidates.sampled"] > 0, rng.uniform(-3, 0, cands), 0)
    b["candidates.in_batch"] = np.array([1, 0, 0, 1, 1, 0, 0])
    b["candidates.positive"] = np.array([0, 3, 4, 0, 2, 5])
    b["candidates.positive_offset"] = np.array([0, 1, 3, 3, 4, 6])  # row 2 has none
    b["candidates.masked"] = np.array([3, 3, 4, 1, 6])
    b["candidates.masked_offset"] = np.array([0, 1, 3, 3, 4, 5])
    b["candidates.group"] = np.array([0, 1, 2, 3, 5, 6, 0, 4, 2, 1, 3, 4, 5])
    b["candidates.group_offset"] = np.array([0, 4, 6, 8, 9, 13])
    b["candidates.group_label"] = np.array([1, 0, 0, 1, 0, 0, 1, 1, 1, 0, 1, 0, 1])
    b["candidates.log_counts"] = rng.uniform(0, 3, (n, cands, c["counters"]))
    b["items.log_counts"] = rng.uniform(0, 3, (items, c["counters"]))
    for name in ("module", "device"):
        b["field.%s.index" % name] = rng.integers(0, TABLES[name][0], n)
    b["weight"] = rng.uniform(0.5, 2, n) if c["weights"] else np.zeros(0)
    b["popularity"] = rng.uniform(0, 20, TABLES["item"][0])
    return b


class Reference(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        w, p = c["width"], {}
        self.p = p
        if c["residual"]:
            p["item_tower.in"] = nn.Linear(D, 4 * D)
            for i in range(2):
                p["item_tower.block%d.linear" % i] = nn.Linear(4 * D, 4 * D)
                p["item_tower.block%d.norm" % i] = nn.LayerNorm(4 * D)
            p["item_tower.out"] = nn.Linear(4 * D, w)
        self.vectors = {}
        if c["tower"] == "transformer":
            self.vectors["user_tower.cls"] = (1, D)
            if c["query"]:
                self.vectors["user_tower.query"] = (1, D)
            self.vectors["user_tower.position"] = (MAX_LENGTH, D)
            if c["gaps"]:
                self.vectors["user_tower.gap"] = (len(c["gaps"]) + 1, D)
            p["user_tower.in"] = nn.Linear(D, w)
            self.encoder = nn.ModuleList( nn.TransformerEncoderLayer(
                w, 2, 12, 0.0, "gelu", batch_first=True) for _ in range(2))
        else:
            self.vectors["user_tower.age"] = (len(c["ages"]) + 1,)
            self.vectors["user_tower.count"] = (c["max_count"] + 1,)
        self.vectors["scale"] = (1,)
        if c["counters"]:
            self.vectors["popularity.beta"] = (c["counters"],)
        if c["loss"] != "softmax":
            self.heads = ["point", "pair"] if c["loss"] == "pair" else ["point"]
            for head in self.heads:
                self.vectors["ranking.%s.scale" % head] = (1,)
                self.vectors["ranking.%s.shift" % head] = (1,)
        if c.get("context"):
            outputs = len(self.heads) * (2 if c["context"] == "A" else 1)
            p["context.hidden"] = nn.Linear(5, 4)
            p["context.out"] = nn.Linear(4, outputs)
            if c["context"] == "B":
                self.vectors["context.taste"] = (w, 5)
        self.mods = nn.ModuleList(p.values())
        self.values = nn.ParameterList(torch.zeros(s) for s in self.vectors.values())
        self.vec = dict(zip(self.vectors, self.values))
        self.tables = nn.ParameterList(torch.zeros(s) for s in TABLES.values())
        self.table = dict(zip(TABLES, self.tables))

    def named(self):
        """Emporium's names of all dense parameters."""
        out = {}
        for name, module in self.p.items():
            out[name + ".weight"], out[name + ".bias"] = module.weight, module.bias
        if self.c["tower"] == "transformer":
            for i, layer in enumerate(self.encoder):
                pre = "user_tower.layer%d." % i
                out[pre + "attention.in.weight"] = layer.self_attn.in_proj_weight
                out[pre + "attention.in.bias"] = layer.self_attn.in_proj_bias
                for ours, module in (("attention.out", layer.self_attn.out_proj),
                                     ("norm1", layer.norm1), ("feed_forward.in", layer.linear1),
                                     ("feed_forward.out", layer.linear2), ("norm2", layer.norm2)):
                    out[pre + ours + ".weight"] = module.weight
                    out[pre + ours + ".bias"] = module.bias
        out.update(self.vec)
        return out

    def scale_of(self, a):
        return a.exp().clamp(0.01, 100)

    def embed(self, b):
        e = self.table["item"][b["items.id.index"]]
        if self.c["title"]:
            words = F.embedding_bag(b["items.title.index"], self.table["word"],
                                    b["items.title.offset"][:-1], mode="mean")
            e = e + self.c["title"] * words
        return e

    def item(self, e):
        if not self.c["residual"]:
            return e
        x = self.p["item_tower.in"](e)
        for i in range(2):
            x = self.p["item_tower.block%d.norm" % i](
                x + torch.relu(self.p["item_tower.block%d.linear" % i](x)))
        return self.p["item_tower.out"](x)

    def user(self, b, e, v, k):
        c, begin, end = self.c, int(b["history.offset"][k]), int(b["history.offset"][k + 1])
        if c["tower"] == "age":
            logits, rows = [], []
            for j in range(begin, end):
                bucket = sum(float(b["history.age_days"][j]) >= edge for edge in c["ages"])
                count = min(int(b["history.count"][j]), c["max_count"])
                logits.append(
    self.vec["user_tower.age"][bucket] +
     self.vec["user_tower.count"][count])
                rows.append(v[b["history.item"][j]])
            if not rows:
                return torch.zeros(c["width"])
            return torch.stack(logits).softmax(0) @ torch.stack(rows)
        events = [self.vec["user_tower.cls"][0]]
        for j in range(begin, end):
            if int(b["history.item"][j]) >= 0:
                x = e[b["history.item"][j]]
            else:
                words = b["history.query.index"][b["history.query.offset"][j]:
                                                 b["history.query.offset"][j + 1]]
                x = self.vec["user_tower.query"][0]
                if len(words):
                    x = x + self.table["word"][words].mean(0)
            if c["action"]:
                x = x + self.table["action"][b["history.action.index"][j]]
            x = x + self.vec["user_tower.position"][end - 1 - j]
            if c["gaps"]:
                bucket = sum(float(b["history.age_days"][j]) >= edge for edge in c["gaps"])
                x = x + self.vec["user_tower.gap"][bucket]
            events.append(x)
        x = self.p["user_tower.in"](torch.stack(events)).unsqueeze(0)
        for layer in self.encoder:
            x = layer(x)
        return x[0, 0]

    def normal(self, x):
        return F.normalize(x, dim=1, eps=1e-6) if self.c["cosine"] else x

    def towers(self, b):
        e = self.embed(b)
        v = self.item(e)
        u = torch.stack([self.user(b, e, v, k) for k in range(len(b["history.offset"]) - 1)])
        return self.normal(u), self.normal(v)

    def losses(self, b):
        u, v = self.towers(b)
        v = v[b["candidates.item"]]
        w = b["weight"] if len(b["weight"]) else torch.ones(len(u))
        if self.c["loss"] == "softmax":
            return self.softmax(b, u, v, w)
        return self.ranking(b, u, v, w)

    def softmax(self, b, u, v, w):
        s = self.scale_of(self.vec["scale"]) * (u @ v.T) + b["candidates.log_counts"] @ self.vec[
            "popularity.beta"]
        total, weight = 0, 0
        pairs = float(len(b["candidates.positive"]))
        drawn = torch.bincount(b["candidates.positive"], minlength=v.shape[0])
        for k in range(len(u)):
            own = b["candidates.positive"][b["candidates.positive_offset"][k]:
                                           b["candidates.positive_offset"][k + 1]].tolist()
            masked = b["candidates.masked"][b["candidates.masked_offset"][k]:
                                            b["candidates.masked_offset"][k + 1]].tolist()
            if not own:
                continue
            terms = {}
            for i in range(v.shape[0]):
                if i in own:
                    terms[i] = s[k, i]
                elif b["candidates.sampled"][i] and i not in masked:
                    q = 1.0
                    if self.c["log_q"]:
                        row = b["items.id.index"][b["candidates.item"][i]]
                        share = (b["popularity"][row] + drawn[i]) / (b["popularity"].sum() + pairs)
                        q = 1 - math.exp(-math.exp(b["candidates.log_q"][i]) - pairs * share)
                    terms[i] = s[k, i] - math.log(q)
            lse = torch.stack(list(terms.values())).logsumexp(0)
            row_weight = len(own)**self.c["power"] * w[k]
            total = total + row_weight * torch.stack([lse - terms[i] for i in own]).mean()
            weight = weight + row_weight
        return {"loss": total / weight, "softmax": total / weight}

    def ranking(self, b, u, v, w):
        offset = b["candidates.group_offset"].tolist()
        row = torch.tensor([k for k in range(len(u)) for _ in range(offset[k], offset[k + 1])])
        cand, y = b["candidates.group"], b["candidates.group_label"].double()
        c = (u[row] * v[cand]).sum(1)
        if self.c["counters"]:
            c = c + b["candidates.log_counts"][row, cand] @ self.vec["popularity.beta"] / \
                self.scale_of(self.vec["scale"])
        context = None
        if self.c.get("context"):
            k = torch.cat([self.table[t][b["field.%s.index" % t]] for t in ("module", "device")], 1)
            context = self.p["context.out"](torch.relu(self.p["context.hidden"](k)))[row]
        logits = []
        for h, head in enumerate(self.heads):
            a, shift = self.vec["ranking.%s.scale" % head], self.vec["ranking.%s.shift" % head]
            if context is None:
                s = self.scale_of(a) * c + shift
            elif self.c["context"] == "A":
                s = self.scale_of(a + context[:, 2 * h]) * c + shift + context[:, 2 * h + 1]
            else:
                s = self.scale_of(a) * c + shift + context[:, h]
                s = s + ((k @ self.vec["context.taste"].T)[row] * v[cand]).sum(1)
            logits.append(s)
        bce = F.binary_cross_entropy_with_logits(logits[0], y, weight=w[row], reduction="sum") / \
            w[row].sum()
        total, weight = 0, 0
        for k in range(len(u)):
            s = logits[-1][offset[k]:offset[k + 1]]
            yk = y[offset[k]:offset[k + 1]]
            positive, negative = s[yk > 0], s[yk == 0]
            if self.c["loss"] == "list":
                if not len(positive):
                    continue
                value = -(positive.sigmoid() / s.sigmoid().sum()).log().sum()
            else:
                if not len(positive) or not len(negative):
                    continue
                i, j = positive[:, None], negative[None, :]
                value = -(i.sigmoid() / (i.sigmoid() + j.sigmoid())).log().mean() \
                    if self.c["loss"] == "pair" else -(i - j).sigmoid().log().mean()
            total, weight = total + w[k] * value, weight + w[k]
        return {"loss": 0.1 * bce + total / weight, "bce": bce, self.c["loss"]: total / weight}


def write_case(out, name, c, seed):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Reference(c)
    dense = model.named()
    with torch.no_grad():  # away from every starting point: zeros would hide mistakes
        for p in model.parameters():
            p.copy_(torch.randn(p.shape).mul(0.3).float())
        for key, p in dense.items():
            if key.endswith("scale"):
                p.add_(math.log(c["scale"]))
            if "norm" in key and key.endswith("weight"):
                p.add_(1)
    batch = make_batch(rng, c)
    b = {k: torch.from_numpy(np.asarray(v)) if v.dtype.kind == "i" else
         torch.from_numpy(v.astype(np.float32).astype(np.float64)) for k, v in batch.items()}
    losses = model.losses(b)
    losses["loss"].backward()
    for key, value in b.items():
        out.put("%s/batch/%s" % (name, key), value)
    for key, p in dense.items():
        out.put("%s/dense/%s" % (name, key), p)
        out.put("%s/dense_gradient/%s" % (name, key), p.grad if p.grad is not None else p * 0)
    for key, p in model.table.items():
        out.put("%s/rows/%s" % (name, key), p)
        out.put("%s/row_gradient/%s" % (name, key), p.grad if p.grad is not None else p * 0)
    for key, value in losses.items():
        out.put("%s/loss/%s" % (name, key), value.reshape(1))
    with torch.no_grad():
        u, v = model.towers(b)
        u = u * model.scale_of(model.vec["scale"])
        if c["counters"]:
            u = torch.cat([u, torch.ones(len(u), 1)], 1)
            v = torch.cat([v, (b["items.log_counts"] @ model.vec["popularity.beta"])[:, None]], 1)
        out.put("%s/user_vectors" % name, u)
        out.put("%s/item_vectors" % name, v)


def main(path):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    out = TensorFile()
    for i, (name, c) in enumerate(CASES.items()):
        write_case(out, name, c, 11 + i)
    out.write(path)
