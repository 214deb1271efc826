"""How many rows table 0 of a checkpoint has, and how often at least and at most one of them was
updated, and sighted: read from its files without Emporium. Run by a Python that has h5py."""
import glob
import os
import sys

import h5py
import numpy


def main():
    updates, sightings = [], []
    for path in glob.glob(os.path.join(sys.argv[1], "*.h5")):
        with h5py.File(path, "r") as file:
            table = file["tables/0"]
            updates.append(table["updates"][:])
            sightings.append(table["popularity"][:])
    updates, sightings = numpy.concatenate(updates), numpy.concatenate(sightings)
    print(len(updates), updates.min(), updates.max(), sightings.min(), sightings.max())


if __name__ == "__main__":
    main()
