// Making an array and starting one that is there.
#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "base/endian.h"
#include "raid/core.h"
#include "raid/discovery.h"

namespace resilver::raid {
namespace {

constexpr std::int32_t kBitmapOffsetSectors = 8;  // from the superblock: byte 8192
constexpr std::uint32_t kFinestBitmapChunk = 64 << 10;
constexpr std::size_t kReadAtOnce = 64;  // superblocks

Uuid random_uuid(Random& random) {
  Uuid uuid;
  for (std::size_t i = 0; i < uuid.size(); i += 8) {
    const std::uint64_t word = random.next();
    std::memcpy(uuid.data() + i, &word, 8);
  }
  return uuid;
}

std::uint64_t round_down(std::uint64_t value, std::uint64_t unit) { return value / unit * unit; }

}  // namespace

Task<Result<Superblock>> Core::read_superblock(LeafPool& leaves, BlockDevice& device, Nanos timeout) {
  auto found = co_await find_superblock(leaves, device, timeout);
  co_return std::move(found.super);
}

// Between the superblock and the data of this array, wherever that begins: the bitmap, behind it the bad-block log; a disk on
// which there is no room for the log has none.
void Core::place_metadata(Member& member, std::uint64_t device_bytes) {
  constexpr std::uint64_t kBlockSectors = kBlockBytes / kSectorBytes;
  Superblock& super = member.super;
  member.data_offset = data_offset_bytes();
  super.data_offset_sectors = common_.data_offset_sectors;
  super.device_uuid = random_uuid(random_);
  super.data_size_sectors = (device_bytes - member.data_offset) / kSectorBytes;
  super.bitmap_offset = bitmap_ ? common_.bitmap_offset : kBitmapOffsetSectors;
  const std::uint64_t bitmap_end =
      bitmap_ ? static_cast<std::uint64_t>(super.bitmap_offset) + bitmap_->size_on_disk() / kSectorBytes : kBlockSectors;
  super.level = common_.level;
  place_bad_block_log(super, device_bytes / kSectorBytes, bitmap_end);
}

Status Core::make_bitmap(std::uint64_t device_bytes, std::uint32_t chunk_bytes) {
  if (consistency_ != Consistency::bitmap) return {};
  const std::uint64_t sync_sectors = geometry_.sync_bytes() / kSectorBytes;
  const std::uint64_t room = common_.data_offset_sectors - kSuperOffsetSectors - kBitmapOffsetSectors;
  const std::uint64_t space = std::min(bitmap_space_sectors(device_bytes / kSectorBytes), room);
  const std::uint32_t finest = chunk_bytes != 0 ? chunk_bytes : kFinestBitmapChunk;
  const auto chosen = choose_bitmap_chunk(sync_sectors, chunk_bytes != 0 ? room : space, finest);
  if (!chosen) return std::unexpected(chosen.error());
  if (chunk_bytes != 0 && *chosen != chunk_bytes) {
    return fail(
        Errc::invalid_argument,
        fmt::format("a bitmap with chunks of {} bytes does not fit before the data: {} do", chunk_bytes, *chosen));
  }
  chunk_bytes = *chosen;
  bitmap_ = std::make_unique<Bitmap>(*this, common_.set_uuid, geometry_.sync_bytes(), chunk_bytes);
  return {};
}

namespace {

std::unexpected<Error> refuse_journal_of(const Geometry& geometry) {
  return fail(Errc::unsupported,
              fmt::format("a journal is not kept for {} members: one row does not fit a record", geometry.disks()));
}

// What a new array is to look like, from its disks.
struct NewShape {
  Geometry geometry;
  std::uint64_t data_offset_sectors;
  std::uint64_t usable;  // bytes of each member, where all are used alike
  std::uint32_t chunk_sectors;
  std::uint64_t smallest;  // disk
};

// Of the smallest disk that has room for superblock and data of `unit` bytes.
std::uint64_t least_disk_bytes(std::uint32_t chunk_sectors, std::uint64_t unit) {
  std::uint64_t least = 0;
  for (std::uint64_t bytes = unit; bytes > least;) {
    least = bytes;
    bytes = choose_data_offset(least / kSectorBytes, chunk_sectors) * kSectorBytes + unit;
  }
  return least;
}

constexpr std::uint64_t kLeastDataOffset = (kSuperOffsetSectors * kSectorBytes) + kSuperblockBytes;

// The smallest of all that are there; null: none is.
const MemberDisk* smallest_of(const ArrayDisks& disks) {
  const MemberDisk* smallest = nullptr;
  for (const auto* list : {&disks.members, &disks.spares}) {
    for (const MemberDisk& disk : *list) {
      if (disk.device == nullptr) continue;
      if (smallest == nullptr || disk.device->size_bytes() < smallest->device->size_bytes()) smallest = &disk;
    }
  }
  return smallest;
}

MemberSet missing_of(const ArrayDisks& disks) {
  MemberSet missing;
  for (std::uint32_t slot = 0; slot < disks.members.size(); ++slot) {
    if (disks.members[slot].device == nullptr) missing.add(slot);
  }
  return missing;
}

Status check_new_config(const ArrayConfig& config, const ArrayDisks& disks) {
  const bool with_journal = config.consistency == Consistency::journal;
  if (with_journal != disks.journal.has_value()) {
    return fail(Errc::invalid_argument,
                "a journal disk goes with the consistency policy journal, and the other way round");
  }
  if (config.name.size() > 32) return fail(Errc::invalid_argument, "an array's name has at most 32 bytes");
  const std::uint64_t data_offset = config.data_offset_bytes.value_or(kLeastDataOffset);
  if (data_offset < kLeastDataOffset || data_offset % kBlockBytes != 0) {
    return fail(Errc::invalid_argument, fmt::format("a data offset of {} bytes: at least {}, and a multiple of {}",
                                                    data_offset, kLeastDataOffset, kBlockBytes));
  }
  return {};
}

// `sizes`: of the members that are there, in bytes, out of `disks`; `smallest` may be a spare, called `name`.
Result<NewShape> lay_out(const ArrayConfig& config, std::uint32_t disks, std::vector<std::uint64_t> sizes,
                         std::uint64_t smallest, const std::string& name) {
  const bool mirror = config.level == Level::raid1;
  const auto chunk_sectors = static_cast<std::uint32_t>(mirror ? 0 : config.chunk_bytes / kSectorBytes);
  const std::uint64_t data_offset = config.data_offset_bytes
                                        ? *config.data_offset_bytes / kSectorBytes
                                        : choose_data_offset(smallest / kSectorBytes, chunk_sectors);
  // A mirror has no chunk; mdadm rounds to 64 KiB there (so that it could become a RAID 5).
  const std::uint64_t unit = mirror ? kMirrorUnit : std::max<std::uint64_t>(config.chunk_bytes, kRowBytes);
  if (smallest < data_offset * kSectorBytes + unit) {
    return fail(Errc::invalid_argument,
                fmt::format("{}: its size, {} bytes, is too small for a member: at least {} are needed", name, smallest,
                            config.data_offset_bytes ? data_offset * kSectorBytes + unit
                                                     : least_disk_bytes(chunk_sectors, unit)));
  }
  const std::uint64_t usable = round_down(smallest - data_offset * kSectorBytes, unit);
  for (std::uint64_t& size : sizes) size -= data_offset * kSectorBytes;
  const Layout layout = config.layout.value_or(default_layout(config.level));
  auto geometry = !is_redundant(config.level) && sizes.size() == disks
                      ? Geometry::make_zoned(config.level, layout, config.chunk_bytes, sizes)
                      : Geometry::make(config.level, layout, disks, config.chunk_bytes, usable);
  if (!geometry) return std::unexpected(geometry.error());
  return NewShape{std::move(*geometry), data_offset, usable, chunk_sectors, smallest};
}

Result<NewShape> shape_new(const ArrayConfig& config, const ArrayDisks& disks) {
  if (Status fine = check_new_config(config, disks); !fine) return std::unexpected(fine.error());
  const MemberDisk* const least = smallest_of(disks);
  if (least == nullptr) return fail(Errc::invalid_argument, "an array of no disks");
  std::vector<std::uint64_t> sizes;
  for (const MemberDisk& disk : disks.members) {
    if (disk.device != nullptr) sizes.push_back(disk.device->size_bytes());
  }
  const std::size_t missing = disks.members.size() - sizes.size();
  auto shape = lay_out(config, static_cast<std::uint32_t>(disks.members.size()), std::move(sizes),
                       least->device->size_bytes(), least->name);
  if (!shape) return shape;
  const Geometry& geometry = shape->geometry;
  if (disks.journal && geometry.parity_disks() == 0) {
    return fail(Errc::invalid_argument, fmt::format("{} has no journal: only levels 4, 5 and 6", name(config.level)));
  }
  if (disks.journal && Journal::rows_per_record(geometry.columns()) == 0) return refuse_journal_of(geometry);
  if (!geometry.survives(missing_of(disks))) {
    return fail(Errc::invalid_argument, fmt::format("{} of {} disks does not work with {} missing", name(config.level),
                                                    geometry.disks(), missing));
  }
  return shape;
}

}  // namespace

Result<std::uint64_t> Array::planned_bytes(const ArrayConfig& config, std::uint32_t disks, std::uint64_t disk_bytes) {
  const auto shape = lay_out(config, disks, std::vector<std::uint64_t>(disks, disk_bytes), disk_bytes, "a disk");
  if (!shape) return std::unexpected(shape.error());
  return shape->geometry.capacity_bytes();
}

Task<Result<std::unique_ptr<Core>>> Core::create(Scheduler& scheduler, BufferPool& pool, Random& random,
                                                 ArrayConfig config, ArrayDisks disks, bool assume_clean) {
  const auto shape = shape_new(config, disks);
  if (!shape) co_return std::unexpected(shape.error());
  auto core = std::make_unique<Core>(LeafPoolOwner(new LeafPool(scheduler)), pool, random.fork(1), config.tuning,
                                     shape->geometry, config.consistency);
  Superblock& common = core->common_;
  common.set_uuid = config.uuid ? *config.uuid : random_uuid(core->random_);
  common.set_name = config.name;
  common.ctime = core->unix_seconds();
  common.level = shape->geometry.level();
  common.layout = shape->geometry.layout();
  common.size_sectors = is_redundant(config.level) ? shape->usable / kSectorBytes : 0;
  common.chunk_sectors = shape->chunk_sectors;
  common.raid_disks = shape->geometry.disks();
  common.data_offset_sectors = shape->data_offset_sectors;
  common.bitmap_offset = kBitmapOffsetSectors;
  if (Status made = core->make_bitmap(shape->smallest, config.bitmap_chunk_bytes); !made)
    co_return std::unexpected(made.error());
  for (std::size_t i = 0; i < disks.members.size() + disks.spares.size(); ++i) {
    const bool is_member = i < disks.members.size();
    const MemberDisk& disk = is_member ? disks.members[i] : disks.spares[i - disks.members.size()];
    if (disk.device == nullptr) continue;
    Member& member = core->new_member(disk);
    core->place_metadata(member, disk.device->size_bytes());
    if (!is_member) continue;
    member.state = MemberState::in_sync;
    member.slot = static_cast<std::uint32_t>(i);
    core->slots_[i] = &member;
    common.roles[member.super.dev_number] = static_cast<std::uint16_t>(i);
  }
  core->resync_needed_ = !assume_clean && core->redundancy_left() > 0;
  core->forced_ = core->resync_needed_ && core->redundancy_left() < shape->geometry.redundancy();
  core->may_locate_ = !core->resync_needed_;
  core->dirty_ = core->dirty_durable_ = core->resync_needed_;
  if (Status written = co_await core->format(disks.journal); !written) {
    co_await core->rest();
    co_return std::unexpected(written.error());
  }
  core->start();
  co_return core;
}

// Writes all that a new array has on its disks.
Task<Status> Core::format(std::optional<MemberDisk> journal) {
  if (journal) {
    if (Status made = co_await make_journal(*journal); !made) co_return made;
  }
  if (bitmap_ && resync_needed_) {
    bitmap_->set_all();
    bitmap_->mark_all_for_resync();
  }
  for (auto& member : members_) {
    if (member->state == MemberState::journal) continue;
    if (bitmap_) co_await bitmap_->write_all(*member);
    if (!co_await write_bad_log(*member)) {
      co_return fail(full_ ? Errc::no_space : Errc::io,
                     member->name + (full_ ? ": no room for what it holds beside data" : ": cannot be written"));
    }
  }
  co_await commit();
  if (full_) co_return fail(Errc::no_space, full_disk_ + ": no room for what it holds beside data");
  if (failed_ || too_many_lost()) co_return fail(Errc::io, "too few disks can be written");
  co_return Status{};
}

// ---- assembling -----------------------------------------------------------------------------------------------------------

// The member is not in its place yet: no watchdog looks after it.
Task<Status> Core::load_bad_log(Member& member) {
  if ((member.super.feature_map & kFeatureBadBlocks) == 0) co_return Status{};
  const Buffer block = metadata_block();
  if (!block) co_return fail(Errc::limit, "no memory for a buffer");
  const Errc status =
      co_await read_within(*leaves_, *member.device, member.super.sector_of(member.super.bblog_offset) * kSectorBytes,
                           block, member_timeout());
  if (status != Errc::ok) co_return fail(status, member.name + ": the bad-block log cannot be read");
  const auto ranges = decode_bad_blocks(std::span<const std::byte, kBadBlockLogBytes>(block.data(), kBadBlockLogBytes));
  if (!ranges) co_return std::unexpected(ranges.error());
  for (const BadRange& range : *ranges) {
    const std::uint64_t begin = std::max(range.sector * kSectorBytes, member.data_offset) - member.data_offset;
    const std::uint64_t end = std::max((range.sector + range.sectors) * kSectorBytes, member.data_offset);
    for (std::uint64_t at = round_down(begin, kRowBytes); at < end - member.data_offset; at += kRowBytes)
      member.bad.insert(at);
  }
  co_return Status{};
}

// One block of a member's metadata. A member that does not answer in time, or has gone, is faulty afterwards.
Task<Errc> Core::read_metadata(Member& member, std::uint64_t device_offset, Buffer block) {
  Batch batch(*this, Cause::superblock);
  batch.read_raw(member, device_offset, block);
  co_await batch;
  judge(batch);
  co_return batch.failures().empty() ? Errc::ok : batch.failures().front().status;
}

Task<Status> Core::load_bitmap() {
  // All members have the same bits; if one's cannot be read, any bit could have been set there: everything may differ. Of one
  // that has failed nothing counts.
  for (Member* member : slots_) {
    if (member->state != MemberState::in_sync) continue;
    std::vector<std::byte> image(bitmap_->size_on_disk());
    bool readable = true;
    for (std::size_t at = 0; at < image.size() && readable; at += kBlockBytes) {
      const Buffer block = metadata_block();
      if (!block) co_return fail(Errc::limit, "no memory for a buffer");
      readable = co_await read_metadata(*member, Bitmap::device_offset(*member) + at, block) == Errc::ok;
      std::memcpy(image.data() + at, block.data(), std::min<std::size_t>(kBlockBytes, image.size() - at));
    }
    if (!readable && !member->live()) continue;
    if (!readable || !bitmap_->merge(image)) bitmap_->set_all();
  }
  co_return Status{};
}

// Sectors that a bitmap may take on this member: up to what lies behind it.
static std::uint64_t bitmap_room(const Superblock& super) noexcept {
  const std::int64_t to_data = static_cast<std::int64_t>(super.data_offset_sectors - kSuperOffsetSectors);
  const bool before_log = super.has_bad_block_log() && super.bblog_offset > super.bitmap_offset;
  return static_cast<std::uint64_t>((before_log ? super.bblog_offset : to_data) - super.bitmap_offset);
}

// The bytes for each bit, by one member's bitmap. Errors: it is none of this array, or none at all.
Task<Result<std::uint32_t>> Core::read_bitmap_chunk(Member& member) {
  constexpr std::uint32_t kLockless = 6;
  const Buffer block = metadata_block();
  if (!block) co_return fail(Errc::limit, "no memory for a buffer");
  const Errc status = co_await read_metadata(member, Bitmap::device_offset(member), block);
  if (status != Errc::ok) co_return fail(status, "bitmap: it cannot be read");
  const auto header =
      decode_bitmap_header(std::span<const std::byte, kBitmapHeaderBytes>(block.data(), kBitmapHeaderBytes));
  if (!header) {
    bitmap_lockless_ = bitmap_lockless_ || (header.error().code == Errc::unsupported &&
                                            load_le<std::uint32_t>(block.data() + 4) == kLockless);
    co_return std::unexpected(header.error());
  }
  if (header->uuid != common_.set_uuid) co_return fail(Errc::bad_input, "bitmap: its uuid is another array's");
  const std::uint64_t bytes = bitmap_bytes(bitmap_bits(geometry_.sync_bytes() / kSectorBytes, header->chunk_bytes));
  if (bytes > bitmap_room(member.super) * kSectorBytes) {
    co_return fail(Errc::bad_input, fmt::format("bitmap: chunksize {} needs {} bytes", header->chunk_bytes, bytes));
  }
  co_return header->chunk_bytes;
}

// All members have the same; one that can be used is enough.
Task<Result<std::uint32_t>> Core::find_bitmap_chunk() {
  Result<std::uint32_t> chunk = fail(Errc::corrupt, "bitmap: no member has one");
  for (Member* member : slots_) {  // spares have none
    if (chunk || member->state != MemberState::in_sync) continue;
    chunk = co_await read_bitmap_chunk(*member);
    if (!chunk && chunk.error().code == Errc::limit) break;
  }
  co_return chunk;
}

// No member's bitmap can be used. What bits say can be known without them: of a clean array nothing, else everything may
// differ. Who left earlier is no longer caught up by bits.
void Core::renew_bitmap(const std::string& why) {
  const char* then = resync_needed_ ? "everything is resynced" : "nothing was being written";
  for (const auto& member : members_) member->by_bitmap = false;
  if (read_only_) {
    notes_.push_back(fmt::format("{}: it is not used", why));
    return;
  }
  std::uint64_t room = ~std::uint64_t{0};
  for (const auto& member : members_) {
    if (member->live()) room = std::min(room, bitmap_room(member->super));
  }
  const auto chunk = choose_bitmap_chunk(geometry_.sync_bytes() / kSectorBytes, room, kFinestBitmapChunk);
  if (!chunk) {
    consistency_ = Consistency::resync;
    notes_.push_back(fmt::format("{}: there is no room for a new one, the array goes on without; {}", why, then));
    return;
  }
  notes_.push_back(fmt::format("{}: made anew; {}", why, then));
  bitmap_ = std::make_unique<Bitmap>(*this, common_.set_uuid, geometry_.sync_bytes(), *chunk);
  bitmap_->forget_before(common_.events);
  if (resync_needed_) bitmap_->set_all();
  bitmap_renewed_ = true;
}

Task<Status> Core::open_bitmap(const Result<std::uint32_t>& chunk) {
  if (chunk) {
    bitmap_ = std::make_unique<Bitmap>(*this, common_.set_uuid, geometry_.sync_bytes(), *chunk);
    if (Status loaded = co_await load_bitmap(); !loaded) co_return loaded;
  } else if (chunk.error().code == Errc::limit) {
    co_return std::unexpected(chunk.error());
  } else {
    renew_bitmap(chunk.error().what);
  }
  if (bitmap_ && resync_needed_) bitmap_->mark_all_for_resync();
  co_return Status{};
}

// ---- the journal's disk -----------------------------------------------------------------------------------------------

void Core::use_journal(std::unique_ptr<Journal> journal) {
  consistency_ = Consistency::journal;
  journal_ = std::move(journal);
  band_bytes_ = std::min(unit_bytes_, std::bit_floor(Journal::rows_per_record(geometry_.columns())) * kRowBytes);
}

// A new disk with the journal's role; nothing is written yet.
Member& Core::place_journal(const MemberDisk& given) {
  Member& disk = new_member(given);
  place_metadata(disk, given.device->size_bytes());
  disk.super.bblog_offset = 0;
  disk.super.bblog_size_sectors = 0;
  disk.state = MemberState::journal;
  common_.roles[disk.super.dev_number] = kRoleJournal;
  return disk;
}

Task<Status> Core::make_journal(const MemberDisk& given) {
  if (given.device->size_bytes() < data_offset_bytes() + Journal::kMinBytes) {
    co_return fail(Errc::invalid_argument, fmt::format("{}: too small for a journal: it needs {} bytes", given.name,
                                                       data_offset_bytes() + Journal::kMinBytes));
  }
  use_journal(std::make_unique<Journal>(*this, place_journal(given), 0));
  if (Status room = co_await journal_->make_room(); !room) co_return room;
  co_return co_await journal_->format(random_);
}

// Replays what was in flight. An array whose journal is lost goes on without: the caller has asked for that.
Task<Status> Core::open_journal() {
  Member* disk = (common_.feature_map & kFeatureJournal) != 0 ? first_that_is(MemberState::journal) : nullptr;
  for (const auto& member : members_) {
    if (member->state == MemberState::journal && member.get() != disk) member->state = MemberState::faulty;
  }
  if (disk == nullptr) {
    for (auto& role : common_.roles) {
      if (role == kRoleJournal) role = kRoleFaulty;
    }
    co_return Status{};
  }
  if (disk->super.data_size_sectors * kSectorBytes < Journal::kLeastBytes) {
    co_return fail(Errc::bad_input, fmt::format("{}: superblock: data_size {} sectors: too small for a journal",
                                                disk->name, disk->super.data_size_sectors));
  }
  if (Journal::rows_per_record(geometry_.columns()) == 0) {
    if (!read_only_) co_return refuse_journal_of(geometry_);
    co_return Status{};
  }
  use_journal(std::make_unique<Journal>(*this, *disk, disk->super.recovery_offset_sectors));
  if (!read_only_) {
    if (Status room = co_await journal_->make_room(); !room) co_return room;
    co_return co_await journal_->replay();
  }
  if (redundancy_left() < geometry_.redundancy()) doubtful_ = doubtful_ || co_await journal_->holds_writes();
  co_return Status{};
}

// Gives a member its place. Replacements come after the members that they replace.
void Core::seat(Member& member, const DiskFound& found) {
  const std::uint32_t slot = *found.slot;
  member.slot = slot;
  if (found.verdict == DiskVerdict::member) {
    member.state = MemberState::in_sync;
    slots_[slot] = &member;
    return;
  }
  const std::uint64_t reached =
      knows_its_slot(member.super, slot) ? member.super.recovery_offset_sectors * kSectorBytes : 0;
  member.watermark = member.checkpoint = std::min(round_down(reached, kBandBytes), geometry_.member_bytes());
  Member* holder = slots_[slot];
  if (found.verdict == DiskVerdict::replacement && holder != &absent_) {
    member.state = MemberState::replacement;
    holder->twin = &member;
    return;
  }
  // A replacement that was whole when the member that it replaced went needs nothing more.
  member.state = reached >= geometry_.member_bytes() ? MemberState::in_sync : MemberState::rebuilding;
  member.by_bitmap = (member.super.feature_map & kFeatureRecoveryBitmap) != 0;
  slots_[slot] = &member;
}

// Spares that were away while another disk was given their number.
void Core::renumber_spares() {
  for (const auto& member : members_) {
    std::uint32_t& number = member->super.dev_number;
    if (member->state != MemberState::spare) continue;
    if (common_.roles[number] == kRoleSpare && !number_used(number, member.get())) continue;
    number = free_number();
    if (number == common_.roles.size()) common_.roles.push_back(kRoleSpare);
    common_.roles[number] = kRoleSpare;
  }
}

// The disks of the array become members, in the order in which they were given.
Task<Status> Core::add_members(std::span<const GivenDisk> given, AssemblyReport& report) {
  std::vector<Member*> made(given.size(), nullptr);
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (report[i].verdict == DiskVerdict::unusable) continue;
    Member& member = *members_.emplace_back(std::make_unique<Member>());
    made[i] = &member;
    member.name = given[i].disk.name;
    member.device = given[i].disk.device;
    member.super = *given[i].super;
    member.data_offset = member.super.data_offset_sectors * kSectorBytes;
    member.state = report[i].verdict == DiskVerdict::spare     ? MemberState::spare
                   : report[i].verdict == DiskVerdict::journal ? MemberState::journal
                                                               : MemberState::faulty;
  }
  renumber_spares();
  for (const bool replacements : {false, true}) {
    for (std::size_t i = 0; i < given.size(); ++i) {
      DiskFound& found = report[i];
      if (made[i] == nullptr || !found.slot || (found.verdict == DiskVerdict::replacement) != replacements) continue;
      Status loaded = co_await load_bad_log(*made[i]);
      if (!loaded && loaded.error().code == Errc::limit) co_return loaded;
      if (!loaded) {  // nobody knows what it lacks
        found.verdict = DiskVerdict::unusable;
        found.why = loaded.error().what;
        found.slot.reset();
      } else {
        seat(*made[i], found);
      }
    }
  }
  // Whoever is missing now missed what follows.
  for (std::uint32_t number = 0; number < common_.roles.size(); ++number) {
    std::uint16_t& role = common_.roles[number];
    const bool there = std::any_of(members_.begin(), members_.end(), [number](const auto& member) {
      return member->live() && member->super.dev_number == number;
    });
    if (role < slots_.size() && !there) role = kRoleFaulty;
  }
  co_return Status{};
}

