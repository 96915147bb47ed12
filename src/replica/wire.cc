#include "replica/wire.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/endian.h"

namespace resilver::replica {

namespace {

// One number per alternative of Body, in its order. Numbers are never used again for something else.
constexpr std::array<std::uint8_t, std::variant_size_v<Body>> kTypes = {
    1,  2,  3,  4,  5,  6,  7,                                       // client session
    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,  // replicas: session
    32, 33, 34, 35, 40, 41, 42, 43, 36, 37,                          // ... up to the promotion
    44, 45, 46,                                                      // reconciled; handing over
    48, 49, 50,                                                      // arbiter
};

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}

  template <typename... T>
  void operator()(T&... values) {
    (put(values), ...);
  }

 private:
  void put(std::uint64_t value) { integer(value, 8); }
  void put(std::uint32_t value) { integer(value, 4); }
  void put(bool value) { integer(value ? 1 : 0, 1); }
  void put(Errc value) { integer(static_cast<std::uint8_t>(value), 1); }
  void put(IoOp value) { integer(static_cast<std::uint8_t>(value), 1); }
  void put(ResyncWhy value) { integer(static_cast<std::uint8_t>(value), 1); }
  void put(AckMode value) { integer(static_cast<std::uint8_t>(value), 1); }
  void put(const Position& p) { (*this)(p.reign, p.seq); }
  void put(const NodeSet& value) { put(value.bits); }
  void put(const Record& r) { (*this)(r.epoch, r.primary, r.in_sync, r.nonce, r.ack); }
  void put(const Generation& g) { (*this)(g.epoch, g.primary, g.nonce); }
  void put(const Extent& e) { (*this)(e.offset, e.length); }
  template <typename T>
  void put(const std::vector<T>& list) {
    CHECK(list.size() <= kMaxListedExtents);
    integer(list.size(), 2);
    for (const T& item : list) put(item);
  }
  void integer(std::uint64_t value, std::size_t bytes) {
    std::byte raw[8];
    store_le<std::uint64_t>(raw, value);
    out_.insert(out_.end(), raw, raw + bytes);
  }

  std::vector<std::byte>& out_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> in) : in_(in) {}

  template <typename... T>
  void operator()(T&... values) {
    (take(values), ...);
  }
  bool finished() const { return good_ && in_.empty(); }

 private:
  void take(std::uint64_t& value) { value = integer(8); }
  void take(std::uint32_t& value) {  // only node ids are 32 bits wide
    value = static_cast<std::uint32_t>(integer(4));
    if (value >= kMaxNodes && value != kNoNode) good_ = false;
  }
  void take(bool& value) { value = bounded(2) != 0; }
  void take(Errc& value) { value = static_cast<Errc>(bounded(static_cast<std::uint64_t>(Errc::read_only) + 1)); }
  void take(IoOp& value) { value = static_cast<IoOp>(bounded(static_cast<std::uint64_t>(IoOp::write_zeroes) + 1)); }
  void take(ResyncWhy& value) { value = static_cast<ResyncWhy>(bounded(kResyncWhyCount)); }
  void take(AckMode& value) { value = static_cast<AckMode>(bounded(kAckModeCount)); }
  void take(Position& p) { (*this)(p.reign, p.seq); }
  void take(NodeSet& value) { value.bits = static_cast<std::uint32_t>(integer(4)); }
  void take(Record& r) { (*this)(r.epoch, r.primary, r.in_sync, r.nonce, r.ack); }
  void take(Generation& g) { (*this)(g.epoch, g.primary, g.nonce); }
  void take(Extent& e) {
    (*this)(e.offset, e.length);
    if (e.offset + e.length < e.offset) good_ = false;
  }
  void take(std::vector<Extent>& list) { take_list(list, kMaxListedExtents, 16); }
  void take(std::vector<Generation>& list) { take_list(list, kGenerations, 20); }
  template <typename T>
  void take_list(std::vector<T>& list, std::size_t most, std::size_t item_bytes) {
    const std::uint64_t count = integer(2);
    if (count > most || count * item_bytes > in_.size()) good_ = false;
    if (!good_) return;
    list.resize(count);
    for (T& item : list) take(item);
  }
  std::uint64_t bounded(std::uint64_t bound) {
    const std::uint64_t value = integer(1);
    if (value < bound) return value;
    good_ = false;
    return 0;
  }
  std::uint64_t integer(std::size_t bytes) {
    if (in_.size() < bytes) {
      good_ = false;
      in_ = {};
      return 0;
    }
    std::byte raw[8] = {};
    std::copy_n(in_.data(), bytes, raw);
    in_ = in_.subspan(bytes);
    return load_le<std::uint64_t>(raw);
  }

  std::span<const std::byte> in_;
  bool good_ = true;
};

