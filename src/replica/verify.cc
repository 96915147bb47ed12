// Primary: online verify, and the reading of what is to be copied.
//
// What must never happen: a write under way is reported as a difference. Rule: a window is compared under a shared range
// lock, which waits for the writes in it and holds new ones back; the peers hash after all writes sent before the question.
// What is repaired is compared and copied under the exclusive lock, so that no newer write is overwritten.
// And: the good copies are overwritten by the bad one, because it is the primary's. Rule: all copies of a window are compared
// at once, and what most of those that can be read hold is right, whoever holds it; where there is no such majority,
// nothing is repaired, unless there are two copies only (then the primary's is taken, as the caller is told).
#include <algorithm>
#include <utility>

#include "replica/block_hash.h"
#include "replica/primary.h"

namespace resilver::replica {

// Reads under a lock that the caller holds. Blocks that neither this node nor any member can read are recorded as lost and
// taken out of `wanted`: a joiner must not wait for ever for what nobody has. limit: too many of them.
Task<Errc> Primary::read_or_give_up(Extent extent, Buffer data, std::vector<bool>& wanted) {
  Errc status = co_await read_healing(extent, data);
  if (status == Errc::ok || status == Errc::device_gone || status == Errc::timeout) co_return status;
  const bool all_asked = std::all_of(links_.begin(), links_.end(), [&](const auto& link) {
    return !effective_.contains(link->id()) || link->streaming();
  });
  if (!all_asked) co_return status;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const Extent block{extent.offset + i * kBlockBytes, kBlockBytes};
    status = co_await read_healing(block, data.slice(i * kBlockBytes, kBlockBytes));
    if (status == Errc::ok) continue;
    if (status == Errc::device_gone || status == Errc::timeout) co_return status;
    wanted[i] = false;
    if (core_.metadata.now().lost_in(block)) continue;
    bool room = true;
    const Errc stored = co_await core_.metadata.update([&](Superblock& s) { room = s.add_lost(block); });
    if (stored != Errc::ok) co_return stored;
    if (!room) co_return Errc::limit;
    core_.emit({.kind = EventKind::block_lost, .offset = block.offset, .bytes = kBlockBytes});
  }
  co_return Errc::ok;
}

namespace {

constexpr std::uint64_t kWindow = 256 * 1024;

// Of one block: who differs from whom.
struct Verdict {
  NodeSet odd;            // not as the good one, or unreadable
  NodeId good = kNoNode;  // who has what most have; undecided: the primary, if it can be read
  bool decided = true;
  bool operator==(const Verdict&) const = default;
};

// One window of the volume as each copy holds it. All of it happens under one lock.
struct Comparison {
  Extent window;
  NodeId self = kNoNode;
  Buffer data;                                    // the primary's
  std::vector<std::pair<NodeId, Buffer>> hashes;  // the primary's first

  Verdict judge(std::uint64_t block) const;
};

Verdict Comparison::judge(std::uint64_t block) const {
  const auto of = [&](const Buffer& all) { return all.bytes().subspan(block * kHashBytes, kHashBytes); };
  Verdict verdict;
  std::size_t readable = 0, most = 0;
  for (const auto& [id, mine] : hashes) {
    verdict.odd.add(id);
    if (is_unreadable(mine.bytes(), block)) continue;
    ++readable;
    const auto count = static_cast<std::size_t>(std::ranges::count_if(
        hashes, [&](const auto& other) { return std::ranges::equal(of(mine), of(other.second)); }));
    if (count <= most) continue;
    most = count;
    verdict.good = id;
  }
  verdict.decided = most * 2 > readable;
  if (readable == 0) return {};
  const auto good = std::ranges::find(hashes, verdict.good, [](const auto& h) { return h.first; });
  for (const auto& [id, theirs] : hashes) {
    if (std::ranges::equal(of(good->second), of(theirs))) verdict.odd.remove(id);
  }
  return verdict;
}

}  // namespace

// One call of verify().
class Primary::Verification {
 public:
  Verification(Primary& primary, bool repair) : primary_(primary), core_(primary.core_) {
    report_.repairing = repair;
    for (auto& link : primary.links_) {
      if (primary.members().contains(link->id())) peers_.push_back(link.get());
    }
  }