// Disks that call themselves spares may be members that were made spares by mistake (mdadm --add): their data may be whole.
Status Core::check_enough() const {
  if (!too_many_lost() || rescue_) return {};
  std::vector<std::uint32_t> empty;
  std::vector<std::string> spares;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot]->state != MemberState::in_sync) empty.push_back(slot);
  }
  for (const auto& member : members_) {
    if (member->state == MemberState::spare) spares.push_back(member->name);
  }
  std::string what = fmt::format("{} of {} members are there: too few for {}", geometry_.disks() - empty.size(),
                                 geometry_.disks(), name(geometry_.level()));
  if (!spares.empty()) {
    what += fmt::format(
        "; slots {} have none, and {} say spare: if these were members, resilver recreate --guess finds their slots",
        fmt::join(empty, ", "), fmt::join(spares, ", "));
  }
  return fail(Errc::unavailable, std::move(what));
}

namespace {

// Zones follow from the sizes of all members. One that is missing is check_enough()'s matter.
Result<Geometry> shape_of(const Superblock& fresh, std::span<const GivenDisk> given, const AssemblyReport& found,
                          bool rescue) {
  std::vector<std::uint64_t> sizes(is_redundant(fresh.level) ? 0 : fresh.raid_disks);
  for (std::size_t i = 0; i < given.size(); ++i) {
    const bool member = found[i].verdict == DiskVerdict::member && found[i].slot && *found[i].slot < sizes.size();
    if (member) sizes[*found[i].slot] = given[i].super->data_size_sectors;
  }
  if (sizes.empty() || std::ranges::find(sizes, 0u) == sizes.end()) {
    return sizes.empty() ? geometry_of(fresh) : geometry_of_zoned(fresh, sizes);
  }
  // Of equal members of a RAID 0 each tells what all are; else nobody knows where the zones end that the missing one was in.
  if (rescue && (fresh.level == Level::linear || (fresh.feature_map & kFeatureRaid0Layout) != 0)) {
    return fail(Errc::unavailable,
                fmt::format("{} of unequal members: without one that is missing nobody knows what lies where",
                            name(fresh.level)));
  }
  return geometry_of(fresh);
}

}  // namespace

