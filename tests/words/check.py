#!/usr/bin/env python3
"""Holds the words of `resilver run` against its figures: parses every row, cell and sentence of the printed report and
results.json, and tells contradictions and impossible values. Shares no code with the program.

  check.py [--program P] [--runs N] [--seed S] [--shipped] [--plant]

--runs N    N random scenarios from seed S on, each written as a file, run in virtual time, and checked
--shipped   every scenario of scenarios/
--plant     spoils the output of one run in many ways; each must be found
A finding is one line: which run, which contender, what contradicts what. Exit: 0 none, 1 some.
"""
import argparse
import copy
import json
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the tree stays as it is
from random_scenario import scenario  # noqa: E402
from report import Report, near, size_of, time_of  # noqa: E402
from sentences import Sentences  # noqa: E402

# ---- the checks ------------------------------------------------------------------------------------------------------

# row label: (measures added up, kind, word for `never`)
PLAIN_ROWS = {
    "no service, total": (["outage"], "time", "down"),
    "client unanswered, total": (["client_outage"], "time", "to the end"),
    "errors that the client saw": (["client_errors"], "count", None),
    "unreadable at the worst moment": (["unavailable_bytes"], "size", None),
    "failovers": (["failovers"], "count", None),
    "  of which needless": (["needless_failovers"], "count", None),
    "one failure from loss, for": (["exposed_time"], "time", "to the end"),
    "read and written on disks": (["repair_read_bytes", "repair_write_bytes"], "size", None),
    "  sent over links": (["repair_link_bytes"], "size", None),
    "data restored, per second": (["repair_rate"], "rate", None),
    "  limited by": (["repair_limited_by"], "words", None),
    "mismatches that a scrub counted": (["mismatches"], "count", None),
    "  of which it named the block": (["mismatches_named"], "count", None),
    "acknowledged writes lost": (["lost_writes"], "count", None),
    "wrong or stale data returned": (["stale_reads", "corrupt_reads"], "count", None),
    "unreadable at the end": (["unrecoverable_bytes"], "size", None),
    "overwritten, and served as good": (["damaged_bytes"], "size", None),
    "writes of unknown outcome": (["unknown"], "count", None),
    "raw bytes per usable byte": (["space"], "ratio", None),
    "  with the spares": (["space_with_spares"], "ratio", None),
}
OTHER_ROWS = {"disks (+spares) / servers", "back to full redundancy after", "  never, because", "serves at the end"}
MARK = r" ([*!])(?= |$)"
SERVICE_ROWS = {"no service, total": "outage", "client unanswered, total": "client_outage"}
TIME_MEASURES = ["outage", "client_outage", "longest_stall", "exposed_time", "node_exposed_time", "repair_time", "node_repair_time",
                 "latency_p50", "latency_p99", "latency_max", "read_latency_p50", "write_latency_p50",
                 "read_latency_p99", "write_latency_p99", "first_hit"]
BOOKED = {"data_bytes": ["data"], "parity_bytes": ["parity"], "journal_bytes": ["journal"], "observer_bytes": ["observer"],
          "metadata_bytes": ["superblock", "bitmap", "replica_metadata"]}
BANDWIDTH = {"hdd": 200e6, "sata-ssd": 540e6, "nvme": 3000e6, "ostep": None}


