#include "workload/history_judge.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace resilver::workload {

namespace {

using Json = nlohmann::json;

constexpr std::size_t kLongestLine = 1 << 20;
constexpr std::uint64_t kLongestRequest = 1 << 20;
constexpr std::uint32_t kMostOpen = 1 << 16;
constexpr std::uint64_t kVolume = 1;

// Thrown inside this file only, where a line is at fault: what is there, and what was expected.
struct Fault {
  std::string what, expected;
};

std::uint64_t number(const Json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end()) throw Fault{fmt::format("no \"{}\"", key), "a number"};
  if (!found->is_number_unsigned()) throw Fault{fmt::format("\"{}\": {}", key, found->dump()), "a number from 0 on"};
  return found->get<std::uint64_t>();
}

std::string text(const Json& line, const char* key, const char* expected) {
  const auto found = line.find(key);
  if (found == line.end()) throw Fault{fmt::format("no \"{}\"", key), expected};
  if (!found->is_string()) throw Fault{fmt::format("\"{}\": {}", key, found->dump()), expected};
  return found->get<std::string>();
}

Durability promise_of(const Json& header) {
  constexpr const char* kExpected = "on_ack, on_flush or prefix";
  const std::string word = text(header, "promise", kExpected);
  for (const Durability promise : {Durability::on_ack, Durability::on_flush, Durability::prefix}) {
    if (word == durability_name(promise)) return promise;
  }
  throw Fault{"promise " + word, kExpected};
}

Errc error_of(const Json& line) {
  const std::string word = text(line, "error", "why it failed");
  for (int code = 1; code <= static_cast<int>(Errc::read_only); ++code) {
    if (word == errc_name(static_cast<Errc>(code))) return static_cast<Errc>(code);
  }
  throw Fault{fmt::format("error \"{}\"", word), "an error of ours, such as \"timeout\" or \"medium error\""};
}

class Replay {
 public:
  void play(const Json& line, std::uint64_t at) {
    line_ = at;
    if (!oracle_) return begin(line);
    const std::string type = text(line, "type", "invoke, ok, fail or info");
    const std::string call = text(line, "f", "read, write, flush, power_loss, failover or final_reading");
    const std::uint64_t time = number(line, "time");
    if (time < time_) throw Fault{fmt::format("time {} after {}", time, time_), "times that do not run backwards"};
    time_ = time;
    if (type == "invoke") {
      invoke(line, call);
    } else if (type == "info" && (call == "power_loss" || call == "failover" || call == "final_reading")) {
      happen(line, call);
    } else {
      end(line, type, call);
    }
    note_first();
  }

  std::optional<HistoryVerdict> verdict() {
    if (!oracle_) return {};
    verdict_.counts = oracle_->counts();
    verdict_.never_ended = open_.size();
    return std::move(verdict_);
  }

 private:
  struct Open {
    std::string call;
    OpHandle handle;
    std::uint64_t offset = 0, length = 0, version = 0, line = 0;
  };
  // A version of the file, as the oracle of this replay counts them.
  struct Write {
    Version version = 0;
    SectorKind kind = SectorKind::data;
    std::uint64_t begin = 0, end = 0;
  };

  Nanos now() const noexcept { return static_cast<Nanos>(time_); }