// All at once: however many hang, that costs one time-out.
Task<void> Core::read_given(LeafPool& leaves, std::vector<MemberDisk> disks, Nanos timeout,
                            std::vector<GivenDisk>& given) {
  for (MemberDisk& disk : disks) given.push_back({std::move(disk), fail(Errc::not_found)});
  Semaphore depth(leaves.scheduler(), kReadAtOnce);
  TaskGroup readers(leaves.scheduler());
  for (GivenDisk& one : given) {
    co_await depth.acquire();
    readers.spawn([](LeafPool& pool, GivenDisk& disk, Nanos limit, Semaphore& permits) -> Task<void> {
      SemaphoreGuard permit(permits);
      disk.super = co_await read_superblock(pool, *disk.disk.device, limit);
    }(leaves, one, timeout, depth));
  }
  co_await readers.join();
}

Task<Result<std::unique_ptr<Core>>> Core::assemble(Scheduler& scheduler, BufferPool& pool, Random& random,
                                                   AssembleOptions options, std::vector<MemberDisk> disks,
                                                   AssemblyReport* report) {
  AssemblyReport own;
  AssemblyReport& found = report != nullptr ? *report : own;
  found.clear();
  LeafPoolOwner leaves(new LeafPool(scheduler));
  std::vector<GivenDisk> given;
  co_await read_given(*leaves, std::move(disks), options.tuning.member_timeout_ms * kMillisecond, given);
  Error last{Errc::not_found, "no disk with a superblock"};
  bool any = false;
  for (const GivenDisk& one : given) {
    any = any || one.super.has_value();
    if (!one.super && one.super.error().code == Errc::limit) {  // it may be a member
      co_return fail(Errc::limit, one.disk.name + ": no memory to read it");
    }
    if (!one.super) last = Error{one.super.error().code, one.disk.name + ": " + one.super.error().what};
    found.push_back({.name = one.disk.name, .slot = {}, .why = one.super ? std::string() : one.super.error().what});
  }
  if (!any) co_return std::unexpected(last);
  const auto lineup = line_up(given, options.take_stale, found);
  if (!lineup) co_return std::unexpected(lineup.error());
  const Superblock& fresh = lineup->fresh;
  if (const std::string why = read_only_reason(fresh); !why.empty() && !options.read_only) {
    co_return fail(Errc::unsupported, why + ": the array can only be read");
  }
  const auto geometry = shape_of(fresh, given, found, options.rescue);
  if (!geometry) co_return std::unexpected(geometry.error());
  const bool has_bitmap = (fresh.feature_map & kFeatureBitmap) != 0;
  const Consistency consistency = !geometry->is_redundant() ? Consistency::none
                                  : has_bitmap              ? Consistency::bitmap
                                                            : Consistency::resync;
  auto core = std::make_unique<Core>(std::move(leaves), pool, random.fork(1), options.tuning, *geometry, consistency);
  core->common_ = fresh;
  core->read_only_ = options.read_only;
  core->rescue_ = options.rescue;
  if (Status loaded = co_await core->load(options, *lineup, given, found); !loaded) {
    co_await core->rest();
    co_return std::unexpected(loaded.error());
  }
  if (!options.read_only) {
    co_await core->write_renewed_bitmap();
    co_await core->commit_level();
    core->start();
  }
  co_return core;
}

