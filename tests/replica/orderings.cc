#include "tests/replica/orderings.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <deque>
#include <map>
#include <utility>

#include "tests/support/replica_words.h"

namespace resilver::replica {
namespace {

constexpr int kClone = Cluster::kNodes;
// Long enough for a promotion, a resync, the primary's look at the arbiter's record and what follows from it; where copies
// are put back, for marks as well.
constexpr Nanos kSettle = 950 * kMillisecond, kSettleMarks = 2500 * kMillisecond;
constexpr Nanos kStep = 2 * kMillisecond;

Cluster::Options options(AckMode ack) {
  Cluster::Options o;
  o.ack = ack;
  o.detect_ms = 200;
  o.disk_access = 20 * kMicrosecond;
  return o;
}

}  // namespace

// ---- as text ---------------------------------------------------------------------------------------------------------

std::string to_text(const Ordering& ordering) {
  std::string text;
  for (const Step& step : ordering) {
    if (!text.empty()) text += " ";
    const std::string node = Cluster::name(step.node), image = std::to_string(step.image);
    switch (step.kind) {
      case Step::Kind::node: text += node; break;
      case Step::Kind::write: text += "w"; break;
      case Step::Kind::record: text += step.image < 0 ? "r-" : "r" + image; break;
      case Step::Kind::put_back: text += node + "@" + image; break;
      case Step::Kind::clone: text += node + "+" + image; break;
    }
    if (step.at_once) text += "!";
  }
  return text;
}

Ordering ordering_from(const std::string& text) {
  Ordering ordering;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    std::string word = text.substr(at, end - at);
    at = end + 1;
    Step step;
    if (word.ends_with('!')) {
      step.at_once = true;
      word.pop_back();
    }
    const auto image = [&](std::size_t from) {
      if (word.substr(from) == "-") return -1;
      int number = 0;
      (void)std::from_chars(word.data() + from, word.data() + word.size(), number);
      return number;
    };
    step.node = word[0] - 'A';
    if (word == "w") {
      step.kind = Step::Kind::write;
    } else if (word[0] == 'r') {
      step.kind = Step::Kind::record;
      step.image = image(1);
    } else if (word.size() > 2) {
      step.kind = word[1] == '@' ? Step::Kind::put_back : Step::Kind::clone;
      step.image = image(2);
    }
    if (word == "w" || word[0] == 'r') step.node = 0;
    ordering.push_back(step);
  }
  return ordering;
}

// ---- a trial ---------------------------------------------------------------------------------------------------------

Trial::Trial(Ordering steps, AckMode ack) : steps_(std::move(steps)), cluster_(7, options(ack)) {}

void Trial::complain(std::string what) {
  if (!failure_.empty()) return;
  failure_ = what + " (step " + std::to_string(step_) + ", " + std::to_string(cluster_.world.now() / kMillisecond) +
             " ms)\n" + cluster_.describe();
}

Replica* Trial::replica(int node) { return node < Cluster::kNodes ? cluster_.replica(node) : cluster_.clone(); }

bool Trial::has(int node, int write) {
  std::vector<std::byte> data(kBlockBytes);
  const sim::Disk& disk = node < Cluster::kNodes ? cluster_.disk(node) : cluster_.clone_disk();
  disk.peek(block(write) * kBlockBytes, data);
  return Cluster::version_of(data, block(write)) == version(write);
}

void Trial::inspect() {
  for (int i = 0; i <= kClone; ++i) {
    Nanos& since = runs_since_[static_cast<std::size_t>(i)];
    since = replica(i) == nullptr ? kNever : std::min(since, cluster_.world.now());
  }
  int others = 0;
  for (int i = 0; i < kClone; ++i) others += replica(i) != nullptr && i != clone_of_;
  beyond_ = beyond_ || (cluster_.clone() != nullptr && others == 0);
  if (beyond_) return;
  int serving = -1;
  for (int i = 0; i <= kClone; ++i) {
    Replica* const here = replica(i);
    const auto at = static_cast<std::size_t>(i);
    if (here == nullptr) {
      reigns_[at] = 0;
      continue;
    }
    if (here->epoch() < epochs_[at]) complain("the epoch of " + name(i) + " falls");
    epochs_[at] = here->epoch();
    if (!here->serving()) {
      reigns_[at] = 0;
      continue;
    }
    if (serving >= 0) complain(name(serving) + " and " + name(i) + " serve");
    serving = i;
    const std::uint64_t reign = here->facts().super.known.head().reign;
    if (std::exchange(reigns_[at], reign) != reign) begins_to_serve(i);
  }
}