  void begin(const Json& header) {
    if (header.value("type", Json()) != Json("history")) {
      throw Fault{"no header", R"(a first line with "type":"history" (docs/history.md))"};
    }
    if (const std::uint64_t schema = number(header, "schema"); schema != kHistorySchema)
      throw Fault{fmt::format("schema {}", schema), std::to_string(kHistorySchema)};
    verdict_.scenario = text(header, "scenario", "the scenario's title");
    verdict_.contender = text(header, "contender", "the contender's name");
    verdict_.seed = number(header, "seed");
    verdict_.promise = config_.durability = promise_of(header);
    if (const auto unit = text(header, "time_unit", "ns"); unit != "ns") throw Fault{"time_unit " + unit, "ns"};
    for (const auto& [key, value] : {std::pair("sector_bytes", kSectorBytes), std::pair("block_bytes", kBlockBytes)}) {
      if (const auto bytes = number(header, key); bytes != value)
        throw Fault{fmt::format("{} {}", key, bytes), std::to_string(value)};
    }
    config_.volume_id = kVolume;
    config_.max_inflight = kMostOpen;
    config_.volume_bytes = number(header, "volume_bytes");
    if (config_.volume_bytes == 0 || config_.volume_bytes > kMaxVolumeBytes || config_.volume_bytes % kBlockBytes != 0)
      throw Fault{fmt::format("volume_bytes {}", config_.volume_bytes),
                  fmt::format("a multiple of {} up to {}", kBlockBytes, kMaxVolumeBytes)};
    config_.fill_offset = number(header, "fill_offset");
    config_.fill_bytes = number(header, "fill_bytes");
    const bool fits =
        config_.fill_bytes <= config_.volume_bytes && config_.fill_offset <= config_.volume_bytes - config_.fill_bytes;
    if (!fits || config_.fill_bytes % kBlockBytes != 0 || config_.fill_offset % kBlockBytes != 0)
      throw Fault{fmt::format("a fill of {} bytes at {}", config_.fill_bytes, config_.fill_offset),
                  "whole blocks inside the volume"};
    oracle_ = std::make_unique<Oracle>(config_);
  }

  void invoke(const Json& line, const std::string& call) {
    const std::uint64_t process = number(line, "process");
    if (const auto found = open_.find(process); found != open_.end()) {
      throw Fault{fmt::format("process {} begins a {} while its {} of line {} is open", process, call,
                              found->second.call, found->second.line),
                  "one open request per process"};
    }
    if (ended_.contains(process)) {
      throw Fault{fmt::format("process {} goes on after an unknown outcome", process), "another process"};
    }
    if (open_.size() == kMostOpen) throw Fault{fmt::format("more than {} requests are open", kMostOpen), "fewer"};
    Open op{call, {}, 0, 0, 0, line_};
    if (call == "flush") {
      op.handle = oracle_->begin_flush(now());
    } else if (call == "read" || call == "write") {
      op.offset = number(line, "offset");
      op.length = number(line, "length");
      check_range(op);
      if (call == "read") op.handle = oracle_->begin_read(now(), op.offset, op.length);
      if (call == "write") begin_write(line, op);
    } else {
      throw Fault{"invoke of " + call, "read, write or flush"};
    }
    open_.emplace(process, std::move(op));
  }

  void check_range(const Open& op) const {
    if (op.offset % kBlockBytes != 0 || op.length % kBlockBytes != 0)
      throw Fault{fmt::format("offset {}, length {}", op.offset, op.length),
                  fmt::format("multiples of {}", kBlockBytes)};
    if (op.length == 0 || op.length > kLongestRequest)
      throw Fault{fmt::format("length {}", op.length), fmt::format("from {} to {}", kBlockBytes, kLongestRequest)};
    if (op.offset > config_.volume_bytes || op.length > config_.volume_bytes - op.offset)
      throw Fault{fmt::format("offset {}, length {}", op.offset, op.length),
                  fmt::format("a range inside the volume of {} bytes", config_.volume_bytes)};
  }

  void begin_write(const Json& line, Open& op) {
    if (verdict_.read_back) throw Fault{"a write after the final reading began", "reads"};
    op.version = number(line, "value");
    const auto kind = line.value("kind", Json(""));
    if (op.version == 0) throw Fault{"version 0", "a version from 1 on: 0 is what was never written"};
    Write write{0, SectorKind::data, op.offset, op.offset + op.length};
    if (kind == Json("fill")) {
      write.version = fill_version(op);
    } else if (kind == Json("") || kind == Json("damage")) {
      write.version = fill_pieces() + ++writes_;
      if (kind == Json("damage")) write.kind = SectorKind::damage;
    } else {
      throw Fault{"kind " + kind.dump(), "fill or damage, or no kind"};
    }
    if (!versions_.emplace(op.version, write).second)
      throw Fault{fmt::format("version {} again", op.version), "a version for each write"};
    op.handle = kind == Json("fill") ? oracle_->begin_fill(now(), op.offset, bytes_of(write, op.offset, op.length))
                                     : oracle_->begin_write(now(), op.offset, op.length, write.kind);
  }

