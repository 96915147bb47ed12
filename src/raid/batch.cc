#include "raid/batch.h"

#include <algorithm>

#include "raid/core.h"

namespace resilver::raid {

Batch::Batch(Core& core, Cause cause) noexcept
    : Runnable([](Runnable& self) noexcept { static_cast<Batch&>(self).waiting_.resume(); }),
      core_(core),
      scheduler_(core.scheduler()),
      cause_(cause) {}

Batch::~Batch() { CHECK(pending_ == 0 || scheduler_.killed(), "a batch must be awaited"); }

void Batch::one(IoOp op, Member& member, std::uint64_t device_offset, const Buffer& buffer, bool fua, std::uint32_t tag) {
  Leaf& leaf = core_.leaves().take();
  leaf.buffers[leaf.count++] = buffer;
  ++pending_;
  core_.send(leaf, member, *this, op, device_offset, buffer.size(), fua, cause_, tag);
}

void Batch::read(Member& member, std::uint64_t offset, const Buffer& buffer, std::uint32_t tag) {
  one(IoOp::read, member, member.data_offset + offset, buffer, false, tag);
}

// Above the watermark the replacement gets everything when its window is copied.
static Member* also_written(const Member& member, std::uint64_t offset) {
  return member.twin != nullptr && offset < member.twin->watermark ? member.twin : nullptr;
}

void Batch::write(Member& member, std::uint64_t offset, const Buffer& buffer, bool fua, std::uint32_t tag) {
  if (Member* twin = also_written(member, offset)) write(*twin, offset, buffer, fua, tag);
  one(IoOp::write, member, member.data_offset + offset, buffer, fua, tag);
}

void Batch::read_raw(Member& member, std::uint64_t offset, const Buffer& buffer) {
  one(IoOp::read, member, offset, buffer, false, 0);
}

void Batch::write_raw(Member& member, std::uint64_t offset, const Buffer& buffer) {
  one(IoOp::write, member, offset, buffer, true, 0);
}

void Batch::write_run(Member& member, std::uint64_t offset, std::span<const Buffer> run) {
  Leaf& leaf = core_.leaves().take();
  std::uint64_t bytes = 0;
  for (const Buffer& buffer : run) {
    leaf.buffers[leaf.count++] = buffer;
    bytes += buffer.size();
  }
  ++pending_;
  core_.send(leaf, member, *this, IoOp::write, member.data_offset + offset, bytes, true, cause_, 0);
}

void Batch::transfer(IoOp op, Member& member, std::uint64_t offset, const Payload& payload, std::uint64_t at,
                     std::uint64_t length, bool fua, std::uint32_t tag) {
  Member* twin = op == IoOp::read ? nullptr : also_written(member, offset);
  if (twin != nullptr) transfer(op, *twin, offset, payload, at, length, fua, tag);
  while (length > 0) {
    Leaf& leaf = core_.leaves().take();
    const std::uint64_t bytes = payload.gather(leaf, at, length);
    ++pending_;
    core_.send(leaf, member, *this, op, member.data_offset + offset, bytes, fua, cause_, tag);
    offset += bytes;
    at += bytes;
    length -= bytes;
  }
}

void Batch::write_spans(Member& member, std::uint64_t base, std::span<const Span> spans, bool fua) {
  if (spans.empty()) return;
  const auto first =
      std::min_element(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
  if (Member* twin = also_written(member, base + first->begin)) write_spans(*twin, base, spans, fua);
  Leaf* leaf = nullptr;
  std::uint64_t begin = 0;
  std::uint64_t reach = 0;
  const auto send = [&] {
    if (leaf == nullptr) return;
    ++pending_;
    core_.send(*std::exchange(leaf, nullptr), member, *this, IoOp::write, member.data_offset + base + begin,
               reach - begin, fua, cause_, 0);
  };
  for (const Span& span : spans) {
    for (std::uint64_t at = span.begin; at < span.end; at = reach) {
      if (leaf != nullptr && (reach != at || leaf->count == Leaf::kMaxSegments)) send();
      if (leaf == nullptr) {
        leaf = &core_.leaves().take();
        begin = at;
      }
      reach = at + span.payload->gather(*leaf, span.at + (at - span.begin), span.end - at);
    }
  }
  send();
}

void Batch::on_range(IoOp op, Member& member, std::uint64_t offset, std::uint64_t length) {
  ++pending_;
  core_.send(core_.leaves().take(), member, *this, op, member.data_offset + offset, length, false, cause_, 0);
}

void Batch::flush(Member& member) {
  if (member.twin != nullptr) flush(*member.twin);
  ++pending_;
  core_.send(core_.leaves().take(), member, *this, IoOp::flush, 0, 0, false, cause_, 0);
}

void Batch::reserve(Member& member, std::uint64_t offset, std::uint64_t length) {
  if (Member* twin = also_written(member, offset)) reserve(*twin, offset, length);
  if (member.device == nullptr || !member.device->may_lack_room(member.data_offset + offset, length)) return;
  on_range(IoOp::reserve, member, offset, length);
}

bool Batch::lacks_room() const noexcept {
  return std::ranges::any_of(failures_, [](const Failure& failure) { return failure.status == Errc::no_space; });
}

void Batch::leaf_done(Leaf& leaf) noexcept {
  if (leaf.status != Errc::ok) failures_.push_back({leaf.member, leaf.tag, leaf.op, leaf.status});
  if (--pending_ == 0 && waiting_) scheduler_.post(*this);
}

}  // namespace resilver::raid