// Copies that have just been started may not have answered yet.
void Trial::begins_to_serve(int node) {
  const auto ran = [&](int i) { return runs_since_[static_cast<std::size_t>(i)] < cluster_.world.now() - kSecond; };
  if (node == kClone && ran(clone_of_) && ran(served_last_))
    complain("the clone serves, though its original and the primary run");
  served_last_ = node;
  for (int w = 0; w < kWrites; ++w) {
    Write& write = writes_[static_cast<std::size_t>(w)];
    if (!write.acknowledged || write.parted || has(node, w)) continue;
    const std::string what = name(node) + " serves without write " + std::to_string(w + 1);
    if (!restored_) return complain(what);
    for (int i = 0; i <= kClone; ++i) {
      const Nanos since = runs_since_[static_cast<std::size_t>(i)];
      if (i == node || since == kNever || since > cluster_.world.now() - 200 * kMillisecond || !has(i, w)) continue;
      complain(what + ", which " + name(i) + " has, that runs");
    }
    write.parted = true;
  }
}

void Trial::run_for(Nanos time) {
  (void)run_until([] { return false; }, time);
}

bool Trial::run_until(const std::function<bool()>& done, Nanos at_most) {
  const Nanos until = cluster_.world.now() + at_most;
  while (failure_.empty() && !beyond_ && cluster_.world.now() < until) {
    if (done()) return true;
    cluster_.run_for(kStep);
    inspect();
  }
  return done();
}

// A client that gives up soon: where nobody serves, nothing is acknowledged.
void Trial::write() {
  const int w = written_++;
  bool good = false;
  cluster_.client_main([&, w](Client& client) -> Task<void> {
    Buffer data = cluster_.client_node().env().buffers().allocate(kBlockBytes);
    Cluster::fill(data.bytes(), block(w), version(w));
    good = co_await Io::write(client, block(w) * kBlockBytes, data) == Errc::ok;
  });
  (void)run_until([&] { return !cluster_.client_node().running(); }, 2 * kSecond);
  if (cluster_.client_node().running()) cluster_.client_node().crash();
  writes_[static_cast<std::size_t>(w)].acknowledged = good;
}

std::optional<std::uint64_t> Trial::read(std::uint64_t block) {
  std::optional<std::uint64_t> found;
  cluster_.client_main([&, block](Client& client) -> Task<void> {
    Buffer data = cluster_.client_node().env().buffers().allocate(kBlockBytes);
    if (co_await Io::read(client, block * kBlockBytes, data) == Errc::ok)
      found = Cluster::version_of(data.bytes(), block);
  });
  (void)run_until([&] { return !cluster_.client_node().running(); }, 5 * kSecond);
  if (cluster_.client_node().running()) cluster_.client_node().crash();
  return found;
}

void Trial::remember() {
  const int now = static_cast<int>(records_.size());
  records_.push_back(cluster_.arbiter_record().nonce);
  arbiter_images_.emplace_back();
  images_.emplace_back();
  for (const Step& step : steps_) {
    if (step.image != now) continue;
    auto& copy = images_.back()[static_cast<std::size_t>(step.node)];
    if (step.kind == Step::Kind::record && arbiter_images_.back().empty())
      arbiter_images_.back() = cluster_.arbiter_image();
    if ((step.kind == Step::Kind::put_back || step.kind == Step::Kind::clone) && copy.empty())
      copy = cluster_.image(step.node);
  }
}

void Trial::play(const Step& step) {
  sim::Node& node = cluster_.node(step.node);
  const auto image = static_cast<std::size_t>(std::max(0, step.image));
  switch (step.kind) {
    case Step::Kind::node: node.running() ? node.crash() : cluster_.start_node(step.node, false); break;
    case Step::Kind::write: write(); break;
    case Step::Kind::record:
      restored_ = true;
      cluster_.arbiter_node().crash();
      step.image < 0 ? cluster_.new_arbiter() : cluster_.restore_arbiter(arbiter_images_[image]);
      cluster_.start_arbiter();
      break;
    case Step::Kind::put_back:
      restored_ = copy_restored_ = true;
      if (node.running()) node.crash();
      inspect();
      epochs_[static_cast<std::size_t>(step.node)] = 0;
      for (int w = 0; w < kWrites; ++w) {  // what no other copy has is lost by this very step
        Write& write = writes_[static_cast<std::size_t>(w)];
        int copies = 0;
        for (int i = 0; i < Cluster::kNodes; ++i) copies += i != step.node && has(i, w);
        write.acknowledged = write.acknowledged && copies > 0;
      }
      cluster_.restore(step.node, images_[image][static_cast<std::size_t>(step.node)]);
      cluster_.start_node(step.node, false);
      break;
    case Step::Kind::clone:
      restored_ = copy_restored_ = true;
      clone_of_ = step.node;
      cluster_.start_clone(step.node, images_[image][static_cast<std::size_t>(step.node)]);
      break;
  }
}

