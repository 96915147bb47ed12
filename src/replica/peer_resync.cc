// PeerLink: bringing a joiner's copy to ours: what is copied, and why. See peer_link.h for what must never happen.
#include <algorithm>
#include <utility>

#include "base/planted_bug.h"
#include "replica/block_hash.h"
#include "replica/peer_link.h"
#include "replica/primary.h"
#include "replica/split_brain.h"

namespace resilver::replica {

// What it has had acknowledged that is not here: the next reign took over from less than was durable everywhere in its
// own; or that reign's copy had been put back to before what the returner knows of it. A surplus of its position proves
// nothing.
bool PeerLink::proves_loss() const {
  if (planted(PlantedBug::loss_ignored)) return false;
  const Record& mine = primary_.record();
  const Position bound = welcome_.marks.committed;
  for (std::size_t i = 0; i + 1 < mine.reigns.size(); ++i) {
    const Reign &next = mine.reigns[i], &reign = mine.reigns[i + 1];
    const bool took_over = reign.first == bound.reign && welcome_.known.find(reign.nonce) != nullptr;
    if (took_over && next.start.reign == bound.reign && next.start.seq != kUnknownSeq && next.start.seq < bound.seq)
      return true;
  }
  for (const Reign& reign : mine.reigns) {
    if (reign.first <= welcome_.known.epoch) break;  // that far it was there itself
    if (welcome_.marks.of(mine.copy_of(reign.primary)) > reign.start_mark && reign.start_mark != 0) return true;
  }
  return false;
}

ResyncWhy PeerLink::judge() const {
  const PeerWelcome& w = welcome_;
  const Record& mine = primary_.record();
  if (w.resync_id != 0 && w.resync_id == resume_id_) return ResyncWhy::resumed;
  if (w.base.none()) return w.inconsistent ? ResyncWhy::checksum_interrupted : ResyncWhy::full_new_disk;
  const Kinship seen = kinship(w.known, mine);
  const bool ancestor = seen == Kinship::newer || seen == Kinship::same;
  const NodeId listed = mine.find_copy(w.copy);
  const bool consulted = gives_up(mine, listed, w.known.head(), w.inconsistent);
  if (!w.inconsistent && !planted(PlantedBug::fork_obeyed)) {
    const bool own_way = !ancestor || left_behind(mine, listed, w.known);
    if (own_way && !consulted) return ResyncWhy::diverged;
    if (ancestor && !consulted && (w.usurped || proves_loss())) return ResyncWhy::lost_writes;
  }
  if (!mine.lists(w.base)) return ResyncWhy::checksum_consulted;
  if ((w.marks.counter < known_mark_ && !planted(PlantedBug::marks_ignored)) || w.suspect)
    return ResyncWhy::checksum_went_back;
  const Marks& here = core_.marks.now();
  if (w.marks.prepared < here.dropped || here.prepared < w.marks.dropped) return ResyncWhy::checksum_bits_cleared;
  return ResyncWhy::bitmap;
}

Task<bool> PeerLink::resync(Session& session) {
  if (!co_await choose(session)) co_return false;
  total_bytes_ = to_copy_.bytes();
  done_bytes_ = copied_bytes_ = 0;
  resyncing_ = true;
  core_.emit({.kind = EventKind::resync_started, .peer = id_, .why = why_, .bytes = total_bytes_});
  if (!co_await copy_all(session)) co_return false;
  if (!co_await finish_resync(session)) co_return false;
  core_.emit({.kind = EventKind::resync_finished, .peer = id_, .why = why_, .bytes = copied_bytes_});
  resyncing_ = false;
  resume_id_ = 0;
  sent_.clear();
  ready_ = true;
  primary_.changed();
  co_return true;
}

// Fills to_copy_; from then on the peer gets every write.
Task<bool> PeerLink::choose(Session& session) {
  const std::uint64_t id = why_ == ResyncWhy::resumed ? resume_id_ : core_.env.random().next() | 1;
  send(ResyncBegin{why_, id});
  co_await wait_bits(session);
  if (!bits_) co_return false;
  const bool same_geometry = bits_->granule == core_.bits.granule() && bits_->count == core_.bits.count();
  if (why_ == ResyncWhy::bitmap && !same_geometry) {
    bits_.reset();
    why_ = ResyncWhy::checksum_geometry;
    send(ResyncBegin{why_, id});
    co_await wait_bits(session);
    if (!bits_) co_return false;
  }
  if (session.closed() || primary_.lost().is_set()) co_return false;
  start_streaming();  // together with the choice of what to copy: what is written later is sent
  if (why_ != ResyncWhy::resumed) {
    compare_ = why_ != ResyncWhy::bitmap && why_ != ResyncWhy::full_new_disk;
    resume_id_ = id;
    to_copy_ = {};
    if (why_ == ResyncWhy::bitmap) {
      core_.bits.add_to(to_copy_);
      IntentBitmap::add_to(bits_data_.bytes(), bits_->granule, core_.volume_bytes, to_copy_);
    } else {
      to_copy_.add({0, core_.volume_bytes});
    }
  }
  bits_data_ = {};
  co_return true;
}

void PeerLink::note_write(std::uint64_t seq, Extent extent) {
  if (resume_id_ == 0) return;
  if (!streaming_) {
    to_copy_.add(extent);
  } else if (sent_.size() < kMaxRemembered) {
    sent_.push_back({seq, extent});
  } else {
    close();
  }
  if (to_copy_.count() > kMaxRemembered) resume_id_ = 0;
}

// The session has ended: what was sent and not answered may be there or not.
void PeerLink::keep_for_resume() {
  for (const Sent& write : sent_) to_copy_.add(write.extent);
  sent_.clear();
  if (resume_id_ == 0) to_copy_ = {};
}

Task<bool> PeerLink::copy_all(Session& session) {
  bool good = true;
  TaskGroup workers(core_.scheduler);
  const std::uint32_t count = std::max<std::uint32_t>(1, core_.config.resync_window);
  for (std::uint32_t i = 0; i < count; ++i) workers.spawn(copy_worker(session, good));
  co_await workers.join();
  co_return good && !session.closed();
}

std::uint64_t PeerLink::message_bytes() const noexcept {
  return session_ == nullptr ? kBlockBytes : std::min(session_->send_window().part(), kMaxTransfer);
}

// A client's write to a piece that is under way waits for all of it: on a line that has shown to be thin a piece is what
// the line takes while a beacon may wait, among those of the other workers.
std::uint64_t PeerLink::piece_bytes() const noexcept {
  return session_ != nullptr && session_->send_window().thin() ? message_bytes() : kMaxTransfer;
}

Task<void> PeerLink::copy_worker(Session& session, bool& good) {
  while (good && !session.closed()) {
    auto next = to_copy_.first_in({0, core_.volume_bytes});
    if (!next) co_return;
    next->length = std::min(next->length, piece_bytes());
    to_copy_.remove(*next);
    co_await pace(next->length);
    RangeLock::Guard lock(primary_.locks(), next->offset, next->length, RangeLock::Mode::copy);
    co_await lock.acquire();
    if (session.closed() || !co_await make_equal(*next)) {
      to_copy_.add(*next);
      break;
    }
    done_bytes_ += next->length;
  }
  good = false;
}

// One piece, under the lock that the caller holds.
Task<bool> PeerLink::make_equal(Extent extent) {
  Buffer theirs;
  if (compare_) {
    auto answer = co_await hashes(extent);
    if (!answer) co_return false;
    theirs = std::move(*answer);
  }
  Buffer data = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), extent.length);
  if (!data) co_return false;
  std::vector<bool> wanted(extent.length / kBlockBytes, true);
  const Errc status = co_await primary_.read_or_give_up(extent, data, wanted);
  if (status != Errc::ok) {
    stuck_ = status == Errc::limit;
    if (stuck_) left(Reason::too_many_lost, std::to_string(Superblock::kMaxLost));
    co_return false;
  }
  for (std::size_t i = 0; compare_ && i < wanted.size(); ++i) {
    const bool skipped = planted(PlantedBug::checksum_skips_a_block) && i == 1;
    if (same_hash(data.bytes().subspan(i * kBlockBytes, kBlockBytes), theirs.bytes(), i) || skipped) wanted[i] = false;
  }
  co_return co_await copy_runs(extent, std::move(data), wanted);
}

