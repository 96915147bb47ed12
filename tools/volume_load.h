// `resilver volume attach --load`: the client that cuts-of-links-by-hand are measured with. Self-describing sectors are
// written and read, every answer is judged by the oracle, a prober beside it times the outages.
#pragma once

#include <memory>

#include "replica/client.h"
#include "tools/volume_command.h"
#include "workload/driver.h"
#include "workload/oracle.h"
#include "workload/prober.h"

namespace resilver::tools {

struct LoadPlan {
  Nanos length = 0;
  std::uint64_t rate_iops = 0;
  bool destroy = false;  // what the volume holds may be overwritten
  bool json = false;
};

class VolumeLoad {
 public:
  static constexpr std::uint64_t kMostBytes = std::uint64_t{64}
                                              << 20;  // at the start of the volume; the prober's at its end

  // `run_id` tells this run's sectors from those of others; `ack` is the volume's mode.
  VolumeLoad(VolumeSession& session, const LoadPlan& plan, std::uint64_t run_id, replica::AckMode ack)
      : session_(session), plan_(plan), run_id_(run_id), ack_(ack), stop_(session.scheduler()) {}

  // Another primary serves: to be told before its first answer.
  void note_reign();

  // Gives the exit code. Errors: exists (the volume holds data), bad_input (too small), the volume's.
  Task<Result<int>> run(replica::Client& client);

 private:
  Task<Status> prepare(replica::Client& client, std::uint64_t begin, std::uint64_t end);
  Task<Result<bool>> is_zero(replica::Client& client, std::uint64_t begin, std::uint64_t end, std::uint64_t& where);
  Task<void> measure(replica::Client& client);
  void tell_changes(const replica::ClientStatus& now);
  int report(const replica::Client& client) const;
  std::string text(const replica::Client& client) const;
  std::string json(const replica::Client& client) const;
  bool wrong() const;
  bool cut_short() const { return session_.interrupted() || fenced_; }

  VolumeSession& session_;
  const LoadPlan plan_;
  std::uint64_t run_id_;
  replica::AckMode ack_;
  Event stop_;
  std::unique_ptr<workload::Oracle> oracle_;
  std::unique_ptr<workload::Driver> driver_;
  std::unique_ptr<workload::Prober> prober_;
  workload::LoadStats stats_;
  Nanos start_ = 0;
  Nanos end_ = 0;
  bool fenced_ = false;  // another client has the volume: what became of ours is not known, and nothing of it lost
  replica::NodeId told_ = replica::kNoNode;
};

}  // namespace resilver::tools