  std::size_t peers() const noexcept { return peers_.size(); }
  // False: there is nobody left to compare with, or this is not the primary any more.
  Task<bool> compare(Extent window);
  Task<Result<VerifyReport>> end();

 private:
  enum class Found : std::uint8_t { equal, different, nothing };
  Task<Found> look(Extent window, RangeLock::Mode mode);
  Task<bool> gather(Comparison& comparison, bool healing);
  Task<void> ask(PeerLink& link, Comparison& comparison);
  Task<void> settle(const Comparison& comparison);
  Task<Errc> repair(const Comparison& comparison, Extent run, const Verdict& verdict);
  Task<Errc> overwrite(NodeId node, Extent run, Buffer data);
  void note(const Verdict& verdict, Extent run);
  void drop(PeerLink& link, Errc status) {
    std::erase(peers_, &link);
    failed_ = status;
  }

  Primary& primary_;
  Core& core_;
  std::vector<PeerLink*> peers_;  // that have been compared so far
  Errc failed_ = Errc::ok;
  VerifyReport report_;
};

Task<bool> Primary::Verification::compare(Extent window) {
  for (PeerLink* link : std::vector(peers_)) co_await link->pace(window.length);
  // A difference is looked at again under the exclusive lock, where it can be repaired.
  Found found = co_await look(window, RangeLock::Mode::read);
  if (found == Found::different) found = co_await look(window, RangeLock::Mode::write);
  if (found == Found::nothing) co_return false;
  report_.compared_bytes += window.length * peers_.size();
  co_return !peers_.empty();
}

Task<Primary::Verification::Found> Primary::Verification::look(Extent window, RangeLock::Mode mode) {
  RangeLock::Guard lock(primary_.locks_, window.offset, window.length, mode);
  co_await lock.acquire();
  const bool exclusive = mode == RangeLock::Mode::write;
  Comparison comparison{window, core_.self, {}, {}};
  if (!co_await gather(comparison, exclusive)) co_return Found::nothing;
  bool equal = true;
  for (std::uint64_t block = 0; block < window.length / kBlockBytes && equal; ++block)
    equal = comparison.judge(block) == Verdict{{}, core_.self, true};
  if (!equal && exclusive) co_await settle(comparison);
  co_return equal ? Found::equal : Found::different;
}

// The primary's blocks, and everybody's hashes of them. With `healing`, blocks that the primary cannot read are taken
// from the others first.
Task<bool> Primary::Verification::gather(Comparison& comparison, bool healing) {
  const Extent window = comparison.window;
  const std::uint64_t blocks = window.length / kBlockBytes;
  comparison.data = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), window.length);
  Buffer mine = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), blocks * kHashBytes);
  if (!comparison.data || !mine) co_return failed_ = Errc::limit, false;
  Errc whole = healing ? co_await primary_.read_healing(window, comparison.data)
                       : co_await core_.read_local(window, comparison.data);
  if (whole == Errc::device_gone || whole == Errc::timeout) co_return failed_ = whole, false;
  for (std::uint64_t block = 0; block < blocks; ++block) {
    const Buffer part = comparison.data.slice(block * kBlockBytes, kBlockBytes);
    Errc status = whole;
    if (whole != Errc::ok) status = co_await core_.read_local({window.offset + block * kBlockBytes, kBlockBytes}, part);
    status == Errc::ok ? put_hash(part.bytes(), mine.bytes(), block) : put_unreadable(mine.bytes(), block);
  }
  comparison.hashes.emplace_back(core_.self, std::move(mine));
  TaskGroup group(core_.scheduler);
  for (PeerLink* link : peers_) group.spawn(ask(*link, comparison));
  co_await group.join();
  std::ranges::sort(comparison.hashes.begin() + 1, comparison.hashes.end(), {}, [](const auto& h) { return h.first; });
  co_return !primary_.lost_.is_set() && !peers_.empty();
}

Task<void> Primary::Verification::ask(PeerLink& link, Comparison& comparison) {
  if (!primary_.members().contains(link.id()) || !link.streaming()) co_return drop(link, Errc::closed);
  auto theirs = co_await link.hashes(comparison.window);
  if (!theirs) co_return drop(link, theirs.error().code);
  comparison.hashes.emplace_back(link.id(), std::move(*theirs));
}

