// src/replica: one copy of a volume on one node, and the protocol that keeps N copies equal: a primary with secondaries
// in the manner of PacificA (Lin et al., MSR-TR-2008-25). For: node programs (Replica), their users (client.h), the
// arbiter process (arbiter.h). It may assume what src/env promises of disks and connections, and nothing of clocks but
// that they drift less than 10 %. It never names a world, never trusts a peer's bytes, never serves or acknowledges on
// a guess: the rules, each with the interleaving it forbids, stand where they are kept: record.h (histories), primary.h
// (leases, acknowledgement, members), secondary.h (epochs, grace), election.h (promotion), peer_link.h (joining,
// reconciliation), intent_bitmap.h, marks.h and small_record.h (what is kept, and does not go back), arbiter.h,
// client_session.h (attachment).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "base/error.h"
#include "env/env.h"
#include "replica/metadata.h"
#include "replica/reason.h"
#include "replica/wire.h"

namespace resilver::replica {

enum class Role : std::uint8_t {
  idle,       // started, not a member that hears a primary
  joining,    // a primary is resyncing us
  secondary,  // in sync, follows a primary
  primary,
  failed,  // the device failed; this node takes no part until it is opened anew
};
const char* role_name(Role role) noexcept;

enum class EventKind : std::uint8_t {
  became_primary,
  lost_primary,
  peer_left,
  peer_joined,
  resync_started,
  resync_finished,
  block_healed,
  device_failed,
  block_lost,          // no copy could read it when it was to be copied
  split_brain,         // found: `peer` has a history of its own
  peer_refused,        // it sent what no honest peer of this version sends; told once per peer and minute
  record_reinstalled,  // the arbiter's record had gone back, and was put right
};
const char* event_kind_name(EventKind kind) noexcept;

struct ReplicaEvent {
  Nanos at = 0;  // this node's scheduler clock
  EventKind kind = EventKind::became_primary;
  NodeId peer = kNoNode;            // peer_*, resync_*
  ResyncWhy why = ResyncWhy::none;  // resync_*
  std::uint64_t epoch = 0;
  Errc reason = Errc::ok;    // peer_refused
  std::uint64_t offset = 0;  // block_healed, block_lost
  std::uint64_t bytes = 0;   // resync_started: to copy, resync_finished: copied, block_*: length
};

struct ReplicaConfig {
  VolumeId volume;
  NodeId self = 0;   // its place in the configuration, < kMaxNodes
  std::string name;  // of the node; each once. "": made from its place
  struct Peer {
    NodeId id = kNoNode;  // its place in the configuration
    std::string address;
    std::string name;
  };
  std::vector<Peer> peers;   // the other configured nodes; empty when stand-alone
  std::string arbiter;       // address; "" = stand-alone: a single copy, no peers, no arbiter
  NodeId first_primary = 0;  // starts the volume when the arbiter's record is virgin
  // The device was started by force and may hold wrong blocks: from now on this copy goes first only if somebody chooses
  // it, and is brought up to date by checksum.
  bool suspect_device = false;
  bool blank_devices = true;  // formatted devices read as zeroes: a virgin volume starts in sync, without a full copy
  std::uint64_t volume_bytes = 0;  // exported size; 0: all that the device has room for
  // After a start of everything at once, promotions wait until all members of the record have answered, or somebody
  // decides (promote_by_force, recover): an arbiter's file that was restored cannot be told from one that was not.
  bool wait_after_arbiter_restart = false;

  AckMode ack = AckMode::durable;  // of a virgin volume; then the arbiter's record counts (set_ack())
  std::uint64_t lease_ms = 800;
  std::uint64_t grace_ms = 1000;              // >= 1.25 x lease
  std::uint64_t beacon_ms = 100;              // <= lease / 4
  std::uint32_t min_in_sync = 1;              // with fewer copies in sync, writes are not acknowledged
  std::uint64_t resync_min_bytes_per_s = 0;   // while clients are busy; 0: no limit
  std::uint64_t resync_max_bytes_per_s = 0;   // while they are not; 0: no limit
  std::uint32_t resync_window = 4;            // pieces of a copy under way (piece_bytes())
  std::uint64_t send_queue_bytes = 64 << 20;  // of writes that one peer has not made durable; then writes wait
  std::uint64_t congestion_ms = 5000;         // a peer with a write so old leaves the set
  std::uint32_t max_in_flight = 512;          // client requests under way; more wait in their connection
  std::uint64_t intent_bits = 1 << 18;        // a multiple of 32768, at most kMaxIntentBits; of a copy that is made
  std::uint64_t clear_bits_ms = 5000;         // idle time after which a granule's intent bit is cleared

