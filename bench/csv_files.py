"""What the scripts share that make CSV files of public data."""
import csv
import os


def write(out, name, head, rows):
    """Writes the rows under their head into the file of this name in the folder `out`."""
    with open(os.path.join(out, name), "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