template <typename F>
void fields(F& f, ClientHello& m) {
  f(m.volume, m.attachment, m.client, m.own_copy);
}
template <typename F>
void fields(F& f, Attached& m) {
  f(m.node, m.size, m.reign);
}
template <typename F>
void fields(F& f, Redirect& m) {
  f(m.status, m.hint);
}
template <typename F>
void fields(F& f, Request& m) {
  f(m.id, m.attachment, m.op, m.fua, m.offset, m.length);
}
template <typename F>
void fields(F& f, Reply& m) {
  f(m.id, m.status);
}
template <typename F>
void fields(F& f, Ping& m) {
  f(m.cookie);
}
template <typename F>
void fields(F& f, Pong& m) {
  f(m.cookie, m.serving);
}
template <typename F>
void fields(F& f, PeerHello& m) {
  f(m.volume, m.node, m.record);
}
template <typename F>
void fields(F& f, PeerWelcome& m) {
  f(m.node, m.status, m.inconsistent, m.generation, m.durable_seq, m.attachment, m.size, m.recent_known, m.recent,
    m.resync_id, m.history);
}
template <typename F>
void fields(F& f, Beacon& m) {
  f(m.cookie, m.committed_seq);
}
template <typename F>
void fields(F& f, BeaconAck& m) {
  f(m.cookie);
}
template <typename F>
void fields(F& f, Replicate& m) {
  f(m.seq, m.committed_seq, m.op, m.offset, m.length);
}
template <typename F>
void fields(F& f, DurableAck& m) {
  f(m.durable_seq, m.received_seq);
}
template <typename F>
void fields(F& f, Configure& m) {
  f(m.serial, m.record, m.attachment, m.seq, m.reign, m.history);
}
template <typename F>
void fields(F& f, ConfigureAck& m) {
  f(m.serial);
}
template <typename F>
void fields(F&, BitsRequest&) {}
template <typename F>
void fields(F& f, Bits& m) {
  f(m.granule, m.count);
}
template <typename F>
void fields(F& f, ResyncBegin& m) {
  f(m.why, m.id);
}
template <typename F>
void fields(F& f, CopyExtent& m) {
  f(m.tag, m.extent, m.zeroes);
}
template <typename F>
void fields(F& f, CopyAck& m) {
  f(m.tag);
}
template <typename F>
void fields(F& f, ResyncDone& m) {
  f(m.granule, m.count, m.bits_since, m.history, m.lost);
}
template <typename F>
void fields(F&, ResyncDoneAck&) {}
template <typename F>
void fields(F&, ReconcileDone&) {}
template <typename F>
void fields(F& f, ReadExtent& m) {
  f(m.tag, m.extent);
}
template <typename F>
void fields(F& f, ExtentData& m) {
  f(m.tag, m.status);
}
template <typename F>
void fields(F& f, ClearBits& m) {
  f(m.runs);
}
template <typename F>
void fields(F&, Resign&) {}
template <typename F>
void fields(F& f, HashRequest& m) {
  f(m.tag, m.extent);
}
template <typename F>
void fields(F& f, Hashes& m) {
  f(m.tag, m.status);
}
template <typename F>
void fields(F& f, Diverged& m) {
  f(m.history);
}
template <typename F>
void fields(F& f, Discard& m) {
  f(m.base);
}
template <typename F>
void fields(F&, ReconcileDoneAck&) {}
template <typename F>
void fields(F&, HandoverRequest&) {}
template <typename F>
void fields(F& f, Handover& m) {
  f(m.version, m.record);
}
template <typename F>
void fields(F& f, PromoteQuery& m) {
  f(m.volume, m.node);
}
template <typename F>
void fields(F& f, PromoteAnswer& m) {
  f(m.node, m.eligible, m.fresh, m.hears_primary, m.position);
}
template <typename F>
void fields(F& f, ArbiterGet& m) {
  f(m.id);
}
template <typename F>
void fields(F& f, ArbiterSwap& m) {
  f(m.id, m.expected_version, m.record);
}
template <typename F>
void fields(F& f, ArbiterAnswer& m) {
  f(m.id, m.swapped, m.version, m.record);
}

