#include "replica/arbiter.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "async/task_group.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "replica/metadata.h"
#include "replica/session.h"

namespace resilver::replica {

// ---- client --------------------------------------------------------------------------------------------------------

ArbiterClient::ArbiterClient(Env& env, std::string address)
    : env_(env), address_(std::move(address)), busy_(env.scheduler()) {}

Task<Result<ArbiterAnswer>> ArbiterClient::call(Message request, std::uint64_t id, Nanos deadline) {
  if (connection_ == nullptr) {
    auto opened = co_await env_.network().connect(address_, deadline);
    if (!opened) co_return std::unexpected(opened.error());
    connection_ = std::move(*opened);
  }
  const Status sent = co_await connection_->send(std::move(request), deadline);
  if (!sent) co_return std::unexpected(sent.error());
  Result<Message> answer = co_await connection_->receive(deadline);
  if (!answer) co_return std::unexpected(answer.error());
  Result<Decoded> decoded = decode(answer->head);
  if (!decoded) co_return std::unexpected(decoded.error());
  const auto* body = std::get_if<ArbiterAnswer>(&decoded->body);
  if (body == nullptr || body->id != id) co_return fail(Errc::corrupt, "the arbiter answered something else");
  co_return *body;
}

Task<Result<VersionedRecord>> ArbiterClient::get(Nanos deadline) {
  co_await busy_.acquire();
  SemaphoreGuard guard(busy_);
  const std::uint64_t id = next_id_++;
  auto answer = co_await call(encode(0, ArbiterGet{id}), id, deadline);
  if (!answer) {
    connection_.reset();
    co_return std::unexpected(answer.error());
  }
  co_return VersionedRecord{answer->version, answer->record};
}

Task<Result<SwapResult>> ArbiterClient::compare_and_swap(std::uint64_t expected, Record record, Nanos deadline) {
  co_await busy_.acquire();
  SemaphoreGuard guard(busy_);
  const std::uint64_t id = next_id_++;
  auto answer = co_await call(encode(record.epoch, ArbiterSwap{id, expected, record}), id, deadline);
  if (!answer) {
    connection_.reset();
    co_return std::unexpected(answer.error());
  }
  co_return SwapResult{answer->swapped, {answer->version, answer->record}};
}

// ---- server --------------------------------------------------------------------------------------------------------

namespace {

constexpr std::uint64_t kArbiterMagic = 0x31'62'72'61'6c'73'65'72ull;
constexpr std::size_t kMaxConnections = 64;

class Keeper {
 public:
  Keeper(Env& env, BlockDevice& state, Event& stop)
      : env_(env), state_(state), stop_(stop), busy_(env.scheduler()), group_(env.scheduler()) {}

  Task<Status> load() {
    bool used = false;
    for (std::uint64_t slot = 0; slot < 2; ++slot) {
      Buffer buffer = co_await allocate_patiently(env_.scheduler(), env_.buffers(), kBlockBytes);
      if (!buffer) co_return fail(Errc::limit, "no buffer for the arbiter's state");
      const Errc status = co_await Io::read(state_, slot * kBlockBytes, buffer);
      if (status != Errc::ok) co_return fail(status, "the arbiter's state cannot be read");
      const std::byte* at = buffer.data();
      used = used || std::any_of(at, at + kBlockBytes, [](std::byte b) { return b != std::byte{0}; });
      if (load_le<std::uint64_t>(at) != kArbiterMagic) continue;
      if (load_le<std::uint32_t>(at + 8) != crc32c(buffer.bytes().subspan(12))) continue;
      const auto version = load_le<std::uint64_t>(at + 16);
      if (version <= now_.version) continue;
      const auto ack = load_le<std::uint8_t>(at + 48);
      if (ack >= kAckModeCount) co_return fail(Errc::unsupported, "the arbiter's state is of a newer version");
      now_.version = version;
      now_.record = {load_le<std::uint64_t>(at + 24),
                     load_le<std::uint32_t>(at + 32),
                     {load_le<std::uint32_t>(at + 36)},
                     load_le<std::uint64_t>(at + 40),
                     static_cast<AckMode>(ack)};
    }
    // Taken for a new one, somebody's data would be overwritten, or a volume's record forgotten.
    if (used && now_.version == 0)
      co_return fail(Errc::corrupt, "neither half holds an arbiter's record: it is damaged, or another file");
    co_return Status{};
  }