// Consecutive blocks travel together, as far as the line takes them; those that are zero without a payload.
Task<bool> PeerLink::copy_runs(Extent extent, Buffer data, const std::vector<bool>& wanted) {
  bool good = true;
  TaskGroup group(core_.scheduler);
  const std::size_t most = message_bytes() / kBlockBytes;
  const auto zero = [&](std::size_t i) { return is_zero(data.bytes().subspan(i * kBlockBytes, kBlockBytes)); };
  for (std::size_t first = 0; first < wanted.size();) {
    if (!wanted[first]) {
      ++first;
      continue;
    }
    const bool zeroes = zero(first);
    const std::size_t last = zeroes ? wanted.size() : std::min(wanted.size(), first + most);
    std::size_t end = first + 1;
    while (end < last && wanted[end] && zero(end) == zeroes) ++end;
    const Extent run{extent.offset + first * kBlockBytes, (end - first) * kBlockBytes};
    group.spawn(copy_run(run, zeroes ? Buffer{} : data.slice(first * kBlockBytes, run.length), good));
    first = end;
  }
  co_await group.join();
  co_return good;
}

Task<void> PeerLink::copy_run(Extent extent, Buffer data, bool& good) {
  if (co_await copy(extent, std::move(data)) != Errc::ok) {
    good = false;
  } else {
    copied_bytes_ += extent.length;
  }
}

