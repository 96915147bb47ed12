#include "replica/wire.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "replica/codec.h"

namespace resilver::replica {

namespace {

// One number per alternative of Body, in its order. Numbers are never used again for something else.
constexpr std::array<std::uint8_t, std::variant_size_v<Body>> kTypes = {
    1,  2,  3,  4,  5,  6,  7,                                       // client session
    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,  // replicas: session
    32, 33, 34, 35, 40, 41, 42, 43, 36, 37,                          // ... up to the promotion
    44, 53, 45, 46,                                                  // reconciled; a side given up; handing over
    51, 52,                                                          // clearing of bits
    48, 49, 50,                                                      // arbiter
};
consteval bool each_has_its_own() {
  for (std::size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i] == 0 || std::find(kTypes.begin(), kTypes.begin() + i, kTypes[i]) != kTypes.begin() + i) return false;
  }
  return true;
}
static_assert(each_has_its_own());

}  // namespace

template <>
inline constexpr std::uint64_t kValues<ResyncWhy> = kResyncWhyCount;
template <>
inline constexpr std::uint64_t kValues<Refusal> = kRefusalCount;
static_assert(kMost<Extent> == kMaxListedExtents);

template <typename F>
static void fields(F& f, Settings& m) {
  f(m.grace_ms, m.congestion_ms, m.min_in_sync, m.ack, m.nodes, m.arbiter);
}
template <typename F>
static void fields(F& f, ClientHello& m) {
  f(m.volume, m.attachment, m.client, m.own_copy, m.read_only);
}
template <typename F>
static void fields(F& f, Attached& m) {
  f(m.size, m.reign, m.attachment, m.max_in_flight);
}
template <typename F>
static void fields(F& f, Redirect& m) {
  f(m.status);
}
template <typename F>
static void fields(F& f, Request& m) {
  f(m.id, m.attachment, m.op, m.fua, m.offset, m.length);
}
template <typename F>
static void fields(F& f, Reply& m) {
  f(m.id, m.status);
}
template <typename F>
static void fields(F& f, Ping& m) {
  f(m.cookie);
}
template <typename F>
static void fields(F& f, Pong& m) {
  f(m.cookie, m.serving);
}
template <typename F>
static void fields(F& f, PeerHello& m) {
  f(m.volume, m.record, m.copy, m.life, m.mark, m.size, m.settings);
}
template <typename F>
static void fields(F& f, PeerWelcome& m) {
  f(m.refusal, m.volume, m.name, m.copy, m.life, m.inconsistent, m.suspect, m.usurped, m.base, m.known, m.marks,
    m.durable_seq, m.attachment, m.size, m.recent_known, m.recent, m.resync_id, m.settings);
}
template <typename F>
static void fields(F& f, Beacon& m) {
  f(m.cookie, m.committed_seq, m.mark, m.marks, m.arbiter);
}
template <typename F>
static void fields(F& f, BeaconAck& m) {
  f(m.cookie, m.mark, m.arbiter);
}
template <typename F>
static void fields(F& f, Replicate& m) {
  f(m.seq, m.committed_seq, m.op, m.offset, m.length);
}
template <typename F>
static void fields(F& f, DurableAck& m) {
  f(m.durable_seq, m.received_seq);
}
template <typename F>
static void fields(F& f, Configure& m) {
  f(m.serial, m.record, m.attachment, m.seq, m.reign, m.forks);
}
template <typename F>
static void fields(F& f, ConfigureAck& m) {
  f(m.serial);
}
template <typename F>
static void fields(F&, BitsRequest&) {}
template <typename F>
static void fields(F& f, Bits& m) {
  f(m.granule, m.count);
}
template <typename F>
static void fields(F& f, ResyncBegin& m) {
  f(m.why, m.id);
}
template <typename F>
static void fields(F& f, CopyExtent& m) {
  f(m.tag, m.extent, m.zeroes);
}
template <typename F>
static void fields(F& f, CopyAck& m) {
  f(m.tag);
}
template <typename F>
static void fields(F& f, ResyncDone& m) {
  f(m.granule, m.count, m.prepared, m.dropped, m.record, m.lost);
}
template <typename F>
static void fields(F&, ResyncDoneAck&) {}
template <typename F>
static void fields(F&, ReconcileDone&) {}
template <typename F>
static void fields(F&, ReconcileDoneAck&) {}
template <typename F>
static void fields(F& f, ReadExtent& m) {
  f(m.tag, m.extent);
}
template <typename F>
static void fields(F& f, ExtentData& m) {
  f(m.tag, m.status);
}
template <typename F>
static void fields(F& f, ClearPrepare& m) {
  f(m.clearing);
}
template <typename F>
static void fields(F& f, ClearPrepared& m) {
  f(m.clearing);
}
template <typename F>
static void fields(F& f, ClearBits& m) {
  f(m.clearing, m.runs);
}
template <typename F>
static void fields(F&, Resign&) {}
template <typename F>
static void fields(F& f, HashRequest& m) {
  f(m.tag, m.extent);
}
template <typename F>
static void fields(F& f, Hashes& m) {
  f(m.tag, m.status);
}
template <typename F>
static void fields(F& f, Diverged& m) {
  f(m.why, m.record);
}
template <typename F>
static void fields(F& f, Discard& m) {
  f(m.base, m.record);
}
template <typename F>
static void fields(F&, GiveUp&) {}
template <typename F>
static void fields(F&, HandoverRequest&) {}
template <typename F>
static void fields(F& f, Handover& m) {
  f(m.key, m.version, m.record);
}
template <typename F>
static void fields(F& f, PromoteQuery& m) {
  f(m.volume, m.name, m.copy, m.life, m.head, m.seed);
}
template <typename F>
static void fields(F& f, PromoteAnswer& m) {
  f(m.volume, m.name, m.copy, m.eligible, m.fresh, m.inconsistent, m.hears_primary, m.position, m.head, m.seed,
    m.goes_on, m.mark, m.other_life);
}
template <typename F>
static void fields(F& f, ArbiterGet& m) {
  f(m.id);
}
template <typename F>
static void fields(F& f, ArbiterSwap& m) {
  f(m.id, m.key, m.expected_version, m.expected_nonce, m.record);
}
template <typename F>
static void fields(F& f, ArbiterAnswer& m) {
  f(m.id, m.swapped, m.status, m.key, m.version, m.record);
}

