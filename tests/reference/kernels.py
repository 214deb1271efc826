"""Reference of the row kernels: index_select, embedding_bag, forward and backward, float64."""
import numpy as np
import torch
import torch.nn.functional as F

from tensors import TensorFile


def main(path):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    out = TensorFile()
    for dim in (1, 8, 19):  # around the block of 8
        torch.manual_seed(dim)
        rng = np.random.default_rng(dim)
        rows = torch.randn(11, dim).float().double().requires_grad_()
        index = torch.tensor(rng.integers(0, 11, 70))  # more than one block of output rows
        gradient = torch.randn(70, dim).float().double()
        (torch.index_select(rows, 0, index) * gradient).sum().backward()
        name = "select%d" % dim
        for key, value in dict(rows=rows, index=index, gradient=gradient, row_gradient=rows.grad,
                               out=rows[index]).items():
            out.put("%s/%s" % (name, key), value)
        counts = rng.integers(0, 5, 70)
        offset = np.concatenate([[0], np.cumsum(counts)])
        index = torch.tensor(rng.integers(0, 11, offset[-1]))
        for mode in ("mean", "sum", "sqrt"):
            rows.grad = None
            pooled = F.embedding_bag(index, rows, torch.tensor(offset[:-1]),
                                     mode="mean" if mode == "mean" else "sum")
            if mode == "sqrt":
                pooled = pooled / torch.tensor(np.maximum(counts, 1)).double().sqrt()[:, None]
            (pooled * gradient).sum().backward()
            name = "%s%d" % (mode, dim)
            for key, value in dict(rows=rows, index=index, offset=offset, gradient=gradient,
                                   row_gradient=rows.grad, out=pooled).items():
                out.put("%s/%s" % (name, key), value)
    out.write(path)
