// `resilver recreate --guess`: how an array whose superblocks are lost was laid out, judged by what must lie where in the file
// system on it. Only reads.
//
// For each level, chunk, layout and data offset the signs of a file system (guess_signs.h) say which image can be in which
// slot, each by itself: so orders need not be tried one by one. What is left is joined slot by slot, and the rows of the best
// are compared with their redundancy.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <ranges>

#include "base/units.h"
#include "raid/stripe_code.h"
#include "tools/array_copier.h"
#include "tools/array_session.h"
#include "tools/command.h"
#include "tools/commands.h"
#include "tools/guess_signs.h"

namespace resilver::tools {
namespace {

using raid::Geometry;
using raid::Layout;
using raid::Level;

constexpr std::uint64_t kMaxSteps = 200'000;  // of joining, for one shape
constexpr std::size_t kShown = 20;
constexpr std::size_t kKept = 1000;  // arrangements that are as good as the best
constexpr std::uint64_t kRows = 64;  // compared with their redundancy
constexpr std::uint64_t kChunks[] = {64, 512, 128, 256, 32, 16, 1024, 4, 8, 2048};  // KiB, the likely ones first
constexpr std::uint64_t kOffsets[] = {2048, 4096, 8192, 16384, 34816, 133120, 262144, 264192, 272};  // sectors, mdadm's

struct Wish {
  Place place;
  std::uint32_t disks = 0;  // slots
  std::vector<Level> levels;
  std::vector<std::uint64_t> chunks;
  std::vector<Layout> layouts;         // empty: each level's
  std::vector<std::uint64_t> offsets;  // bytes; empty: mdadm's
};

struct ImageFile {
  std::string path;
  std::uint64_t bytes = 0;
  Descriptor file;
  bool read(std::uint64_t at, std::span<std::byte> into) const {
    return pread(file.fd, into.data(), into.size(), static_cast<off_t>(at)) == static_cast<ssize_t>(into.size());
  }
};
using Images = std::vector<std::unique_ptr<ImageFile>>;

struct alignas(raid::kParityUnit) AlignedBlock {
  std::array<std::byte, kBlockBytes> bytes;
};

constexpr std::size_t kMissing = ~std::size_t{0};

struct Arrangement {
  Level level;
  Layout layout;
  std::uint64_t chunk;
  std::uint64_t offset;
  std::string what;
  std::vector<std::size_t> order;  // of images, by slot
  std::uint64_t right = 0;
  std::uint64_t wrong = 0;
  std::uint64_t rows_right = 0;
  std::uint64_t rows_wrong = 0;
  std::int64_t turn = 0;  // when it was found: the likely ones are tried first

  auto rank() const { return std::tuple(-static_cast<std::int64_t>(wrong + rows_wrong), right + rows_right); }
};

// ---- one shape: level, layout, chunk, data offset ----

class Shape {
 public:
  Shape(const Images& images, const Geometry& geometry, std::uint64_t offset, Signs signs)
      : images_(images), geometry_(geometry), offset_(offset), signs_(std::move(signs)) {
    score_.resize(geometry.disks(), std::vector<Score>(images.size()));
  }

  // The best orders, most right first; one wrong sign rules an image out of a slot.
  std::vector<Arrangement> best() {
    read_signs();
    order_.assign(geometry_.disks(), kMissing);
    used_.assign(images_.size(), false);
    join(0, 0);
    std::vector<Arrangement> found;
    for (const auto& order : orders_) {
      Arrangement one{
          geometry_.level(), geometry_.layout(), geometry_.chunk_bytes(), offset_, signs_.what, order, right_, 0};
      compare_rows(one);
      found.push_back(std::move(one));
    }
    return found;
  }

 private:
  struct Score {
    std::uint64_t right = 0;
    std::uint64_t wrong = 0;
  };

