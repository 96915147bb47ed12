#include "tests/replica/swarm.h"

namespace resilver::replica {
namespace {

constexpr int kHot = 40;

// Blocks are spread, so that each has its own intent bit, and some are neighbours.
std::vector<std::uint64_t> hot_blocks() {
  std::vector<std::uint64_t> addresses;
  for (std::uint64_t i = 0; i < kHot; ++i) addresses.push_back(i < 8 ? i : i * 24);
  return addresses;
}

}  // namespace

Swarm::Traits Swarm::draw(std::uint64_t seed) {
  Random random(seed ^ 0x7a17);
  Traits traits;
  const std::uint64_t modes = random.below(10);
  traits.modes = modes < 7 ? Modes::durable_and_quorum : modes < 8 ? Modes::received_and_durable : Modes::all;
  traits.impatient = random.percent(25);
  Cluster::Options& o = traits.options;
  o.clear_bits_ms = 50;
  o.op_timeout_ms = traits.impatient ? 30 : 600'000;
  o.resync_rate = random.percent(33) ? 16 << 20 : 0;
  o.congestion_ms = 300;
  o.min_in_sync = random.percent(20) ? 2 : 1;
  o.intent_bits_of_c = random.percent(20) ? 65536 : 32768;  // other geometry: its copies are compared by checksum
  const AckMode strict[] = {AckMode::durable, AckMode::quorum};
  o.ack = traits.modes == Modes::all                    ? AckMode::async
          : traits.modes == Modes::received_and_durable ? AckMode::received
                                                        : strict[random.below(2)];
  return traits;
}

Swarm::Swarm(std::uint64_t seed) : Swarm(seed, draw(seed)) {}

Swarm::Swarm(std::uint64_t seed, const Traits& traits)
    : traits_(traits), random_(seed ^ 0x5eed), judge_(hot_blocks()), cluster_(seed, traits.options) {
  seats_[0].node = &cluster_.client_node();
  seats_[1].node = &cluster_.world.add_node("client2");
  cluster_.each_event = [this] { inspect(); };
}

void Swarm::complain(std::string what) {
  if (failure_.empty()) failure_ = what + " at " + std::to_string(cluster_.world.now() / kMicrosecond) + " us";
}

// ---- clients -------------------------------------------------------------------------------------------------------

void Swarm::start_client(int seat) {
  Seat& s = seats_[static_cast<std::size_t>(seat)];
  if (s.node->running()) s.node->crash();
  s.started = ++started_;
  s.node->start([this](Env& env) { return client_main(env); });
}

Task<void> Swarm::client_main(Env& env) {
  while (!finish_) {
    std::uint64_t attachment = 0;
    ClientConfig config = cluster_.client_config();
    config.on_reign = [this, &attachment] { let_in(attachment); };
    auto client = co_await Client::attach(env.scheduler(), env.buffers(), env.network(), config);
    if (!client) {
      if (!goes_on(client.error().code, attachment, "attach")) co_return;
      continue;
    }
    attachment = (*client)->status().attachment;
    let_in(attachment);
    TaskGroup group(env.scheduler());
    for (int i = 0; i < 6; ++i) group.spawn(worker(env, **client, attachment, Random(random_.next())));
    co_await group.join();
    const bool fenced = (*client)->status().fenced;
    co_await (*client)->close();
    if (fenced) co_return;
  }
}

// This attachment has an answer from the primary of the day.
void Swarm::let_in(std::uint64_t attachment) {
  judge_.attached(attachment);
  if (traits_.modes != Modes::all || !judge_.is_latest(attachment)) return;
  const int promotions = cluster_.count(EventKind::became_primary);
  if (std::exchange(promotions_, promotions) != promotions) judge_.rolled_back();
}

// Somebody was let in after it: the nodes know before he does.
bool Swarm::newer_attachment_than(std::uint64_t attachment) {
  if (!judge_.is_latest(attachment)) return true;
  for (int i = 0; i < Cluster::kNodes; ++i) {
    const Replica* replica = cluster_.replica(i);
    if (replica != nullptr && replica->facts().super.attachment > attachment) return true;
  }
  return false;
}

// False: this client's time is over.
bool Swarm::goes_on(Errc status, std::uint64_t attachment, const char* what) {
  if (status == Errc::ok || (status == Errc::timeout && traits_.impatient)) return true;
  if (status != Errc::fenced || !newer_attachment_than(attachment))
    complain(std::string(what) + ": " + errc_name(status));
  return false;
}

Task<bool> Swarm::write(Env& env, Client& client, std::uint64_t attachment, std::size_t block) {
  const std::uint64_t version = judge_.begin_write(block, attachment, cluster_.world.now());
  Buffer data = env.buffers().allocate(kBlockBytes);
  Cluster::fill(data.bytes(), judge_.address(block), version);
  const Errc status = co_await Io::write(client, judge_.address(block) * kBlockBytes, data);
  if (status == Errc::ok) judge_.acknowledged(block, version, attachment, cluster_.world.now());
  if (status == Errc::timeout) judge_.given_up(block, version);
  co_return goes_on(status, attachment, "write");
}

Task<bool> Swarm::read(Env& env, Client& client, std::uint64_t attachment, std::size_t block) {
  const std::uint64_t token = judge_.begin_read(block);
  Buffer data = env.buffers().allocate(kBlockBytes);
  const Errc status = co_await Io::read(client, judge_.address(block) * kBlockBytes, data);
  if (status == Errc::ok) {
    const std::string wrong = judge_.end_read(block, token, attachment, data.bytes());
    if (!wrong.empty()) complain(wrong);
  } else {
    judge_.forget(block, token);
  }
  co_return goes_on(status, attachment, "read");
}

Task<void> Swarm::worker(Env& env, Client& client, std::uint64_t attachment, Random random) {
  while (!finish_) {
    const std::size_t block = random.below(judge_.blocks());
    const bool good = random.percent(50) ? co_await write(env, client, attachment, block)
                                         : co_await read(env, client, attachment, block);
    if (!good) co_return;
    ++operations_;
    if (random.percent(30)) co_await sleep_for(env.scheduler(), static_cast<Nanos>(random.below(3 * kMillisecond)));
  }
}

bool Swarm::clients_idle() const {
  return std::none_of(seats_.begin(), seats_.end(), [](const Seat& s) { return s.node->running(); });
}

// ---- what must hold before every event -----------------------------------------------------------------------------

void Swarm::inspect() {
  int serving = -1;
  for (int i = 0; i < Cluster::kNodes; ++i) {
    const Replica* replica = cluster_.replica(i);
    if (replica == nullptr) continue;
    std::uint64_t& epoch = epochs_[static_cast<std::size_t>(i)];
    if (replica->epoch() < epoch) complain("the epoch of " + Cluster::name(i) + " falls");
    epoch = replica->epoch();
    if (cluster_.node(i).frozen() || !replica->serving()) continue;
    if (serving >= 0) complain(Cluster::name(serving) + " and " + Cluster::name(i) + " serve");
    serving = i;
  }
  if (serving < 0) return;
  const std::uint64_t epoch = epochs_[static_cast<std::size_t>(serving)];
  if (serving == served_by_ && epoch == served_epoch_ && ++events_ % 256 != 0) return;
  served_by_ = serving;
  served_epoch_ = epoch;
  inspect_server(serving);
}

void Swarm::inspect_server(int i) {
  const ReplicaStatus status = cluster_.status(i);
  const Record record = cluster_.arbiter_record();
  const auto self = static_cast<NodeId>(i);
  if (record.primary != self || !record.in_sync.contains(self) || !status.in_sync.contains(self))
    complain(Cluster::name(i) + " serves and the record does not name it");
  if (status.inconsistent) complain(Cluster::name(i) + " serves half a copy");
  if (status.device_failed) complain(Cluster::name(i) + " serves without its device");
}

// ---- the run -------------------------------------------------------------------------------------------------------

void Swarm::come_to_rest() {
  if (!bring_up(60)) return complain("not all in sync 60 s after the last fault:\n" + cluster_.describe());
  start_client(0);
  const std::uint64_t before = operations_;
  cluster_.run_for(300 * kMillisecond);  // whatever happened, a client works now
  if (operations_ == before) return complain("the volume is whole and does not serve");
  finish_ = true;
  if (!cluster_.run_until([&] { return clients_idle(); }, 60 * kSecond)) return complain("the clients do not end");
  cluster_.run_for(300 * kMillisecond);
}

std::string Swarm::run() {
  for (int i = 0; i < Cluster::kNodes; ++i) set_clock(cluster_.node(i));
  cluster_.start_all();
  if (!cluster_.wait_full()) return "the volume did not start";
  start_client(0);
  const std::uint64_t faults = 15 + random_.below(40);
  for (std::uint64_t i = 0; i < faults && failure_.empty(); ++i) {
    cluster_.run_for(static_cast<Nanos>(random_.below((random_.percent(50) ? 20 : 250) * kMillisecond)));
    one_fault();
  }
  if (failure_.empty()) come_to_rest();
  if (!failure_.empty()) return failure_;
  if (const auto equal = cluster_.copies_equal(); !equal) return equal.message();
  for (std::size_t i = 0; i < judge_.blocks(); ++i) {
    std::vector<std::byte> data(kBlockBytes);
    cluster_.disk(0).peek(judge_.address(i) * kBlockBytes, data);
    if (const std::string wrong = judge_.at_rest(i, data); !wrong.empty()) return wrong;
  }
  return "";
}

}  // namespace resilver::replica
