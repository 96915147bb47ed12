#include "tools/array_partition.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>

#include "tools/array_signature.h"

namespace resilver::tools {

// The same request further on in the image, in front of the one that asked for it.
struct Partition::Shifted : IoRequest {
  Shifted(Partition& owner, IoRequest& wanted) noexcept : IoRequest(&done), partition(owner), request(wanted) {
    op = wanted.op;
    fua = wanted.fua;
    offset = wanted.offset + (wanted.op == IoOp::flush ? 0 : owner.range_.begin);
    length = wanted.length;
    segments = wanted.segments;
  }
  static void done(Runnable& self) noexcept {
    const std::unique_ptr<Shifted> shifted(static_cast<Shifted*>(&self));
    shifted->request.complete(shifted->scheduler, shifted->status);
  }

  Partition& partition;
  Scheduler& scheduler = partition.scheduler_;
  IoRequest& request;
};

void Partition::submit(IoRequest& request) noexcept {
  check_request(request, range_.size, kSectorBytes);
  whole_->submit(*new Shifted(*this, request));  // deletes itself
}

std::uint64_t Partition::next_data(std::uint64_t from) const noexcept {
  return std::min(whole_->next_data(range_.begin + from) - range_.begin, range_.size);
}

std::optional<PartitionName> partition_name(const std::string& path) {
  struct stat status;
  const std::size_t colon = path.rfind(':');
  if (colon == std::string::npos || colon == 0 || stat(path.c_str(), &status) == 0) return std::nullopt;
  PartitionName name{path.substr(0, colon), 0};
  const char* const end = path.data() + path.size();
  const auto [stop, error] = std::from_chars(path.data() + colon + 1, end, name.number);
  if (error != std::errc() || stop != end || name.number < 1) return std::nullopt;
  return name;
}

std::string file_of(const std::string& path) {
  const auto partition = partition_name(path);
  return partition ? partition->file : path;
}

Result<PartitionRange> find_partition(const PartitionName& name) {
  const auto found = partition_at(name.file, name.number);
  if (!found) return std::unexpected(found.error());
  struct stat status;
  const bool file = stat(name.file.c_str(), &status) == 0 && S_ISREG(status.st_mode);
  const auto bytes = static_cast<std::uint64_t>(file ? status.st_size : 0);
  if (file && (found->first > bytes || found->second > bytes - found->first)) {
    return fail(Errc::bad_input, fmt::format("{}:{}: the partition ends behind the file", name.file, name.number));
  }
  return PartitionRange{found->first, found->second};
}

}  // namespace resilver::tools
