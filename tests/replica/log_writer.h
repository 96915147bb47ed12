// A client that writes block after block, each once, and remembers what was acknowledged: what is lost shows as a list.
#pragma once

#include <algorithm>
#include <vector>

#include "tests/replica/cluster.h"

namespace resilver::replica {

class LogWriter {
 public:
  // Runs on the client's process until stop(); `depth` writes at a time, blocks `from`, from + 1, …, version 1.
  LogWriter(Cluster& cluster, std::uint64_t from = 0, int depth = 1, Nanos pause = 0) : cluster_(cluster), next_(from) {
    cluster.client_main([this, depth, pause](Client& client) -> Task<void> {
      TaskGroup group(cluster_.client_node().scheduler());
      for (int i = 0; i < depth; ++i) group.spawn(work(client, pause));
      co_await group.join();
    });
  }
  // Waits for the last write; it may still fail or succeed.
  bool stop() {
    stop_ = true;
    return cluster_.run_until([&] { return !cluster_.client_node().running(); }, 60 * kSecond);
  }
  // The client dies: what is under way stays unanswered.
  void kill() { cluster_.client_node().crash(); }

  std::vector<std::uint64_t> acked;
  int failed = 0;
  Nanos longest_gap = 0;  // between answers

  // The acknowledged blocks that the volume does not hold, as its primary shows it.
  std::vector<std::uint64_t> lost() {
    std::vector<std::uint64_t> missing;
    bool read = false;
    cluster_.client_main([&](Client& client) -> Task<void> {
      Buffer data = cluster_.client_node().env().buffers().allocate(kBlockBytes);
      for (const std::uint64_t block : acked) {
        const Errc status = co_await Io::read(client, block * kBlockBytes, data);
        if (status != Errc::ok || Cluster::version_of(data.bytes(), block) != 1) missing.push_back(block);
      }
      read = true;
    });
    EXPECT_TRUE(cluster_.run_until([&] { return !cluster_.client_node().running(); }, 60 * kSecond) && read);
    std::sort(missing.begin(), missing.end());
    return missing;
  }
  // The last `count` acknowledged blocks.
  std::vector<std::uint64_t> last(std::size_t count) const {
    std::vector<std::uint64_t> blocks(acked.end() - static_cast<std::ptrdiff_t>(std::min(count, acked.size())),
                                      acked.end());
    std::sort(blocks.begin(), blocks.end());
    return blocks;
  }

 private:
  Task<void> work(Client& client, Nanos pause) {
    Env& env = cluster_.client_node().env();
    Nanos answered = env.scheduler().now();
    while (!stop_ && next_ < Cluster::kBlocks) {
      const std::uint64_t block = next_++;
      Buffer data = env.buffers().allocate(kBlockBytes);
      Cluster::fill(data.bytes(), block, 1);
      if (co_await Io::write(client, block * kBlockBytes, data) == Errc::ok) {
        acked.push_back(block);
      } else {
        ++failed;
      }
      longest_gap = std::max(longest_gap, env.scheduler().now() - answered);
      answered = env.scheduler().now();
      if (pause != 0) {
        co_await sleep_for(env.scheduler(), pause);
        answered = env.scheduler().now();
      }
    }
  }

  Cluster& cluster_;
  std::uint64_t next_;
  bool stop_ = false;
};

}  // namespace resilver::replica