// Everything between the superblocks and the start. Each step may find that one more member does not answer.
Task<Status> Core::load(const AssembleOptions& options, const Lineup& lineup, std::span<const GivenDisk> given,
                        AssemblyReport& found) {
  if (Status added = co_await add_members(given, found); !added) co_return added;
  if (Status enough = check_enough(); !enough) co_return enough;
  const bool journal_lost =
      (common_.feature_map & kFeatureJournal) != 0 && first_that_is(MemberState::journal) == nullptr;
  if (journal_lost && !options.force && !options.read_only) {
    co_return fail(Errc::unavailable,
                   "the journal disk is missing: parity may not match what was being written; force starts without it "
                   "(resilver assemble --force), then resilver add --journal gives it another");
  }
  const bool has_bitmap = (common_.feature_map & kFeatureBitmap) != 0 && common_.place == MetadataPlace();
  const Result<std::uint32_t> bitmap_chunk =
      has_bitmap ? co_await find_bitmap_chunk() : Result<std::uint32_t>(std::uint32_t{0});
  // A lockless bitmap may say of regions that they were never synced.
  bool dirty = lineup.forced || journal_lost || (bitmap_lockless_ && !bitmap_chunk);
  std::uint64_t reached = dirty ? 0 : kResyncDone;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const bool current =
        given[i].super && found[i].verdict != DiskVerdict::unusable && given[i].super->events + 1 >= common_.events;
    if (current) reached = std::min(reached, given[i].super->resync_offset_sectors);
  }
  dirty = dirty || reached != kResyncDone;
  if (dirty) resync_reached_ = round_down(std::min(reached * kSectorBytes, geometry_.sync_bytes()), kBandBytes);
  if (Status fine = check_not_both(dirty, options); !fine) co_return fine;
  doubtful_ = doubtful_ || forced_ || lineup.forced;
  resync_needed_ = dirty && geometry_.redundancy() > 0;
  may_locate_ = !resync_needed_;
  dirty_ = dirty_durable_ = resync_needed_;
  if (dirty) {
    // What was in flight may have reached a member and not its replacement, and nothing compares these two.
    for (const std::uint32_t slot : replaced()) {
      slots_[slot]->twin->watermark = slots_[slot]->twin->checkpoint = 0;
    }
  }
  if (has_bitmap) {
    if (Status opened = co_await open_bitmap(bitmap_chunk); !opened) co_return opened;
  }
  if (Status enough = check_enough(); !enough) co_return enough;
  if (Status fine = check_not_both(dirty, options); !fine) co_return fine;
  co_return co_await open_journal();
}

