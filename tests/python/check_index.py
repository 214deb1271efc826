"""Searches an export's index with Python's faiss or hnswlib, as a service would.

usage: check_index.py EXPORT_DIR MIN_RECALL

Prints recall@k against exact search in NumPy and the recall that the export's own manifest states;
exits 1 when the first is below MIN_RECALL or the two differ by more than 0.02.
"""

import re
import sys

import numpy as np


def main() -> int:
    directory, least = sys.argv[1], float(sys.argv[2])
    with open(f"{directory}/MANIFEST", encoding="utf-8") as file:
        text = file.read()

    def field(name):
        return re.search(rf'^{name}: "?([^"\n]*)"?$', text, re.M).group(1)

    items = np.load(f"{directory}/items.npy", mmap_mode="r")
    users = np.load(f"{directory}/users.npy", mmap_mode="r")
    assert items.dtype == users.dtype == np.float32
    assert items.shape == (int(field("items")), int(field("width"))), items.shape
    assert users.shape == (int(field("users")), int(field("width"))), users.shape
    for name, rows in (("item_ids.tsv", len(items)), ("user_ids.tsv", len(users))):
        with open(f"{directory}/{name}", encoding="utf-8") as file:
            lines = file.read().split("\n")[1:-1]
        assert [line.split("\t")[0] for line in lines] == [str(i) for i in range(rows)], name

    k, sample = int(field("recall_k")), int(field("recall_sample"))
    effort = int(field("search_effort"))
    queries = np.ascontiguousarray(users[[i * len(users) // sample for i in range(sample)]])
    exact = np.argsort(-(queries @ items.T), axis=1, kind="stable")[:, :k]
    if field("index_kind") == "HNSWLIB":
        import hnswlib

        index = hnswlib.Index(space="ip", dim=items.shape[1])
        index.load_index(f"{directory}/index.hnswlib")
        index.set_ef(effort)
        found, _ = index.knn_query(queries, k)
    else:
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.read_index(f"{directory}/index.faiss")
        assert index.ntotal == len(items) and index.metric_type == faiss.METRIC_INNER_PRODUCT
        _, found = index.search(queries, k)
    recall = np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(exact, found)])
    stated = float(field("recall"))
    print(f"{field('index_kind')} recall@{k} {recall:.4f}, stated {stated:.4f}")
    return 0 if recall >= least and abs(recall - stated) <= 0.02 else 1


if __name__ == "__main__":
    sys.exit(main())
