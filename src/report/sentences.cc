#include "report/sentences.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/units.h"
#include "scenario/measures.h"

namespace resilver::report {

namespace {

using scenario::ContenderResult;
using scenario::EventResult;
using scenario::EventState;
using scenario::MeasureId;
using scenario::RunResults;
using scenario::Value;
using scenario::WindowResult;

// What one contender made of one event, in the measures that the sentences weigh: the values of its cells in the table.
struct Showing {
  const ContenderResult* contender = nullptr;
  bool down = false;      // at the end of settle
  bool for_good = false;  // and nothing was under way that could have ended it
  Nanos outage = 0;
  Nanos down_for = 0;  // if down: the outage that had not ended, a lower bound
  Nanos client_outage = 0;
  bool lost = false;  // data, and this event left something behind
  std::uint64_t errors = 0;
  std::uint64_t link_bytes = 0;
  bool repair_needed = false;
  bool repaired = true;
  Nanos repair = 0;

  // What nobody can tell from none is none where contenders are compared.
  Nanos weight() const { return outage <= kNoOutage ? 0 : outage; }
};

const EventResult* applied_event(const ContenderResult& contender, const std::string& name) {
  for (const auto& event : contender.events)
    if (event.name == name && event.state == EventState::applied) return &event;
  return nullptr;
}

// What it did is charged to another event, wholly or in part: it cannot be weighed.
bool told_elsewhere(const EventResult& event) { return !event.charged_with.empty(); }

bool lost_data(const ContenderResult& contender) {
  return contender.oracle.lost_writes > 0 || contender.oracle.unrecoverable_bytes > 0;
}

Showing showing_of(const ContenderResult& contender, const EventResult& event) {
  const auto of = [&](MeasureId measure) { return scenario::value_of(contender, measure, event.name); };
  const auto count = [&](MeasureId measure) { return static_cast<std::uint64_t>(of(measure).number); };
  Showing showing;
  showing.contender = &contender;
  showing.down = of(MeasureId::outage).kind == Value::Kind::never;
  showing.for_good = showing.down && event.window.outage.for_good;
  showing.outage = event.window.outage.total;
  showing.down_for = event.window.outage.open;
  showing.client_outage = event.window.client_outage.total;
  showing.errors = count(MeasureId::client_errors);
  showing.link_bytes = count(MeasureId::repair_link_bytes);
  const Value repair = scenario::whole_again(contender, event.name);
  showing.repair_needed = repair.kind != Value::Kind::absent;
  showing.repaired = repair.kind != Value::Kind::never;
  showing.repair = static_cast<Nanos>(repair.number);
  // Nobody can tell which event cost the data; one that failed nothing, moved nothing and was repaired did not.
  const bool harmless = !showing.down && showing.errors == 0 && showing.repaired && event.window.failovers == 0 &&
                        event.window.unavailable_bytes == 0;
  showing.lost = lost_data(contender) && !harmless;
  return showing;
}

// Worse in this order: down, data lost, time without service, errors, never whole again, time to be whole.
bool better(const Showing& a, const Showing& b) {
  const auto key = [](const Showing& s) {
    return std::tuple(s.down, s.lost, s.weight(), s.errors, !s.repaired, s.repair);
  };
  return key(a) < key(b);
}

std::optional<Showing> best(const RunResults& results, const std::string& event, Kind kind) {
  std::optional<Showing> found;
  for (const auto& contender : results.contenders) {
    if (kind_of(contender) != kind || !contender.inconclusive.empty()) continue;
    const EventResult* result = applied_event(contender, event);
    if (!result || told_elsewhere(*result)) continue;
    const Showing showing = showing_of(contender, *result);
    if (!found || better(showing, *found)) found = showing;
  }
  return found;
}

// "down for good" is said only of what nothing could have ended any more; else how long it was seen to last.
std::string down_words(bool for_good, Nanos at_least) {
  return for_good ? "down for good" : "still down when observed last, after " + format_duration(at_least);
}

std::string service(const Showing& showing) {
  if (showing.down) return down_words(showing.for_good, showing.down_for);
  if (showing.outage > 0) return format_duration(showing.outage) + " without service";
  if (showing.client_outage == 0) return "no outage";
  return fmt::format("no outage, though the client waited {} for answers", format_duration(showing.client_outage));
}

// -1: a leads, 1: b leads, 0: neither.
int order(double a, double b) { return leads(a, b) ? -1 : leads(b, a) ? 1 : 0; }

// A loss counts against who kept everything only: where both lost data, nobody can tell which event cost it whom.
bool lost_alone(const Showing& showing, const Showing& other) { return showing.lost && !lost_data(*other.contender); }

int order_by_service(const Showing& a, const Showing& b) {
  if (a.down != b.down) return a.down ? 1 : -1;
  if (lost_alone(a, b) != lost_alone(b, a)) return lost_alone(a, b) ? 1 : -1;
  if (a.down) return 0;
  return order(static_cast<double>(a.weight()), static_cast<double>(b.weight()));
}

int order_by_repair(const Showing& a, const Showing& b) {
  if (!a.repair_needed || !b.repair_needed) return 0;
  if (a.repaired != b.repaired) return a.repaired ? -1 : 1;
  return a.repaired ? order(static_cast<double>(a.repair), static_cast<double>(b.repair)) : 0;
}

int order_by_link(const Showing& a, const Showing& b) {
  return order(static_cast<double>(a.link_bytes), static_cast<double>(b.link_bytes));
}

std::string link_clause(const Showing& winner, const Showing& other) {
  const int by = order_by_link(winner, other);
  if (by == 0) return {};
  const auto sent = [](std::uint64_t bytes) { return bytes == 0 ? std::string("nothing") : format_size(bytes); };
  return fmt::format(", {} sent {} {}", sent(winner.link_bytes), by < 0 ? "instead of" : "against",
                     sent(other.link_bytes));
}

std::string repair_clause(const Showing& winner, const Showing& other) {
  if (winner.repair_needed && !winner.repaired) return ", not whole again";
  if (order_by_repair(winner, other) == 0) return {};
  const std::string& name = other.contender->name;
  if (!other.repaired) return other.down ? "" : fmt::format(", whole again, which {} never is", name);
  const Nanos apart = other.repair - winner.repair;
  return apart > 0 ? fmt::format(", whole again {} before {}", format_duration(apart), name)
                   : fmt::format(", but whole again {} after {}", format_duration(-apart), name);
}

std::string errors_clause(const Showing& winner, const Showing& other) {
  if (winner.errors == other.errors || (winner.down && other.down)) return {};
  return fmt::format(", {} client errors instead of {}", winner.errors, other.errors);
}

std::string service_clause(const Showing& winner, const Showing& other) {
  const std::string& name = other.contender->name;
  if (other.down && !winner.down)
    return fmt::format("{}; {} is {}", service(winner), name, down_words(other.for_good, other.down_for));
  if (order_by_service(winner, other) == 0) return service(winner) + (winner.weight() == 0 ? "" : " either way");
  if (lost_alone(other, winner)) return fmt::format("{}, and nothing lost, as {} did", service(winner), name);
  return fmt::format("{} instead of {}", service(winner), format_duration(other.outage));
}

bool about_disks(const EventResult& event) { return event.verb.starts_with("disk."); }

std::string advice(const EventResult& event, int winner) {
  if (about_disks(event)) return winner < 0 ? "rebuild locally" : "let a replica serve and repair";
  return winner < 0 ? "stay on one server" : "fail over";
}

std::string compare(const EventResult& event, const Showing& local, const Showing& remote) {
  int winner = order_by_service(local, remote);
  if (winner == 0 && local.down)
    return fmt::format("neither helps: {} and {} are down", local.contender->name, remote.contender->name);
  std::string reason;
  if (winner == 0) {
    const int repair = order_by_repair(local, remote);
    const int link = order_by_link(local, remote);
    if (repair * link < 0 || (repair == 0 && link == 0)) {
      if (repair == 0) return fmt::format("no difference that counts: {}", service(local));
      const Showing& fast = repair < 0 ? local : remote;
      const Showing& slow = repair < 0 ? remote : local;
      return fmt::format("a choice: {} is whole again {}sooner, {} sends less ({} against {}); {}",
                         fast.contender->name, slow.repaired ? format_duration(slow.repair - fast.repair) + " " : "",
                         slow.contender->name, slow.link_bytes == 0 ? "nothing" : format_size(slow.link_bytes),
                         format_size(fast.link_bytes), service_clause(fast, slow));
    }
    winner = repair != 0 ? repair : link;
  }
  const Showing& first = winner < 0 ? local : remote;
  const Showing& second = winner < 0 ? remote : local;
  return fmt::format("{} ({}): {}{}{}{}", advice(event, winner), first.contender->name, service_clause(first, second),
                     errors_clause(first, second), link_clause(first, second), repair_clause(first, second));
}

std::string alone(const Showing& showing) {
  std::string text = fmt::format("{}: {}", showing.contender->name, service(showing));
  if (showing.repair_needed && showing.repaired) text += ", whole again after " + format_duration(showing.repair);
  if (showing.repair_needed && !showing.repaired) text += ", not whole again";
  return text;
}

std::string without_times(const std::optional<Showing>& local, const std::optional<Showing>& remote) {
  std::vector<std::string> parts;
  for (const auto& showing : {local, remote})
    if (showing)
      parts.push_back(fmt::format("{} {}", showing->contender->name, showing->down ? "is down" : "serves on"));
  return fmt::format("{} (shared device: times not compared)", fmt::join(parts, ", "));
}

// The events of the run that took place somewhere, each once, in the order of the file.
std::vector<const EventResult*> events_of(const RunResults& results) {
  std::vector<const EventResult*> events;
  for (const auto& name : event_names(results))
    for (const auto& contender : results.contenders)
      if (const EventResult* event = applied_event(contender, name)) {
        events.push_back(event);
        break;
      }
  return events;
}

bool as_good(const Showing& both, const std::optional<Showing>& other) {
  return !other || (!both.down && order_by_service(both, *other) <= 0);
}

// Does one contender with both kinds of redundancy keep up with the specialists in every event? Each one by itself: the best of
// several, event by event, is nobody.
void add_hybrid(const RunResults& results, const std::vector<const EventResult*>& events, const ContenderResult& hybrid,
                std::vector<Sentence>& sentences) {
  std::vector<std::string> good;
  std::vector<std::string> bad;
  bool disk = false;
  bool node = false;
  for (const EventResult* event : events) {
    const EventResult* own = applied_event(hybrid, event->name);
    if (!own || told_elsewhere(*own)) continue;
    const Showing showing = showing_of(hybrid, *own);
    (about_disks(*event) ? disk : node) = true;
    const bool keeps_up = as_good(showing, best(results, event->name, Kind::local)) &&
                          as_good(showing, best(results, event->name, Kind::remote));
    std::string text = service(showing);
    if (about_disks(*event) && showing.repair_needed && showing.link_bytes == 0 && showing.repaired)
      text += ", repaired locally";
    (keeps_up ? good : bad).push_back(fmt::format("'{}' {}", event->name, text));
  }
  if (!disk || !node) return;
  std::string text = hybrid.name + ": ";
  if (bad.empty())
    text += fmt::format("{}; as good as the better of the two each time", fmt::join(good, ", "));
  else
    text += fmt::format("{}: behind the better of the two{}{}", fmt::join(bad, ", "),
                        good.empty() ? "" : "; not behind in ", fmt::join(good, ", "));
  text += fmt::format(", at {:.2f}x space", hybrid.space_permille / 1000.0);
  if (lost_data(hybrid)) text += ", and it lost data";
  if (overloaded(hybrid)) text += " (overloaded)";
  sentences.push_back({"both matter", text});
}

std::string quoted(const std::vector<std::string>& names) {
  std::vector<std::string> all;
  for (const auto& name : names) all.push_back("'" + name + "'");
  return fmt::format("{}", fmt::join(all, ", "));
}

// " (raid5: shared with 'server dies')": other events that may have done what is weighed here.
std::string shared_words(const std::string& event, const std::optional<Showing>& showing) {
  if (!showing) return {};
  const EventResult* own = applied_event(*showing->contender, event);
  if (!own || own->others.empty()) return {};
  return fmt::format(" ({}: shared with {})", showing->contender->name, quoted(own->others));
}

// " (overloaded: raid5)": whose times tell of a queue that grew, too.
std::string overload_words(const std::optional<Showing>& local, const std::optional<Showing>& remote) {
  std::vector<std::string> names;
  for (const auto& showing : {local, remote})
    if (showing && overloaded(*showing->contender)) names.push_back(showing->contender->name);
  return names.empty() ? "" : fmt::format(" (overloaded: {})", fmt::join(names, ", "));
}

bool has_of_its_own(const WindowResult& window) {
  return window.outage.total > 0 || window.client_outage.total > 0 || window.client_errors > 0 || window.failovers > 0;
}

// Whom this event cannot be told of, because it is told with another, wholly or (`in_part`) not: "raid5, raid6 and 3 more:
// shared with 'disk dies', and charged to that".
std::string elsewhere_words(const RunResults& results, const std::string& event, bool in_part) {
  constexpr std::size_t kNamed = 2;
  std::vector<std::string> contenders;
  std::vector<std::string> with;
  for (const auto& contender : results.contenders) {
    const EventResult* own = applied_event(contender, event);
    if (!own || !told_elsewhere(*own) || has_of_its_own(own->window) != in_part) continue;
    contenders.push_back(contender.name);
    if (std::find(with.begin(), with.end(), own->charged_with) == with.end()) with.push_back(own->charged_with);
  }
  if (contenders.empty()) return {};
  const std::size_t more = contenders.size() - std::min(contenders.size(), kNamed);
  contenders.resize(contenders.size() - more);
  return fmt::format("{}{}: shared with {}, and charged to that{}", fmt::join(contenders, ", "),
                     more == 0 ? "" : fmt::format(" and {} more", more), quoted(with), in_part ? " in part" : "");
}

void add_losses(const ContenderResult& contender, std::vector<Sentence>& sentences) {
  const auto& oracle = contender.oracle;
  std::vector<std::string> parts;
  if (oracle.lost_writes > 0) parts.push_back(fmt::format("{} acknowledged writes lost", oracle.lost_writes));
  if (oracle.unrecoverable_bytes > 0)
    parts.push_back(format_size(oracle.unrecoverable_bytes) + " unreadable at the end");
  if (oracle.stale_reads + oracle.corrupt_reads > 0)
    parts.push_back(
        fmt::format("{} reads returned wrong or stale data as good", oracle.stale_reads + oracle.corrupt_reads));
  const auto& outage = contender.whole.outage;
  if (outage.never_ended) parts.push_back(down_words(outage.for_good, outage.open));
  if (parts.empty()) return;
  std::string text = fmt::format("{}", fmt::join(parts, ", "));
  if (kind_of(contender) == Kind::bare)
    text += ": it has no redundancy, which is cheap and fast until the first failure";
  sentences.push_back({contender.name, text});
}

}  // namespace

bool overloaded(const ContenderResult& contender) { return contender.load_permille > 1000; }

Kind kind_of(const ContenderResult& contender) {
  if (contender.remote_redundancy) return contender.local_redundancy ? Kind::both : Kind::remote;
  return contender.local_redundancy ? Kind::local : Kind::bare;
}

std::vector<std::string> event_names(const RunResults& results) {
  std::vector<std::string> names;
  for (const auto& contender : results.contenders)
    for (const auto& event : contender.events)
      if (std::find(names.begin(), names.end(), event.name) == names.end()) names.push_back(event.name);
  return names;
}

bool leads(double value, double other) { return value < other && value * 1.1 < other; }

std::vector<Sentence> closing_sentences(const RunResults& results) {
  std::vector<Sentence> sentences;
  const auto events = events_of(results);
  const bool comparable = !results.header.real || results.header.paced;
  for (const EventResult* event : events) {
    if (event->verb.starts_with("array.") || event->verb.starts_with("volume.")) continue;
    const auto local = best(results, event->name, Kind::local);
    const auto remote = best(results, event->name, Kind::remote);
    std::string text;
    if (local || remote) {
      if (!comparable) {
        text = without_times(local, remote);
      } else {
        text = local && remote ? compare(*event, *local, *remote) : alone(local ? *local : *remote);
      }
      if (comparable) text += overload_words(local, remote);
      text += shared_words(event->name, local) + shared_words(event->name, remote);
    }
    for (const bool in_part : {false, true}) {
      const std::string elsewhere = elsewhere_words(results, event->name, in_part);
      if (!elsewhere.empty()) text += (text.empty() ? "" : "; ") + elsewhere;
    }
    if (!text.empty()) sentences.push_back({event->name, text});
  }
  for (const auto& contender : results.contenders) {
    if (comparable && kind_of(contender) == Kind::both && contender.inconclusive.empty())
      add_hybrid(results, events, contender, sentences);
  }
  for (const auto& contender : results.contenders) add_losses(contender, sentences);
  return sentences;
}

}  // namespace resilver::report