// Rule 4.
Status Core::check_not_both(bool dirty, const AssembleOptions& options) {
  const bool degraded = redundancy_left() < geometry_.redundancy();
  if (dirty && degraded && geometry_.parity_disks() > 0 && !options.force && !options.read_only) {
    return fail(
        Errc::unavailable,
        "dirty and degraded: parity may not match the data of the missing member; force starts it nevertheless");
  }
  forced_ = dirty && degraded && options.force;
  doubtful_ = doubtful_ || (dirty && degraded && geometry_.parity_disks() > 0);
  return {};
}

Task<void> Core::write_renewed_bitmap() {
  for (Member* member : slots_) {
    if (!bitmap_renewed_ || !member->live()) continue;
    co_await bitmap_->write_all(*member);
    if (member->twin != nullptr) co_await bitmap_->write_all(*member->twin);
  }
}

// The first superblocks of an assembled array. A crash may have left members an event behind; were the freshest now to go
// on alone and crash again, they would be two behind, and stale: first all get to where the freshest is.
Task<void> Core::commit_level() {
  const bool behind = std::any_of(members_.begin(), members_.end(), [this](const auto& member) {
    return member->state != MemberState::faulty && member->super.events < common_.events;
  });
  if (behind) {
    --common_.events;
    co_await commit();
  }
  co_await commit();
}

void Core::start() {
  tasks_.spawn(manage());
  tasks_.spawn(housekeeping());
  if (tuning_.slow_member_ms != 0 && geometry_.redundancy() > 0) tasks_.spawn(watch_slowness());
}

}  // namespace resilver::raid
