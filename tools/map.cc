// `resilver map`: where a byte of an array lives and what reading or writing it costs, from the same geometry and plans
// that the array executes.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "base/units.h"
#include "raid/geometry.h"
#include "tools/command.h"
#include "tools/commands.h"

namespace resilver::tools {

namespace {

using raid::ColumnSet;
using raid::Geometry;
using raid::Layout;
using raid::Level;
using raid::MemberSet;
using raid::ReadPlan;
using raid::StripePart;
using raid::WritePlan;
using raid::WriteWay;

constexpr std::uint64_t kMaxStripes = 10000;
constexpr std::uint64_t kMaxRequest = 1 * kGiB;
constexpr std::size_t kMaxPartsShown = 8;

struct Request {
  Geometry geometry;
  MemberSet failed;
  std::uint64_t bytes = 0;
  std::uint64_t stripes = 0;
  std::vector<std::uint64_t> addresses;
};

// ---- options --------------------------------------------------------------------------------------------------------

Result<std::uint64_t> number(const CommandLine& given, const char* option, std::uint64_t most) {
  const std::string text = given.text(option);
  Result<std::uint64_t> value = parse_count(text);
  if (!value || *value > most) {
    return fail(Errc::bad_input, fmt::format("--{} {}: a number from 0 to {} was expected", option, text, most));
  }
  return value;
}

Result<Geometry> geometry_from(const CommandLine& given) {
  for (const char* option : {"level", "disks"}) {
    if (!given.has(option)) return fail(Errc::bad_input, fmt::format("--{} is missing", option));
  }
  const auto level_number = number(given, "level", 100);
  if (!level_number) return std::unexpected(level_number.error());
  const auto level = raid::level_from_number(static_cast<int>(*level_number));
  if (!level) return fail(Errc::bad_input, fmt::format("--level {}: 0, 1, 4, 5, 6 or 10 was expected", *level_number));
  const auto disks = number(given, "disks", raid::kMaxDisks);
  if (!disks) return std::unexpected(disks.error());
  const auto chunk = given.size_of("chunk");
  if (!chunk) return std::unexpected(chunk.error());
  if (*level == Level::raid1 && given.has("chunk")) {
    return fail(Errc::bad_input, "--chunk: raid1 has no chunks");
  }
  Layout layout = raid::default_layout(*level);
  if (given.has("layout")) {
    const std::string text = given.text("layout");
    const auto named = raid::layout_from_name(text);
    if (!named) {
      const std::string choices = raid::layout_choices(*level);
      return fail(Errc::bad_input, choices.empty() ? fmt::format("--layout: {} has no choice", raid::name(*level))
                                                   : fmt::format("--layout {}: {} was expected", text, choices));
    }
    layout = *named;
  }
  // Disks as large as arrays can be: the sizes of real ones do not change where a byte lives.
  const std::uint64_t most = raid::kMaxCapacity / std::bit_ceil(raid::kMaxDisks);
  const std::uint64_t member = *chunk == 0 ? 0 : most / *chunk * *chunk;
  return Geometry::make(*level, layout, static_cast<std::uint32_t>(*disks), *chunk, member);
}

Result<MemberSet> failed_from(const CommandLine& given, std::uint32_t disks) {
  MemberSet failed;
  for (const std::string& text : given.all("failed")) {
    const auto disk = parse_count(text);
    if (!disk || *disk >= disks) {
      return fail(Errc::bad_input, fmt::format("--failed {}: a disk from 0 to {} was expected", text, disks - 1));
    }
    failed.add(static_cast<std::uint32_t>(*disk));
  }
  return failed;
}

Result<Request> request_from(const CommandLine& given) {
  auto geometry = geometry_from(given);
  if (!geometry) return std::unexpected(geometry.error());
  auto failed = failed_from(given, geometry->disks());
  if (!failed) return std::unexpected(failed.error());
  auto bytes = given.size_of("bs");
  if (!bytes) return std::unexpected(bytes.error());
  if (*bytes == 0 || *bytes > kMaxRequest)
    return fail(Errc::bad_input, "--bs: a size from 1 byte to 1 GiB was expected");
  Request request{*geometry, *failed, *bytes, 0, {}};
  if (given.has("stripes")) {
    auto stripes = number(given, "stripes", kMaxStripes);
    if (!stripes) return std::unexpected(stripes.error());
    if (*stripes == 0) return fail(Errc::bad_input, "--stripes 0: at least 1 was expected");
    request.stripes = *stripes;
  }
  for (const std::string& text : given.words) {
    auto address = parse_size(text);
    if (!address) return fail(Errc::bad_input, fmt::format("address: {}", address.error().what));
    if (*address > geometry->capacity_bytes() - *bytes) {
      return fail(Errc::bad_input, fmt::format("address {} is beyond the largest array of this shape", text));
    }
    request.addresses.push_back(*address);
  }
  if (request.addresses.empty() == (request.stripes == 0)) {
    return fail(Errc::bad_input, "either addresses or --stripes N was expected");
  }
  return request;
}

// ---- the stripe table -----------------------------------------------------------------------------------------------

// Of a row of chunks: "D17" (the 18th chunk of the array), "P", "Q", "-" (unused); in brackets on a failed disk.
std::string cell(const Request& request, std::uint64_t row, std::uint32_t member) {
  const raid::MemberPlace place = request.geometry.at(member, row * request.geometry.chunk_bytes());
  std::string text;
  switch (place.role.kind) {
    case raid::RoleKind::data: text = fmt::format("D{}", *place.logical / request.geometry.chunk_bytes()); break;
    case raid::RoleKind::p: text = "P"; break;
    case raid::RoleKind::q: text = "Q"; break;
    case raid::RoleKind::unused: text = "-"; break;
  }
  return request.failed.contains(member) ? "(" + text + ")" : text;
}

std::string trimmed(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string stripe_table(const Request& request) {
  const Geometry& geometry = request.geometry;
  std::string out = fmt::format("{:<8}", "stripe");
  for (std::uint32_t member = 0; member < geometry.disks(); ++member) {
    out += fmt::format(
        "{:<9}", request.failed.contains(member) ? fmt::format("(disk {})", member) : fmt::format("disk {}", member));
  }
  out = trimmed(out);
  for (std::uint64_t stripe = 0; stripe < request.stripes; ++stripe) {
    std::string row = fmt::format("{:<8}", stripe);
    for (std::uint32_t member = 0; member < geometry.disks(); ++member) {
      row += fmt::format("{:<9}", cell(request, stripe, member));
    }
    out += trimmed(row);
  }
  return out;
}

// ---- one address ----------------------------------------------------------------------------------------------------

std::string disk_list(MemberSet members) {
  std::string text;
  for (std::uint32_t member : members) text += fmt::format("{}{}", text.empty() ? "" : ", ", member);
  return text;
}

std::string plural(std::uint64_t count, const char* word) {
  return fmt::format("{} {}{}", count, word, count == 1 ? "" : "s");
}

const char* failed_mark(const Request& request, std::uint32_t member) {
  return request.failed.contains(member) ? " (failed)" : "";
}

std::string place_of_copies(const Request& request, std::uint64_t address) {
  const Geometry& geometry = request.geometry;
  if (geometry.is_mirror()) return fmt::format("every disk, byte {} of its data", address);
  std::string text = fmt::format("D{}", address / geometry.chunk_bytes());
  for (std::uint32_t copy = 0; copy < geometry.copies(); ++copy) {
    const raid::CopyPlace at = geometry.copy_of(address, copy);
    text += fmt::format("{} on disk {}{}, byte {} of its data", copy == 0 ? "" : ";", at.member,
                        failed_mark(request, at.member), at.member_offset);
  }
  return text + fmt::format(" ({} in the chunk)", address % geometry.chunk_bytes());
}

std::string place(const Request& request, std::uint64_t address) {
  const Geometry& geometry = request.geometry;
  if (geometry.is_mirrored()) return place_of_copies(request, address);
  const raid::Location where = geometry.map(address);
  std::string text = fmt::format("stripe {}, D{} on disk {}{}, byte {} of its data ({} in the chunk)", where.stripe,
                                 address / geometry.chunk_bytes(), where.member, failed_mark(request, where.member),
                                 where.member_offset, where.chunk_offset);
  const auto parity = [&](const char* label, std::uint32_t member) {
    text += fmt::format("; {} on disk {}{}", label, member, failed_mark(request, member));
  };
  if (geometry.parity_disks() > 0) parity("P", geometry.p_member(where.stripe));
  if (geometry.parity_disks() > 1) parity("Q", geometry.q_member(where.stripe));
  return text;
}

std::string read_text(const Request& request, const StripePart& part, const ReadPlan& plan) {
  if (!plan.possible) return "not possible: too many failed disks";
  const MemberSet disks = request.geometry.members_of(part.stripe, plan.reads);
  if (request.geometry.is_mirrored()) return fmt::format("1 read: any of disks {}", disk_list(disks - request.failed));
  std::string text = fmt::format("{}: {} {}", plural(plan.cost.reads, "read"), disks.count() == 1 ? "disk" : "disks",
                                 disk_list(disks));
  for (std::uint32_t column : plan.recovers) {
    text += fmt::format(", computes D{}",
                        request.geometry.column_logical(part.stripe, column) / request.geometry.chunk_bytes());
  }
  return text;
}

std::string write_text(const Request& request, const StripePart& part, const WritePlan& plan) {
  if (plan.way == WriteWay::impossible) return "not possible: too many failed disks";
  const Geometry& geometry = request.geometry;
  const MemberSet reads = geometry.members_of(part.stripe, plan.reads);
  const MemberSet writes = geometry.members_of(part.stripe, plan.writes) - request.failed;
  std::string text = fmt::format("{} + {}, {}", plural(plan.cost.reads, "read"), plural(plan.cost.writes, "write"),
                                 raid::name(plan.way));
  if (!reads.empty()) text += fmt::format("; reads {}", disk_list(reads));
  if (!writes.empty()) text += fmt::format("; writes {}", disk_list(writes));
  return text;
}

// One line per part of the request, and their sum if there are several.
template <typename Describe>
std::string cost_lines(const Request& request, std::uint64_t address, const char* verb, Describe describe) {
  std::string out;
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::size_t parts = 0;
  bool possible = true;
  for (std::uint64_t rest = request.bytes; rest > 0; ++parts) {
    const StripePart part = request.geometry.first_part(address + request.bytes - rest, rest);
    raid::StripeCost cost;
    const std::string text = describe(part, cost, possible);
    if (parts < kMaxPartsShown) {
      const bool whole = part.length == request.bytes;
      const char* unit = request.geometry.is_mirrored() && !request.geometry.is_mirror() ? "chunk" : "stripe";
      out += fmt::format("  {:<6}{}{}\n", verb, whole ? "" : fmt::format("{} {}: ", unit, part.stripe), text);
    }
    reads += cost.reads;
    writes += cost.writes;
    rest -= part.length;
  }
  if (parts > kMaxPartsShown) out += fmt::format("  {:<6}... {} parts more\n", verb, parts - kMaxPartsShown);
  if (parts > 1 && possible) {
    out += fmt::format("  {:<6}together {}", verb, plural(reads, "read"));
    out += writes > 0 ? fmt::format(" + {}\n", plural(writes, "write")) : "\n";
  }
  return out;
}

std::string describe_address(const Request& request, std::uint64_t address) {
  const Geometry& geometry = request.geometry;
  std::string out = fmt::format("{} at byte {}: {}\n", format_size(request.bytes), address, place(request, address));
  out += cost_lines(request, address, "read", [&](const StripePart& part, raid::StripeCost& cost, bool& possible) {
    const ReadPlan plan = plan_read(geometry, part.stripe, part.touched, request.failed);
    cost = plan.cost;
    possible = possible && plan.possible;
    return read_text(request, part, plan);
  });
  out += cost_lines(request, address, "write", [&](const StripePart& part, raid::StripeCost& cost, bool& possible) {
    const WritePlan plan = plan_write(geometry, part.stripe, part.touched, part.full, request.failed);
    cost = plan.cost;
    possible = possible && plan.way != WriteWay::impossible;
    return write_text(request, part, plan);
  });
  return out;
}

std::string headline(const Request& request) {
  const Geometry& geometry = request.geometry;
  std::string text = fmt::format("{} of {}", raid::name(geometry.level()), plural(geometry.disks(), "disk"));
  if (!geometry.is_mirror()) text += fmt::format(", chunk {}", format_size(geometry.chunk_bytes()));
  if (geometry.layout() != Layout::none && geometry.level() != Level::raid0) {
    text += fmt::format(", {}", raid::name(geometry.layout()));
  }
  if (!request.failed.empty()) text += fmt::format(", failed: {}", disk_list(request.failed));
  if (!geometry.survives(request.failed)) text += " (more than it survives)";
  return text + "\n";
}

int map(const CommandLine& line) {
  const Result<Request> request = request_from(line);
  if (!request) return refuse_usage("map", request.error().what);
  fmt::print("{}", headline(*request));
  if (request->stripes > 0) fmt::print("{}", stripe_table(*request));
  for (std::uint64_t address : request->addresses) fmt::print("{}", describe_address(*request, address));
  return kDone;
}

}  // namespace

constexpr CommandSpec kMapCommand = {
    .name = "map",
    .meaning = "where a byte of an array lives and what an I/O costs",
    .words = "ADDRESS...",
    .usage =
        "--level N --disks N [OPTIONS] ADDRESS...\n"
        "--level N --disks N [OPTIONS] --stripes N",
    .description =
        "Says where a byte of an array lives, where the parity of its stripe is, and what a read or a write there "
        "costs in "
        "disk I/Os; or draws the first stripes. Layouts are Linux md's. Opens nothing, changes nothing.",
    .options =
        {
            {"level", "0|1|4|5|6|10", "the RAID level"},
            {"disks", "N", "disks in the array, without spares"},
            {"chunk", "SIZE", "chunk; not for level 1", "64K"},
            {"layout", "NAME",
             "levels 5 and 6: left-symmetric (default), left-asymmetric, right-symmetric, right-asymmetric, "
             "parity-first, "
             "parity-last; level 6 also ddf-*, and RAID 5's with -6; level 10: near-2 (default) to near-255"},
            {.name = "failed", .value = "DISK", .meaning = "failed disk, from 0", .repeated = true},
            {"bs", "SIZE", "size of the read or write", "4K"},
            {"stripes", "N", "draw the first N stripes"},
        },
    .examples = {"resilver map --level 5 --disks 5 --chunk 64K --failed 2 1M",
                 "resilver map --level 6 --disks 6 --stripes 6", "resilver map --level 10 --disks 5 --stripes 4"},
    .exits = {{0, "done"}, cli::kBadUsageExit},
    .run = map,
};

}  // namespace resilver::tools
