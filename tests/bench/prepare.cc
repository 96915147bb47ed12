// prepare LEVEL(0|5|6) MIB IMAGE...: fills images with random data and, at the place where an array on them would have it,
// the matching parity of RAID 5 (4 members) or RAID 6 (6 members). Images beyond the members (spares), or all of them for
// level 0, get data of their own: every byte is really written, so that the timed writes only overwrite. Prints where the
// array's data begins on each image.
#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "measure.h"
#include "raid/geometry.h"
#include "raid/parity.h"
#include "raid/superblock.h"
#include "stripe_work.h"

namespace {

using namespace resilver;
using bench::die;
using bench::kChunk;

constexpr std::size_t kRows = 16;  // chunks of each image per write
constexpr std::size_t kPiece = kRows * kChunk;

struct Images {
  std::vector<int> fds;
  std::vector<std::byte*> pieces;  // kPiece bytes for each
};

void write_piece(const Images& images, std::uint64_t at) {
  for (std::size_t i = 0; i < images.fds.size(); ++i) {
    for (std::size_t done = 0; done < kPiece;) {
      const ssize_t n = pwrite(images.fds[i], images.pieces[i] + done, kPiece - done, static_cast<off_t>(at + done));
      if (n <= 0) die("cannot write an image");
      done += static_cast<std::size_t>(n);
    }
  }
}

void make_parity(const raid::Geometry& geometry, raid::ParityCode& code, const Images& images,
                 std::uint64_t first_stripe) {
  for (std::uint64_t row = 0; row < kRows; ++row) {
    std::byte* columns[raid::kMaxDisks] = {};
    for (std::uint32_t c = 0; c < geometry.columns(); ++c)
      columns[c] = images.pieces[geometry.member_of(first_stripe + row, c)] + row * kChunk;
    std::byte* q = geometry.parity_disks() == 2 ? columns[geometry.q_column()] : nullptr;
    code.generate({columns, geometry.data_disks()}, columns[geometry.p_column()], q, kChunk);
  }
}

void fill(const Images& images, const raid::Geometry* geometry, std::uint64_t data_offset, std::uint64_t size) {
  std::unique_ptr<raid::ParityCode> code;
  if (geometry != nullptr) code = std::make_unique<raid::ParityCode>(geometry->data_disks(), geometry->parity_disks());
  Random random(1);
  for (std::uint64_t at = 0; at < size; at += kPiece) {
    for (std::byte* piece : images.pieces) {
      auto* words = reinterpret_cast<std::uint64_t*>(piece);
      for (std::size_t w = 0; w < kPiece / 8; ++w) words[w] = random.next();
    }
    if (code && at >= data_offset) make_parity(*geometry, *code, images, (at - data_offset) / kChunk);
    write_piece(images, at);
  }
  for (const int fd : images.fds)
    if (fsync(fd) != 0) die("cannot sync an image");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) die("usage: prepare LEVEL(0|5|6) MIB IMAGE...");
  const int level = std::atoi(argv[1]);
  const std::uint64_t size = std::strtoull(argv[2], nullptr, 10) << 20;
  if (size == 0) die("bad size", argv[2]);

  Images images;
  for (int i = 3; i < argc; ++i) {
    images.fds.push_back(open(argv[i], O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (images.fds.back() < 0) die("cannot open", argv[i]);
    images.pieces.push_back(static_cast<std::byte*>(std::aligned_alloc(4096, kPiece)));
  }
  // A multiple of 1 MiB = kPiece, so a piece lies wholly before it or begins at a stripe of its own.
  const std::uint64_t data_offset = raid::choose_data_offset(size / 512, kChunk / 512) * 512;
  if (level == 0) {
    fill(images, nullptr, data_offset, size);
  } else {
    const auto kind = level == 6 ? raid::Level::raid6 : raid::Level::raid5;
    auto geometry =
        raid::Geometry::make(kind, raid::default_layout(kind), level == 6 ? 6 : 4, kChunk, size - data_offset);
    if (!geometry) die(geometry.error().what.c_str());
    fill(images, &*geometry, data_offset, size);
  }
  std::printf("%llu\n", static_cast<unsigned long long>(data_offset));
}
