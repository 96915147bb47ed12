#include "tools/rescue_map.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

#include "tools/array_copier.h"
#include "tools/array_target.h"

namespace resilver::tools {
namespace {

constexpr std::string_view kStates = "?*/-+";
constexpr std::string_view kPhases = "?*/-FG+";
constexpr std::size_t kTextAtOnce = 1 << 20;

std::optional<std::uint64_t> number(const std::string& text) {
  if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
  char* end = nullptr;
  errno = 0;
  const std::uint64_t value = std::strtoull(text.c_str(), &end, 0);
  if (errno != 0 || *end != '\0') return std::nullopt;
  return value;
}

Status write_text(int fd, std::string_view text, const std::string& file) {
  while (!text.empty()) {
    const ssize_t put = write(fd, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return std::unexpected(file_error(file));
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

}  // namespace

// ---- the file -------------------------------------------------------------------------------------------------------------

Status RescueMap::load(const std::string& file) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(file, error);
  if (error == std::errc::no_such_file_or_directory || (!error && bytes == 0)) return {};
  std::ifstream in(file);
  if (!in) return std::unexpected(file_error(file));
  bool status_seen = false;
  std::uint64_t reached = 0;
  std::size_t count = 0;
  for (std::string line; std::getline(in, line);) {
    ++count;
    if (Status read = read_line(line.substr(0, line.find('#')), status_seen, reached); !read) {
      return fail(read.error().code, fmt::format("{}: line {}: {}", file, count, read.error().what));
    }
  }
  if (in.bad()) return std::unexpected(file_error(file));
  if (!status_seen) return fail(Errc::bad_input, fmt::format("{}: line {}: no map of ddrescue", file, count));
  return {};
}

Status RescueMap::read_line(const std::string& line, bool& status_seen, std::uint64_t& reached) {
  std::istringstream in(line);
  const std::vector<std::string> words{std::istream_iterator<std::string>(in), {}};
  if (words.empty()) return {};
  const auto first = number(words[0]);
  if (!status_seen) {  // "POSITION STATUS [PASS]"
    const bool good = first && words.size() >= 2 && words.size() <= 3 && words[1].size() == 1 &&
                      kPhases.contains(words[1][0]) && (words.size() == 2 || number(words[2]));
    if (!good) return fail(Errc::bad_input, "no status line of a map of ddrescue");
    status_seen = true;
    return {};
  }
  const auto size = words.size() == 3 ? number(words[1]) : std::nullopt;
  if (!first || !size || words[2].size() != 1 || !kStates.contains(words[2][0])) {
    return fail(Errc::bad_input, "expected a position, a size and one of ? * / - +");
  }
  if (*size == 0 || *first + *size < *first) return fail(Errc::bad_input, "a size that cannot be");
  if (*first < reached) return fail(Errc::bad_input, "begins before the end of the line before");
  reached = *first + *size;
  end_ = std::max(end_, reached);
  return set(*first, reached, words[2][0]);
}

Status RescueMap::save(const std::string& file, std::uint64_t position, bool finished) const {
  Target target;
  if (Status opened = target.open(file); !opened) return opened;
  std::string text = fmt::format(
      "# Mapfile. Created by resilver export --rescue\n# current_pos  current_status  current_pass\n"
      "0x{:08X}     {}               1\n#      pos        size  status\n",
      position, finished ? '+' : '?');
  for (auto at = starts_.begin(); at != starts_.end() && at->first < end_; ++at) {
    const std::uint64_t end = std::next(at) == starts_.end() ? end_ : std::min(end_, std::next(at)->first);
    text += fmt::format("0x{:08X}  0x{:08X}  {}\n", at->first, end - at->first, at->second);
    if (text.size() < kTextAtOnce) continue;
    if (Status put = write_text(target.fd(), text, file); !put) return put;
    text.clear();
  }
  if (Status put = write_text(target.fd(), text, file); !put) return put;
  return target.commit();
}

// ---- the parts ------------------------------------------------------------------------------------------------------------

RescueMap::Part RescueMap::part_at(std::uint64_t position) const {
  const auto next = starts_.upper_bound(position);
  return {std::prev(next)->first, next == starts_.end() ? ~std::uint64_t{0} : next->first, std::prev(next)->second};
}

void RescueMap::split(std::uint64_t position) { starts_.try_emplace(position, part_at(position).state); }

void RescueMap::join(std::uint64_t position) {
  const auto at = starts_.find(position);
  if (at != starts_.end() && at != starts_.begin() && std::prev(at)->second == at->second) starts_.erase(at);
}

Status RescueMap::set(std::uint64_t begin, std::uint64_t end, char state) {
  split(begin);
  split(end);
  starts_.erase(starts_.upper_bound(begin), starts_.find(end));
  starts_[begin] = state;
  join(begin);
  join(end);
  if (starts_.size() <= kMaxParts) return {};
  return fail(
      Errc::limit,
      fmt::format("the map has more than {} parts: rescue a part at a time, with --offset and --length", kMaxParts));
}

RescueMap::Part RescueMap::open_part(std::uint64_t from, std::uint64_t to) const {
  while (from < to) {
    const Part part = part_at(from);
    if (part.state != kCopied) return {from, std::min(part.end, to), part.state};
    from = part.end;
  }
  return {to, to, kUntried};
}

bool RescueMap::any_copied() const {
  return std::ranges::any_of(starts_, [](const auto& start) { return start.second == kCopied; });
}

std::vector<RescueMap::Part> RescueMap::lost(std::uint64_t from, std::uint64_t to) const {
  std::vector<Part> parts;
  for (Part part = open_part(from, to); !part.empty(); part = open_part(part.end, to)) {
    if (part.state == kLost) parts.push_back(part);
  }
  return parts;
}

}  // namespace resilver::tools
