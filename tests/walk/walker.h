// Takes the steps of a plan, one after the other, and tells the judge what was done and what came of it.
#pragma once

#include <memory>
#include <optional>

#include "tests/walk/judge.h"
#include "tests/walk/operator.h"

namespace resilver::test {

// One round. `report` has everything that is needed to understand it.
struct Outcome {
  bool good = false;
  std::string complaints;
  std::string report;
};
Outcome walk(const Plan& plan);

class Walker {
 public:
  explicit Walker(const Plan& plan);

  void begin();  // the volume is made and started
  void take(const Step& step);
  void end();  // faults are lifted, the volume becomes whole, everything is judged
  Outcome outcome();

 private:
  bool carry_out(const Step& step);  // false: it could not be taken
  bool take_client_step(const Step& step);
  bool take_process_step(const Step& step);
  bool take_order(const Step& step);
  bool take_offline_order(const Step& step);
  bool take_state_step(const Step& step);
  bool take_image_step(const Step& step);
  bool take_file_step(const Step& step);

  std::vector<char> those(char who) const;  // that there are
  bool write(const Step& step);
  bool begin_write(const Step& step);
  bool begin_load(const Step& step);
  void end_client();
  bool read();
  void settle(double seconds);
  void flap(const Step& step);
  bool order(const Words& words, double limit = 40);
  bool order_named(const Step& step, const char* verb);
  bool resync(const Step& step);
  void stop_all();
  void start_all();
  void lift_faults();
  void judge_rest();

  const Plan plan_;
  Lab lab_;
  Journal journal_;
  Judge judge_;
  Operator operator_;

  // What was begun and has not ended.
  struct Client {
    std::unique_ptr<Program> program;
    Words words;
    std::optional<Writing> writing;  // else a load
  };
  std::optional<Client> client_;
  std::uint64_t writes_ = 0;
  bool unserved_ = false;  // a client waited in vain, and nothing was done since
};

}  // namespace resilver::test