// Blocks with the same verdict, one run after another.
Task<void> Primary::Verification::settle(const Comparison& comparison) {
  const Extent window = comparison.window;
  const std::uint64_t blocks = window.length / kBlockBytes;
  for (std::uint64_t block = 0; block < blocks;) {
    const Verdict verdict = comparison.judge(block);
    std::uint64_t end = block + 1;
    while (end < blocks && comparison.judge(end) == verdict) ++end;
    const Extent run{window.offset + block * kBlockBytes, (end - block) * kBlockBytes};
    block = end;
    if (verdict.good == kNoNode) report_.unreadable_bytes += run.length;
    if (verdict.odd.bits == 0) continue;
    note(verdict, run);
    const bool may = verdict.decided || comparison.hashes.size() == 2;
    if (!report_.repairing || !may) continue;
    if (const Errc status = co_await repair(comparison, run, verdict); status != Errc::ok) failed_ = status;
  }
}

void Primary::Verification::note(const Verdict& verdict, Extent run) {
  for (NodeId id = 0; id < kMaxNodes; ++id) {
    if (!verdict.odd.contains(id)) continue;
    report_.different_bytes += run.length;
    if (!verdict.decided) report_.undecided_bytes += run.length;
    if (report_.different.size() < kMaxListedExtents) report_.different.push_back({id, run, verdict.decided});
  }
}

Task<Errc> Primary::Verification::repair(const Comparison& comparison, Extent run, const Verdict& verdict) {
  Buffer data = comparison.data.slice(run.offset - comparison.window.offset, run.length);
  if (verdict.good != core_.self) {
    PeerLink* source = primary_.link_to(verdict.good);
    Result<Buffer> read = source == nullptr ? fail(Errc::closed) : co_await source->read(run);
    if (!read) co_return read.error().code;
    if (read->size() != run.length) co_return Errc::io;
    data = std::move(*read);
  }
  Errc status = co_await core_.bits.set(run);  // as for any write: all bits name it until everybody has it
  for (NodeId id = 0; id < kMaxNodes && status == Errc::ok; ++id) {
    if (!verdict.odd.contains(id)) continue;
    status = co_await overwrite(id, run, data);
    if (status == Errc::ok) report_.repaired_bytes += run.length;
  }
  co_return status;
}

Task<Errc> Primary::Verification::overwrite(NodeId node, Extent run, Buffer data) {
  if (node == core_.self) co_return co_await core_.write_local(IoOp::write, run, std::move(data));
  PeerLink* link = primary_.link_to(node);
  co_return link == nullptr ? Errc::closed : co_await link->copy(run, std::move(data));
}

Task<Result<VerifyReport>> Primary::Verification::end() {
  for (PeerLink* link : peers_) {
    if (report_.repaired_bytes != 0) link->send(ReconcileDone{});  // the copies need no settling
    report_.compared.add(link->id());
  }
  if (primary_.lost_.is_set()) co_return fail(Errc::not_primary, "the volume was handed over during the verify");
  if (primary_.end_verify_) co_return fail(Errc::cancelled, "the verify was ended early");
  if (peers_.empty()) co_return fail(failed_, "no peer could be compared to its end");
  co_return report_;
}

Task<Result<VerifyReport>> Primary::verify(bool repair) {
  if (verifying_) co_return fail(Errc::busy, "a verify is running");
  verifying_ = true;
  end_verify_ = false;
  verify_done_ = verify_total_ = 0;
  while ((!open_ || !reconciled_) && !lost_.is_set() && !end_verify_)
    co_await changed_.wait_until(core_.now() + core_.beacon());
  Verification verification(*this, repair);
  verify_total_ = core_.volume_bytes;
  bool more = true;
  for (std::uint64_t at = 0; at < core_.volume_bytes && more && !end_verify_; at += kWindow) {
    more = co_await verification.compare({at, std::min(kWindow, core_.volume_bytes - at)});
    verify_done_ = std::min(at + kWindow, core_.volume_bytes);
  }
  Result<VerifyReport> report = co_await verification.end();
  verifying_ = false;
  co_return report;
}

}  // namespace resilver::replica