  // Serves one connection, until it ends or the device fails.
  Task<void> serve(std::unique_ptr<Connection> connection) {
    Session session(env_.scheduler(), std::move(connection));
    sessions_.push_back(session);
    while (!stop_.is_set() && failed_ == Errc::ok) {
      auto received = co_await session.receive(kNever);
      if (!received) break;
      ArbiterAnswer answer;
      if (const auto* get = std::get_if<ArbiterGet>(&received->body)) {
        answer.id = get->id;
      } else if (const auto* swap = std::get_if<ArbiterSwap>(&received->body)) {
        answer.id = swap->id;
        const Errc status = co_await compare_and_swap(*swap, answer.swapped);
        if (status != Errc::ok) break;
      } else {
        break;
      }
      answer.version = now_.version;
      answer.record = now_.record;
      const Status sent = co_await session.send_now(encode(0, answer), env_.scheduler().now() + kSecond);
      if (!sent) break;
    }
    session.close();
    session.unlink();
    --open_;
  }

  Task<void> accept(Listener& listener) {
    for (;;) {
      auto connection = co_await listener.accept();
      if (!connection) break;
      if (open_ >= kMaxConnections) continue;
      ++open_;
      group_.spawn(serve(std::move(*connection)));
    }
  }

  Task<Status> run(Listener& listener) {
    group_.spawn(accept(listener));
    while (!stop_.is_set() && failed_ == Errc::ok)
      co_await stop_.wait_until(env_.scheduler().now() + 100 * kMillisecond);
    listener.close();
    sessions_.for_each([](Session& s) { s.close(); });
    co_await group_.join();
    if (failed_ != Errc::ok) co_return fail(failed_, "the arbiter's state cannot be written");
    co_return Status{};
  }

 private:
  // The new record is durable before anybody sees it. A write that failed may still be there after a restart; nobody was
  // told that it is not.
  Task<Errc> compare_and_swap(const ArbiterSwap& swap, bool& swapped) {
    co_await busy_.acquire();
    SemaphoreGuard guard(busy_);
    if (failed_ != Errc::ok) co_return failed_;
    if (swap.expected_version != now_.version) co_return Errc::ok;
    Buffer buffer = co_await allocate_patiently(env_.scheduler(), env_.buffers(), kBlockBytes);
    if (!buffer) co_return Errc::limit;
    std::byte* at = buffer.data();
    std::fill(at, at + kBlockBytes, std::byte{0});
    const std::uint64_t version = now_.version + 1;
    store_le<std::uint64_t>(at, kArbiterMagic);
    store_le<std::uint64_t>(at + 16, version);
    store_le<std::uint64_t>(at + 24, swap.record.epoch);
    store_le<std::uint32_t>(at + 32, swap.record.primary);
    store_le<std::uint32_t>(at + 36, swap.record.in_sync.bits);
    store_le<std::uint64_t>(at + 40, swap.record.nonce);
    store_le<std::uint8_t>(at + 48, static_cast<std::uint8_t>(swap.record.ack));
    store_le<std::uint32_t>(at + 8, crc32c(buffer.bytes().subspan(12)));
    failed_ = co_await Io::write(state_, version % 2 * kBlockBytes, buffer, true);
    if (failed_ != Errc::ok) co_return failed_;
    now_ = {version, swap.record};
    swapped = true;
    co_return Errc::ok;
  }

  Env& env_;
  BlockDevice& state_;
  Event& stop_;
  Mutex busy_;
  VersionedRecord now_;
  Errc failed_ = Errc::ok;
  std::size_t open_ = 0;
  IntrusiveList<Session> sessions_;
  TaskGroup group_;
};

}  // namespace

Task<Status> serve_arbiter(Env& env, Listener& listener, BlockDevice& state, Event& stop) {
  if (state.size_bytes() < kArbiterStateBytes)
    co_return fail(Errc::invalid_argument, "the arbiter's device is too small");
  Keeper keeper(env, state, stop);
  Status loaded = co_await keeper.load();
  if (!loaded) {
    listener.close();
    co_return loaded;
  }
  co_return co_await keeper.run(listener);
}

}  // namespace resilver::replica
