#include "replica/arbiter.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "async/task_group.h"
#include "base/endian.h"
#include "replica/codec.h"
#include "replica/old_format.h"
#include "replica/session.h"

namespace resilver::replica {

// ---- client --------------------------------------------------------------------------------------------------------

ArbiterClient::ArbiterClient(Env& env, std::string address)
    : env_(env), address_(std::move(address)), busy_(env.scheduler()) {}

bool ArbiterClient::knows(const ArbiterKey& key) const { return std::ranges::find(seen_, key) != seen_.end(); }

// What a primary tells may be long ago: it asks now and then only.
Task<void> ArbiterClient::hear_of(ArbiterKey key, Nanos deadline) {
  reopen_ = true;  // who answers there now?
  const auto answer = co_await get(deadline);
  if (!knows(key)) note(key, answer ? seen_.begin() : seen_.end());
}

void ArbiterClient::note(const ArbiterKey& key, std::vector<ArbiterKey>::iterator before) {
  constexpr std::size_t kMost = 64;
  seen_.insert(before, key);
  if (seen_.size() > kMost) seen_.erase(seen_.begin());
}

// One that was there before another one is not the arbiter any more, whatever it says.
bool ArbiterClient::is_the_one(const ArbiterKey& key) {
  if (key == this->key()) return true;
  if (knows(key)) return false;
  note(key, seen_.end());
  return true;
}

Task<Result<ArbiterAnswer>> ArbiterClient::converse(Message request, std::uint64_t id, Nanos deadline) {
  if (std::exchange(reopen_, false)) connection_.reset();
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
  auto* body = std::get_if<ArbiterAnswer>(&decoded->body);
  if (body == nullptr || body->id != id) co_return fail(Errc::corrupt, "the arbiter answered something else");
  if (!is_the_one(body->key)) co_return fail(Errc::busy, "two arbiters answer in turn");
  co_return std::move(*body);
}

Task<Result<ArbiterAnswer>> ArbiterClient::call(Message request, std::uint64_t id, Nanos deadline) {
  Result<ArbiterAnswer> answer = co_await converse(std::move(request), id, deadline);
  if (!answer) connection_.reset();
  co_return answer;
}

Task<Result<VersionedRecord>> ArbiterClient::get(Nanos deadline) {
  co_await busy_.acquire();
  SemaphoreGuard guard(busy_);
  const std::uint64_t id = next_id_++;
  auto answer = co_await call(encode(0, ArbiterGet{id}), id, deadline);
  if (!answer) co_return std::unexpected(answer.error());
  co_return VersionedRecord{answer->key, answer->version, std::move(answer->record)};
}

Task<Result<SwapResult>> ArbiterClient::compare_and_swap(VersionedRecord expected, Record record, Nanos deadline) {
  co_await busy_.acquire();
  SemaphoreGuard guard(busy_);
  const std::uint64_t id = next_id_++;
  const ArbiterSwap swap{id, expected.key, expected.version, expected.record.nonce, record};
  auto answer = co_await call(encode(record.epoch, swap), id, deadline);
  if (!answer) co_return std::unexpected(answer.error());
  if (answer->status != Errc::ok) co_return fail(answer->status, "the arbiter cannot keep the record");
  co_return SwapResult{answer->swapped, {answer->key, answer->version, std::move(answer->record)}};
}

// ---- its state -----------------------------------------------------------------------------------------------------

template <typename F>
static void fields(F& f, ArbiterState& v) {
  f(v.arbiter, v.starts, v.version, v.record);
}

namespace {

constexpr std::uint64_t kArbiterMagic = 0x32'62'72'61'6c'73'65'72ull;  // "reslarb2"
constexpr std::size_t kMaxConnections = 64;

SmallRecord::Place place_on(std::uint64_t device_bytes) {
  constexpr std::uint64_t kWantedStride = 1 << 20;
  const std::uint64_t gap = (device_bytes - SmallRecord::kMostRoom) / (SmallRecord::kCopies - 1);
  return {0, std::min(kWantedStride, gap / kBlockBytes * kBlockBytes), SmallRecord::kMostRoom};
}

std::vector<std::byte> bytes_of(const ArbiterState& state) {
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  ArbiterState copy = state;
  writer(copy);
  return bytes;
}

}  // namespace

ArbiterStore::ArbiterStore(Env& env, BlockDevice& device)
    : scheduler_(env.scheduler()),
      buffers_(env.buffers()),
      device_(device),
      record_(env.scheduler(), env.buffers(), device, kArbiterMagic) {}

Task<Status> ArbiterStore::load(SmallRecord::Mend mend) {
  if (device_.size_bytes() < SmallRecord::kCopies * SmallRecord::kMostRoom) {
    const auto before = co_await old::find_record(scheduler_, buffers_, device_);
    const bool older = before ? before->has_value() : before.error().code == Errc::corrupt;
    if (older) co_return fail(Errc::unsupported, "it is of an older version");
    co_return fail(Errc::invalid_argument, "it is too small to be an arbiter's state");
  }
  if (Status loaded = co_await record_.load(place_on(device_.size_bytes()), mend); !loaded) co_return loaded;
  ArbiterState state;
  Reader reader(record_.content());
  reader(state);
  if (!reader.finished()) co_return fail(Errc::corrupt, "an arbiter's state that makes no sense");
  now_ = std::move(state);
  co_return Status{};
}

Task<Errc> ArbiterStore::format(const ArbiterState& state) {
  const Errc status = co_await record_.format(place_on(device_.size_bytes()), bytes_of(state));
  if (status == Errc::ok) now_ = state;
  co_return status;
}

Task<Errc> ArbiterStore::store(const ArbiterState& state) {
  const Errc status = co_await record_.store(bytes_of(state));
  if (status == Errc::ok) now_ = state;
  co_return status;
}

Task<Status> format_arbiter(Env& env, BlockDevice& device) {
  if (device.size_bytes() < SmallRecord::kCopies * SmallRecord::kMostRoom)
    co_return fail(Errc::invalid_argument, "the arbiter's device is too small");
  ArbiterStore store(env, device);
  ArbiterState state;
  state.arbiter = Id128::draw(env.random());
  const Errc status = co_await store.format(state);
  if (status != Errc::ok) co_return fail(status, "the arbiter's state cannot be written");
  co_return Status{};
}

// ---- server --------------------------------------------------------------------------------------------------------

namespace {

class Keeper {
 public:
  Keeper(Env& env, BlockDevice& state, Event& stop, std::function<void(std::string)> tell)
      : env_(env),
        store_(env, state),
        stop_(stop),
        tell_(std::move(tell)),
        busy_(env.scheduler()),
        group_(env.scheduler()) {}

