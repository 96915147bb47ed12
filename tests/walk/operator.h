// Somebody who knows nothing but what status and refusals say, and does that until the volume is whole.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "tests/walk/judge.h"

namespace resilver::test {

class Operator {
 public:
  Operator(const Plan& plan, Lab& lab, Judge& judge, Journal& journal)
      : plan_(plan), lab_(lab), judge_(judge), journal_(journal) {}

  // Waits, and follows what is said where waiting does not help. Complains if the volume does not become whole.
  void bring_back();
  // The most pressing advice, if it gives nothing up.
  void follow_once();
  // `volume recover`, maybe with --from: the whole command line.
  void recover(const std::string& command);
  // `volume resolve`: "B", or "A|B" where somebody must choose.
  void resolve(const std::string& sides);

 private:
  struct Advice {
    std::string code, node, command;
    bool gives_up = false;  // what some copy has
    bool waits = false;     // there is nothing to do but to look again
  };
  static Advice advice_of(const ToldReason& reason);
  std::optional<Advice> pick(const VolumeStatus& status, bool may_give_up);
  void follow(const Advice& advice);
  void run(const std::string& command);
  void start_again(char who);
  void after_refusal(char who);
  void right_arbiter(const std::string& code);
  void new_copy(char who);
  void add_disk(char who);
  static std::string picture(const VolumeStatus& status);

  const Plan& plan_;
  Lab& lab_;
  Judge& judge_;
  Journal& journal_;
  std::map<std::string, int> tried_;  // picture and command
  std::string unproven_;              // what `recover` told to do where it could not prove anything
  int put_aside_ = 0;
};

}  // namespace resilver::test
