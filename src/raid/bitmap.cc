#include "raid/bitmap.h"

#include <algorithm>

#include "base/endian.h"
#include "base/planted_bug.h"
#include "raid/core.h"

namespace resilver::raid {

Bitmap::Bitmap(Core& core, const Uuid& uuid, std::uint64_t member_bytes, std::uint32_t chunk_bytes)
    : core_(core),
      uuid_(uuid),
      member_bytes_(member_bytes),
      chunk_bytes_(chunk_bytes),
      shift_(static_cast<std::uint32_t>(std::countr_zero(chunk_bytes))),
      bits_(bitmap_bits(member_bytes / kSectorBytes, chunk_bytes)),
      image_(bitmap_bytes(bits_)),
      set_(bits_),
      durable_(bits_),
      touched_(bits_),
      marked_(bits_),
      writers_((bits_ + kWritersAtOnce - 1) / kWritersAtOnce),
      dirty_blocks_(image_.size() / kBlockBytes),
      written_(core.scheduler()) {}

std::uint64_t Bitmap::device_offset(const Member& member) noexcept {
  return member.super.sector_of(member.super.bitmap_offset) * kSectorBytes;
}

void Bitmap::set_bit(std::uint64_t bit) {
  set_.add(bit);
  set_bitmap_bit(image_, bit);
  dirty_blocks_.add(bitmap_block_of(bit) / kBlockBytes);
}

void Bitmap::clear_bit(std::uint64_t bit) {
  set_.remove(bit);
  durable_.remove(bit);
  clear_bitmap_bit(image_, bit);
  dirty_blocks_.add(bitmap_block_of(bit) / kBlockBytes);
}

bool Bitmap::durable(std::uint64_t from, std::uint64_t to) const noexcept {
  for (std::uint64_t bit = bit_of(from); bit <= bit_of(to - 1); ++bit) {
    if (!durable_.contains(bit)) return false;
  }
  return true;
}

bool Bitmap::written_now(std::uint64_t bit) const noexcept {
  const auto& writers = writers_[bit / kWritersAtOnce];
  return writers && (*writers)[bit % kWritersAtOnce] != 0;
}

bool Bitmap::begin(std::uint64_t from, std::uint64_t to) {
  for (std::uint64_t bit = bit_of(from); bit <= bit_of(to - 1); ++bit) {
    auto& writers = writers_[bit / kWritersAtOnce];
    if (!writers) writers = std::make_unique<Writers>();
    ++(*writers)[bit % kWritersAtOnce];
    if (!set_.contains(bit)) {
      set_bit(bit);
      fresh_.push_back(bit);
    }
    touched_.add(bit);
  }
  return durable(from, to);
}

Task<void> Bitmap::wait_durable(std::uint64_t from, std::uint64_t to) {
  while (!durable(from, to) && !core_.failed() && !core_.full()) {
    if (writing_) {
      co_await written_.wait();
    } else {
      co_await write_dirty_blocks();
    }
  }
}

void Bitmap::end(std::uint64_t from, std::uint64_t to) {
  for (std::uint64_t bit = bit_of(from); bit <= bit_of(to - 1); ++bit) {
    CHECK(written_now(bit));
    --(*writers_[bit / kWritersAtOnce])[bit % kWritersAtOnce];
    if (planted(PlantedBug::bitmap_cleared_early) && !written_now(bit) && durable_.contains(bit)) clear_bit(bit);
  }
}

// Sends blocks from `next` on to these members, as many as go at a time; moves `next` behind them.
Task<void> Bitmap::write_some(std::span<Member* const> to, std::size_t& next, bool only_dirty) {
  Batch batch(core_, Cause::bitmap);
  for (std::size_t sent = 0; next < blocks() && sent < kBlocksAtOnce; ++next, ++sent) {
    if (only_dirty) next = dirty_blocks_.next(next);
    if (next == blocks()) break;
    const Buffer buffer = core_.metadata_block();
    if (!buffer) break;  // the array has failed
    if (next == 0) encode_header();
    if (only_dirty) dirty_blocks_.remove(next);
    std::memcpy(buffer.data(), image_.data() + next * kBlockBytes, kBlockBytes);
    for (Member* member : to) {
      if (member->live() || !only_dirty) batch.write_raw(*member, device_offset(*member) + next * kBlockBytes, buffer);
      // It takes the place over with all the bits.
      Member* twin = only_dirty ? member->twin : nullptr;
      if (twin != nullptr) batch.write_raw(*twin, device_offset(*twin) + next * kBlockBytes, buffer);
    }
  }
  co_await batch;
  core_.judge(batch);
}

// One update of all members for all bits that wait for it. Precondition: !writing_.
Task<void> Bitmap::write_dirty_blocks() {
  writing_ = true;
  std::vector<std::uint64_t> fresh;
  fresh.swap(fresh_);
  // A bit that is set while this runs is not among the fresh ones, whether or not its block takes it along.
  for (std::size_t next = 0; next < blocks() && !core_.failed();) {
    co_await write_some(core_.slots(), next, true);
  }
  for (std::uint64_t bit : fresh) {
    if (!set_.contains(bit) || core_.failed()) continue;
    if (core_.full()) {  // once more
      set_bit(bit);
      fresh_.push_back(bit);
    } else {
      durable_.add(bit);
    }
  }
  give_turn();
}

Task<void> Bitmap::write_set() {
  while (writing_) co_await written_.wait();
  co_await write_dirty_blocks();
}

Task<void> Bitmap::sweep() {
  if (!core_.redundancy_full()) co_return;
  std::vector<std::uint64_t> idle;
  for (std::uint64_t bit = set_.next(0); bit < bits_; bit = set_.next(bit + 1)) {
    if (!touched_.contains(bit) && !marked_.contains(bit) && !written_now(bit)) idle.push_back(bit);
  }
  touched_.clear();
  if (idle.empty()) co_return;
  if (co_await core_.flush_members(Cause::bitmap) != Errc::ok || !core_.redundancy_full()) co_return;
  bool cleared = false;
  for (std::uint64_t bit : idle) {
    if (touched_.contains(bit) || written_now(bit) || !set_.contains(bit)) continue;
    clear_bit(bit);
    cleared = true;
  }
  if (!cleared) co_return;
  events_cleared_ = core_.events();
  while (writing_) co_await written_.wait();
  co_await write_dirty_blocks();
}

void Bitmap::encode_header() {
  BitmapHeader header;
  header.uuid = uuid_;
  header.events = core_.events();
  header.events_cleared = events_cleared_;
  header.sync_size_sectors = member_bytes_ / kSectorBytes;
  header.chunk_bytes = chunk_bytes_;
  encode_bitmap_header(header, std::span<std::byte, kBitmapHeaderBytes>(image_.data(), kBitmapHeaderBytes));
}

Status Bitmap::merge(std::span<const std::byte> image) {
  auto header = decode_bitmap_header(std::span<const std::byte, kBitmapHeaderBytes>(image.data(), kBitmapHeaderBytes));
  if (!header) return std::unexpected(header.error());
  if (header->uuid != uuid_ || header->chunk_bytes != chunk_bytes_ ||
      header->sync_size_sectors != member_bytes_ / kSectorBytes) {
    return fail(Errc::bad_input, "bitmap: it belongs to another array");
  }
  events_cleared_ = std::max(events_cleared_, header->events_cleared);
  for (std::size_t at = kBitmapHeaderBytes; at < image.size(); at += 8) {
    for (auto word = load_le<std::uint64_t>(image.data() + at); word != 0; word &= word - 1) {
      const std::uint64_t bit = (at - kBitmapHeaderBytes) * 8 + static_cast<std::uint64_t>(std::countr_zero(word));
      if (bit >= bits_) break;
      set_bit(bit);
      fresh_.push_back(bit);
    }
  }
  return {};
}

void Bitmap::set_all() {
  for (std::uint64_t bit = 0; bit < bits_; ++bit) {
    set_bit(bit);
    fresh_.push_back(bit);
  }
}

void Bitmap::mark_all_for_resync() {
  for (std::uint64_t bit = set_.next(0); bit < bits_; bit = set_.next(bit + 1)) marked_.add(bit);
}

std::uint64_t Bitmap::first_of(const BitTree& bits, std::uint64_t from) const noexcept {
  const std::uint64_t bit = bits.next(bit_of(from));
  return bit < bits_ ? std::max(from, bit << shift_) : member_bytes_;
}

std::uint64_t Bitmap::next_marked(std::uint64_t from) const noexcept { return first_of(marked_, from); }

std::uint64_t Bitmap::next_set(std::uint64_t from) const noexcept { return first_of(set_, from); }

void Bitmap::resynced() { marked_.clear(); }

void Bitmap::copy_header(const Buffer& block) {
  encode_header();
  std::memcpy(block.data(), image_.data(), kBlockBytes);
}

Task<void> Bitmap::take_turn() {
  while (writing_) co_await written_.wait();
  writing_ = true;
}

void Bitmap::give_turn() {
  writing_ = false;
  written_.wake_all();
}

Task<void> Bitmap::write_all(Member& member) {
  co_await take_turn();
  Member* const to[] = {&member};
  for (std::size_t next = 0; next < blocks() && member.state != MemberState::faulty && !core_.failed();) {
    co_await write_some(to, next, false);
  }
  give_turn();
}

}  // namespace resilver::raid