namespace {

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
    case ResyncWhy::checksum_went_back: return "checksum: it went back behind its last mark";
    case ResyncWhy::checksum_bits_cleared: return "checksum: intent bits were cleared since";
    case ResyncWhy::checksum_geometry: return "checksum: other intent bit geometry";
    case ResyncWhy::checksum_interrupted: return "checksum: a copy of everything broke off, or was given up";
    case ResyncWhy::checksum_consulted: return "checksum: it follows a history that was begun anew";
    case ResyncWhy::resumed: return "resumed: the copy that broke off";
    case ResyncWhy::diverged: return "split brain";
    case ResyncWhy::lost_writes: return "acknowledged writes are missing elsewhere";
  }
  return "?";
}

const char* refusal_name(Refusal refusal) noexcept {
  switch (refusal) {
    case Refusal::none: return "none";
    case Refusal::other_volume: return "it serves another volume";
    case Refusal::other_size: return "its copy is of another size";
    case Refusal::not_listed: return "its file does not list the primary";
    case Refusal::stale: return "it knows a newer record";
    case Refusal::busy: return "it is a primary itself";
    case Refusal::device: return "its device failed, or is full";
    case Refusal::second_life: return "it hears another process of the same copy";
    case Refusal::other_history: return "it follows a primary of another history";
    case Refusal::promised: return "it waits for a recovery";
  }
  return "?";
}

}  // namespace resilver::replica