  void read_signs() {
    for (std::size_t i = 0; i < signs_.signs.size(); ++i) {
      const Sign sign = signs_.signs[i];
      if (sign.at + sign.bytes > geometry_.capacity_bytes()) continue;
      bool told = false;
      for (const raid::CopyPlace& place : places_of(sign.at)) {
        for (std::size_t image = 0; image < images_.size(); ++image) told = read_sign(sign, place, image, told);
      }
    }
  }

  std::vector<raid::CopyPlace> places_of(std::uint64_t logical) const {
    std::vector<raid::CopyPlace> places;
    if (geometry_.is_mirrored()) {
      for (std::uint32_t copy = 0; copy < geometry_.copies(); ++copy)
        places.push_back(geometry_.copy_of(logical, copy));
    } else {
      const raid::Location place = geometry_.map(logical);
      places.push_back({place.member, place.member_offset});
    }
    return places;
  }

  // What this image says if it is in this place. True: the sign has told of more.
  bool read_sign(const Sign& sign, const raid::CopyPlace& place, std::size_t image, bool told) {
    std::array<std::byte, 4096> block;
    const auto bytes = std::span(block).first(sign.bytes);
    const bool read = images_[image]->read(offset_ + place.member_offset, bytes);
    const Verdict verdict = read ? sign.judge(bytes) : Verdict::wrong;
    Score& score = score_[place.member][image];
    score.right += verdict == Verdict::right ? 1 : 0;
    score.wrong += verdict == Verdict::wrong ? 1 : 0;
    if (told || verdict != Verdict::right || !sign.more) return told;
    for (Sign& more : sign.more(bytes)) {
      if (signs_.signs.size() < 2 * kMaxSigns) signs_.signs.push_back(std::move(more));
    }
    return true;
  }

  void join(std::uint32_t slot, std::uint64_t right) {
    if (++steps_ > kMaxSteps) return;
    if (slot == geometry_.disks()) {
      if (right > right_) orders_.clear();
      right_ = std::max(right_, right);
      if (right == right_ && orders_.size() < kKept) orders_.push_back(order_);
      return;
    }
    for (std::size_t i = 0; i < images_.size(); ++i) {
      if (used_[i] || score_[slot][i].wrong > 0 || is_swapped_copy(slot, i)) continue;
      used_[i] = true;
      order_[slot] = i;
      join(slot + 1, right + score_[slot][i].right);
      used_[i] = false;
      order_[slot] = kMissing;
    }
    const auto missing = static_cast<std::size_t>(std::ranges::count(order_ | std::views::take(slot), kMissing));
    if (missing + images_.size() < geometry_.disks()) join(slot + 1, right);
  }

  // Of copies that lie in the same places the order means nothing: one of them is enough.
  bool is_swapped_copy(std::uint32_t slot, std::size_t image) const {
    const bool pairs = geometry_.level() == Level::raid10 && geometry_.disks() % 2 == 0 && slot % 2 == 1;
    const bool copy = (geometry_.level() == Level::raid1 && slot > 0) || pairs;
    return copy && order_[slot - 1] != kMissing && order_[slot - 1] > image;
  }

  // Rows that hold something, spread over the members.
  void compare_rows(Arrangement& one) {
    if (std::ranges::count(one.order, kMissing) > 0 || geometry_.redundancy() == 0) return;
    const std::uint64_t rows = geometry_.member_bytes() / kBlockBytes;
    const std::uint64_t step = std::max<std::uint64_t>(rows / (8 * kRows), 1);
    for (std::uint64_t row = 0; row < rows && one.rows_right + one.rows_wrong < kRows; row += step) {
      const Verdict verdict = geometry_.is_mirrored() ? compare_copies(one, row) : compare_parity(one, row);
      one.rows_right += verdict == Verdict::right ? 1 : 0;
      one.rows_wrong += verdict == Verdict::wrong ? 1 : 0;
    }
  }