class Check(Sentences):
    def __init__(self, name, text, results, scenario=None):
        self.name, self.results, self.scenario = name, results, scenario or {}
        self.findings = []
        self.contenders = {c["name"]: c for c in results["contenders"]}
        self.report = Report(text)
        self.event_of = {group["title"]: group["event"] for group in results["table"]["groups"]}
        for problem in self.report.problems:
            self.find("", problem)

    def find(self, who, what):
        self.findings.append(f"{self.name}: {who + ': ' if who else ''}{what}")

    def all(self):
        self.values()
        self.cells()
        self.never_has_its_because()
        self.legend()
        self.sentences()
        self.expectations()
        return self.findings

    def event(self, contender, title):
        """The event that a group's title is about, in this contender; None if it knows none."""
        for event in self.contenders[contender]["events"]:
            if event["name"] == self.event_of.get(title):
                return event
        return None

    # -- impossible values

    def values(self):
        for name, contender in self.contenders.items():
            if contender["inconclusive"] and contender["ran_for_ns"] == 0:
                continue
            longest = contender["ran_for_ns"] + 50e6 + self.results["run"]["prober"]["tolerance_ns"]
            self.measures(name, "the run", contender["measures"], longest)
            for event in contender["events"]:
                left = longest - event["at_ns"] if event["state"] == "applied" else longest
                self.measures(name, f"'{event['name']}'", event["measures"], left)
                if event["state"] == "applied" and not 0 <= event["at_ns"] <= longest:
                    self.find(name, f"'{event['name']}' at {event['at_ns']} ns, outside of the run")
                if event["state"] == "applied" and event["cleared"] and event["cleared_at_ns"] < event["at_ns"]:
                    self.find(name, f"'{event['name']}' ended before it began")
                self.repairs(name, event["name"], event["window"])
            self.repairs(name, "the run", contender["whole"])
            self.end_of(name, contender)
            oracle = contender["oracle"]
            if oracle["lost_writes"] > oracle["requests"]:
                self.find(name, "more writes lost than requests judged")
            self.whole_against_events(name, contender)
            self.charges(name, contender)
            self.books(name, contender)

    def whole_against_events(self, name, contender):
        for measure in ("failovers", "needless_failovers", "client_errors"):
            parts = sum(e["measures"].get(measure) or 0 for e in contender["events"])
            if parts > (contender["measures"][measure] or 0):
                self.find(name, f"{measure}: {parts} by event, {contender['measures'][measure]} in the whole run")

    def charges(self, name, contender):
        """Each is told with whom it shares, and nobody's trouble is charged to each other."""
        events = {e["name"]: e for e in contender["events"]}
        for event in events.values():
            with_whom = event["charged_with"]
            if with_whom and event["name"] not in events[with_whom]["others"]:
                self.find(name, f"'{event['name']}' is charged with '{with_whom}', which does not name it")
            for other in event["others"]:
                if not events[other]["charged_with"]:
                    self.find(name, f"'{event['name']}' names '{other}', which is charged with nobody")

    def books(self, name, contender):
        """What disks wrote for whom adds up to the measures; what the client wrote is somewhere."""
        books, measures = contender["books"], contender["measures"]
        lines = [(f"{part} {line}", book) for part in ("volume", "disks") for line, book in books[part].items()]
        for what, book in lines + [("links", {"bytes": books["link_bytes"]})]:
            for count, value in book.items():
                if value < 0:
                    self.find(name, f"books: {count} of {what} is negative: {value}")
            for side in ("read", "write"):
                if bool(book.get(side + "s")) != bool(book.get(side + "_bytes")):
                    self.find(name, f"books: {what}: {book[side + 's']} {side}s of {book[side + '_bytes']} bytes")
        written = lambda *causes: sum(books["disks"][cause]["write_bytes"] for cause in causes)
        for measure, causes in BOOKED.items():
            if measures[measure] != written(*causes):
                self.find(name, f"{measure} is {measures[measure]}, the books say {written(*causes)}")
        if measures["data_bytes"] + measures["parity_bytes"] != contender["disk_write_bytes"]:
            self.find(name, f"data and parity are {measures['data_bytes']} + {measures['parity_bytes']} bytes, "
                            f"disk_write_bytes {contender['disk_write_bytes']}")
        client, writes = contender["client_write_bytes"], contender["client_writes"]
        if bool(client) != bool(writes):
            self.find(name, f"{writes} writes of the client of {client} bytes")
        if (measures["write_amplification"] is None) != (client == 0):
            self.find(name, f"write amplification is {measures['write_amplification']}, the client wrote {client} bytes")
        if client and abs(measures["write_amplification"] - contender["disk_write_bytes"] / client) > 1e-6:
            self.find(name, f"write amplification is {measures['write_amplification']}, "
                            f"not {contender['disk_write_bytes']} / {client}")
        if client and not contender["inconclusive"]:
            self.amplification(name, contender, client)

    def amplification(self, name, contender, client):
        data, parity = contender["measures"]["data_bytes"], contender["measures"]["parity_bytes"]
        if data + parity == 0:
            self.find(name, f"the client wrote {client} bytes, the disks nothing")
        undisturbed = not any(event["state"] == "applied" for event in contender["events"])
        if undisturbed and data < client * contender["nodes"]:
            self.find(name, f"nothing failed, the client wrote {client} bytes to {contender['nodes']} nodes, their disks {data}")

    def end_of(self, name, contender):
        """The run as a whole is whole again if all that needed a repair are."""
        states = [self.whole_again(e["window"]) for e in contender["events"] if e["state"] == "applied"]
        whole = self.whole_again(contender["whole"])
        if (whole == "never") != ("never" in states):
            self.find(name, f"whole again in the run: {whole}, after its events: {states}")

    def measures(self, name, what, measures, longest):
        volume = self.results["run"]["volume_bytes"]
        for measure, value in measures.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0:
                self.find(name, f"{what}: {measure} is negative: {value}")
        for measure in TIME_MEASURES:
            value = measures.get(measure)
            # A request that waits may have begun before the event, and is given up only after `retry`.
            most = self.contenders[name]["ran_for_ns"] + 20e9 if measure == "longest_stall" else longest
            if isinstance(value, (int, float)) and measure.find("latency") < 0 and value > most:
                self.find(name, f"{what}: {measure} is {value} ns, longer than what was left of the run, {most:.0f} ns")
        for measure in ("unavailable_bytes", "unrecoverable_bytes", "damaged_bytes"):
            if (measures.get(measure) or 0) > volume:
                self.find(name, f"{what}: {measure} is {measures[measure]}, more than the volume, {volume}")
        for low, high in (("latency_p50", "latency_p99"), ("latency_p99", "latency_max"), ("latency_p50", "latency_max"),
                          ("read_latency_p50", "read_latency_p99"), ("write_latency_p50", "write_latency_p99"),
                          ("needless_failovers", "failovers"), ("mismatches_named", "mismatches"),
                          ("space", "space_with_spares")):
            a, b = measures.get(low), measures.get(high)
            if isinstance(a, (int, float)) and isinstance(b, (int, float)) and a > b * (1 + 1 / 32):
                self.find(name, f"{what}: {low} {a} is more than {high} {b}")
        if measures.get("latency_p99") is not None and (measures.get("samples") or 0) < 1000:
            self.find(name, f"{what}: a p99 from {measures.get('samples')} samples")
        rate = self.scenario.get("rate_iops")
        if rate and measures.get("iops") and what == "the run" and measures["iops"] > rate * 1.2 + 10:
            self.find(name, f"{what}: {measures['iops']} requests a second, asked were {rate}")
        self.rate(name, what, measures.get("repair_rate"))

    def rate(self, name, what, rate):
        if not rate:
            return
        contender = self.contenders[name]
        disks = contender["disks"] + contender["spares"]
        bandwidth = BANDWIDTH.get(self.results["run"]["disk_model"])
        if bandwidth and rate > bandwidth * disks:
            self.find(name, f"{what}: restored {rate} bytes/s, more than {disks} disks can")
        limit = self.scenario.get("speed_max")
        # What is repaired at a time: disks beyond the first of a node, or all nodes but one. The first window is not held back.
        targets = max(disks - 1, 1) if contender["nodes"] == 1 else max(disks - contender["disks"] // contender["nodes"], 1)
        if limit and rate > 1.25 * limit * targets:
            self.find(name, f"{what}: restored {rate} bytes/s, the limit is {limit} for each of {targets} at most")

    def repairs(self, name, event, window):
        for kind in ("repair", "node_repair"):
            repair = window[kind]
            if repair["copying_ns"] < 0 or repair["copied_bytes"] > repair["restored_bytes"]:
                self.find(name, f"'{event}': {kind}: copied {repair['copied_bytes']} of {repair['restored_bytes']} restored")
            never = repair["needed"] and not repair["finished"]
            if never != bool(repair["never_because"]):
                self.find(name, f"'{event}': {kind}: never is {never}, because {repair['never_because']!r}")
            if repair["finished"] and not repair["needed"]:
                self.find(name, f"'{event}': {kind}: finished and was not needed")
            limit = repair["limited_by"]
            if limit and repair["read_bytes"] + repair["write_bytes"] == 0:
                self.find(name, f"'{event}': {kind}: limited by {limit}, but nothing was copied")
            if limit == "the set limit" and "speed_max" in self.scenario and not self.scenario["speed_max"]:
                self.find(name, f"'{event}': {kind}: limited by the set limit, but none is set")

    # -- cells against figures

    def cells(self):
        for title, rows in self.report.groups:
            for label, cells in rows.items():
                for name, text in cells.items():
                    self.cell(title, label, name, text)
        names = {name for _, rows in self.report.groups for cells in rows.values() for name in cells}
        for name in self.contenders:
            if name not in names:
                self.find(name, "is not in the table, or its name is cut")
        self.same_as_json()

    def cell(self, title, label, name, text):
        if name not in self.contenders:
            return self.find("", f"the table has a column '{name}' that results.json has not")
        text = re.sub(MARK, "", text)
        if not text:
            return self.find(name, f"{title}: '{label}': an empty cell")
        event = self.event(name, title)
        source = event["measures"] if event else self.contenders[name]["measures"]
        if not event and self.event_of.get(title):  # it broke off before it knew of any event
            if text != "n/a":
                self.find(name, f"{title}: '{label}' says {text}, but the event is unknown here")
            return
        if event and event["state"] != "applied":
            wanted = {"not applicable": "n/a", "not reached": "not reached"}[event["state"]]
            if text != wanted:
                self.find(name, f"{title}: '{label}' says {text}, but the event is {wanted} here")
            return
        if label in SERVICE_ROWS and event:
            shared = bool(event["charged_with"]) and source[SERVICE_ROWS[label]] == 0
            if (text == "shared") != shared:
                self.find(name, f"{title}: '{label}' says {text}, charged with {event['charged_with']!r}")
            if shared:
                return
        if label == "disks (+spares) / servers":
            c = self.contenders[name]
            if text != f"{c['disks']}+{c['spares']} / {c['nodes']}":
                self.find(name, f"'{label}' says {text}")
        elif label == "back to full redundancy after":
            self.time_cell(name, title, label, text, self.whole_again(event["window"]), "never")
        elif label in PLAIN_ROWS:
            measures, kind, never = PLAIN_ROWS[label]
            self.plain_cell(name, title, label, text, source, measures, kind, never)
        elif label not in OTHER_ROWS:
            self.shown_cell(name, title, label, text, source, event)

    def time_cell(self, name, title, label, text, value, never):
        if text in ("-", "n/a"):
            if value is not None and label != "one failure from loss, for":
                self.find(name, f"{title}: '{label}' says nothing, results.json {value}")
        elif value == "never" or text == never:
            if (value == "never") != (text == never):
                self.find(name, f"{title}: '{label}' says {text}, results.json {value}")
        elif time_of(text) is None:
            self.find(name, f"{title}: '{label}' says {text!r}, which is no time")
        elif value is None or not near(time_of(text), value, 1):
            self.find(name, f"{title}: '{label}' says {text}, results.json {value}")

    def plain_cell(self, name, title, label, text, source, measures, kind, never):
        values = [source.get(m) for m in measures]
        if kind == "time":
            return self.time_cell(name, title, label, text, values[0], never)
        if kind == "words":
            if text != (values[0] or "-"):
                self.find(name, f"{title}: '{label}' says {text}, results.json {values[0]}")
            return
        if text == "-":
            return
        value = sum(v or 0 for v in values)
        shown = {"count": lambda: float(text) if text.isdigit() else None, "size": lambda: size_of(text),
                 "rate": lambda: size_of(text[:-2]) if text.endswith("/s") else None,
                 "ratio": lambda: float(text) if re.fullmatch(r"\d+\.\d\d", text) else None}[kind]()
        if shown is None:
            self.find(name, f"{title}: '{label}' says {text!r}, which is no {kind}")
        elif not near(shown, value, 0.006 if kind == "ratio" else 0.5):
            self.find(name, f"{title}: '{label}' says {text}, results.json {value}")

    def shown_cell(self, name, title, label, text, source, event):
        match = re.fullmatch(r"([a-z0-9 ]+?)( before| during)?", label)
        measure = match.group(1).replace(" ", "_") if match else ""
        if measure not in source:
            return self.find(name, f"{title}: a row '{label}' that this script does not know")
        if match.group(2):
            phase = event["window"]["phases"][match.group(2).strip()]
            value = self.latency(measure, phase)
            if value is not NotImplemented:
                self.time_cell(name, title, label, text, value, "never")
            return
        value = source[measure]
        if measure in TIME_MEASURES:
            return self.time_cell(name, title, label, text, value, "down" if measure == "outage" else "never")
        if value is None or isinstance(value, str):
            if text != (value or "-"):
                self.find(name, f"{title}: '{label}' says {text}, results.json {value}")

    @staticmethod
    def latency(measure, phase):
        part = {"latency_p99": ("p99_ns", 1000), "latency_p50": ("p50_ns", 1), "latency_max": ("max_ns", 1)}
        for prefix in ("read_", "write_"):
            if measure.startswith(prefix) and measure[len(prefix):] in part:
                key, least = part[measure[len(prefix):]]
                histogram = phase[prefix + "latency"]
                return histogram[key] if histogram["count"] >= least else None
        if measure in part:  # of reads and writes together: between the two
            counts = phase["read_latency"]["count"] + phase["write_latency"]["count"]
            if counts < part[measure][1]:
                return None
        return NotImplemented

    def same_as_json(self):
        printed = [(title, label, cells) for title, rows in self.report.groups for label, cells in rows.items()]
        told = [(g["title"], r["label"], r["cells"]) for g in self.results["table"]["groups"] for r in g["rows"]]
        if len(printed) != len(told):
            return self.find("", f"{len(printed)} rows are printed, results.json has {len(told)}")
        for (title, label, cells), (wanted_title, wanted_label, wanted) in zip(printed, told):
            if label != wanted_label or title != wanted_title:
                self.find("", f"the row '{label}' of '{title}' is '{wanted_label}' of '{wanted_title}' in results.json")
            for name, cell in zip(self.results["table"]["contenders"], wanted):
                shown, mark = cells.get(name, ""), "!" if cell["overloaded"] else "*" if cell["best"] else ""
                if re.sub(MARK, "", shown) != cell["text"] or "".join(re.findall(MARK, shown)) != mark:
                    self.find(name, f"{title}: '{label}' is printed as {shown!r}, results.json has {cell}")
                if cell["overloaded"] and (cell["best"] or self.contenders[name]["load_permille"] <= 1000):
                    self.find(name, f"{title}: '{label}' is marked as of overload: {cell}")

    # -- never and its because

    @staticmethod
    def whole_again(window):
        needed = [r for r in (window["repair"], window["node_repair"]) if r["needed"]]
        if not needed:
            return None
        if any(not r["finished"] for r in needed):
            return "never"
        return max(r["time_ns"] for r in needed)

    def never_has_its_because(self):
        for title, rows in self.report.groups:
            again, because = rows.get("back to full redundancy after", {}), rows.get("  never, because", {})
            for name, text in again.items():
                why = because.get(name, "-")
                if text == "never" and why in ("-", ""):
                    self.find(name, f"{title}: never back to full redundancy, without a because")
                if text != "never" and why not in ("-", "n/a", "not reached"):
                    self.find(name, f"{title}: back after {text}, and yet never because {why}")
                if text == "never" and self.event(name, title):
                    self.because(name, title, why)

    def because(self, name, title, why):
        contender, event = self.contenders[name], self.event(name, title)
        if why not in [event["window"][kind]["never_because"] for kind in ("repair", "node_repair")]:
            self.find(name, f"{title}: never because {why}, results.json has another reason")
        percent = re.fullmatch(r"still at (\d+) %", why)
        if percent:
            if int(percent.group(1)) > 100:
                self.find(name, f"{title}: never because {why}")
        elif why.startswith("a node is away: ") or why.startswith("not in sync: ") or why.startswith("a node does not"):
            pass
        elif why == "the data is lost":
            if contender["measures"]["outage"] != "never" and not contender["oracle"]["unrecoverable_bytes"] \
                    and not event["measures"]["unavailable_bytes"]:
                self.find(name, f"{title}: the data is lost, but nothing is unreadable")
        elif not re.fullmatch(r"no spare( in \w+)?|the run ended", why):
            self.find(name, f"{title}: never, because {why!r}: this script does not know that reason")

    # -- marks

    def legend(self):
        cells = [c for _, rows in self.report.groups for row in rows.values() for c in row.values()]
        labels = [label for _, rows in self.report.groups for label in rows]
        explained = [line.strip().split(":")[0] for line in self.report.legend if re.match(r"  \S", line)]
        marks = {mark for c in cells for mark in re.findall(MARK, c)}
        cells = [re.sub(MARK, "", c) for c in cells]
        occurs = {"*": "*" in marks, "!": "!" in marks, "-": "-" in cells, "n/a": "n/a" in cells, "down": "down" in cells,
                  "not reached": "not reached" in cells, "to the end": "to the end" in cells, "shared": "shared" in cells,
                  "needless": "  of which needless" in labels,
                  "no service": "no service, total" in labels,
                  "p99": any("p99" in label for label in labels),
                  "speed_min": any("speed_min" in c for c in cells)}
        for mark, there in occurs.items():
            if there and mark not in explained:
                self.find("", f"'{mark}' occurs and is explained nowhere")
            if not there and mark in explained:
                self.find("", f"'{mark}' is explained and does not occur")

    def expectations(self):
        wanted = [e["check"] for e in self.results["expectations"]]
        joined = " ".join(" ".join(self.report.expectations).split())
        for check in wanted:
            if " ".join(check.split()) not in joined:
                self.find("", f"the expectation {check!r} is not printed")


def checked(name, text, results, facts):
    """The findings; a report of a shape that nobody has seen yet is one, too."""
    try:
        return Check(name, text, results, facts).all()
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        trace = error.__traceback__
        while trace.tb_next:
            trace = trace.tb_next
        return [f"{name}: cannot be read: {error!r} at line {trace.tb_lineno}"]


# ---- runs ------------------------------------------------------------------------------------------------------------


def run(program, path, work):
    """(exit code, what was printed, results.json)"""
    done = subprocess.run([program, "run", path, "--quiet", "--out", work], capture_output=True, text=True, timeout=300)
    results = os.path.join(work, "results.json")
    if done.returncode not in (0, 1, 3) or not os.path.exists(results):
        return done.returncode, done.stderr, None
    with open(results, encoding="utf-8") as file:
        return done.returncode, done.stdout, json.load(file)


def rates_of(path):
    """What the checks need to know of a shipped file."""
    facts = {"speed_max": 0}
    with open(path, encoding="utf-8") as file:
        text = file.read()
    match = re.search(r'^speed_max *= *"(\d+)MiB/s"', text, re.M)
    if match:
        facts["speed_max"] = int(match.group(1)) * 2**20
    match = re.search(r"^rate_iops *= *(\d+)", text, re.M)
    if match:
        facts["rate_iops"] = int(match.group(1))
    return facts


def told(findings):
    """Said when they are found: a long search may be ended."""
    for line in findings:
        print(line, flush=True)
    return findings


def check_shipped(program, work):
    findings = []
    files = sorted(f for f in os.listdir("scenarios") if f.endswith(".toml"))
    for name in files:
        code, text, results = run(program, os.path.join("scenarios", name), work)
        if results is None:
            findings += told([f"{name}: ended with {code}: {text.strip()[:200]}"])
        else:
            findings += told(checked(name, text, results, rates_of(os.path.join("scenarios", name))))
    return len(files), findings


def check_random(program, work, first, count):
    findings, ran, refused = [], 0, 0
    path = os.path.join(work, "words.toml")
    for seed in range(first, first + count):
        text, facts = scenario(seed)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        code, printed, results = run(program, path, work)
        if results is None and code == 2:
            refused += 1
        elif results is None:
            findings += told([f"seed {seed}: ended with {code}: {printed.strip()[:200]}"])
        else:
            ran += 1
            new = checked(f"seed {seed}", printed, results, facts)
            if new:
                kept = os.path.join("build", "words", f"{seed}.toml")
                os.makedirs(os.path.dirname(kept), exist_ok=True)
                with open(kept, "w", encoding="utf-8") as file:
                    file.write(text)
                new.append(f"seed {seed}: see it with: {program} run {kept}")
            findings += told(new)
    # An event in a place that no contender has is the file's fault; most files must be sound, or nothing is asked.
    if refused * 3 > count:
        findings += told([f"{refused} of {count} scenarios were refused"])
    return ran, findings


# ---- planted faults --------------------------------------------------------------------------------------------------


def plants():
    """(what is wrong, text -> text, results -> None): each must be found."""
    keep = lambda text: text

    def measure(name, value, event=None):
        def spoil(results):
            contender = results["contenders"][0]
            place = contender if event is None else contender["events"][event]
            place["measures"][name] = value
        return spoil

    def sentence(old, new):
        def spoil(results):
            for s in results["sentences"]:
                s["text"] = re.sub(old, new, s["text"])
        return spoil

    return [
        ("a negative time", keep, measure("longest_stall", -1, 0)),
        ("an outage longer than the run", keep, measure("outage", 10**12, 0)),
        ("a rate faster than the limit", keep, measure("repair_rate", 10**9, 0)),
        ("more unreadable than the volume", keep, measure("unrecoverable_bytes", 10**12)),
        ("a p99 above the maximum", keep, measure("latency_p99", 10**11)),
        ("a cell that differs from its measure", lambda t: re.sub(r"(no service, total +)\S+( m?s)?", r"\1 77 ms", t, 1), None),
        ("an empty cell", lambda t: re.sub(r"(failovers +)\d", r"\1 ", t, 1), None),
        ("a legend that is gone", lambda t: re.sub(r"\n  \*: [^\n]*", "", t), None),
        ("no outage, with one", lambda t: re.sub(r"[\d.]+ m?s without\s+service", "no outage", t),
         sentence(r"[\d.]+ m?s without service", "no outage")),
        ("down for good, and not", lambda t: t.replace("no outage", "down for good"), sentence("no outage", "down for good")),
        ("another number of writes lost", lambda t: re.sub(r"\d+ acknowledged writes", "3 acknowledged writes", t),
         sentence(r"\d+ acknowledged writes", "3 acknowledged writes")),
        ("a sentence that nobody can parse", lambda t: t.replace("rebuild locally (", "rebuild, locally: ("),
         sentence(r"rebuild locally \(", "rebuild, locally: (")),
        ("a because that is gone", lambda t: re.sub(r"the data is +-", "-                -", t), None),
        ("the wrong heading", lambda t: t.replace("LOCAL REBUILD OR REMOTE FAILOVER?", "WHAT CAME OUT"), None),
        ("a cut name", lambda t: re.sub(r"replica3", "replica ", t, 1), None),
        ("never, where it came back", lambda t: re.sub(r"(back to full redundancy after +never +)[\d.]+ m?s", r"\1 never", t, 1), None),
    ]


def check_plants(program, work):
    path = os.path.join("scenarios", "disk-then-server.toml")
    _, text, results = run(program, path, work)
    facts = rates_of(path)
    missed = []
    for what, spoil_text, spoil_results in plants():
        spoiled = copy.deepcopy(results)
        if spoil_results:
            spoil_results(spoiled)
        changed = spoil_text(text)
        if changed == text and spoiled == results:
            missed.append(f"planted, {what}: the report has no such place any more")
            continue
        if not checked("planted", changed, spoiled, facts):
            missed.append(f"planted, {what}: not found")
    return len(plants()), missed


def main():
    parser = argparse.ArgumentParser(description="Holds the words of resilver run against its figures.")
    parser.add_argument("--program", default="build/release/resilver")
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shipped", action="store_true")
    parser.add_argument("--plant", action="store_true")
    options = parser.parse_args()
    findings = []
    with tempfile.TemporaryDirectory(prefix="resilver-words-") as work:
        if options.plant:
            count, new = check_plants(options.program, work)
            print(f"words: {count - len(new)} of {count} planted contradictions found")
            findings += told(new)
        if options.shipped:
            count, new = check_shipped(options.program, work)
            print(f"words: {count} shipped scenarios, {len(new)} findings")
            findings += new
        if options.runs:
            ran, new = check_random(options.program, work, options.seed, options.runs)
            print(f"words: {ran} random scenarios from seed {options.seed} on, {len(new)} findings")
            findings += new
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
