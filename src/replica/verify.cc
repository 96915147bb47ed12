// Primary: online verify, and the reading of what is to be copied.
//
// What must never happen: a write under way is reported as a difference. Rule: a window is compared under a shared range lock,
// which waits for the writes in it and holds new ones back; the peer hashes after all writes sent before the question. What
// is repaired is compared and copied under the exclusive lock, so that no newer write is overwritten.
#include <algorithm>
#include <utility>

#include "replica/block_hash.h"
#include "replica/primary.h"

namespace resilver::replica {

namespace {
constexpr std::uint64_t kWindow = 256 * 1024;
}

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

// What differs in one window, as runs of blocks.
std::vector<Extent> differing(Extent window, std::span<const std::byte> mine, std::span<const std::byte> theirs) {
  std::vector<Extent> runs;
  for (std::uint64_t at = 0; at < window.length; at += kBlockBytes) {
    if (same_hash(mine.subspan(at, kBlockBytes), theirs, at / kBlockBytes)) continue;
    const std::uint64_t offset = window.offset + at;
    if (!runs.empty() && runs.back().end() == offset) {
      runs.back().length += kBlockBytes;
    } else {
      runs.push_back({offset, kBlockBytes});
    }
  }
  return runs;
}

}  // namespace

// One window against one member. Under the shared lock a difference is only noticed (corrupt, medium); under the
// exclusive one it is reported, and repaired.
Task<Errc> Primary::verify_window(PeerLink& link, Extent window, bool exclusive, VerifyReport& report) {
  RangeLock::Guard lock(locks_, window.offset, window.length,
                        exclusive ? RangeLock::Mode::write : RangeLock::Mode::read);
  co_await lock.acquire();
  if (lost_.is_set() || !members().contains(link.id()) || !link.streaming()) co_return Errc::closed;
  Buffer data = co_await allocate_patiently(core_.scheduler, core_.env.buffers(), window.length);
  if (!data) co_return Errc::limit;
  Errc status = exclusive ? co_await read_healing(window, data) : co_await core_.read_local(window, data);
  if (status == Errc::device_gone || status == Errc::timeout) co_return status;
  if (status != Errc::ok) {
    if (!exclusive) co_return Errc::medium;  // again, under the lock that healing needs
    report.unreadable_bytes += window.length;
    co_return Errc::ok;
  }
  auto theirs = co_await link.hashes(window);
  if (!theirs) co_return theirs.error().code;
  const std::vector<Extent> runs = differing(window, data.bytes(), theirs->bytes());
  if (!exclusive) co_return runs.empty() ? Errc::ok : Errc::corrupt;
  for (const Extent& run : runs) {
    report.different_bytes += run.length;
    if (report.different.size() < kMaxListedExtents) report.different.push_back({link.id(), run});
    if (!report.repairing) continue;
    status = co_await core_.bits.set(run);  // as for any write: the bits of both name it until everybody has it
    if (status == Errc::ok) status = co_await link.copy(run, data.slice(run.offset - window.offset, run.length));
    if (status != Errc::ok) co_return status;
    report.repaired_bytes += run.length;
  }
  co_return Errc::ok;
}

Task<Result<VerifyReport>> Primary::verify(bool repair) {
  if (verifying_) co_return fail(Errc::busy, "a verify is running");
  verifying_ = true;
  end_verify_ = false;
  verify_done_ = 0;
  verify_total_ = core_.volume_bytes * (members().count() - 1);
  VerifyReport report;
  report.repairing = repair;
  Errc status = Errc::ok;
  while ((!open_ || !reconciled_) && !lost_.is_set()) co_await changed_.wait_until(core_.now() + core_.beacon());
  for (auto& link : links_) {
    if (!members().contains(link->id()) || lost_.is_set() || end_verify_) continue;
    Errc peer_status = Errc::ok;
    for (std::uint64_t at = 0; at < core_.volume_bytes && peer_status == Errc::ok && !lost_.is_set(); at += kWindow) {
      if (end_verify_) {
        peer_status = Errc::cancelled;
        break;
      }
      const Extent window{at, std::min(kWindow, core_.volume_bytes - at)};
      co_await link->pace(window.length);
      peer_status = co_await verify_window(*link, window, false, report);
      // A difference is looked at again under the exclusive lock, where it can be repaired.
      if (peer_status == Errc::corrupt || peer_status == Errc::medium)
        peer_status = co_await verify_window(*link, window, true, report);
      if (peer_status == Errc::ok) report.compared_bytes += window.length;
      verify_done_ += window.length;
    }
    if (report.repaired_bytes != 0) link->send(ReconcileDone{});  // the copies need no settling
    if (peer_status == Errc::ok) {
      report.compared.add(link->id());
    } else {
      status = peer_status;
    }
  }
  verifying_ = false;
  if (lost_.is_set()) co_return fail(Errc::not_primary, "the volume was handed over during the verify");
  if (end_verify_) co_return fail(Errc::cancelled, "the verify was ended early");
  if (status != Errc::ok && report.compared.count() == 0)
    co_return fail(status, "no peer could be compared to its end");
  co_return report;
}

}  // namespace resilver::replica
