"""Writes docs/job.md, the reference of the job file, from the comments of proto/job.proto.

usage: make_job_md.py [PROTO] [--check FILE]
  prints the reference; with --check, says whether FILE is what would be printed (exit 1 when not).
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FIELD = re.compile(
    r"^(optional|repeated)?\s*([\w.]+)\s+(\w+)\s*=\s*\d+\s*(?:\[default = (.+?)\])?;")
VALUE = re.compile(r"^(\w+)\s*=\s*\d+;")
BLOCK = re.compile(r"^(message|enum|oneof)\s+(\w+)\s*\{(\})?")
SECTION = re.compile(r"^// ---- (.*?) -+$")


class Type:
    """A message or an enum: its comment and its fields or values."""

    def __init__(self, kind, name, comment):
        self.kind, self.name, self.comment = kind, name, comment
        self.rows = []  # (name, type, default, comment, choice)


def parse(text):
    """Returns (text at the top of the file, [section title or Type])."""
    parts, stack, comment, choice, opening = [], [], [], None, None
    for raw in text.splitlines():
        line = raw.strip()
        section = SECTION.match(line)
        if section:
            parts.append(section.group(1))
            comment = []
        elif line.startswith("//"):
            comment.append(line[2:].strip())
        elif not line:
            if opening is None and not stack:
                opening, comment = comment, []
            comment = comment if stack else []
        elif BLOCK.match(line):
            kind, name, closed = BLOCK.match(line).groups()
            if kind == "oneof":
                choice = name
                stack.append(None)
            else:
                outer = [t.name for t in stack if t is not None]
                found = Type(kind, ".".join(outer[-1:] + [name]), comment)
                parts.append(found)
                if not closed:
                    stack.append(found)
            comment = []
        elif line.startswith("}"):
            if stack.pop() is None:
                choice = None
            comment = []
        elif stack:
            owner = [t for t in stack if t is not None][-1]
            field, value = FIELD.match(line), VALUE.match(line)
            if owner.kind == "message" and field:
                label, kind, name, default = field.groups()
                shown = f"list of {kind}" if label == "repeated" else kind
                owner.rows.append((name, shown, default or "", comment, choice))
            elif owner.kind == "enum" and value:
                owner.rows.append((value.group(1), "", "", comment, None))
            else:
                raise ValueError(f"cannot read this line of the schema: {raw}")
            comment = []
        elif opening is None:
            opening, comment = comment, []
    return opening or [], parts


def cell(words):
    return " ".join(words).replace("|", "\\|").replace("<", "&lt;")


def anchor(name):
    return name.lower().replace(".", "")


def linked(shown, names, owner):
    """A type's name, linked to its table when it has one here; nested types first."""
    plain = shown.replace("list of ", "")
    for name in (f"{owner.split('.')[-1]}.{plain}", plain):
        if name in names:
            return shown.replace(plain, f"[{plain}](#{anchor(name)})")
    return shown


def message_lines(found, names):
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, shown, default, comment, choice in found.rows:
        mark = f" (one of `{choice}`)" if choice else ""
        default = f"`{default}`" if default else ""
        lines.append(f"| `{name}` | {linked(shown, names, found.name)}{mark} | {default} "
                     f"| {cell(comment)} |")
    return lines if found.rows else ["No fields: write `{}`."]


def enum_lines(found):
    return ["| value | meaning |", "|---|---|"] + [
        f"| `{name}` | {cell(comment)} |" for name, _, _, comment, _ in found.rows]


def render(text):
    opening, parts = parse(text)
    names = {part.name for part in parts if isinstance(part, Type)}
    lines = ["# The job file", "",
             "<!-- Written by docs/make_job_md.py from proto/job.proto: "
             "change the comments there. -->",
             ""] + opening + ["",
                              "`emporium check JOB` names every fault of a job file with its line. "
                              "Examples: `bench/jobs/`."]
    for part in parts:
        if isinstance(part, str):
            lines += ["", f"## {part}"]
            continue
        lines += ["", f"### {part.name}", ""]
        if part.comment:
            lines += part.comment + [""]
        lines += message_lines(part, names) if part.kind == "message" else enum_lines(part)
    return "\n".join(lines) + "\n"


def main(arguments):
    check = None
    if "--check" in arguments:
        at = arguments.index("--check")
        check = arguments[at + 1]
        del arguments[at:at + 2]
    proto = arguments[0] if arguments else os.path.join(ROOT, "proto", "job.proto")
    with open(proto, encoding="utf-8") as file:
        text = render(file.read())
    if check is None:
        sys.stdout.write(text)
        return 0
    with open(check, encoding="utf-8") as file:
        if file.read() == text:
            return 0
    print(f"{check} is stale; run: python3 docs/make_job_md.py > docs/job.md")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
