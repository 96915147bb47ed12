#include "raid/array.h"

#include "raid/core.h"

namespace resilver::raid {
namespace {

template <typename T, typename E, std::size_t N>
const char* pick(E value, const T (&names)[N]) noexcept {
  const auto index = static_cast<std::size_t>(value);
  return index < N ? names[index] : "?";
}

}  // namespace

const char* name(Consistency consistency) noexcept {
  static constexpr const char* kNames[] = {"none", "resync", "bitmap", "journal"};
  return pick(consistency, kNames);
}
const char* name(MemberState state) noexcept {
  static constexpr const char* kNames[] = {"in_sync", "rebuilding", "replacement", "faulty",
                                           "spare",   "journal",    "missing"};
  return pick(state, kNames);
}
const char* name(ArrayState state) noexcept {
  static constexpr const char* kNames[] = {"clean", "active", "degraded", "failed"};
  return pick(state, kNames);
}
const char* name(RecoveryKind kind) noexcept {
  static constexpr const char* kNames[] = {"none", "rebuild", "resync", "scrub", "replace"};
  return pick(kind, kNames);
}
const char* name(LimitedBy limit) noexcept {
  static constexpr const char* kNames[] = {"nothing", "target writes", "survivor reads",
                                           "CPU",     "set limit",     "speed_min (clients busy)"};
  return pick(limit, kNames);
}
const char* name(Cause cause) noexcept {
  static constexpr const char* kNames[] = {"data",           "parity",     "observer", "replica_metadata",
                                           "replica_resync", "superblock", "bitmap",   "journal",
                                           "rebuild",        "resync",     "scrub"};
  return pick(cause, kNames);
}
const char* name(EventKind kind) noexcept {
  static constexpr const char* kNames[] = {"member_failed",    "degraded",       "rebuild_started", "rebuild_progress",
                                           "rebuild_finished", "resync_started", "resync_finished", "redundancy_full",
                                           "array_failed",     "scrub_finished", "block_lost",      "block_healed",
                                           "disk_added",       "member_slow"};
  return pick(kind, kNames);
}
const char* name(DiskVerdict verdict) noexcept {
  static constexpr const char* kNames[] = {"member", "rebuilding", "replacement", "spare",       "journal", "stale",
                                           "faulty", "diverged",   "duplicate",   "other array", "unusable"};
  return pick(verdict, kNames);
}

std::optional<Consistency> consistency_from_name(std::string_view text) noexcept {
  for (const auto consistency : {Consistency::none, Consistency::resync, Consistency::bitmap, Consistency::journal}) {
    if (text == name(consistency)) return consistency;
  }
  return std::nullopt;
}

Array::Array(std::unique_ptr<Core> core) noexcept : core_(std::move(core)) {}
Array::~Array() = default;

Task<Result<std::unique_ptr<Array>>> Array::create(Scheduler& scheduler, BufferPool& pool, Random& random,
                                                   ArrayConfig config, ArrayDisks disks, bool assume_clean) {
  auto core = co_await Core::create(scheduler, pool, random, std::move(config), std::move(disks), assume_clean);
  if (!core) co_return std::unexpected(core.error());
  co_return std::unique_ptr<Array>(new Array(std::move(*core)));
}

Task<Result<std::unique_ptr<Array>>> Array::assemble(Scheduler& scheduler, BufferPool& pool, Random& random,
                                                     AssembleOptions options, std::vector<MemberDisk> disks,
                                                     AssemblyReport* report) {
  auto core = co_await Core::assemble(scheduler, pool, random, options, std::move(disks), report);
  if (!core) co_return std::unexpected(core.error());
  co_return std::unique_ptr<Array>(new Array(std::move(*core)));
}

Task<Errc> Array::probe(Scheduler& scheduler, BlockDevice& device, Nanos timeout) {
  const LeafPoolOwner leaves(new LeafPool(scheduler));
  const Buffer block = leaves->reserve().allocate(kBlockBytes);
  co_return co_await read_within(*leaves, device, kSuperOffsetSectors * kSectorBytes, block, timeout);
}

std::uint64_t Array::size_bytes() const noexcept { return exact_bytes() / kBlockBytes * kBlockBytes; }
std::uint64_t Array::exact_bytes() const noexcept { return core_->geometry().capacity_bytes(); }
void Array::submit(IoRequest& request) noexcept {
  check_request(request, exact_bytes(), kBlockBytes);
  if (core_->read_only() && request.op != IoOp::read) {
    request.complete(core_->scheduler(), request.op == IoOp::flush ? Errc::ok : Errc::read_only);
    return;
  }
  core_->submit(request);
}
std::uint64_t Array::next_data(std::uint64_t from) const noexcept { return core_->next_logical_data(from); }

bool Array::busy() const noexcept { return core_->busy(); }
Task<void> Array::stop() { return core_->stop(); }
Status Array::may_scrub() const { return core_->may_scrub(); }
Status Array::may_remove(const std::string& disk_name) const { return core_->may_remove(disk_name); }
Status Array::may_replace(const std::string& disk_name) const { return core_->may_replace(disk_name); }
Status Array::may_fail(const std::string& disk_name) const { return core_->may_fail(disk_name); }
Task<Status> Array::fail_member(std::string disk_name) { return core_->fail_member(std::move(disk_name)); }
Task<Status> Array::add_disk(MemberDisk disk) { return core_->add_disk(std::move(disk)); }
Task<Status> Array::add_journal(MemberDisk disk) { return core_->add_journal(std::move(disk)); }
Task<Status> Array::remove_disk(std::string disk_name) { return core_->remove_disk(std::move(disk_name)); }
Status Array::may_readd(const MemberDisk& disk, const Superblock& super, bool discard_its_writes) const {
  return core_->may_readd(disk, super, discard_its_writes);
}
Task<Status> Array::readd_disk(MemberDisk disk, bool discard_its_writes) {
  return core_->readd_disk(std::move(disk), discard_its_writes);
}
Task<Status> Array::replace_member(std::string disk_name) { return core_->replace_member(std::move(disk_name)); }
Task<void> Array::recovered() { return core_->recovered(); }
Task<Status> Array::scrub(ScrubOptions options) { return core_->scrub(options); }
bool Array::redundancy_full() const noexcept { return core_->redundancy_full(); }
bool Array::doubtful() const noexcept { return core_->doubtful(); }
std::string Array::doubt() const { return core_->doubt(); }
const Geometry& Array::geometry() const noexcept { return core_->geometry(); }
std::uint64_t Array::data_offset_bytes() const noexcept { return core_->data_offset_bytes(); }
ArrayStatus Array::status() const { return core_->status(); }
void Array::set_listener(ArrayListener* listener) noexcept { core_->set_listener(listener); }

}  // namespace resilver::raid
