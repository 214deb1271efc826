"""The tensor files of tests/models: written here, read by tests/models/tensor_file.h.

file   = "EMT1" record*
record = u32 length of name, name, u32 dimensions, u32 extent * dimensions, f32 * product of extents
All little endian. Indices are floats too: they are far below 2^24.
"""
import struct

import numpy as np
import torch


class TensorFile:
    def __init__(self):
        self.records = []

    def put(self, name, value):
        if isinstance(value, torch.Tensor):
            value = value.detach().numpy()
        self.records.append((name, np.asarray(value, dtype=np.float32)))

    def write(self, path):
        with open(path, "wb") as out:
            out.write(b"EMT1")
            for name, value in self.records:
                text = name.encode()
                out.write(struct.pack("<I", len(text)) + text)
                out.write(struct.pack("<I%dI" % value.ndim, value.ndim, *value.shape))
                out.write(value.astype("<f4").tobytes())
