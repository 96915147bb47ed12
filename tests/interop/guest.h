// Linux md itself, as an oracle: user-mode-linux runs a real kernel as a process, with md's modules and mdadm, on image
// files. One guest serves many tests: it takes scripts from us one after the other and answers with what they printed.
//
// Disks. A guest has kSlots block devices /dev/ubda ... /dev/ubdp; which image stands behind one is decided each time the
// guest opens it, by a symbolic link in our folder, so images can be changed between scripts as long as nothing in the guest
// has them open. Their sizes are fixed at boot: kMemberBytes, but for the last ones (kOddSlots).
//
// The guest's root is the host's file system. Scripts write only to block devices, tmpfs and the test's own folder.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace resilver::test {

inline constexpr std::uint64_t kMemberBytes = 6u << 20;
inline constexpr std::size_t kSlots = 16;
// Sizes of the devices from slot 13 on, for arrays of unequal members.
inline constexpr std::size_t kOddSlot = 13;
inline constexpr std::uint64_t kOddBytes[] = {10u << 20, (13u << 20) + (320u << 10), 21u << 20};

// Where guests, their memory and images live: on tmpfs if there is room (the tests sync a lot), else under build/.
const std::string& scratch_folder();

struct Reply {
  int status = -1;  // of the script; -1: it did not end in time, or the guest died
  std::string out;
  bool ok() const { return status == 0; }
};

class Guest {
 public:
  // The guest that the tests of this process share; booted at the first call and again if it has been killed.
  static Guest& shared();
  // The shared one if it runs; null: it has been killed, or could not be booted.
  static Guest* running();
  // Why there can be no guest on this machine; empty if there can. Boots the shared one to find out.
  static const std::string& why_not();

  // A guest of its own, booted, with slots of these sizes.
  explicit Guest(std::vector<std::uint64_t> slot_bytes);
  ~Guest();
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  // Puts an image into a slot. It must have the slot's size.
  void plug(std::size_t slot, const std::string& image);
  // Members in slots 0, 1, ...; gives their device names in the guest.
  std::vector<std::string> plug_all(const std::vector<std::string>& images);
  static std::string device(std::size_t slot);  // "/dev/ubda"

  // Runs a bash script in the guest (see guest_agent.sh for the functions it can use) and waits for its end: as long as it
  // says something every `seconds`, since a busy machine makes long scripts slow (but not kPatience times as long).
  Reply run(const std::string& script, int seconds = 60);
  // Starts one and waits only until its output contains `until`. Nothing else can run until it ends.
  bool start(const std::string& script, const std::string& until, int seconds = 60);
  // Ends the guest at once, as a crash of the machine's kernel would: what it had handed to its disks is there. Gives what
  // the script that was running had said until then.
  std::string kill();
  bool alive() const noexcept { return pid_ > 0; }

 private:
  static Guest& only();
  bool boot();
  std::string slot_path(std::size_t slot) const;
  // Reads the console until `mark` is seen; false when `unless` is (if given), after a silence of `seconds`, at the end of
  // all patience or of the guest.
  bool read_until(const std::string& mark, int seconds, const std::string& unless = "");
  void send(const std::string& script);

  std::vector<std::uint64_t> slot_bytes_;
  std::string folder_;
  std::string console_;  // all that was said since the last script began
  std::string boot_log_;
  int scripts_ = 0;
  pid_t pid_ = -1;
  int in_ = -1;   // to the console
  int out_ = -1;  // from it
};

}  // namespace resilver::test