std::string Trial::run() {
  const bool copies = std::ranges::any_of(
      steps_, [](const Step& s) { return s.kind == Step::Kind::put_back || s.kind == Step::Kind::clone; });
  const Nanos settle = copies ? kSettleMarks : kSettle;
  runs_since_.fill(kNever);
  cluster_.start_all();
  if (!run_until([&] { return whole(); }, 5 * kSecond)) return "the volume did not start";
  run_for(settle);
  remember();
  for (const Step& step : steps_) {
    if (!failure_.empty() || beyond_) break;
    ++step_;
    play(step);
    if (!step.at_once) run_for(settle);
    remember();
  }
  served_ = cluster_.primary() >= 0;
  if (failure_.empty() && !beyond_) come_to_rest();
  if (failure_.empty() && !beyond_) judge_the_end();
  return failure_;
}

// ---- the end ---------------------------------------------------------------------------------------------------------

ReplicaStatus Trial::status_of(int node) {
  return replica(node) == nullptr ? ReplicaStatus{} : replica(node)->status();
}

bool Trial::whole() {
  const int p = cluster_.primary();
  return p >= 0 && cluster_.status(p).in_sync.count() == Cluster::kNodes;
}

bool Trial::in_sync(int node) {
  for (int p = 0; p <= kClone; ++p) {
    const ReplicaStatus status = status_of(p);
    if (status.role == Role::primary && status.in_sync.contains(static_cast<NodeId>(node))) return true;
  }
  return false;
}

// Whether a copy, or its primary of it, tells why it is not in sync.
bool Trial::asks(int node) {
  if (!cluster_.status(node).findings.empty()) return true;
  for (int p = 0; p <= kClone; ++p) {
    const ReplicaStatus status = status_of(p);
    const auto about = [&](const Finding& f) {  // it, or that the set cannot be changed now
      return f.node == static_cast<NodeId>(node) || f.reason == Reason::frozen || f.reason == Reason::arbiter_away;
    };
    if (status.role == Role::primary && std::ranges::any_of(status.findings, about)) return true;
  }
  return false;
}

void Trial::come_to_rest() {
  for (int i = 0; i < Cluster::kNodes; ++i) {
    if (!cluster_.node(i).running()) cluster_.start_node(i, false);
  }
  const bool soon = run_until([&] { return whole(); }, 4 * kSecond);
  if (soon || !failure_.empty()) return;
  const auto told = [&] {
    for (int i = 0; i <= kClone; ++i) {
      for (const Finding& f : status_of(i).findings) {
        const bool somebody_must_choose =
            f.reason == Reason::fork || f.reason == Reason::lost_writes || f.reason == Reason::forked_record ||
            f.reason == Reason::older_record || f.reason == Reason::no_record || f.reason == Reason::newer_elsewhere ||
            f.reason == Reason::went_back || f.reason == Reason::second_life || f.reason == Reason::frozen;
        if (somebody_must_choose) return true;
      }
    }
    return false;
  };
  if (!told()) (void)run_until([&] { return whole() || told(); }, 20 * kSecond);
  if (failure_.empty() && !whole() && !told()) complain("neither whole nor told why somebody must choose");
  if (failure_.empty() && !whole() && !restored_) complain("nothing was put back, and somebody must choose");
}

