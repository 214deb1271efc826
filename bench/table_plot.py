#!/usr/bin/python3
"""Draws the ratios of docs/table.csv as bars, one group a width, with the lowest and highest run.

usage: bench/table_plot.py CSV PNG
"""
import csv
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of what draws)

COLOURS = {"lookup uniform": "#1f5aa0", "lookup zipf": "#6ea5dc", "update uniform": "#aa5014",
           "update zipf": "#eba05a", "absl_slab": "#828282", "unordered_map": "#bebebe"}


def label_of(line):
    own = line["system"] == "emporium"
    return f"{line['what']} {line['keys']}" if own else line["system"]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    figure, axes = plt.subplots(figsize=(11, 5))
    place, middles, named = 0.0, {}, set()
    for dim in sorted({int(line["dim"]) for line in lines}):
        of_dim = [line for line in lines if int(line["dim"]) == dim]
        middles[place + (len(of_dim) - 1) / 2] = f"dim {dim}"
        for line in of_dim:
            label, ratio = label_of(line), float(line["ratio"])
            spread = [[ratio - float(line["low"])], [float(line["high"]) - ratio]]
            axes.bar(place, ratio, yerr=spread, width=0.9, color=COLOURS[label], capsize=2,
                     label=None if label in named else label)
            named.add(label)
            place += 1
        place += 1
    axes.set_xticks(list(middles), list(middles.values()))
    axes.set_ylabel("rate, of the tuned gather limit")
    axes.set_title("10 M rows, batches of 8192 distinct keys")
    axes.grid(axis="y", alpha=0.3)
    axes.set_ylim(0, 1.2)
    axes.legend(ncol=3, loc="upper left")
    figure.savefig(sys.argv[2], dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()