  Version fill_pieces() const noexcept {
    return static_cast<Version>((config_.fill_bytes + kFillChunkBytes - 1) / kFillChunkBytes);
  }

  Version fill_version(const Open& op) const {
    const std::uint64_t at = op.offset - config_.fill_offset;  // below: wraps around to a large one
    if (at >= config_.fill_bytes || at % kFillChunkBytes != 0 ||
        op.length != std::min(kFillChunkBytes, config_.fill_bytes - at)) {
      throw Fault{fmt::format("a fill of {} bytes at {}", op.length, op.offset),
                  fmt::format("a piece of {} bytes of the header's fill", kFillChunkBytes)};
    }
    return 1 + static_cast<Version>(at / kFillChunkBytes);
  }

  // Sectors of this write, as they lie on the volume.
  std::span<const std::byte> bytes_of(const Write& write, std::uint64_t offset, std::uint64_t length) {
    data_.resize(length);
    SectorId id{kVolume, offset / kSectorBytes, write.version, write.kind, 0};
    for (std::uint64_t at = 0; at < length; at += kSectorBytes, ++id.sector) encode_sector(id, data_.data() + at);
    return data_;
  }

  void happen(const Json& line, const std::string& call) {
    static_cast<void>(number(line, "process"));
    if (call == "power_loss") oracle_->note_power_loss(now());
    if (call == "failover") oracle_->note_failover(now());
    if (call != "final_reading") return;
    if (verdict_.read_back) throw Fault{"a second final reading", "one"};
    for (const auto& [process, op] : open_) {
      if (op.call == "write")
        throw Fault{fmt::format("the final reading begins while the write of line {} is open", op.line),
                    "its end before"};
    }
    verdict_.read_back = true;
    oracle_->begin_final(now());
  }

  void end(const Json& line, const std::string& type, const std::string& call) {
    const std::uint64_t process = number(line, "process");
    const auto found = open_.find(process);
    if (found == open_.end())
      throw Fault{fmt::format("{} of a {} that process {} never began", type, call, process), "its invoke before"};
    const Open op = found->second;
    if (call != op.call)
      throw Fault{fmt::format("{} of a {} where process {} began a {}", type, call, process, op.call), "its end"};
    if (call != "flush" && (number(line, "offset") != op.offset || number(line, "length") != op.length))
      throw Fault{"another range than in line " + std::to_string(op.line), "the same"};
    if (call == "write" && number(line, "value") != op.version)
      throw Fault{"another version than in line " + std::to_string(op.line), "the same"};
    last_ = op;
    if (call == "read" && type == "ok") {
      oracle_->end_read(op.handle, now(), answer(line, op));
    } else if (call == "read" && type == "fail") {
      oracle_->end_read_error(op.handle, now(), error_of(line));
    } else if (call != "read" && (type == "ok" || type == "info")) {
      const Errc error = type == "ok" ? Errc::ok : error_of(line);
      if (call == "write") {
        oracle_->end_write(op.handle, now(), type == "ok" ? WriteOutcome::acknowledged : WriteOutcome::unknown, error);
      } else {
        oracle_->end_flush(op.handle, now(), error);
      }
      if (type == "info") ended_.insert(process);
    } else {
      throw Fault{fmt::format("{} of a {}", type, call), call == "read" ? "ok or fail" : "ok or info"};
    }
    open_.erase(process);
  }