// At most the configured rate: the lower one while clients are busy.
Task<void> PeerLink::pace(std::uint64_t bytes) {
  const std::uint64_t least = core_.config.resync_min_bytes_per_s, most = core_.config.resync_max_bytes_per_s;
  const std::uint64_t rate = primary_.clients_busy() && least != 0 ? least : most;
  if (rate == 0) co_return;
  const Nanos start = std::max(core_.now(), paced_until_);
  paced_until_ = start + static_cast<Nanos>(bytes * static_cast<std::uint64_t>(kSecond) / rate);
  while (core_.now() < start && session_ != nullptr && !session_->closed()) {
    (void)co_await session_->ended().wait_until(start);
  }
}

// The joiner takes over our bits, durably, and is consistent from then on.
Task<bool> PeerLink::finish_resync(Session& session) {
  Buffer bits = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), core_.bits.bytes());
  if (!bits || session.closed()) co_return false;
  core_.bits.copy_to(bits.bytes());
  const Marks& marks = core_.marks.now();
  send(ResyncDone{core_.bits.granule(), core_.bits.count(), marks.prepared, marks.dropped, primary_.record(),
                  core_.metadata.now().lost},
       std::move(bits));
  while (!resync_acked_ && !session.closed()) co_await answered_.wait_until(core_.now() + core_.beacon());
  co_return resync_acked_ && !session.closed();
}

// ---- split brain ---------------------------------------------------------------------------------------------------

// Until someone chooses, nothing is copied; the peer keeps its copy, readable, and the difference is listed.
Task<void> PeerLink::stay_diverged(Session& session) {
  primary_.note_fork({welcome_.copy, welcome_.known.head()});
  send(Diverged{why_, primary_.record()});
  co_await wait_bits(session);
  if (!bits_) co_return;
  diverged_ = true;
  core_.emit({.kind = EventKind::split_brain, .peer = id_, .why = why_});
  co_await list_divergent(session);
  while (!discard_ && !session.closed()) co_await answered_.wait_until(core_.now() + core_.beacon());
  const std::uint64_t above = std::max(welcome_.known.epoch, primary_.record().epoch) + 1;
  if (discard_ && co_await raise_epoch(session, above))
    send(Discard{common_ancestor(welcome_.known, primary_.record()), primary_.record()});
  (void)co_await session.ended().wait_until(core_.now() + core_.lease());
}

// Blocks that either side wrote since the common ancestor and that are not the same.
Task<void> PeerLink::list_divergent(Session& session) {
  ExtentSet suspects;
  const Marks &mine = core_.marks.now(), &theirs_marks = welcome_.marks;
  const bool same_geometry = bits_->granule == core_.bits.granule() && bits_->count == core_.bits.count();
  const bool same_clearings = theirs_marks.prepared >= mine.dropped && mine.prepared >= theirs_marks.dropped;
  const bool related = !common_ancestor(welcome_.known, primary_.record()).none() && theirs_marks.counter >= known_mark_;
  if (related && same_clearings && same_geometry) {
    core_.bits.add_to(suspects);
    IntentBitmap::add_to(bits_data_.bytes(), bits_->granule, core_.volume_bytes, suspects);
  } else {
    suspects.add({0, core_.volume_bytes});
  }
  bits_data_ = {};
  divergent_ = {};
  divergent_bytes_ = done_bytes_ = 0;
  total_bytes_ = suspects.bytes();
  while (auto next = suspects.first_in({0, core_.volume_bytes})) {
    next->length = std::min(next->length, piece_bytes());
    suspects.remove(*next);
    co_await pace(next->length);
    RangeLock::Guard lock(primary_.locks(), next->offset, next->length, RangeLock::Mode::copy);
    co_await lock.acquire();
    if (session.closed()) co_return;
    auto theirs = co_await hashes(*next);
    Buffer data = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), next->length);
    if (!theirs || !data) co_return;
    const bool readable = co_await core_.read_local(*next, data) == Errc::ok;
    for (std::uint64_t at = 0; at < next->length; at += kBlockBytes) {
      if (readable && same_hash(data.bytes().subspan(at, kBlockBytes), theirs->bytes(), at / kBlockBytes)) continue;
      divergent_bytes_ += kBlockBytes;
      if (divergent_.count() < kMaxListedExtents) divergent_.add({next->offset + at, kBlockBytes});
    }
    done_bytes_ += next->length;
  }
}

}  // namespace resilver::replica
