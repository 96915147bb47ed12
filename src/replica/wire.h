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
#include "replica/marks.h"
#include "replica/record.h"
#include "replica/types.h"

namespace resilver::replica {

inline constexpr std::uint8_t kWireVersion = 3;
inline constexpr std::uint64_t kMaxTransfer = Message::kMaxBody;  // payload of one message
inline constexpr std::size_t kMaxListedExtents = 2048;            // in one message

enum class ResyncWhy : std::uint8_t {
  none,
  bitmap,                 // the returner's history is ours: only what the intent bits name
  reconcile,              // a member in sync after a promotion: the writes that were under way
  full_new_disk,          // it holds nothing: everything, but no payload of blocks that are zero
  checksum_went_back,     // it is below the mark that this node knows of it
  checksum_bits_cleared,  // intent bits were cleared without it, or by it without us
  checksum_geometry,      // its intent bits are of another geometry
  checksum_interrupted,   // a copy of everything into it broke off, and nobody knows how far it came
  checksum_consulted,     // its history is given up: it was asked when this one was begun by force or recovered
  resumed,                // the copy that broke off goes on where it was
  diverged,               // both have a history that the other has not; nothing is copied until somebody chooses
  lost_writes,            // it proves that writes which were acknowledged are not here; nothing is copied either
};
inline constexpr std::uint8_t kResyncWhyCount = 12;
const char* resync_why_name(ResyncWhy why) noexcept;

// Why a peer takes no session.
enum class Refusal : std::uint8_t {
  none,
  other_volume,
  other_size,     // of the volume
  not_listed,     // its file does not list the primary, or this node has no place in the record
  stale,          // it knows a newer record
  busy,           // it is a primary itself, or proposes itself
  device,         // failed, or without room
  second_life,    // another process of that very copy is the primary it hears
  promised,       // to a recovery (service/recover.h)
  other_history,  // it is in sync with the primary of another one
};
inline constexpr std::uint8_t kRefusalCount = 10;
const char* refusal_name(Refusal refusal) noexcept;

// What the nodes' files should agree on. Safety does not rest on it (leases are in the record); a difference is told.
struct Settings {
  std::uint64_t grace_ms = 0;
  std::uint64_t congestion_ms = 0;
  std::uint64_t min_in_sync = 0;
  AckMode ack = AckMode::durable;  // of a new volume
  std::uint64_t nodes = 0;         // hash of their names, in their order
  std::uint64_t arbiter = 0;       // hash of its address
  bool operator==(const Settings&) const = default;
};

// ---- client session ------------------------------------------------------------------------------------------------
struct ClientHello {
  VolumeId volume;
  std::uint64_t attachment = 0;  // 0: a new one, to be numbered; else the number that it was given
  std::uint64_t client = 0;      // for messages only
  bool own_copy = false;   // reads of this node's own copy, whatever its role: to look at both sides of a split brain
  bool read_only = false;  // beside the attachment, whoever has it
};
struct Attached {
  std::uint64_t size = 0;           // bytes of the volume
  std::uint64_t reign = 0;          // epoch in which this primary's reign began; 0 elsewhere
  std::uint64_t attachment = 0;     // its number; 0 where there is none (own_copy, read_only)
  std::uint64_t max_in_flight = 0;  // requests that may be unanswered on this session; who has more is ended
};
struct Redirect {
  Errc status =
      Errc::not_primary;  // not_primary, unavailable (primary without service), fenced, bad_input (no such volume)
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
  VolumeId volume;
  Record record;
  CopyId copy;             // the primary's
  std::uint64_t life = 0;  // of its process
  std::uint64_t mark = 0;  // of its copy
  std::uint64_t size = 0;  // bytes of the volume
  Settings settings;
};
struct PeerWelcome {
  Refusal refusal = Refusal::none;
  VolumeId volume;
  std::uint64_t name = 0;  // hash of the node's name
  CopyId copy;
  std::uint64_t life = 0;
  bool inconsistent = false;
  bool suspect = false;  // its storage was started by force
  bool usurped = false;  // another process of this copy was made the primary while it was one
  Head base;             // up to where its data belongs to `known`; none: a new disk, or a copy of all of it not ended
  Record known;          // the newest that it knows
  Marks marks;
  std::uint64_t durable_seq = 0, attachment = 0, size = 0;
  bool recent_known = false;    // false after a restart: its intent bits stand for them
  std::vector<Extent> recent;   // writes not known to be committed everywhere
  std::uint64_t resync_id = 0;  // of the copy into it that has not ended; 0: none
  Settings settings;
};
struct Beacon {
  std::uint64_t cookie = 0, committed_seq = 0;
  std::uint64_t mark = 0;       // of the primary's copy
  std::vector<PeerMark> marks;  // of the others, as far as it knows
  ArbiterKey arbiter;           // that answered last; none: nobody did
};
struct BeaconAck {
  std::uint64_t cookie = 0;
  std::uint64_t mark = 0;
  ArbiterKey arbiter;  // that it holds to be the one
};
struct Replicate {
  std::uint64_t seq = 0, committed_seq = 0;
  IoOp op = IoOp::write;  // write or write_zeroes
  std::uint64_t offset = 0, length = 0;
};
struct DurableAck {  // under `quorum` the peer's position is durable, too
  std::uint64_t durable_seq = 0, received_seq = 0;
};
struct Configure {  // a new record, attachment or note of a fork: durable at the peer before its ack
  std::uint64_t serial = 0;
  Record record;
  std::uint64_t attachment = 0, seq = 0;  // seq: writes numbered above it follow on this session
  std::uint64_t reign = 0;                // the epoch in which the primary began to number them
  std::vector<ForkNote> forks;
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
  std::uint64_t granule = 0, count = 0;
  Clearing prepared, dropped;
  Record record;
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
struct ClearPrepare {  // durable at the peer before its answer: bits may be dropped under this number
  Clearing clearing;
};
struct ClearPrepared {
  Clearing clearing;
};
struct ClearBits {  // every configured copy has prepared it
  Clearing clearing;
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
struct Diverged {  // the peer keeps its copy as it is, and answers with its Bits
  ResyncWhy why = ResyncWhy::diverged;
  Record record;
};
struct Discard {  // someone chose: the peer gives up what it has since `base`, and ends the session
  Head base;      // none: everything
  Record record;  // which it follows from then on
};
struct GiveUp {};           // from a copy of another history: somebody chose the primary's; it answers with Discard
struct HandoverRequest {};  // from a member: let me be the primary
struct Handover {           // the record names the receiver as primary; the sender answers nothing any more
  ArbiterKey key;
  std::uint64_t version = 0;
  Record record;
};
struct PromoteQuery {
  VolumeId volume;
  std::uint64_t name = 0;  // hash of the candidate's name
  CopyId copy;
  std::uint64_t life = 0;
  Head head;  // of the arbiter's record
  std::uint64_t seed = 0;
};
struct PromoteAnswer {
  VolumeId volume;  // the answerer's: none of the rest counts if it is another one
  std::uint64_t name = 0;
  CopyId copy;
  bool eligible = false;  // consistent, healthy, not itself a primary
  bool fresh = false;     // formatted, holds nothing yet
  bool inconsistent = false;
  bool hears_primary = false;  // or is one
  Position position;
  Head head;  // of the newest record that it knows
  std::uint64_t seed = 0;
  bool goes_on = false;          // ... which has the one asked about as an ancestor
  std::uint64_t mark = 0;        // of the candidate's copy, as far as the answerer knows
  std::uint64_t other_life = 0;  // of the candidate's copy, connected to the answerer; 0: none
};

// ---- arbiter -------------------------------------------------------------------------------------------------------
struct ArbiterGet {
  std::uint64_t id = 0;
};
struct ArbiterSwap {  // is made if all that is expected is so
  std::uint64_t id = 0;
  ArbiterKey key;
  std::uint64_t expected_version = 0, expected_nonce = 0;
  Record record;
};
struct ArbiterAnswer {
  std::uint64_t id = 0;
  bool swapped = false;
  Errc status = Errc::ok;  // bad_input: it keeps another volume's record; no_space, read_only, io: it cannot write
  ArbiterKey key;
  std::uint64_t version = 0;  // of the record as it is now
  Record record;
};

using Body =
    std::variant<ClientHello, Attached, Redirect, Request, Reply, Ping, Pong, PeerHello, PeerWelcome, Beacon, BeaconAck,
                 Replicate, DurableAck, Configure, ConfigureAck, BitsRequest, Bits, ResyncBegin, CopyExtent, CopyAck,
                 ResyncDone, ResyncDoneAck, ReconcileDone, ReadExtent, ExtentData, ClearBits, Resign, HashRequest,
                 Hashes, Diverged, Discard, PromoteQuery, PromoteAnswer, ReconcileDoneAck, GiveUp, HandoverRequest,
                 Handover, ClearPrepare, ClearPrepared, ArbiterGet, ArbiterSwap, ArbiterAnswer>;

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