  std::function<void(const ReplicaEvent&)> on_event;  // called on the node's scheduler; must not call back

  // lease, grace and beacon for a node that is to be missed after about `detect_ms`.
  void set_detect(std::uint64_t detect_ms) noexcept {
    grace_ms = detect_ms;
    lease_ms = detect_ms * 4 / 5;
    beacon_ms = detect_ms / 10 > 0 ? detect_ms / 10 : 1;
  }
};

struct PeerStatus {
  NodeId id = kNoNode;
  bool connected = false;
  bool in_sync = false;
  bool resyncing = false;           // also reconciling
  ResyncWhy why = ResyncWhy::none;  // of the last or present copy
  std::uint64_t behind_bytes = 0;   // writes that it has not made durable
  std::uint64_t resync_done_bytes = 0;
  std::uint64_t resync_total_bytes = 0;  // to look at; with checksums, only what differs is copied; where diverged, none
  bool diverged = false;                 // split brain: it keeps its own history until someone chooses
  std::uint64_t divergent_bytes = 0;     // blocks that differ, as far as they have been compared
  std::vector<Extent> divergent;         // the first kMaxListedExtents runs of them
};

// What a device was made to hold.
enum class Start : std::uint8_t {
  as_it_is,
  new_volume,  // formatted: all data on it is given up but what the volume starts from, on its first primary
  new_copy,    // formatted: of a volume that there is
};

// All that a copy knows of itself and the others: for `volume recover` and for people.
struct CopyFacts {
  VolumeId volume;
  CopyId copy;
  std::uint64_t life = 0;
  bool eligible = false;  // consistent, on a device that works
  bool fresh = false;
  bool primary = false;  // it is one, serving or not
  bool serving = false;
  Position position;
  Superblock super;
  Marks marks;
};
// As bytes, without the lost blocks; at most kMaxRecordBytes + 4096. Errors: corrupt.
std::vector<std::byte> to_bytes(const CopyFacts& facts);
Result<CopyFacts> facts_from(std::span<const std::byte> bytes);

// Who gives up what it has since the two were one (rule 11).
enum class Resolution : std::uint8_t { discard_local, discard_remote };

struct VerifyReport {
  struct Difference {
    NodeId node = kNoNode;  // whose copy is not as most are, or cannot be read; also the primary's
    Extent extent;
    bool decided = true;  // else there is no majority, and the primary's may be the wrong one
  };
  bool repairing = false;
  NodeSet compared;                   // members that were compared to the end
  std::uint64_t compared_bytes = 0;   // of all members together
  std::uint64_t different_bytes = 0;  // also blocks that somebody cannot read
  std::uint64_t undecided_bytes = 0;  // of them: which copy is right cannot be told
  std::uint64_t repaired_bytes = 0;
  std::uint64_t unreadable_bytes = 0;  // windows with blocks that no member could read: not compared
  std::vector<Difference> different;   // the first kMaxListedExtents
};

struct ReplicaStatus {
  Role role = Role::idle;
  std::uint64_t epoch = 0;
  bool serving = false;            // a primary that would answer a read now
  bool writable = false;           // ... and acknowledge a write
  NodeSet in_sync;                 // as far as this node knows
  AckMode ack = AckMode::durable;  // a primary's view
  NodeId primary = kNoNode;        // as far as this node knows
  unsigned redundancy = 0;         // further node failures survived, serving on and losing nothing (a primary's view)
  std::vector<PeerStatus> peers;   // a primary's view
  std::uint64_t replication_bytes = 0;  // payload sent to peers, by cause
  std::uint64_t resync_bytes = 0;       // resync and reconciliation
  std::uint64_t heal_bytes = 0;         // fetched from peers
  std::uint64_t reads_healed = 0;
  std::uint64_t writes = 0, reads = 0;  // client requests completed here
  std::uint64_t dirty_bits = 0;         // intent bits set
  bool inconsistent = false;            // a resync into this copy has not ended
  bool device_failed = false;
  bool verifying = false;  // a primary's view, with how far it is (all members together)
  std::uint64_t verify_done_bytes = 0, verify_total_bytes = 0;
  bool diverged = false;         // split brain, and another node holds the record: this copy is read-only
  std::uint64_t lost_bytes = 0;  // blocks recorded as unreadable on every copy; a write heals
  std::uint64_t refusals = 0;    // sessions ended because of what the peer sent
  CopyId copy;
  std::uint64_t mark = 0;  // marks.h
  std::vector<Finding> findings;
};

class Replica {
 public:
  // Reads the metadata behind the volume on `device`, or writes it anew. Several nodes of one volume must be configured
  // with the same volume_bytes or equal devices. All references must outlive the Replica. Errors: invalid_argument
  // (configuration), not_found (no copy there), bad_input (of another volume, node or size, or an interrupted `grow`),
  // corrupt (damaged), unsupported (of another version), no_space (too small), limit, io kinds.
  static Task<Result<std::unique_ptr<Replica>>> open(Env& env, ReplicaConfig config, BlockDevice& device, Start start);
  ~Replica();

