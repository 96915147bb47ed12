// The messages of replication, of its clients and of its arbiter, as C++ values and as bytes of Message::head. The
// specification is docs/wire-protocol.md; both change in one commit.
//
// Little endian, explicit field by field, one version byte. Whatever a peer sends decodes to a value whose fields are in
// the ranges given here, or to an Error (corrupt, unsupported): nothing read from the wire sizes an allocation before it
// was bounded. Ranges on the volume are checked by the receiver, who knows its size (valid_range).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "base/error.h"
#include "env/block_device.h"
#include "env/network.h"

namespace resilver::replica {

inline constexpr std::uint8_t kWireVersion = 2;
inline constexpr std::uint64_t kMaxTransfer = Message::kMaxBody;  // payload of one message
inline constexpr std::size_t kMaxListedExtents = 2048;            // in one message
inline constexpr std::size_t kGenerations = 8;

using NodeId = std::uint32_t;
inline constexpr NodeId kMaxNodes = 32;  // ids are 0 .. 31
inline constexpr NodeId kNoNode = 0xffffffff;

// A set of node ids.
struct NodeSet {
  std::uint32_t bits = 0;

  static NodeSet of(NodeId id) noexcept { return NodeSet{std::uint32_t{1} << id}; }
  bool contains(NodeId id) const noexcept { return id < kMaxNodes && (bits >> id & 1) != 0; }
  void add(NodeId id) noexcept { bits |= std::uint32_t{1} << id; }
  void remove(NodeId id) noexcept { bits &= ~(std::uint32_t{1} << id); }
  unsigned count() const noexcept { return static_cast<unsigned>(__builtin_popcount(bits)); }
  bool operator==(const NodeSet&) const = default;
  friend NodeSet operator|(NodeSet a, NodeSet b) noexcept { return {a.bits | b.bits}; }
};

// When a write is acknowledged (rule 3). N nodes are configured, I are in sync.
enum class AckMode : std::uint8_t {
  durable,   // durable on all of I
  quorum,    // durable on a majority of N, the primary among them
  received,  // durable on the primary, and all of I have it in memory
  async,     // durable on the primary
};
inline constexpr std::uint8_t kAckModeCount = 4;
const char* ack_mode_name(AckMode mode) noexcept;

// What the arbiter keeps. Each record that was ever won is also the data generation it opened: the nonce tells records
// of one epoch apart (a late compare-and-swap of an earlier life, a forced promotion).
struct Record {
  std::uint64_t epoch = 0;  // 0: virgin, no volume yet
  NodeId primary = kNoNode;
  NodeSet in_sync;
  std::uint64_t nonce = 0;
  AckMode ack = AckMode::durable;  // of the volume: changes with an epoch only
  bool operator==(const Record&) const = default;
};

struct Generation {
  std::uint64_t epoch = 0;  // 0: none
  NodeId primary = kNoNode;
  std::uint64_t nonce = 0;
  bool operator==(const Generation&) const = default;
};
// The lowest bit of a nonce tells how the record was won: by force, by a node whose copy may lack what others acknowledged.
inline bool by_force(const Generation& g) noexcept { return (g.nonce & 1) != 0; }
inline Generation generation_of(const Record& r) noexcept { return {r.epoch, r.primary, r.nonce}; }

// How much a copy has: all writes up to `seq` of the reign that began with the epoch `reign`, and of those before it what
// that reign's primary had. Compared as a pair, the higher one has more.
struct Position {
  std::uint64_t reign = 0, seq = 0;
  auto operator<=>(const Position&) const = default;
};

struct Extent {
  std::uint64_t offset = 0;  // bytes
  std::uint64_t length = 0;
  std::uint64_t end() const noexcept { return offset + length; }
  bool operator==(const Extent&) const = default;
};

enum class ResyncWhy : std::uint8_t {
  none,
  bitmap,                 // the returner's generation is in our history: only what the intent bits name
  reconcile,              // a member in sync after a promotion: the writes that were under way
  full_new_disk,          // it has no generation: everything, but no payload of blocks that are zero
  checksum_generation,    // its generation is so old that our history does not reach back to it
  checksum_bits_cleared,  // intent bits were cleared after the generation at which it left
  checksum_geometry,      // its intent bits are of another geometry
  checksum_interrupted,   // a copy of everything into it broke off, and nobody knows how far it came
  resumed,                // the copy that broke off goes on where it was
  diverged,  // split brain: both have a generation that the other has not; nothing is copied until resolved
};
inline constexpr std::uint8_t kResyncWhyCount = 10;
const char* resync_why_name(ResyncWhy why) noexcept;

// ---- client session ------------------------------------------------------------------------------------------------
struct ClientHello {
  std::uint64_t volume = 0, attachment = 0, client = 0;
  bool own_copy = false;  // reads of this node's own copy, whatever its role: to look at both sides of a split brain
};
struct Attached {
  NodeId node = kNoNode;
  std::uint64_t size = 0;   // bytes of the volume
  std::uint64_t reign = 0;  // epoch in which this primary's reign began; 0 elsewhere
};
struct Redirect {
  Errc status =
      Errc::not_primary;  // not_primary, unavailable (primary without service), fenced, bad_input (no such volume)
  NodeId hint = kNoNode;  // who may serve
};
struct Request {
  std::uint64_t id = 0, attachment = 0;
  IoOp op = IoOp::read;
  bool fua = false;
  std::uint64_t offset = 0, length = 0;  // body: the data of a write
};
struct Reply {
  std::uint64_t id = 0;
  Errc status = Errc::ok;  // body: the data of a read
};
struct Ping {
  std::uint64_t cookie = 0;
};
struct Pong {
  std::uint64_t cookie = 0;
  bool serving = false;
};

// ---- between replicas ----------------------------------------------------------------------------------------------
struct PeerHello {  // a primary opens a session
  std::uint64_t volume = 0;
  NodeId node = kNoNode;
  Record record;
};
struct PeerWelcome {
  NodeId node = kNoNode;
  Errc status = Errc::ok;  // fenced: the header's epoch is newer; busy; device_gone; bad_input: another volume or size
  bool inconsistent = false;
  Generation generation;  // the last it was consistent in; epoch 0: new disk
  std::uint64_t durable_seq = 0, attachment = 0, size = 0;
  bool recent_known = false;        // false after a restart: its intent bits stand for them
  std::vector<Extent> recent;       // writes not known to be committed everywhere
  std::uint64_t resync_id = 0;      // of the copy into it that has not ended; 0: none
  std::vector<Generation> history;  // newest first
};
struct Beacon {
  std::uint64_t cookie = 0, committed_seq = 0;
};
struct BeaconAck {
  std::uint64_t cookie = 0;
};
struct Replicate {
  std::uint64_t seq = 0, committed_seq = 0;
  IoOp op = IoOp::write;  // write or write_zeroes
  std::uint64_t offset = 0, length = 0;
};
struct DurableAck {  // under `quorum` the peer's position is durable, too
  std::uint64_t durable_seq = 0, received_seq = 0;
};
struct Configure {  // a new record, generation history or attachment: durable at the peer before its ack
  std::uint64_t serial = 0;
  Record record;
  std::uint64_t attachment = 0, seq = 0;  // seq: writes numbered above it follow on this session
  std::uint64_t reign = 0;                // the epoch in which the primary began to number them
  std::vector<Generation> history;        // newest first, at most kGenerations
};
struct ConfigureAck {
  std::uint64_t serial = 0;
};
struct BitsRequest {};
struct Bits {  // body: the intent bitmap
  std::uint64_t granule = 0, count = 0;
};
struct ResyncBegin {  // the peer becomes durably inconsistent, then answers with its Bits
  ResyncWhy why = ResyncWhy::none;
  std::uint64_t id = 0;  // of this copy, not 0: by it the copy is known again if it breaks off
};
struct CopyExtent {
  std::uint64_t tag = 0;
  Extent extent;
  bool zeroes = false;  // body: its data; none if it is all zeroes
};
struct CopyAck {
  std::uint64_t tag = 0;
};
struct ResyncDone {  // body: the primary's intent bits, which the peer adds to its own
  std::uint64_t granule = 0, count = 0, bits_since = 0;
  std::vector<Generation> history;
  std::vector<Extent> lost;  // blocks that nobody could read: nobody may take the peer's old content for them
};
struct ResyncDoneAck {};
struct ReconcileDone {};
struct ReconcileDoneAck {};  // the peer's position in this reign is durable
struct ReadExtent {
  std::uint64_t tag = 0;
  Extent extent;
};
struct ExtentData {
  std::uint64_t tag = 0;
  Errc status = Errc::ok;
};
struct ClearBits {
  std::vector<Extent> runs;  // in bytes: the peer's bits may stand for other lengths
};
struct Resign {};  // the primary gives up its lease and asks for a successor
struct HashRequest {
  std::uint64_t tag = 0;
  Extent extent;
};
struct Hashes {  // body: 16 bytes per block of the extent, zeroes where it cannot be read
  std::uint64_t tag = 0;
  Errc status = Errc::ok;
};
struct Diverged {  // split brain: the peer keeps its copy as it is, and answers with its Bits
  std::vector<Generation> history;
};
struct Discard {    // someone chose: the peer gives up what it has since `base`, and ends the session
  Generation base;  // epoch 0: everything
};
struct HandoverRequest {};  // from a member: let me be the primary
struct Handover {           // the record names the receiver as primary; the sender answers nothing any more
  std::uint64_t version = 0;
  Record record;
};
struct PromoteQuery {
  std::uint64_t volume = 0;
  NodeId node = kNoNode;
};
struct PromoteAnswer {
  NodeId node = kNoNode;
  bool eligible = false;       // consistent, healthy, not itself a primary
  bool fresh = false;          // formatted, holds no generation yet
  bool hears_primary = false;  // or is one
  Position position;
};

// ---- arbiter -------------------------------------------------------------------------------------------------------
struct ArbiterGet {
  std::uint64_t id = 0;
};
struct ArbiterSwap {
  std::uint64_t id = 0, expected_version = 0;
  Record record;
};
struct ArbiterAnswer {
  std::uint64_t id = 0;
  bool swapped = false;
  std::uint64_t version = 0;  // of the record as it is now
  Record record;
};

using Body = std::variant<ClientHello, Attached, Redirect, Request, Reply, Ping, Pong, PeerHello, PeerWelcome, Beacon,
                          BeaconAck, Replicate, DurableAck, Configure, ConfigureAck, BitsRequest, Bits, ResyncBegin,
                          CopyExtent, CopyAck, ResyncDone, ResyncDoneAck, ReconcileDone, ReadExtent, ExtentData,
                          ClearBits, Resign, HashRequest, Hashes, Diverged, Discard, PromoteQuery, PromoteAnswer,
                          ReconcileDoneAck, HandoverRequest, Handover, ArbiterGet, ArbiterSwap, ArbiterAnswer>;

struct Decoded {
  std::uint64_t epoch = 0;  // the sender's, 0 from clients and the arbiter
  Body body;
};

// A message of this epoch; `payload` becomes its body. Precondition: lists within their bounds.
Message encode(std::uint64_t epoch, const Body& body, Buffer payload = {});

// Errors: corrupt (too short, too long, a field out of range), unsupported (another version or an unknown type).
Result<Decoded> decode(std::span<const std::byte> head);

// True if [offset, offset + length) is a non-empty range of whole blocks of a volume of `size` bytes and fits one message.
bool valid_range(std::uint64_t offset, std::uint64_t length, std::uint64_t size) noexcept;

// The type number of a message on the wire, for tests and tools.
std::uint8_t type_number(const Body& body) noexcept;

}  // namespace resilver::replica
