#include "service/control.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace resilver::service {
namespace {

constexpr Nanos kConnectTimeout = kSecond;

}  // namespace

Task<Status> send_text(Connection& connection, std::string text, Nanos deadline) {
  if (text.size() > Message::kMaxHead) co_return fail(Errc::limit, "too long for one message");
  Message message;
  message.head.resize(text.size());
  std::memcpy(message.head.data(), text.data(), text.size());
  co_return co_await connection.send(std::move(message), deadline);
}

std::string_view text_of(const Message& message) noexcept {
  return {reinterpret_cast<const char*>(message.head.data()), message.head.size()};
}

void Question::give_up() noexcept {
  given_up_ = true;
  if (connection_) connection_->close();
}

Task<Result<Answer>> Question::ask(Order order, Nanos deadline) {
  Result<Answer> answer = co_await converse(order, deadline);
  if (given_up_) co_return fail(Errc::cancelled, "interrupted");
  if (!answer || answer->error == Errc::ok) co_return answer;
  co_return fail(answer->error, answer->what);
}

Task<Result<Answer>> Question::converse(Order order, Nanos deadline) {
  const auto silent = [this](const Error& error) {
    const Errc code = error.code == Errc::timeout ? Errc::timeout : Errc::unavailable;
    return fail(code, error.what.contains(address_) && code != Errc::timeout
                          ? error.what
                          : fmt::format("{}: {}", address_, code == Errc::timeout ? "no answer" : to_string(error)));
  };
  const Nanos now = env_.scheduler().now();
  auto connection = co_await env_.network().connect(address_, std::min(deadline, now + kConnectTimeout));
  if (!connection) co_return silent(connection.error());
  connection_ = std::move(*connection);
  if (given_up_) co_return fail(Errc::cancelled);
  if (Status sent = co_await send_text(*connection_, to_json(order), deadline); !sent) co_return silent(sent.error());
  Result<Message> received = co_await connection_->receive(deadline);
  connection_->close();
  if (!received) co_return silent(received.error());
  Result<Answer> answer = answer_from_json(text_of(*received));
  if (!answer) co_return fail(Errc::bad_input, fmt::format("{}: {}", address_, answer.error().what));
  co_return answer;
}

}  // namespace resilver::service
