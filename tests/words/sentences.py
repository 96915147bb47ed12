"""The sentences under the table of `resilver run`, clause by clause against results.json."""
import re

from report import SIZE, TIME, near, size_of, time_of

NO_OUTAGE = 20e6  # ns: what the prober cannot tell from none
DOWN = rf"down for good|still down when observed last, after {TIME}"
SERVICE = rf"no outage(?:, though the client waited {TIME} for answers)?|{DOWN}|{TIME} without service"
QUOTED = r"'[^']*'(?:, '[^']*')*"


def quoted(text):
    return re.findall(r"'([^']*)'", text)


def leads(value, other):
    return value < other and value * 1.1 < other


class Sentences:
    """Part of the check of a run: `contenders`, `report`, `results` and `find` are the check's own."""

    def sentences(self):
        told = [[s["about"], s["text"]] for s in self.results["sentences"]]
        if [[a, " ".join(t.split())] for a, t in self.report.sentences] != [[a, " ".join(t.split())] for a, t in told]:
            self.find("", "the sentences printed are not those of results.json")
        kinds = {self.kind(name) for name in self.contenders}
        if told and (self.report.heading == "LOCAL REBUILD OR REMOTE FAILOVER?") != ({"local", "remote"} <= kinds):
            self.find("", f"the heading is '{self.report.heading}'")
        events = {e["name"] for c in self.contenders.values() for e in c["events"]}
        for about, text in told:
            if about in events:
                self.event_sentence(about, text)
            elif about in self.contenders:
                self.loss_sentence(about, text)
            elif about == "both matter":
                self.both_sentence(text)
            else:
                self.find("", f"a sentence about '{about}', which is neither event nor contender")
        for event in sorted(events - {about for about, _ in told}):
            if any(self.told_elsewhere(name, event) for name in self.contenders) and \
                    not re.match(r"array|volume", self.verb(event)):
                self.find("", f"'{event}' is charged elsewhere, and no sentence says so")

    # -- what results.json has

    def names(self):
        return "|".join(sorted(map(re.escape, self.contenders), key=len, reverse=True))

    def kind(self, name):
        contender = self.contenders[name]
        if contender["remote_redundancy"]:
            return "both" if contender["local_redundancy"] else "remote"
        return "local" if contender["local_redundancy"] else "bare"

    def verb(self, event):
        return next(e["verb"] for c in self.contenders.values() for e in c["events"] if e["name"] == event)

    def window_of(self, name, event):
        for e in self.contenders[name]["events"]:
            if e["name"] == event and e["state"] == "applied":
                return e
        return None

    def told_elsewhere(self, name, event):
        found = self.window_of(name, event)
        return bool(found and found["charged_with"])

    @staticmethod
    def has_of_its_own(found):
        measures = found["measures"]
        return any(measures[m] for m in ("outage", "client_outage", "client_errors", "failovers"))

    def lost(self, who):
        oracle = self.contenders[who]["oracle"]
        return oracle["lost_writes"] > 0 or oracle["unrecoverable_bytes"] > 0

    # -- single clauses

    def says_service(self, who, event, words):
        """`words` about the service of a contender in an event, against its window."""
        found = self.window_of(who, event)
        if found is None:
            return self.find(who, f"a sentence tells of '{event}', which did not take place there")
        window = found["window"]
        if not self.fits_service(window["outage"], window["client_outage"], words):
            self.find(who, f"'{event}': the sentence says {words!r}, results.json {window['outage']}, "
                           f"the client {window['client_outage']}")
        if found["charged_with"]:
            self.find(who, f"'{event}': {words!r} is told, though it is charged with '{found['charged_with']}'")

    @staticmethod
    def fits_service(outage, client, words):
        shown = re.search(TIME, words)
        shown = time_of(shown.group(0)) if shown else None
        if words.startswith("no outage, though"):
            return outage["ended"] and outage["total_ns"] == 0 and near(shown, client["total_ns"], 1)
        if words in ("no outage", "none"):
            return outage["ended"] and outage["total_ns"] == 0 and client["total_ns"] == 0
        if words == "down for good":
            return not outage["ended"] and outage["for_good"]
        if words.startswith("still down"):
            return not outage["ended"] and not outage["for_good"] and near(shown, outage["open_ns"], 1)
        return outage["ended"] and shown is not None and near(shown, outage["total_ns"], 1)

    def says_down(self, who, event):
        found = self.window_of(who, event)
        if found is None or found["window"]["outage"]["ended"]:
            self.find(who, f"'{event}': the sentence says it is down")

    def says_repair(self, who, event, words):
        found = self.window_of(who, event)
        again = self.whole_again(found["window"]) if found else None
        match = re.search(rf"whole again after ({TIME})", words)
        if "not whole again" in words:
            if again != "never":
                self.find(who, f"'{event}': the sentence says {words!r}, it was whole again after {again}")
        elif match:
            if not isinstance(again, (int, float)) or not near(time_of(match.group(1)), again, 1):
                self.find(who, f"'{event}': the sentence says {words!r}, results.json {again}")

    def says_errors(self, who, event, shown):
        found = self.window_of(who, event)
        if found["measures"]["client_errors"] != int(shown):
            self.find(who, f"'{event}': the sentence says {shown} client errors, results.json {found['measures']['client_errors']}")

    def says_sent(self, who, event, shown):
        sent = self.window_of(who, event)["measures"]["repair_link_bytes"]
        if not near(0 if shown == "nothing" else size_of(shown), sent, 0.5):
            self.find(who, f"'{event}': the sentence says {shown} sent, results.json {sent}")

    def says_apart(self, who, other, event, shown, sign):
        a, b = (self.whole_again(self.window_of(n, event)["window"]) for n in (who, other))
        if shown is None:
            if b != "never":
                self.find(who, f"'{event}': whole again sooner than {other} without saying by how much")
        elif not isinstance(a, (int, float)) or not isinstance(b, (int, float)) or \
                not near(time_of(shown.strip()), sign * (b - a), 1):
            self.find(who, f"'{event}': whole again {shown} before or after {other}: results.json {a}, {b}")

    # -- about an event

    def event_sentence(self, event, text):
        text = self.charged_elsewhere(event, text)
        text = self.shared(event, text)
        text = self.overloaded(event, text)
        if text:
            self.weighed(event, text)

    def charged_elsewhere(self, event, text):
        """Takes "raid5, raid6 and 3 more: shared with 'X', and charged to that" from the end; who and with whom must fit."""
        rest, said = text, {}
        clause = re.compile(rf"(?:^|; )((?:{self.names()})(?:, (?:{self.names()}))*)(?: and (\d+) more)?: "
                            rf"shared with ({QUOTED}), and charged to that( in part)?$")
        while match := clause.search(rest):
            said[bool(match.group(4))] = (match.group(1).split(", "), int(match.group(2) or 0), quoted(match.group(3)))
            rest = rest[:match.start()]
        for in_part in (False, True):
            there = [n for n in self.contenders if self.told_elsewhere(n, event)
                     and self.has_of_its_own(self.window_of(n, event)) == in_part]
            named, more, with_whom = said.get(in_part, ([], 0, []))
            part = " in part" if in_part else ""
            if named != there[:len(named)] or len(named) + more != len(there):
                self.find("", f"'{event}': charged{part} elsewhere for {named} and {more} more, results.json {there}: {text}")
            if set(with_whom) != {self.window_of(n, event)["charged_with"] for n in there}:
                self.find("", f"'{event}': charged{part} to {with_whom}: {text}")
        return rest

    def shared(self, event, text):
        """Takes " (raid5: shared with 'X')" from the end."""
        while match := re.search(rf" \(({self.names()}): shared with ({QUOTED})\)$", text):
            found = self.window_of(match.group(1), event)
            if found is None or sorted(quoted(match.group(2))) != sorted(found["others"]):
                self.find(match.group(1), f"'{event}': shared with {match.group(2)}, results.json {found and found['others']}")
            text = text[:match.start()]
        return text

    def overloaded(self, event, text):
        """Takes " (overloaded: raid5)" from the end: all that the sentence names and that are, no other."""
        match = re.search(rf" \(overloaded: ((?:{self.names()})(?:, (?:{self.names()}))*)\)$", text)
        said = match.group(1).split(", ") if match else []
        rest = text[:match.start()] if match else text
        if "times not compared" in rest:
            return rest
        for name in said:
            if self.contenders[name]["load_permille"] <= 1000:
                self.find(name, f"'{event}': said to be overloaded: {text}")
        for name in re.findall(rf"(?<![\w'])({self.names()})(?![\w'])", re.sub(QUOTED, "", rest)):
            if self.contenders[name]["load_permille"] > 1000 and name not in said:
                self.find(name, f"'{event}': overloaded, which the sentence does not say: {text}")
        return rest

    def weighed(self, event, text):
        names = self.names()
        match = re.fullmatch(rf"({names}): ({SERVICE})(.*)", text)
        if match:
            who, words, rest = match.groups()
            self.says_service(who, event, words)
            self.says_repair(who, event, rest)
            left = re.sub(rf", (whole again after {TIME}|not whole again)", "", rest)
            return self.left_over(event, text, left)
        match = re.fullmatch(rf"neither helps: ({names}) and ({names}) are down", text)
        if match:
            for who in match.groups():
                self.says_down(who, event)
            return
        match = re.fullmatch(rf"no difference that counts: ({SERVICE})", text)
        if match:
            seen = [self.window_of(n, event) for n in self.contenders if not self.told_elsewhere(n, event)]
            if not any(w and self.fits_service(w["window"]["outage"], w["window"]["client_outage"], match.group(1)) for w in seen):
                self.find("", f"'{event}': {match.group(1)} is of nobody")
            return
        match = re.fullmatch(rf"a choice: ({names}) is whole again ({TIME} )?sooner, ({names}) sends less \((nothing|{SIZE}) "
                             rf"against ({SIZE})\); (.*)", text)
        if match:
            fast, sooner, slow, less, more, rest = match.groups()
            self.says_sent(slow, event, less)
            self.says_sent(fast, event, more)
            self.says_apart(fast, slow, event, sooner, 1)
            return self.compared(fast, event, rest, text)
        match = re.fullmatch(rf"[a-z ]+ \(({names})\): (.*)", text)
        if match:
            return self.compared(match.group(1), event, match.group(2), text)
        if not re.search(r"\(shared device: times not compared\)$", text):
            self.find("", f"'{event}': this script cannot parse: {text}")

    def compared(self, who, event, rest, text):
        names = self.names()
        match = re.match(rf"({SERVICE})", rest)
        if not match:
            return self.find("", f"'{event}': this script cannot parse: {text}")
        self.says_service(who, event, match.group(1))
        rest = self.other_service(who, event, rest[match.end():])
        for clause, check in (
            (rf", (\d+) client errors instead of (\d+)", lambda m: self.says_errors(who, event, m.group(1))),
            (rf", (nothing|{SIZE}) sent (?:instead of|against) (nothing|{SIZE})", lambda m: self.says_sent(who, event, m.group(1))),
            (rf", whole again ({TIME}) before ({names})", lambda m: self.says_apart(who, m.group(2), event, m.group(1), 1)),
            (rf", but whole again ({TIME}) after ({names})", lambda m: self.says_apart(who, m.group(2), event, m.group(1), -1)),
            (rf", whole again, which ({names}) never is", lambda m: self.says_repair(m.group(1), event, "not whole again")),
            (r", not whole again", lambda m: self.says_repair(who, event, "not whole again")),
        ):
            found = re.match(clause, rest)
            if found:
                check(found)
                rest = rest[found.end():]
        self.left_over(event, text, rest)

    def other_service(self, who, event, rest):
        names = self.names()
        if match := re.match(rf"; ({names}) is ({DOWN})", rest):
            self.says_service(match.group(1), event, match.group(2))
        elif match := re.match(rf", and nothing lost, as ({names}) did", rest):
            if not self.lost(match.group(1)) or self.lost(who):
                self.find(who, f"'{event}': nothing lost, as {match.group(1)} did: {self.lost(who)}, {self.lost(match.group(1))}")
        elif match := re.match(rf" instead of ({TIME})", rest):
            shown = time_of(match.group(1))
            others = [self.window_of(n, event) for n in self.contenders if n != who]
            if not any(o and o["measures"]["outage"] != "never" and near(shown, o["measures"]["outage"], 1) for o in others):
                self.find(who, f"'{event}': {match.group(1)} is the outage of nobody else")
        else:
            match = re.match(r" either way|", rest)
        return rest[match.end():]

    def left_over(self, event, text, rest):
        if rest.strip():
            self.find("", f"'{event}': this script cannot parse {rest!r} in: {text}")

    # -- about a contender

    def loss_sentence(self, name, text):
        contender = self.contenders[name]
        oracle = contender["oracle"]
        rest = re.sub(r": it has no redundancy, which is cheap and fast until the first failure$", "", text)
        for part in re.split(r", (?!after)", rest):
            writes = re.fullmatch(r"(\d+) acknowledged writes lost", part)
            unreadable = re.fullmatch(rf"({SIZE}) unreadable at the end", part)
            wrong = re.fullmatch(r"(\d+) reads returned wrong or stale data as good", part)
            if writes:
                good = int(writes.group(1)) == oracle["lost_writes"]
            elif unreadable:
                good = near(size_of(unreadable.group(1)), oracle["unrecoverable_bytes"], 0.5)
            elif wrong:
                good = int(wrong.group(1)) == oracle["stale_reads"] + oracle["corrupt_reads"]
            elif re.fullmatch(DOWN, part):
                good = self.fits_service(contender["whole"]["outage"], contender["whole"]["client_outage"], part)
            else:
                good = False
            if not good:
                self.find(name, f"the sentence says {part!r}, results.json {oracle} {contender['whole']['outage']}"[:300])

    def both_sentence(self, text):
        match = re.fullmatch(rf"({self.names()}): (.*), at (\d+\.\d\d)x space(, and it lost data)?( \(overloaded\))?", text)
        if not match:
            return self.find("", f"'both matter': this script cannot parse: {text}")
        who, events, space, lost, overloaded = match.groups()
        if bool(overloaded) != (self.contenders[who]["load_permille"] > 1000):
            self.find(who, f"'both matter' says nothing of overload, or wrongly: {text}")
        if not near(float(space), self.contenders[who]["measures"]["space"], 0.006):
            self.find(who, f"'both matter': {space} times the space")
        if bool(lost) != self.lost(who):
            self.find(who, f"'both matter' says nothing of lost data, or wrongly: {text}")
        one = rf"'[^']*' (?:{SERVICE})(?:, repaired locally)?"
        several = rf"{one}(?:, {one})*"
        match = re.fullmatch(rf"(?P<good>{several}); as good as the better of the two each time|"
                             rf"(?P<bad>{several}): behind the better of the two(?:; not behind in (?P<rest>{several}))?", events)
        if not match:
            return self.find(who, f"'both matter': this script cannot parse: {events}")
        told = []
        for part, keeps_up in (("good", True), ("bad", False), ("rest", True)):
            for event, words, repaired in re.findall(rf"'([^']*)' ({SERVICE})(, repaired locally)?", match.group(part) or ""):
                told.append(event)
                self.says_service(who, event, words)
                self.keeps_up(who, event, keeps_up)
                if repaired and (self.whole_again(self.window_of(who, event)["window"]) in (None, "never")
                                 or self.window_of(who, event)["measures"]["repair_link_bytes"]):
                    self.find(who, f"'both matter': '{event}' is said to be repaired locally")
        wanted = [e["name"] for e in self.contenders[who]["events"] if e["state"] == "applied" and not e["charged_with"]]
        if sorted(told) != sorted(wanted):
            self.find(who, f"'both matter' tells of {told}, it was {wanted}")

    def keeps_up(self, who, event, told):
        """Against the best of each kind, where nobody lost data: who lost it is worse in a way that is not told apart here."""
        def weight(name):
            outage = self.window_of(name, event)["window"]["outage"]
            return 1e300 if not outage["ended"] else 0 if outage["total_ns"] <= NO_OUTAGE else outage["total_ns"]

        others = [n for n, c in self.contenders.items() if self.kind(n) in ("local", "remote") and not c["inconclusive"]
                  and self.window_of(n, event) and not self.told_elsewhere(n, event)]
        if self.lost(who) or any(self.lost(n) for n in others):
            return
        own = weight(who)
        behind = (own == 1e300 and others) or any(leads(weight(n), own) for n in others)
        if bool(behind) == told:
            self.find(who, f"'both matter': '{event}' is {'not ' if told else ''}behind: {own}, {[weight(n) for n in others]}")
