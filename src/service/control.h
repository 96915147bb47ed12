// How a node program is asked and told: one question, one answer, as JSON text in the head of a framed message, on
// connections to the node's control address (loopback only). Both ends are the same program: another version's text is
// refused. What a peer sends is bounded by Message::kMaxHead before it is looked at.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "env/env.h"
#include "replica/replica.h"

namespace resilver::service {

using replica::VolumeId;

enum class Verb : std::uint8_t {
  status,
  promote,  // this node; force: whatever the others hold
  demote,   // this node
  set_ack,  // this node is the primary
  verify,   // this node is the primary; ends early when the asker has gone
  resync,   // this node gives its copy up; full: everything is copied
  resolve,  // ends the split brain with `peer`
  facts,    // all that the copy knows of itself and the others
  prepare,  // promises to a recovery
  abort,    // ... calls that off
};

struct Order {
  VolumeId volume;  // another one's node refuses
  Verb verb = Verb::status;
  bool force = false;
  bool full = false;
  bool repair = false;
  bool discard_local = false;
  replica::NodeId peer = replica::kNoNode;
  replica::AckMode ack = replica::AckMode::durable;
  std::uint64_t timeout_ms = 10'000;  // promote, demote, set_ack
  replica::Promise promise;           // prepare
};

// A copy under way from this node to a peer.
struct CopyRate {
  replica::NodeId peer = replica::kNoNode;
  std::uint64_t bytes_per_second = 0;  // mean since it began
};

struct ArrayReport {
  std::string state;     // "raid5 [3/2] [U_U] degraded"
  std::string recovery;  // "rebuild", …; empty: none
  std::uint64_t done_bytes = 0;
  std::uint64_t total_bytes = 0;
  std::uint64_t lost_blocks = 0;  // as far as they are listed
  bool failed = false;
  bool redundancy_full = true;
};

// Lists of extents are cut to kMaxListed entries in all; the byte counts are whole.
inline constexpr std::size_t kMaxListed = 400;

struct NodeStatus {
  std::string volume;
  std::string node;
  std::uint64_t size_bytes = 0;
  replica::ReplicaStatus replica;
  std::vector<CopyRate> rates;
  std::optional<ArrayReport> array;
};

struct Answer {
  Errc error = Errc::ok;
  std::string what;  // of the error
  std::optional<NodeStatus> status;
  std::optional<replica::VerifyReport> verify;
  std::optional<replica::CopyFacts> facts;
};

std::string to_json(const Order& order);
std::string to_json(const Answer& answer);
// Errors: bad_input, with the parser's words.
Result<Order> order_from_json(std::string_view text);
Result<Answer> answer_from_json(std::string_view text);

// Sends `text` as a message. Errors: limit (too long for one), those of Connection::send().
Task<Status> send_text(Connection& connection, std::string text, Nanos deadline);
std::string_view text_of(const Message& message) noexcept;

// One question to a control address, which can be given up.
class Question {
 public:
  Question(Env& env, std::string address) : env_(env), address_(std::move(address)) {}

  // Once. The error of the node's answer, if it has one; else unavailable or timeout (nobody answers there), bad_input (another
  // program), cancelled.
  Task<Result<Answer>> ask(Order order, Nanos deadline);
  // Ends ask() soon.
  void give_up() noexcept;

 private:
  Task<Result<Answer>> converse(Order order, Nanos deadline);

  Env& env_;
  std::string address_;
  std::unique_ptr<Connection> connection_;
  bool given_up_ = false;
};

}  // namespace resilver::service