  Verdict compare_parity(const Arrangement& one, std::uint64_t row) const {
    const std::uint64_t at = row * kBlockBytes;
    const std::uint64_t stripe = geometry_.stripe_of_member_offset(at);
    std::vector<AlignedBlock> blocks(geometry_.columns());
    std::vector<const std::byte*> columns;
    bool zero = true;
    for (std::uint32_t column = 0; column < geometry_.columns(); ++column) {
      const std::size_t image = one.order[geometry_.member_of(stripe, column)];
      if (!images_[image]->read(offset_ + at, blocks[column].bytes)) return Verdict::silent;
      zero = zero && raid::is_zero(blocks[column].bytes.data(), kBlockBytes);
      columns.push_back(blocks[column].bytes.data());
    }
    if (zero) return Verdict::silent;
    return raid::StripeCode(geometry_).consistent(stripe, columns, kBlockBytes) ? Verdict::right : Verdict::wrong;
  }

  Verdict compare_copies(const Arrangement& one, std::uint64_t row) const {
    const std::uint64_t logical = row * kBlockBytes;
    if (logical >= geometry_.capacity_bytes()) return Verdict::silent;
    alignas(raid::kParityUnit) std::array<std::byte, kBlockBytes> first, other;
    for (std::uint32_t copy = 0; copy < geometry_.copies(); ++copy) {
      const raid::CopyPlace place = geometry_.copy_of(logical, copy);
      if (!images_[one.order[place.member]]->read(offset_ + place.member_offset, copy == 0 ? first : other)) {
        return Verdict::silent;
      }
      if (copy > 0 && first != other) return Verdict::wrong;
    }
    return raid::is_zero(first.data(), first.size()) ? Verdict::silent : Verdict::right;
  }