  // The start is durable before the first answer: nobody who was answered before can be answered in its name.
  Task<Status> load() {
    if (Status loaded = co_await store_.load(SmallRecord::Mend::yes); !loaded) co_return loaded;
    ArbiterState next = store_.now();
    ++next.starts;
    const Errc status = co_await store_.store(next);
    if (status != Errc::ok) co_return fail(status, "the arbiter's state cannot be written");
    key_ = {next.arbiter, next.starts, env_.random().next()};
    co_return Status{};
  }

  // Serves one connection, until it ends.
  Task<void> serve(std::unique_ptr<Connection> connection) {
    Session session(env_.scheduler(), std::move(connection));
    sessions_.push_back(session);
    while (!stop_.is_set()) {
      auto received = co_await session.receive(kNever);
      if (!received) break;
      ArbiterAnswer answer;
      if (const auto* get = std::get_if<ArbiterGet>(&received->body)) {
        answer.id = get->id;
      } else if (const auto* swap = std::get_if<ArbiterSwap>(&received->body)) {
        answer.id = swap->id;
        answer.status = co_await compare_and_swap(*swap, answer.swapped);
      } else {
        break;
      }
      answer.key = key_;
      answer.version = store_.now().version;
      answer.record = store_.now().record;
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

  Task<void> run(Listener& listener) {
    group_.spawn(accept(listener));
    co_await stop_.wait();
    listener.close();
    sessions_.for_each([](Session& s) { s.close(); });
    co_await group_.join();
  }

 private:
  // The new record is durable before anybody sees it. A write that failed may still be there after a restart; nobody was
  // told that it is not.
  Task<Errc> compare_and_swap(const ArbiterSwap& swap, bool& swapped) {
    co_await busy_.acquire();
    SemaphoreGuard guard(busy_);
    const ArbiterState& now = store_.now();
    if (!now.record.virgin() && now.record.volume != swap.record.volume) co_return Errc::bad_input;
    if (swap.key != key_ || swap.expected_version != now.version || swap.expected_nonce != now.record.nonce)
      co_return Errc::ok;
    ArbiterState next = now;
    ++next.version;
    next.record = swap.record;
    const Errc status = co_await store_.store(next);
    if (status != trouble_ && tell_) {
      tell_(status == Errc::ok ? "the record can be written again"
                               : std::string("the record cannot be written: ") + errc_name(status));
    }
    trouble_ = status;
    swapped = status == Errc::ok;
    co_return status;
  }

  Env& env_;
  ArbiterStore store_;
  Event& stop_;
  std::function<void(std::string)> tell_;
  Mutex busy_;
  ArbiterKey key_;
  Errc trouble_ = Errc::ok;
  std::size_t open_ = 0;
  IntrusiveList<Session> sessions_;
  TaskGroup group_;
};

}  // namespace

Task<Status> serve_arbiter(Env& env, Listener& listener, BlockDevice& state, Event& stop,
                           std::function<void(std::string)> tell) {
  Keeper keeper(env, state, stop, std::move(tell));
  Status loaded = co_await keeper.load();
  if (!loaded) {
    listener.close();
    co_return loaded;
  }
  co_await keeper.run(listener);
  co_return Status{};
}

}  // namespace resilver::replica
