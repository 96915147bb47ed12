// The links between simulated nodes and the connections over them, as TCP between processes behaves: ordered, reliable,
// bounded windows, silence when a cable is cut or a machine loses power, an end when a process dies.
//
// An address is a node's name, or "NODE:SERVICE" for one of several listeners of a node.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "env/link_model.h"
#include "env/network.h"
#include "sim/world.h"

namespace resilver::sim {

struct FabricState;

// What happens to a frame on its way. What the receiver's framing makes of it is computed with env/frame.h, not assumed.
enum class FrameFault : std::uint8_t {
  drop,
  duplicate,  // comes twice
  replay,     // comes again behind the message after it
  truncate,   // its second half is missing
  corrupt,    // one bit is another
};

// Behind the framing: what a bad peer does to the messages of one direction, each drawn by the seed. It breaks what
// Connection promises, as no network with checksums does by chance: for those who must not trust it.
struct MessageFaults {
  std::uint32_t lost_percent = 0;        // never arrives, and what follows does
  std::uint32_t duplicated_percent = 0;  // arrives twice
  std::uint32_t corrupted_percent = 0;   // arrives as a broken frame: the receiver's connection ends with `corrupt`
};

struct LinkCounters {
  std::uint64_t messages = 0;  // handed to the link
  std::uint64_t bytes = 0;     // of them, with their frame prefix
};

// All links. Controls act on one direction: what `from` sends to `to`; node names that do not exist are a CHECK.
class Fabric {
 public:
  explicit Fabric(World& world);
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;
  ~Fabric();

  static constexpr Nanos kDefaultLatency = 100 * kMicrosecond;

  // Parameters of pairs without own ones; before it is called: 100 us one way, no limit of bandwidth. A node reaches
  // itself in 10 us. Takes effect for links not used so far.
  void set_default_link(const LinkParameters& parameters);
  // Messages handed over from now on; those under way keep their time, and nothing overtakes.
  void set_link(std::string_view from, std::string_view to, const LinkParameters& parameters);
  LinkParameters link(std::string_view from, std::string_view to);

  // Cuts the cable of this direction, silently. What is under way or sent later waits (in the sender's bounded window, then
  // send() waits) and arrives in order after restore(). Acknowledgements travel too: when this direction is cut, the other
  // one stalls once its window is full.
  void drop(std::string_view from, std::string_view to);
  void restore(std::string_view from, std::string_view to);
  bool dropped(std::string_view from, std::string_view to);

  // Damages the next frame of this direction.
  void damage(std::string_view from, std::string_view to, FrameFault what);

  // Ends every connection between the two at once; both see `closed`, what was under way is lost.
  void reset(std::string_view one, std::string_view other);

  // Beside the parameters: so much later each way of this direction (0: none); so many bytes per second instead of the
  // parameters' (0: theirs). From the next message on.
  void set_extra_latency(std::string_view from, std::string_view to, Nanos latency);
  void set_bandwidth(std::string_view from, std::string_view to, std::uint64_t bytes_per_second);

  // For messages sent from now on.
  void set_message_faults(std::string_view from, std::string_view to, const MessageFaults& faults);

  LinkCounters counters(std::string_view from, std::string_view to);

  // ---- for Node ----
  std::unique_ptr<Network> make_network(Node& node);
  void process_ended(Node& node);   // closes its sockets: peers see `closed` behind what still gets out
  void power_lost(Node& node);      // its sockets are gone without a word
  void power_restored(Node& node);  // what was sent to it meanwhile is answered by resets

 private:
  std::unique_ptr<FabricState> state_;
};

}  // namespace resilver::sim