void Trial::judge_the_end() {
  const int p = cluster_.primary();
  const bool full = whole();
  for (int i = 0; i < Cluster::kNodes; ++i) {
    if (!in_sync(i) && !asks(i)) complain(Cluster::name(i) + " is not in sync, and nobody tells why");
  }
  for (int w = 0; w < kWrites; ++w) {
    if (!writes_[static_cast<std::size_t>(w)].acknowledged) continue;
    const std::string what = "write " + std::to_string(w + 1);
    int copies = 0;
    for (int i = 0; i < Cluster::kNodes; ++i) copies += has(i, w);
    if (copies == 0) complain(what + " was acknowledged and is nowhere");
    if (p < 0) continue;
    const auto found = read(block(w));
    if (found == version(w)) {
      if (full && copies != Cluster::kNodes) complain(what + " is not on all copies, and all are in sync");
      continue;
    }
    if (!found) complain("a read of " + what + " fails");
    if (full) complain(what + " is not served, and all are in sync");
  }
  if (copy_restored_) return;
  for (const auto& [node, event] : cluster_.events) {
    const bool back = event.why == ResyncWhy::checksum_went_back || event.why == ResyncWhy::checksum_bits_cleared;
    if (event.kind == EventKind::resync_started && back)
      complain(std::string("after an ordinary crash a resync is ") + resync_why_name(event.why));
  }
  for (int i = 0; i < Cluster::kNodes; ++i) {
    for (const Finding& f : cluster_.status(i).findings) {
      if (f.reason == Reason::went_back) complain("a crash is called went_back");
    }
  }
}

// ---- all of them -----------------------------------------------------------------------------------------------------

namespace {

struct Open {
  Ordering steps;
  bool served = true;
  std::vector<std::uint64_t> records;
};

bool put_back_in(const Ordering& steps) {
  return std::ranges::any_of(steps,
                             [](const Step& s) { return s.kind != Step::Kind::node && s.kind != Step::Kind::write; });
}

// What may follow: B goes before C where both are alike so far.
std::vector<Step> next_steps(const Search& what, const Open& open) {
  std::vector<Step> next;
  const auto& steps = open.steps;
  const bool put_back = put_back_in(steps);
  const auto plain = static_cast<std::size_t>(std::ranges::count_if(
      steps, [](const Step& s) { return s.kind == Step::Kind::node || s.kind == Step::Kind::write; }));
  const std::size_t begun = ordering_from(what.begin).size();
  if (plain < what.steps + begun) {
    const bool b_or_c =
        std::ranges::any_of(steps, [](const Step& s) { return s.kind != Step::Kind::write && s.node > 0; });
    for (int n = 0; n < (b_or_c || begun > 0 ? Cluster::kNodes : 2); ++n) {
      next.push_back({.kind = Step::Kind::node, .node = n});
    }
    const auto writes = std::ranges::count(steps, Step::Kind::write, &Step::kind);
    if (open.served && writes < 2 && (steps.empty() || steps.back().kind != Step::Kind::write))
      next.push_back({.kind = Step::Kind::write});
  }
  if (put_back || steps.size() < std::max<std::size_t>(begun, 1)) return next;
  const int now = static_cast<int>(steps.size());
  std::vector<std::uint64_t> seen{open.records.back()};
  for (int image = 0; image <= now && what.records; ++image) {
    const std::uint64_t record = open.records[static_cast<std::size_t>(image)];
    if (std::ranges::find(seen, record) != seen.end()) continue;
    seen.push_back(record);
    next.push_back({.kind = Step::Kind::record, .image = image});
    next.push_back({.kind = Step::Kind::record, .image = image, .at_once = true});
  }
  if (what.records) next.push_back({.kind = Step::Kind::record, .image = -1});
  for (int image = 0; image < now && what.copies; ++image) {
    for (int n = 0; n < Cluster::kNodes; ++n) {
      next.push_back({.kind = Step::Kind::put_back, .node = n, .image = image});
      next.push_back({.kind = Step::Kind::clone, .node = n, .image = image});
    }
  }
  return next;
}

}  // namespace

Found search(const Search& what) {
  Found found;
  const auto begun = std::chrono::steady_clock::now();
  std::deque<Open> open{{.steps = ordering_from(what.begin), .records = {}}};
  std::uint64_t number = 0;
  while (!open.empty() && found.complaint.empty()) {
    Open now = std::move(open.front());
    open.pop_front();
    if (!now.steps.empty() && number++ % what.every == 0) {
      Trial trial(now.steps, what.ack);
      ++found.trials;
      found.complaint = trial.run();
      if (!found.complaint.empty()) found.ordering = to_text(now.steps);
      now.served = trial.served();
      now.records = trial.records();
    } else {
      now.records.push_back(now.records.size());  // not known: as if it were a new one
    }
    found.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    if (what.most_seconds > 0 && found.seconds > what.most_seconds) break;
    for (const Step& step : next_steps(what, now)) {
      Open next = now;
      next.steps.push_back(step);
      open.push_back(std::move(next));
    }
  }
  return found;
}

}  // namespace resilver::replica
