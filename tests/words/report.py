"""Reads what `resilver run` prints back: figures as people read them, rows, cells, legend, remarks, sentences."""
import re

LABEL = 36     # columns of a row's label
SLACK = 0.006  # of a figure printed with three digits

# ---- figures as people read them -------------------------------------------------------------------------------------

TIMES = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9, "min": 60e9, "h": 3600e9}
SIZES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}
TIME = r"(?:\d+(?:\.\d+)? (?:ns|us|ms|s)|\d+ min(?: \d+ s)?|\d+ h(?: \d+ min)?|0)"
SIZE = r"(?:\d+(?:\.\d+)? (?:B|KiB|MiB|GiB|TiB|PiB)|0)"


def number(text, units):
    """The value of "1.5 s", "2 min 3 s", "0"; None if it is none."""
    if text == "0":
        return 0.0
    words = text.split()
    if not words or len(words) % 2:
        return None
    total = 0.0
    for value, unit in zip(words[::2], words[1::2]):
        if unit not in units or not re.fullmatch(r"-?\d+(\.\d+)?", value):
            return None
        total += float(value) * units[unit]
    return total


def time_of(text):
    return number(text, TIMES)


def size_of(text):
    return number(text, SIZES)


def near(shown, value, least=0.0):
    return abs(shown - value) <= max(SLACK * abs(value), least)


# ---- the printed report ----------------------------------------------------------------------------------------------


class Report:
    """groups: [(title, {label: {contender: text}})]; legend, remarks: lines; sentences: [(about, text)]."""

    def __init__(self, text):
        self.problems = []
        self.groups, self.legend, self.remarks, self.sentences = [], [], [], []
        self.heading, self.expectations = "", []
        lines = text.split("\n")
        at = lines.index("") + 1 if "" in lines else 0
        self.head = lines[:at]
        at = self.read_blocks(lines, at)
        self.read_rest(lines, at)

    def read_blocks(self, lines, at):
        while at < len(lines) and lines[at].startswith(" " * LABEL):
            names = lines[at].split()
            cell = len(lines[at].split(names[0])[0]) + len(names[0]) - LABEL + 2
            at += 1
            group, row = self.group("", 0), None
            order = 0
            while at < len(lines) and lines[at]:
                line = lines[at]
                at += 1
                if line.startswith("── "):
                    order += 1
                    group, row = self.group(line.strip("─ ").strip(), order), None
                    continue
                label = line[:LABEL].rstrip()
                if label:
                    row = group.setdefault(label, {})
                    row.update({name: "" for name in names})
                if row is None:
                    self.problems.append(f"a line without a row: {line!r}")
                    continue
                for i, name in enumerate(names):
                    part = line[LABEL + i * cell: LABEL + (i + 1) * cell].strip()
                    row[name] = (row[name] + " " + part).strip()
                if len(line) > LABEL + cell * len(names):
                    self.problems.append(f"a line runs out of its columns: {line!r}")
            while at < len(lines) and not lines[at]:
                at += 1
        return at

    def group(self, title, order):
        for other, rows in self.groups:
            if other == title:
                return rows
        self.groups.append((title, {}))
        return self.groups[-1][1]

    def read_rest(self, lines, at):
        part = self.legend
        while at < len(lines):
            line = lines[at]
            at += 1
            if re.fullmatch(r"[A-Z][A-Z ,?]+", line) and line != "EXPECTATIONS":
                self.heading, part = line, self.sentences
            elif line == "EXPECTATIONS":
                part = self.expectations
            elif not line:
                if part is self.legend and self.legend:
                    part = self.remarks
            elif part is self.legend and not re.match(r"    |  ([*!-]|[a-z0-9_/ ]+):", line):
                part = self.remarks
                part.append(line)
            elif part is self.sentences and not line.startswith("   "):
                about, text = re.split(r"  +", line.strip(), maxsplit=1) if "  " in line.strip() else (line.strip(), "")
                part.append([about, text])
            elif part is self.sentences:
                part[-1][1] += " " + line.strip()
            else:
                part.append(line)

    def row(self, title_part, label):
        for title, rows in self.groups:
            if title_part in title and label in rows:
                return rows[label]
        return None
