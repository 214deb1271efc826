"""Tables of measured figures: docs/figures.md, and the last column of docs/reliability.md, which
says the same of an ID in one line. For bench/figures."""
import datetime
import os

import job_runs

HEAD = """# Figures

What Emporium promises, as measured. `bench/figures ID` measures a figure again; this table is
written by `bench/figures ID... --write`.

| ID | figure | value | goal | | date | machine |
|---|---|---|---|---|---|---|
"""


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read(path, measurements):
    """{(id, name): cells} of the rows whose id is one of `measurements`."""
    rows = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                cells = cells_of(line)
                if len(cells) == 7 and cells[0] in measurements:
                    rows[cells[0], cells[1]] = cells
    return rows


def summary(identifier, measurement, rows):
    """What has been measured of those figures of an id that have a goal, and when."""
    told, dates = [], set()
    for figure in measurement.figures:
        cells = rows.get((identifier, figure.name))
        if cells is None or not figure.goal:
            continue
        told.append(f"{figure.name} {cells[2]}" + (" (short)" if cells[4] == "short" else ""))
        dates.add(cells[5])
    return ", ".join(told) + f"; {min(dates)}" if told else "not measured"


def summarized(text, measurements, rows):
    """`text` with the last column of each row that begins with an id as `rows` say."""
    lines = []
    for line in text.splitlines():
        cells = cells_of(line)
        if line.startswith("| ") and cells[0] in measurements:
            told = summary(cells[0], measurements[cells[0]], rows)
            line = "| " + " | ".join([*cells[:-1], told]) + " |"
        lines.append(line + "\n")
    return "".join(lines)


def write(rows, measurements, table, summaries):
    """Puts rows [(id, name, value, goal, verdict)] in place of those with the same id and name."""
    kept = read(table, measurements)
    today = datetime.date.today().isoformat()
    for identifier, name, value, goal, verdict in rows:
        # Rows of docs/quality.md say there when and where each of their models was trained.
        measured = (["-", "see [quality.md](quality.md)"]
                    if "bench/quality" in measurements[identifier].command
                    else [today, job_runs.machine()])
        kept[identifier, name] = [identifier, name, value, goal, verdict, *measured]
    order = {(identifier, figure.name): (i, j)
             for i, (identifier, measurement) in enumerate(measurements.items())
             for j, figure in enumerate(measurement.figures)}
    with open(table, "w", encoding="utf-8") as file:
        file.write(HEAD)
        for key in sorted((key for key in kept if key in order), key=order.get):
            file.write("| " + " | ".join(kept[key]) + " |\n")
    with open(summaries, encoding="utf-8") as file:
        text = file.read()
    with open(summaries, "w", encoding="utf-8") as file:
        file.write(summarized(text, measurements, kept))
