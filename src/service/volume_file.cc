#include "service/volume_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "base/units.h"
#include "uring/image.h"

namespace resilver::service {
namespace {

Error system_error(const std::string& path) {
  const Errc code = errno == ENOSPC || errno == EDQUOT                    ? Errc::no_space
                    : errno == EACCES || errno == EPERM || errno == EROFS ? Errc::permission
                                                                          : Errc::io;
  return {code, fmt::format("{}: {}", path, std::strerror(errno))};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end == std::string::npos ? end : end - at));
    if (end == std::string::npos) break;
    at = end + 1;
  }
  return lines;
}

std::string trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1));
}

// The line without its comment. A '#' within quotes is none; keys and table names here have none.
std::string without_comment(const std::string& line) {
  const std::string text = trimmed(line);
  const auto at = text.find('#');
  return at == std::string::npos || text.find('"') < at ? text : trimmed(std::string_view(text).substr(0, at));
}

bool sets(const std::string& line, const std::string& key) {
  const std::string text = trimmed(line);
  if (!text.starts_with(key)) return false;
  return trimmed(std::string_view(text).substr(key.size())).starts_with("=");
}

// [begin, end) of the lines of [volume], without its header.
std::optional<std::pair<std::size_t, std::size_t>> table_of(const std::vector<std::string>& lines) {
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (without_comment(lines[i]) != "[volume]") continue;
    std::size_t end = i + 1;
    while (end < lines.size() && !trimmed(lines[end]).starts_with("[")) ++end;
    return std::pair(i + 1, end);
  }
  return std::nullopt;
}

// A value keeps the comment behind it.
std::string with_value(const std::string& line, const Setting& setting) {
  const auto quote = line.find('"'), end = quote == std::string::npos ? quote : line.find('"', quote + 1);
  if (end == std::string::npos) return fmt::format("{} = {}", setting.key, setting.value);
  return line.substr(0, quote) + setting.value + line.substr(end + 1);
}

Status write_file(const std::string& path, const std::string& text) {
  struct stat before;
  if (stat(path.c_str(), &before) != 0) return std::unexpected(system_error(path));
  const std::string fresh = path + ".new";
  unlink(fresh.c_str());
  const int fd = open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, before.st_mode & 07777);
  if (fd < 0) return std::unexpected(system_error(fresh));
  std::size_t done = 0;
  bool good = fchmod(fd, before.st_mode & 07777) == 0;
  while (good && done < text.size()) {
    const ssize_t written = write(fd, text.data() + done, text.size() - done);
    good = written > 0 || (written < 0 && errno == EINTR);
    if (written > 0) done += static_cast<std::size_t>(written);
  }
  good = good && fsync(fd) == 0;
  Error failed = system_error(fresh);
  close(fd);
  if (good && rename(fresh.c_str(), path.c_str()) == 0) return uring::sync_directory(path);
  if (good) failed = system_error(path);
  unlink(fresh.c_str());
  return std::unexpected(failed);
}

}  // namespace

Status set_in_volume(const std::string& given, const std::vector<Setting>& settings) {
  std::error_code unresolved;
  const auto real = std::filesystem::canonical(given, unresolved);  // a link stays one
  const std::string path = unresolved ? given : real.string();
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail(Errc::io, path + ": cannot be read");
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  std::vector<std::string> lines = lines_of(text);
  for (const Setting& setting : settings) {
    const auto table = table_of(lines);
    if (!table) {
      return fail(Errc::bad_input, fmt::format("{}: has no line [volume]; write into that table by hand: {} = {}", path,
                                               setting.key, setting.value));
    }
    std::size_t at = table->first;
    while (at < table->second && !sets(lines[at], setting.key)) ++at;
    const auto place = lines.begin() + static_cast<std::ptrdiff_t>(at);
    if (at < table->second && setting.value.empty()) {
      lines.erase(place);
    } else if (at < table->second) {
      *place = with_value(*place, setting);
    } else if (!setting.value.empty()) {
      lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(table->first),
                   fmt::format("{} = {}", setting.key, setting.value));
    }
  }
  std::string changed;
  for (const std::string& line : lines) changed += line + "\n";
  return changed == text ? Status{} : write_file(path, changed);
}

}  // namespace resilver::service