  const Images& images_;
  Geometry geometry_;
  std::uint64_t offset_;
  Signs signs_;
  std::vector<std::vector<Score>> score_;  // by slot, then image
  std::vector<std::size_t> order_;
  std::vector<bool> used_;
  std::vector<std::vector<std::size_t>> orders_;
  std::uint64_t right_ = 0;
  std::uint64_t steps_ = 0;
};

// ---- all shapes ----

std::vector<Layout> layouts_of(const Wish& wish, Level level) {
  std::vector<Layout> all;
  if (level == Level::raid5 || level == Level::raid6) {
    all = {Layout::left_symmetric, Layout::left_asymmetric, Layout::right_symmetric, Layout::right_asymmetric};
  } else {
    all = {raid::default_layout(level)};
  }
  if (!wish.layouts.empty()) {
    std::erase_if(all, [&wish](Layout layout) { return std::ranges::find(wish.layouts, layout) == wish.layouts.end(); });
  }
  return all;
}

std::vector<std::uint64_t> offsets_of(const Wish& wish, std::uint64_t smallest, std::uint64_t chunk) {
  if (!wish.offsets.empty()) return wish.offsets;
  std::vector<std::uint64_t> all{
      raid::choose_data_offset(smallest / kSectorBytes, static_cast<std::uint32_t>(chunk / kSectorBytes)) * kSectorBytes};
  for (const std::uint64_t sectors : kOffsets) {
    if (sectors * kSectorBytes != all.front()) all.push_back(sectors * kSectorBytes);
  }
  return all;
}

struct Search {
  std::vector<Arrangement> found;
  std::uint64_t shapes = 0;
};

// Signs begin in the image that holds the array's first chunk, whichever that is.
void try_shape(const Images& images, Level level, Layout layout, std::uint32_t disks, std::uint64_t chunk,
               std::uint64_t offset, std::uint64_t smallest, Search& search) {
  const std::uint64_t unit = level == Level::raid1 ? kBlockBytes : chunk;
  if (smallest <= offset + unit) return;
  const auto geometry = Geometry::make(level, layout, disks, level == Level::raid1 ? raid::kMirrorUnit : chunk,
                                       (smallest - offset) / unit * unit);
  if (!geometry) return;
  ++search.shapes;
  const std::uint64_t first = std::min<std::uint64_t>(level == Level::raid1 ? kMaxPiece : chunk, kMaxPiece);
  for (const auto& image : images) {
    std::vector<std::byte> beginning(std::min(first, smallest - offset));
    if (!image->read(offset, beginning)) continue;
    Signs signs = signs_of(beginning);
    if (signs.what.empty() || signs.bytes > geometry->capacity_bytes()) continue;
    const auto best = Shape(images, *geometry, offset, std::move(signs)).best();
    for (const Arrangement& one : best) {
      search.found.push_back(one);
      search.found.back().turn = static_cast<std::int64_t>(search.found.size());
    }
    break;
  }
}

Task<Search> search_all(ArraySession& session, const Wish& wish, const Images& images) {
  Search search;
  const std::uint64_t smallest =
      std::ranges::min(images | std::views::transform([](const auto& image) { return image->bytes; }));
  for (const Level level : wish.levels) {
    for (const std::uint64_t chunk : wish.chunks) {
      if (level == Level::raid1 && chunk != wish.chunks.front()) continue;
      for (const Layout layout : layouts_of(wish, level)) {
        for (const std::uint64_t offset : offsets_of(wish, smallest, level == Level::raid1 ? 0 : chunk)) {
          if (session.interrupted()) co_return search;
          try_shape(images, level, layout, wish.disks, chunk, offset, smallest, search);
          co_await yield(session.env().scheduler());
        }
      }
    }
  }
  co_return search;
}

// ---- telling ----

std::string command_for(const Arrangement& one, const Images& images) {
  std::string text = fmt::format("resilver create --assume-clean --level {}", static_cast<int>(one.level));
  if (one.level != Level::raid1) text += fmt::format(" --chunk {}K", one.chunk / 1024);
  if (one.level == Level::raid5 || one.level == Level::raid6) text += fmt::format(" --layout {}", name(one.layout));
  text += fmt::format(" --data-offset {}s --devices", one.offset / kSectorBytes);
  for (const std::size_t image : one.order)
    text += " " + (image == kMissing ? "missing" : shell_word(images[image]->path));
  return text;
}

std::string evidence_of(const Arrangement& one) {
  std::string text = fmt::format("{}: {} structures in their places", one.what, one.right);
  if (one.rows_right + one.rows_wrong > 0) {
    text += fmt::format(", {} of {} rows match their redundancy", one.rows_right, one.rows_right + one.rows_wrong);
  }
  return text;
}

Task<Status> guess(ArraySession& session, const Wish& wish) {
  if (Status opened = co_await session.open(wish.place, uring::Access::read_only); !opened) co_return opened;
  Images images;
  for (const Disk& disk : session.disks()) {
    auto image = std::make_unique<ImageFile>();
    image->path = disk.path;
    image->file.fd = open(disk.path.c_str(), O_RDONLY | O_CLOEXEC);
    const off_t end = image->file.fd < 0 ? -1 : lseek(image->file.fd, 0, SEEK_END);
    if (end < 0) co_return std::unexpected(file_error(disk.path));
    image->bytes = static_cast<std::uint64_t>(end);
    images.push_back(std::move(image));
  }
  Search search = co_await search_all(session, wish, images);
  if (session.interrupted()) co_return fail(Errc::cancelled, "interrupted");
  std::ranges::sort(search.found, std::greater(),
                    [](const Arrangement& one) { return std::pair(one.rank(), -one.turn); });
  const std::size_t best =
      search.found.empty()
          ? 0
          : static_cast<std::size_t>(std::ranges::count_if(
                search.found, [&search](const Arrangement& one) { return one.rank() == search.found.front().rank(); }));
  for (const Arrangement& one : search.found | std::views::take(kShown)) {
    fmt::print("{}\n  # {}\n", command_for(one, images), evidence_of(one));
  }
  if (search.found.size() > kShown) fmt::print("and {} more\n", search.found.size() - kShown);
  fmt::print("{} shapes tried (level, chunk, layout, data offset), of each the orders that no structure rules out\n",
             search.shapes);
  const bool sound = best == 1 && search.found.front().rows_wrong == 0;
  if (sound) co_return Status{};
  const std::string why = search.found.empty()
                              ? "no arrangement shows a file system: --disks, --data-offset and --chunk "
                                "widen the search"
                          : best == 1 ? "the best arrangement does not match its redundancy everywhere"
                                      : fmt::format("{} arrangements are equally good", best);
  co_return fail(Errc::not_found, fmt::format("{}: {}", wish.place.label, why));
}

// ---- the command ----

Result<Wish> read_wish(const CommandLine& line) {
  Wish wish;
  if (!line.has("guess"))
    return fail(Errc::bad_input, "--guess is needed: it only looks, and prints what resilver create is to do");
  const auto place = find_place(line.words);
  if (!place) return std::unexpected(place.error());
  wish.place = *place;
  const auto count = static_cast<std::uint32_t>(place->paths.size());
  const auto disks = line.count_of("disks", count, raid::kMaxDisks);
  const auto level = line.count_of("level", 0, raid::kMaxDisks);
  const auto chunk = line.size_of("chunk", 0);
  const auto offset = line.size_of("data-offset", 0);
  if (!disks || !level) return std::unexpected((disks ? level : disks).error());
  if (!chunk || !offset) return std::unexpected((chunk ? offset : chunk).error());
  if (*disks < count || *disks > raid::kMaxDisks) {
    return fail(Errc::bad_input, fmt::format("--disks: {} for {} images; at most {}", *disks, count, raid::kMaxDisks));
  }
  wish.disks = *disks;
  // Of two disks levels 4, 5 and 10 lie there as a mirror does.
  wish.levels = {Level::raid1, Level::raid0};
  if (*disks > 2) wish.levels = {Level::raid5, Level::raid6, Level::raid10, Level::raid1, Level::raid0, Level::raid4};
  if (line.has("level")) {
    const auto known = raid::level_from_number(static_cast<int>(*level));
    if (!known) return fail(Errc::bad_input, fmt::format("--level: {} is none", *level));
    wish.levels = {*known};
  }
  for (const std::uint64_t kib : kChunks) wish.chunks.push_back(kib * kKiB);
  if (line.has("chunk")) wish.chunks = {*chunk};
  if (line.has("data-offset")) wish.offsets = {*offset};
  if (line.has("layout")) {
    const auto layout = raid::layout_from_name(line.text("layout"));
    if (!layout) return fail(Errc::bad_input, fmt::format("--layout: {} is none", line.text("layout")));
    wish.layouts = {*layout};
  }
  return wish;
}

int run_recreate(const CommandLine& line) {
  const auto wish = read_wish(line);
  if (!wish) return refuse_usage("recreate", wish.error().what);
  return run_session("recreate", [&wish](ArraySession& session) { return guess(session, *wish); });
}

}  // namespace

constexpr CommandSpec kRecreateCommand = {
    .name = "recreate",
    .meaning = "guess how an array was laid out whose superblocks are lost",
    .words = "DIR|IMAGE...",
    .usage = "--guess DIR|IMAGE... [OPTIONS]",
    .description =
        "For images of an array whose superblocks are lost: looks for the level, order, chunk, layout and data offset "
        "by "
        "which a file system (ext2 to ext4, xfs, or a GPT with one) has all its structures in their places, and "
        "redundancy "
        "matches. Prints each as the command that makes the superblocks anew, the best first. Only reads. The image "
        "with "
        "the array's first chunk must be there.",
    .options = {{"guess", nullptr, "look for arrangements; nothing is written"},
                {"disks,n", "N", "slots of the array, missing ones too; default as many as images"},
                {"level,l", "0|1|4|5|6|10", "only this level"},
                {"chunk,c", "SIZE", "only this chunk"},
                {"layout", "NAME", "only this layout"},
                {"data-offset", "SIZE", "only this data offset; default those that mdadm chooses"}},
    .examples = {"resilver recreate --guess vm", "resilver recreate --guess a.img c.img d.img --disks 4 --level 5"},
    .exits = {{0, "one is the best"}, {1, "none or several are"}, cli::kBadUsageExit, cli::kInterruptedExit},
    .run = run_recreate,
};

}  // namespace resilver::tools