  // Serves clients and peers on `listener` and takes its part in the protocol until `stop` is set; then ends all
  // sessions, waits for all I/O (and for connections being opened, at most lease_ms), closes the listener and returns.
  // Once only. On a killed node the task of run() must be destroyed before the Replica; awaiting it in the frame that
  // owns the Replica does that.
  Task<void> run(Listener& listener, Event& stop);

  // On a member of the set: makes this node the primary, without a failed request; the former one stays a member. ok
  // when it serves. Errors: not_primary (not a member in sync that hears a primary), timeout (also when the primary
  // could not drain its writes in time; it then goes on).
  Task<Status> promote(Nanos deadline);
  // On the primary: hands over to the member with the lowest id. ok when this node is not the primary any more. Errors:
  // not_primary, unavailable (no other member is in sync), timeout.
  Task<Status> demote(Nanos deadline);
  // On the primary: the volume's mode from the next epoch on. ok when the record has it. Errors: not_primary, timeout.
  Task<Status> set_ack(AckMode mode, Nanos deadline);

  ReplicaStatus status() const;
  // The two of it that cost nothing to ask.
  bool serving() const noexcept;
  std::uint64_t epoch() const noexcept;

  // ---- for the operator, on the node's scheduler while run() is under way; the Replica must outlive the call ----
  // Compares the copies of all members while I/O goes on, at the pace of resync; with `repair`, makes what differs as
  // most have it, or, of two copies, as it is here. Errors: not_primary, busy (one at a time), cancelled
  // (end_verify()), closed, timeout (no member was compared to its end).
  Task<Result<VerifyReport>> verify(bool repair);
  // Ends a verify under way after the window that it is in.
  void end_verify() noexcept;
  // Gives this copy up and lets the primary bring it up to date: block by block where it differs, or (`full`)
  // everything. It leaves the set until then. ok when that is durable; the copying follows by itself. Errors:
  // invalid_argument (this is the primary, or there is a split brain), unavailable (no primary is heard), the device's.
  Task<Status> invalidate(bool full);
  // Makes this node primary with itself as the only member, whatever the others hold: the last resort, and a way
  // to a split brain. Errors: unavailable (no arbiter, or this copy is new, half-copied or failed), busy (it hears a
  // primary).
  Task<Status> promote_by_force();
  // Ends the split brain with `peer`. The primary may discard either side (its own: it hands the record over); the other
  // side only its own. Errors: invalid_argument (there is none), not_found, not_primary, busy, io kinds.
  Task<Status> resolve(NodeId peer, Resolution choice);
  // ---- for a recovery (service/recover.h) ----
  CopyFacts facts() const;
  // Follows nobody and proposes nothing until the arbiter's record differs from the promise's, another promise is asked
  // for, or abort_recovery(). ok when that is durable. Errors: busy (it serves), the device's.
  Task<Status> promise(Promise promise);
  Task<Status> abort_recovery();

  std::uint64_t volume_bytes() const noexcept;

  // Bytes behind the volume that the volume does not get: with all the room that is wanted, and with the least that
  // will do.
  static std::uint64_t metadata_bytes(std::uint64_t intent_bits = 1 << 18) noexcept;
  static std::uint64_t least_metadata_bytes(std::uint64_t intent_bits = 1 << 18) noexcept;

 private:
  struct Impl;
  explicit Replica(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace resilver::replica