  // [[version, sectors], …] as bytes. A version that was never written there is none of the volume's.
  std::span<const std::byte> answer(const Json& line, const Open& op) {
    constexpr const char* kExpected = "[[version or null, sectors], …] for all of its sectors";
    const auto value = line.find("value");
    if (value == line.end() || !value->is_array()) throw Fault{"no list of what was read", kExpected};
    data_.assign(op.length, std::byte{0});
    std::uint64_t at = 0;
    for (const Json& run : *value) {
      const bool pair = run.is_array() && run.size() == 2 && (run[0].is_null() || run[0].is_number_unsigned()) &&
                        run[1].is_number_unsigned();
      if (!pair || run[1] == 0 || run[1].get<std::uint64_t>() > (op.length - at) / kSectorBytes)
        throw Fault{"in what was read: " + run.dump(), kExpected};
      const std::uint64_t end = at + run[1].get<std::uint64_t>() * kSectorBytes;
      for (; at < end; at += kSectorBytes) put(run[0], op.offset + at, data_.data() + at);
    }
    if (at != op.length)
      throw Fault{fmt::format("{} of {} sectors read", at / kSectorBytes, op.length / kSectorBytes), kExpected};
    return data_;
  }

  void put(const Json& version, std::uint64_t offset, std::byte* sector) const {
    if (version == 0) return;
    const auto found = version.is_null() ? versions_.end() : versions_.find(version.get<std::uint64_t>());
    if (found == versions_.end() || offset < found->second.begin || offset >= found->second.end) {
      *sector = std::byte{1};
      return;
    }
    encode_sector({kVolume, offset / kSectorBytes, found->second.version, found->second.kind, 0}, sector);
  }

  void note_first() {
    if (verdict_.first_line != 0) return;
    const OracleCounts& counts = oracle_->counts();
    const std::array<std::pair<const char*, const RangeList*>, 4> kinds = {{{"corrupt", &oracle_->corrupt()},
                                                                            {"stale", &oracle_->stale()},
                                                                            {"lost", &oracle_->lost()},
                                                                            {"lost", &oracle_->unreadable()}}};
    if (counts.lost_writes + counts.stale_reads + counts.corrupt_reads + counts.prefix_breaks == 0) return;
    verdict_.first_line = line_;
    verdict_.first_offset = last_.offset;
    verdict_.first_what = "not a prefix";
    for (const auto& [what, ranges] : kinds) {
      if (ranges->ranges().empty()) continue;
      verdict_.first_what = what;
      for (const Range& range : ranges->ranges()) {
        if (range.end * kSectorBytes <= last_.offset) continue;
        verdict_.first_offset = std::max(last_.offset, range.begin * kSectorBytes);
        break;
      }
      return;
    }
  }

  OracleConfig config_;
  std::unique_ptr<Oracle> oracle_;
  HistoryVerdict verdict_;
  std::map<std::uint64_t, Open> open_;  // by process
  std::set<std::uint64_t> ended_;       // processes
  std::map<std::uint64_t, Write> versions_;
  Version writes_ = 0;
  std::vector<std::byte> data_;
  Open last_;
  std::uint64_t line_ = 0;
  std::uint64_t time_ = 0;
};

}  // namespace

Result<HistoryVerdict> judge_history(std::istream& in, const std::string& name) {
  Replay replay;
  std::vector<char> line(kLongestLine);
  std::uint64_t at = 0;
  const auto refuse = [&](const std::string& what, const std::string& expected) {
    return fail(Errc::bad_input,
                fmt::format("{}:{}: {}, expected {}", name, std::max<std::uint64_t>(at, 1), what, expected));
  };
  while (in.getline(line.data(), static_cast<std::streamsize>(line.size()))) {
    ++at;
    const auto length = static_cast<std::size_t>(in.gcount());
    if (in.eof()) return refuse("the line is cut off", "its end, a line feed");
    const Json json = Json::parse(line.data(), line.data() + length - 1, nullptr, false);
    if (!json.is_object())
      return refuse("no JSON object", at == 1 ? "the header of a history" : "an event of a history");
    try {
      replay.play(json, at);
    } catch (const Fault& fault) {
      return refuse(fault.what, fault.expected);
    }
  }
  if (in.gcount() != 0) {
    ++at;
    return refuse("a line that is longer than " + std::to_string(kLongestLine) + " bytes", "an event of a history");
  }
  auto verdict = replay.verdict();
  if (!verdict) return refuse("no header", R"(a first line with "type":"history" (docs/history.md))");
  return std::move(*verdict);
}

}  // namespace resilver::workload