template <std::size_t I = 0>
bool make_alternative(std::uint8_t type, Body& body) {
  if constexpr (I == std::variant_size_v<Body>) {
    return false;
  } else {
    if (kTypes[I] != type) return make_alternative<I + 1>(type, body);
    body.emplace<I>();
    return true;
  }
}

}  // namespace

std::uint8_t type_number(const Body& body) noexcept { return kTypes[body.index()]; }

Message encode(std::uint64_t epoch, const Body& body, Buffer payload) {
  Message message;
  message.head.reserve(64);
  message.head.push_back(std::byte{kWireVersion});
  message.head.push_back(static_cast<std::byte>(type_number(body)));
  message.head.resize(4);
  Writer writer(message.head);
  writer(epoch);
  Body copy = body;  // one list of fields serves both directions
  std::visit([&](auto& fields_of) { fields(writer, fields_of); }, copy);
  CHECK(message.head.size() <= Message::kMaxHead);
  message.body = std::move(payload);
  return message;
}

Result<Decoded> decode(std::span<const std::byte> head) {
  if (head.size() < 12) return fail(Errc::corrupt, "message head too short");
  if (static_cast<std::uint8_t>(head[0]) != kWireVersion)
    return fail(Errc::unsupported, "another version of the protocol");
  Decoded decoded;
  if (!make_alternative(static_cast<std::uint8_t>(head[1]), decoded.body)) {
    return fail(Errc::unsupported, "unknown message type");
  }
  if (head[2] != std::byte{0} || head[3] != std::byte{0}) return fail(Errc::corrupt, "reserved bytes are not zero");
  Reader reader(head.subspan(4));
  reader(decoded.epoch);
  std::visit([&](auto& fields_of) { fields(reader, fields_of); }, decoded.body);
  if (!reader.finished()) return fail(Errc::corrupt, "message head does not match its type");
  return decoded;
}

bool valid_range(std::uint64_t offset, std::uint64_t length, std::uint64_t size) noexcept {
  return length > 0 && length <= kMaxTransfer && offset % kBlockBytes == 0 && length % kBlockBytes == 0 &&
         offset <= size && length <= size - offset;
}

const char* ack_mode_name(AckMode mode) noexcept {
  switch (mode) {
    case AckMode::durable: return "durable";
    case AckMode::quorum: return "quorum";
    case AckMode::received: return "received";
    case AckMode::async: return "async";
  }
  return "?";
}

const char* resync_why_name(ResyncWhy why) noexcept {
  switch (why) {
    case ResyncWhy::none: return "none";
    case ResyncWhy::bitmap: return "bitmap";
    case ResyncWhy::reconcile: return "reconcile";
    case ResyncWhy::full_new_disk: return "full: new disk";
    case ResyncWhy::checksum_generation: return "checksum: generation not in the history";
    case ResyncWhy::checksum_bits_cleared: return "checksum: intent bits were cleared since";
    case ResyncWhy::checksum_geometry: return "checksum: other intent bit geometry";
    case ResyncWhy::checksum_interrupted: return "checksum: a copy of everything broke off, or was given up";
    case ResyncWhy::resumed: return "resumed: the copy that broke off";
    case ResyncWhy::diverged: return "split brain";
  }
  return "?";
}

}  // namespace resilver::replica
