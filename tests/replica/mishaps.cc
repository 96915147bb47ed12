#include "tests/replica/mishaps.h"

#include <algorithm>

#include "async/task_group.h"
#include "base/endian.h"
#include "replica/arbiter.h"
#include "tests/support/replica_words.h"

namespace resilver::replica {
namespace {

constexpr int kWorkers = 4;

Cluster::Options options(std::uint64_t seed) {
  Random random(seed ^ 0x0b5);
  Cluster::Options o;
  o.ack = random.percent(60) ? AckMode::durable : AckMode::quorum;
  o.clear_bits_ms = 50;
  o.congestion_ms = 300;
  o.op_timeout_ms = 1000;
  o.min_in_sync = random.percent(15) ? 2 : 1;
  return o;
}

}  // namespace

Mishaps::Mishaps(std::uint64_t seed) : random_(seed ^ 0x315), cluster_(seed, options(seed)) {
  const std::uint64_t count = 1 + random_.below(3);
  while (kinds_.size() < count) kinds_.push_back(static_cast<Kind>(random_.below(kKinds)));
  cluster_.each_event = [this] { inspect(); };
}

void Mishaps::complain(std::string what) {
  if (!failure_.empty()) return;
  failure_ = what + " at " + std::to_string(cluster_.world.now() / kMillisecond) + " ms\n";
  for (const std::string& line : story_) failure_ += line + "\n";
  failure_ += cluster_.describe();
  if (!cluster_.arbiter_node().running()) failure_ += "the arbiter does not run\n";
}

// ---- the client ------------------------------------------------------------------------------------------------------

void Mishaps::start_client() {
  cluster_.client_node().start([this](Env& env) { return client_main(env); });
}

Task<void> Mishaps::client_main(Env& env) {
  while (!finish_) {
    auto client = co_await Client::attach(env.scheduler(), env.buffers(), env.network(), cluster_.client_config());
    if (!client) continue;
    TaskGroup group(env.scheduler());
    for (int i = 0; i < kWorkers; ++i)
      group.spawn(worker(env, **client, Random(random_.next()), static_cast<std::uint64_t>(i)));
    co_await group.join();
    co_await (*client)->close();
  }
}

// Each block has one writer; what it was not told of may be there or not, before its next write.
Task<void> Mishaps::worker(Env& env, Client& client, Random random, std::uint64_t number) {
  Buffer data = env.buffers().allocate(kBlockBytes);
  while (!finish_) {
    const std::size_t at = random.below(kBlocks / kWorkers) * kWorkers + number;
    Block& block = blocks_[at];
    const std::uint64_t partings = partings_;
    Errc status = Errc::ok;
    if (random.percent(50)) {
      const std::uint64_t version = ++block.begun;
      Cluster::fill(data.bytes(), address(at), version);
      status = co_await Io::write(client, address(at) * kBlockBytes, data);
      bool there = true;  // with whoever serves now
      for (int i = 0; i < Cluster::kNodes; ++i) {
        const Replica* replica = cluster_.replica(i);
        there = there && (replica == nullptr || !replica->serving() || lowest(cluster_.disk(i), at) >= version);
      }
      if (status == Errc::ok) (there ? block.acknowledged : block.parted) = version;
    } else {
      const std::uint64_t least = block.acknowledged;
      status = co_await Io::read(client, address(at) * kBlockBytes, data);
      for (std::size_t s = 0; s < kBlockBytes && status == Errc::ok && partings == partings_; s += kSectorBytes) {
        const auto version = Cluster::version_of(data.bytes().subspan(s, kSectorBytes), address(at));
        if (version < least || version > block.begun)
          complain("block " + std::to_string(address(at)) + ": read version " + std::to_string(version) + ", not " +
                   std::to_string(least) + " to " + std::to_string(block.begun));
      }
    }
    if (status == Errc::fenced || status == Errc::closed) co_return;
    answers_ += status == Errc::ok;
    co_await sleep_for(env.scheduler(), static_cast<Nanos>(random.below(8 * kMillisecond)));
  }
}

// ---- what happens ----------------------------------------------------------------------------------------------------

void Mishaps::one_fault() {
  story_.push_back(std::to_string(cluster_.world.now() / kMillisecond) + ":");
  random_.percent(45) ? mishap(kinds_[random_.below(kinds_.size())]) : ordinary();
  take_images();
}

void Mishaps::kill(int n) {
  if (!cluster_.node(n).running()) return;
  const bool power = random_.percent(50);
  story_.back() += (power ? " power loss " : " crash ") + Cluster::name(n);
  power ? cluster_.node(n).power_loss() : cluster_.node(n).crash();
}

void Mishaps::cut(int a, int b, bool drop) {
  for (const auto& [from, to] : {std::pair(a, b), std::pair(b, a)}) {
    drop ? cluster_.world.network().drop(Cluster::name(from), Cluster::name(to))
         : cluster_.world.network().restore(Cluster::name(from), Cluster::name(to));
  }
}

void Mishaps::ordinary() {
  const int n = any_node(), other = (n + 1 + static_cast<int>(random_.below(2))) % Cluster::kNodes;
  switch (random_.below(8)) {
    case 0:
    case 1: kill(n); break;
    case 2:
      story_.back() += " stop " + Cluster::name(n);
      cluster_.stop_node(n);
      break;
    case 3:
      for (int i = 0; i < Cluster::kNodes; ++i) kill(i);
      break;
    case 4:
      if (!cuts_.empty()) {
        story_.back() += " links restored";
        for (const auto& [a, b] : std::exchange(cuts_, {})) cut(a, b, false);
      } else {
        story_.back() += " cut " + Cluster::name(n) + Cluster::name(other);
        cut(n, other, true);
        cuts_.emplace_back(n, other);
      }
      break;
    default:
      for (int i = 0; i < Cluster::kNodes; ++i) {
        if (cluster_.node(i).running() || random_.percent(30)) continue;
        story_.back() += " start " + Cluster::name(i);
        cluster_.start_node(i, false);
      }
      break;
  }
}

// Between two of its writes.
void Mishaps::stop_arbiter() {
  if (!cluster_.arbiter_node().running()) return;
  (void)cluster_.run_until([&] { return cluster_.arbiter_disk().in_flight() == 0; }, kSecond);
  cluster_.arbiter_node().crash();
}

void Mishaps::put_record_back() {
  const std::size_t which = random_.below(records_.size());
  story_.back() += " record " + std::to_string(which) + " of " + std::to_string(records_.size()) + " put back";
  may_ask_ = true;
  cluster_.restore_arbiter(records_[which]);
}

// One dies after the other, the last goes on alone; then the record of before, and those start first who know less.
void Mishaps::last_one_forgotten() {
  if (!whole() || !cluster_.arbiter_node().running()) return;
  may_ask_ = true;
  stop_arbiter();
  const auto before = cluster_.arbiter_image();
  cluster_.start_arbiter();
  const int last = any_node(), first = (last + 1 + static_cast<int>(random_.below(2))) % Cluster::kNodes;
  kill(3 - last - first);
  if (random_.percent(50)) wait(200, 500);
  kill(first);
  wait(250, 900);
  if (random_.percent(70)) kill(last);
  story_.back() += ", record of before put back";
  stop_arbiter();
  cluster_.restore_arbiter(before);
  cluster_.start_arbiter();
  const bool again = random_.percent(30);
  if (again && !cluster_.node(last).running()) cluster_.start_node(last, false);
  if (again) wait(100, 1500);
  cluster_.start_node(first, false);
  wait(0, 1500);
}

// Another volume's, for a while.
void Mishaps::exchange_record() {
  stop_arbiter();
  const auto before = cluster_.arbiter_image();
  cluster_.arbiter_node().start([](Env& env) -> Task<void> {
    auto disk = co_await env.open_disk("state", kNever);
    ArbiterStore store(env, **disk);
    if (!co_await store.load(SmallRecord::Mend::yes)) co_return;
    ArbiterState state = store.now();
    state.record.volume = {0x0711, 7};
    (void)co_await store.store(state);
  });
  (void)cluster_.run_until([&] { return !cluster_.arbiter_node().running(); }, kSecond);
  cluster_.start_arbiter();
  wait(0, 1500);
  ordinary();
  wait(0, 500);
  stop_arbiter();
  cluster_.restore_arbiter(before);
  cluster_.start_arbiter();
}

void Mishaps::destroyed(int n) {
  for (std::size_t b = 0; b < kBlocks; ++b) {
    std::uint64_t left = 0;
    for (int i = 0; i < Cluster::kNodes; ++i) {
      if (i != n) left = std::max(left, lowest(cluster_.disk(i), b));
    }
    Block& block = blocks_[b];
    block.acknowledged = std::min(block.acknowledged, left);
    block.parted = 0;  // it may have been the one that had it
  }
  ++partings_;
  epochs_[static_cast<std::size_t>(n)] = 0;
}

// Not where nobody could know: all others have heard, durably, of a later mark.
void Mishaps::put_image_back(int n) {
  Image& image = images_[static_cast<std::size_t>(n)];
  if (image.bytes.empty() || !whole()) return;
  const CopyId copy = cluster_.status(n).copy;
  const auto known = [&] {
    for (int i = 0; i < Cluster::kNodes; ++i) {
      if (cluster_.replica(i) == nullptr) return false;
      if (i != n && cluster_.replica(i)->facts().marks.of(copy) <= image.mark) return false;
    }
    return true;
  };
  if (!known()) return;
  cluster_.run_for(1300 * kMillisecond);
  if (!known() || !whole() || cluster_.status(n).copy != copy) return;
  story_.back() += " image of " + Cluster::name(n) + " put back";
  may_ask_ = may_go_back_ = true;
  const bool first = random_.percent(50);  // it goes before the others
  for (int i = 0; i < Cluster::kNodes && first; ++i) kill(i);
  if (!first) cluster_.node(n).crash();
  destroyed(n);
  cluster_.restore(n, image.bytes);
  if (random_.percent(80)) cluster_.start_node(n, false);
  if (first) wait(0, 600);
}

void Mishaps::damage_metadata(int n) {
  if (may_go_back_ || !cluster_.node(n).running() || cluster_.disk(n).in_flight() != 0) return;
  story_.back() += " metadata of " + Cluster::name(n) + " damaged";
  may_go_back_ = true;  // marks, under quorum
  cluster_.node(n).crash();
  const std::uint64_t blocks = (cluster_.disk(n).size_bytes() - Cluster::kVolume) / kBlockBytes;
  const std::uint64_t at = Cluster::kVolume + random_.below(blocks) * kBlockBytes;
  std::vector<std::byte> bytes(kBlockBytes);
  cluster_.disk(n).peek(at, bytes);
  bytes[random_.below(64)] ^= std::byte{0x10};
  if (random_.percent(30)) std::ranges::fill(bytes, std::byte{});
  cluster_.disk(n).poke(at, bytes);
  cluster_.start_node(n, false);
}

void Mishaps::flap() {
  const int a = any_node(), b = (a + 1) % Cluster::kNodes;
  story_.back() += " flapping " + Cluster::name(a) + Cluster::name(b);
  const Nanos until = cluster_.world.now() + static_cast<Nanos>(random_.between(1, 4)) * kSecond;
  while (cluster_.world.now() < until) {
    cut(a, b, true);
    wait(100, 330);
    cut(a, b, false);
    wait(100, 330);
  }
}

void Mishaps::mishap(Kind kind) {
  const int n = any_node();
  DiskFaults& faults = cluster_.faults(n);
  switch (kind) {
    case Kind::record_put_back:
      if (random_.percent(40)) return last_one_forgotten();
      if (random_.percent(30)) {
        for (int i = 0; i < Cluster::kNodes; ++i) kill(i);
      }
      stop_arbiter();
      put_record_back();
      wait(0, 300);
      cluster_.start_arbiter();
      break;
    case Kind::record_lost:
      story_.back() += " record lost";
      may_ask_ = true;
      stop_arbiter();
      cluster_.new_arbiter();
      wait(0, 300);
      cluster_.start_arbiter();
      wait(30, 30);  // until it is made
      break;
    case Kind::record_of_another:
      story_.back() += " record of another";
      exchange_record();
      break;
    case Kind::record_damaged: {
      story_.back() += " record damaged";
      stop_arbiter();
      const std::uint64_t size = cluster_.arbiter_disk().size_bytes();
      const std::uint64_t stride = (size - SmallRecord::kMostRoom) / 5 / kBlockBytes * kBlockBytes;
      const std::uint64_t at = random_.below(SmallRecord::kCopies) * stride + random_.below(3) * kBlockBytes;
      std::vector<std::byte> bytes(kBlockBytes);
      cluster_.arbiter_disk().peek(at, bytes);
      bytes[random_.below(kBlockBytes)] ^= std::byte{1};
      if (random_.percent(30)) std::ranges::fill(bytes, std::byte{});
      cluster_.arbiter_disk().poke(at, bytes);
      cluster_.start_arbiter();
      break;
    }
    case Kind::image_put_back: put_image_back(n); break;
    case Kind::new_disk:
      if (!whole() || may_go_back_) break;
      story_.back() += " new disk of " + Cluster::name(n);
      cluster_.node(n).crash();
      cluster_.replace_disk(n);
      destroyed(n);
      cluster_.start_node(n, true);
      (void)cluster_.run_until([&] { return cluster_.replica(n) != nullptr; }, kSecond);  // until it is made
      break;
    case Kind::metadata_damaged: damage_metadata(n); break;
    case Kind::files_differ: {
      story_.back() += " another file of " + Cluster::name(n);
      const std::uint64_t detect = random_.percent(50) ? 40 : random_.between(150, 1000);
      const bool mode = random_.percent(30);
      cluster_.file = [n, detect, mode](int i, ReplicaConfig& config) {
        if (i != n) return;
        if (mode) config.ack = AckMode::async;
        config.set_detect(detect);
      };
      kill(n);
      cluster_.start_node(n, false);
      break;
    }
    case Kind::full:
      story_.back() += " full " + Cluster::name(n);
      faults.full_from = random_.percent(50) ? 0 : Cluster::kVolume;
      wait(100, 3000);
      cluster_.faults(n).full_from = DiskFaults::kRoom;
      break;
    case Kind::slow:
      story_.back() += " slow " + Cluster::name(n);
      faults.hold = true;
      wait(350, 1500);
      cluster_.release(n);
      break;
    case Kind::flapping: flap(); break;
    case Kind::arbiter_away:
      story_.back() += " arbiter away";
      stop_arbiter();
      for (int i = 0; i < Cluster::kNodes; ++i) {
        if (random_.percent(60)) kill(i);
      }
      wait(0, 400);
      for (int i = 0; i < Cluster::kNodes; ++i) {
        if (!cluster_.node(i).running()) cluster_.start_node(i, false);
      }
      wait(0, 800);
      cluster_.start_arbiter();
      break;
  }
}

void Mishaps::take_images() {
  if (random_.percent(40) && records_.size() < 6) {  // not in the middle of a write, or of its making
    cluster_.run_for(30 * kMillisecond);
    (void)cluster_.run_until([&] { return cluster_.arbiter_disk().in_flight() == 0; }, kSecond);
    records_.push_back(cluster_.arbiter_image());
  }
  const auto at = static_cast<std::size_t>(any_node());
  if (!random_.percent(40) || std::ranges::find(kinds_, Kind::image_put_back) == kinds_.end() || !whole()) return;
  const int n = static_cast<int>(at);
  images_[at] = {cluster_.image(n), cluster_.status(n).mark, cluster_.world.now()};
}

void Mishaps::heal_all() {
  for (const auto& [a, b] : std::exchange(cuts_, {})) cut(a, b, false);
  if (!cluster_.arbiter_node().running()) cluster_.start_arbiter();
  for (int i = 0; i < Cluster::kNodes; ++i) {
    cluster_.release(i);
    cluster_.faults(i).full_from = DiskFaults::kRoom;
    if (!cluster_.node(i).running()) cluster_.start_node(i, false);
  }
}

// ---- what must hold --------------------------------------------------------------------------------------------------

std::uint64_t Mishaps::lowest(const sim::Disk& disk, std::size_t block) const {
  std::array<std::byte, kBlockBytes> bytes;
  disk.peek(address(block) * kBlockBytes, bytes);
  std::uint64_t version = ~std::uint64_t{0};
  for (std::size_t s = 0; s < kBlockBytes; s += kSectorBytes)
    version = std::min(version, load_le<std::uint64_t>(bytes.data() + s));
  return version;
}

void Mishaps::inspect() {
  if (!cuts_.empty()) cut_until_ = cluster_.world.now();
  int serving = -1;
  for (int i = 0; i < Cluster::kNodes; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const Replica* replica = cluster_.replica(i);
    runs_since_[at] = replica == nullptr ? kNever : std::min(runs_since_[at], cluster_.world.now());
    if (replica == nullptr) reigns_[at] = 0;
    if (replica == nullptr) continue;
    if (replica->epoch() < epochs_[at]) complain("the epoch of " + Cluster::name(i) + " falls");
    epochs_[at] = replica->epoch();
    if (!replica->serving()) {
      reigns_[at] = 0;
      continue;
    }
    // By an older record, one that does not reach the primary cannot know of it; that one finds out at its next look.
    const bool apart = may_ask_ && cut_until_ > cluster_.world.now() - kSecond;
    if (serving >= 0 && !apart) complain(Cluster::name(serving) + " and " + Cluster::name(i) + " serve");
    serving = i;
  }
  if (serving < 0) return;
  const std::uint64_t reign = cluster_.replica(serving)->epoch();
  if (std::exchange(reigns_[static_cast<std::size_t>(serving)], reign) == 0) begins_to_serve(serving);
}

void Mishaps::begins_to_serve(int node) {
  bool parted = false;
  const Nanos long_ago = cluster_.world.now() - kSecond;
  for (std::size_t b = 0; b < kBlocks; ++b) {
    Block& block = blocks_[b];
    const std::uint64_t here = lowest(cluster_.disk(node), b);
    if (here >= block.acknowledged) continue;
    const std::string what = Cluster::name(node) + " serves block " + std::to_string(address(b)) + " in version " +
                             std::to_string(here) + ", not " + std::to_string(block.acknowledged);
    if (!may_ask_) complain(what);
    for (int i = 0; i < Cluster::kNodes; ++i) {
      const bool could_tell = runs_since_[static_cast<std::size_t>(i)] < long_ago && cut_until_ < long_ago;
      if (i != node && could_tell && lowest(cluster_.disk(i), b) >= block.acknowledged)
        complain(what + ", which " + Cluster::name(i) + " has, that runs");
    }
    block.parted = std::max(block.parted, block.acknowledged);
    block.acknowledged = here;
    parted = true;
  }
  if (parted) {
    ++partings_;
    if (!story_.empty()) story_.back() += " (" + Cluster::name(node) + " parts)";
  }
}

bool Mishaps::whole() {
  const int p = cluster_.primary();
  return p >= 0 && cluster_.status(p).in_sync.count() == Cluster::kNodes;
}

bool Mishaps::somebody_must_choose() {
  constexpr Reason kThen[] = {Reason::fork,        Reason::lost_writes,  Reason::forked_record,   Reason::older_record,
                              Reason::no_record,   Reason::other_record, Reason::newer_elsewhere, Reason::went_back,
                              Reason::second_life, Reason::frozen,       Reason::horizon};
  for (int i = 0; i < Cluster::kNodes; ++i) {
    for (const Finding& f : cluster_.status(i).findings) {
      if (std::ranges::find(kThen, f.reason) != std::end(kThen)) return true;
    }
  }
  return false;
}

// Whether the copy is in sync, or it or its primary tells why it is not.
bool Mishaps::tells(int node) {
  if (!cluster_.status(node).findings.empty()) return true;
  for (int p = 0; p < Cluster::kNodes; ++p) {
    const ReplicaStatus status = cluster_.status(p);
    if (status.role != Role::primary) continue;
    if (status.in_sync.contains(static_cast<NodeId>(node))) return true;
    for (const Finding& f : status.findings) {
      if (f.node == static_cast<NodeId>(node) || f.reason == Reason::frozen || f.reason == Reason::arbiter_away)
        return true;
    }
  }
  return false;
}

void Mishaps::come_to_rest() {
  cluster_.run_for(500 * kMillisecond);  // who was asked to stop does so
  heal_all();
  story_.push_back(std::to_string(cluster_.world.now() / kMillisecond) + ": healed");
  (void)cluster_.run_until([&] { return whole() || !failure_.empty(); }, 8 * kSecond);
  heal_all();  // a node that was asked to stop may have done so meanwhile
  (void)cluster_.run_until([&] { return whole() || !failure_.empty() || (may_ask_ && somebody_must_choose()); },
                           60 * kSecond);
  if (!failure_.empty() || whole()) return;
  cluster_.run_for(2 * kSecond);
  if (whole()) return;
  if (!may_ask_) complain("not whole 60 s after the last mishap");
  if (!somebody_must_choose()) complain("not whole, and nobody tells that somebody must choose");
}

void Mishaps::judge_the_end() {
  const bool full = whole();
  const std::uint64_t before = answers_;
  if (full) cluster_.run_for(1500 * kMillisecond);
  if (full && whole() && answers_ == before) complain("whole, and does not serve");
  finish_ = true;
  (void)cluster_.run_until([&] { return !cluster_.client_node().running(); }, 3 * kSecond);
  if (cluster_.client_node().running()) cluster_.client_node().crash();
  cluster_.run_for(300 * kMillisecond);
  if (full && whole() && !cluster_.copies_equal()) complain(cluster_.copies_equal().message());
  const int p = cluster_.primary();
  for (int i = 0; i < Cluster::kNodes; ++i) {
    if (!tells(i)) complain(Cluster::name(i) + " is not in sync, and nobody tells why");
  }
  for (std::size_t b = 0; b < kBlocks; ++b) {
    const Block& block = blocks_[b];
    std::uint64_t best = 0;
    for (int i = 0; i < Cluster::kNodes; ++i) best = std::max(best, lowest(cluster_.disk(i), b));
    const std::string what = "block " + std::to_string(address(b)) + ": version ";
    if (best < block.acknowledged) complain(what + std::to_string(block.acknowledged) + " is nowhere");
    if (best < block.parted) complain(what + std::to_string(block.parted) + " is nowhere, and nobody was asked");
    if (p < 0) continue;
    const std::uint64_t served = lowest(cluster_.disk(p), b);
    if (served < block.acknowledged) complain(what + std::to_string(block.acknowledged) + " is not served");
    if (served < block.parted && !somebody_must_choose())
      complain(what + std::to_string(block.parted) + " is not served, and nobody tells");
  }
  const bool parted = std::ranges::any_of(blocks_, [](const Block& block) { return block.parted != 0; });
  if (parted && !somebody_must_choose() && cluster_.count(EventKind::split_brain) == 0)
    complain("what was acknowledged was served no more, and nobody was told when the two met");
  if (may_go_back_) return;
  for (const auto& [node, event] : cluster_.events) {
    const bool back = event.why == ResyncWhy::checksum_went_back || event.why == ResyncWhy::checksum_bits_cleared;
    if (event.kind == EventKind::resync_started && back)
      complain(std::string("no image was put back, and a resync is ") + resync_why_name(event.why));
  }
}

std::string Mishaps::run() {
  runs_since_.fill(kNever);
  cluster_.start_all();
  if (!cluster_.wait_full()) return "the volume did not start";
  records_.push_back(cluster_.arbiter_image());
  start_client();
  const std::uint64_t faults = 5 + random_.below(12);
  for (std::uint64_t i = 0; i < faults && failure_.empty(); ++i) {
    random_.percent(50) ? wait(0, 60) : wait(100, 1500);
    one_fault();
  }
  if (failure_.empty()) come_to_rest();
  if (failure_.empty()) judge_the_end();
  return failure_;
}

}  // namespace resilver::replica
