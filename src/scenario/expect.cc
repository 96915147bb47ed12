#include "scenario/expect.h"

#include <algorithm>
#include <optional>
#include <set>

#include <fmt/format.h>

#include "base/units.h"
#include "scenario/selector.h"
#include "scenario/verbs.h"

namespace resilver::scenario {

namespace expect_detail {

enum class Op : std::uint8_t { measure, literal, both, either, negate, compare, add, subtract, multiply, divide };

struct Node {
  Op op = Op::literal;
  std::size_t offset = 0;
  Unit unit = Unit::ratio;   // of the value; boolean for conditions
  bool bare_number = false;  // a number without unit: takes part in products, and 0 compares with anything
  CompareOp compare = CompareOp::eq;
  bool timing = false;  // compare: must not be judged in the real world
  // compare with never: that something had not ended by the end of the run must not be judged there
  bool open_ended = false;
  Value value;  // literal
  MeasureId measure = MeasureId::outage;
  std::string contender;  // measure; empty: every
  std::string event;
  std::optional<Phase> phase;
  std::unique_ptr<Node> left;
  std::unique_ptr<Node> right;
};

}  // namespace expect_detail

namespace {

using expect_detail::Node;
using expect_detail::Op;
using NodePtr = std::unique_ptr<Node>;
using Parsed = std::expected<NodePtr, CompileError>;

constexpr int kMaxDepth = 64;

std::unexpected<CompileError> wrong(std::size_t offset, std::string message) {
  return std::unexpected<CompileError>(CompileError{offset, std::move(message)});
}

bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool infinite_literal(const Node& node) { return node.op == Op::literal && node.value.kind == Value::Kind::never; }

bool touches_timing(const Node& node) {
  if (node.op == Op::measure) return measure_info(node.measure).timing;
  return (node.left && touches_timing(*node.left)) || (node.right && touches_timing(*node.right));
}

// ---- parser: one method per line of the grammar ----------------------------------------------------------------------

class Parser {
 public:
  Parser(std::string_view text, const Scenario& scenario) : text_(text), scenario_(scenario) {}

  Parsed parse() {
    auto root = parse_or();
    if (!root) return root;
    skip();
    if (pos_ != text_.size())
      return wrong(pos_, fmt::format("'{}': an operator or the end expected", text_.substr(pos_, 12)));
    if ((*root)->unit != Unit::boolean)
      return wrong(0, "a comparison such as \"outage <= 100ms\" expected, not a value alone");
    return root;
  }

 private:
  void skip() {
    while (pos_ < text_.size() &&
           (text_[pos_] == ' ' || text_[pos_] == '\t' || text_[pos_] == '\n' || text_[pos_] == '\r'))
      ++pos_;
  }

  bool accept(std::string_view token) {
    skip();
    if (!text_.substr(pos_).starts_with(token)) return false;
    pos_ += token.size();
    return true;
  }

  bool accept_word(std::string_view word) {
    skip();
    if (!text_.substr(pos_).starts_with(word)) return false;
    if (pos_ + word.size() < text_.size() && is_word_char(text_[pos_ + word.size()])) return false;
    pos_ += word.size();
    return true;
  }

  std::string_view take_word() {
    const std::size_t begin = pos_;
    while (pos_ < text_.size() && is_word_char(text_[pos_])) ++pos_;
    return text_.substr(begin, pos_ - begin);
  }

  Parsed logical(Op op, NodePtr left, NodePtr right, std::size_t offset) {
    for (const Node* side : {left.get(), right.get()})
      if (side && side->unit != Unit::boolean) return wrong(side->offset, "a comparison expected here, not a value");
    auto node = std::make_unique<Node>();
    node->op = op;
    node->offset = offset;
    node->unit = Unit::boolean;
    node->left = std::move(left);
    node->right = std::move(right);
    return node;
  }

  Parsed parse_or() {
    if (++depth_ > kMaxDepth) return wrong(pos_, "nested too deeply");
    auto left = parse_and();
    while (left) {
      if (!accept_word("or")) break;
      const std::size_t offset = (*left)->offset;
      auto right = parse_and();
      if (!right) return right;
      left = logical(Op::either, std::move(*left), std::move(*right), offset);
    }
    --depth_;
    return left;
  }

  Parsed parse_and() {
    auto left = parse_not();
    while (left) {
      if (!accept_word("and")) break;
      const std::size_t offset = (*left)->offset;
      auto right = parse_not();
      if (!right) return right;
      left = logical(Op::both, std::move(*left), std::move(*right), offset);
    }
    return left;
  }

  Parsed parse_not() {
    skip();
    const std::size_t offset = pos_;
    if (!accept_word("not")) return parse_comparison();
    if (++depth_ > kMaxDepth) return wrong(pos_, "nested too deeply");
    auto inner = parse_not();
    --depth_;
    if (!inner) return inner;
    return logical(Op::negate, std::move(*inner), nullptr, offset);
  }

  std::optional<CompareOp> accept_compare() {
    for (auto op : {CompareOp::le, CompareOp::ge, CompareOp::eq, CompareOp::ne, CompareOp::lt, CompareOp::gt})
      if (accept(compare_op_name(op))) return op;
    return std::nullopt;
  }

  Parsed parse_comparison() {
    auto left = parse_sum();
    if (!left) return left;
    const auto op = accept_compare();
    if (!op) {
      skip();
      if (pos_ < text_.size() && text_[pos_] == '=') return wrong(pos_, "'=': '==' expected");
      return left;
    }
    auto right = parse_sum();
    if (!right) return right;
    auto node = std::make_unique<Node>();
    node->op = Op::compare;
    node->offset = (*left)->offset;
    node->unit = Unit::boolean;
    node->compare = *op;
    const bool timing = touches_timing(**left) || touches_timing(**right);
    node->open_ended = timing && (infinite_literal(**left) || infinite_literal(**right));
    node->timing = timing && !node->open_ended;
    if (auto error = check_units(**left, **right)) return wrong((*right)->offset, *error);
    if ((*left)->unit == Unit::text && *op != CompareOp::eq && *op != CompareOp::ne)
      return wrong((*left)->offset, "words compare with == and != only");
    node->left = std::move(*left);
    node->right = std::move(*right);
    return node;
  }

  static bool plain(Unit unit) { return unit == Unit::count || unit == Unit::ratio; }

  static std::optional<std::string> check_units(const Node& left, const Node& right) {
    if (left.unit == right.unit || (plain(left.unit) && plain(right.unit))) return std::nullopt;
    if (infinite_literal(left) || infinite_literal(right)) return std::nullopt;
    for (const auto& [number, other] : {std::pair(&left, &right), std::pair(&right, &left)}) {
      if (!number->bare_number) continue;
      if (number->value.number == 0 && other->unit != Unit::text && other->unit != Unit::boolean) return std::nullopt;
      return fmt::format("a {} with its unit expected, not a bare number", unit_name(other->unit));
    }
    return fmt::format("a {} does not compare with a {}", unit_name(left.unit), unit_name(right.unit));
  }

  Parsed arithmetic(Op op, NodePtr left, NodePtr right) {
    const auto unit = result_unit(op, *left, *right);
    if (!unit)
      return wrong(right->offset,
                   fmt::format("a {} and a {} do not go together here", unit_name(left->unit), unit_name(right->unit)));
    auto node = std::make_unique<Node>();
    node->op = op;
    node->offset = left->offset;
    node->unit = *unit;
    node->left = std::move(left);
    node->right = std::move(right);
    return node;
  }

  static std::optional<Unit> result_unit(Op op, const Node& left, const Node& right) {
    const Unit a = left.unit;
    const Unit b = right.unit;
    for (const Unit unit : {a, b})
      if (unit == Unit::text || unit == Unit::boolean) return std::nullopt;
    if (op == Op::add || op == Op::subtract) {
      if (a == b) return a;
      return plain(a) && plain(b) ? std::optional(Unit::ratio) : std::nullopt;
    }
    if (op == Op::multiply) {
      if (plain(a) && plain(b)) return Unit::ratio;
      if (plain(a)) return b;
      if (plain(b)) return a;
      if ((a == Unit::rate && b == Unit::duration) || (a == Unit::duration && b == Unit::rate)) return Unit::size;
      return std::nullopt;
    }
    if (a == b || (plain(a) && plain(b))) return Unit::ratio;
    if (plain(b)) return a;
    if (a == Unit::size && b == Unit::duration) return Unit::rate;
    if (a == Unit::size && b == Unit::rate) return Unit::duration;
    return std::nullopt;
  }

  Parsed parse_sum() {
    auto left = parse_product();
    while (left) {
      const bool plus = accept("+");
      if (!plus && !accept("-")) break;
      auto right = parse_product();
      if (!right) return right;
      left = arithmetic(plus ? Op::add : Op::subtract, std::move(*left), std::move(*right));
    }
    return left;
  }

  Parsed parse_product() {
    auto left = parse_value();
    while (left) {
      const bool times = accept("*");
      if (!times && !accept("/")) break;
      auto right = parse_value();
      if (!right) return right;
      left = arithmetic(times ? Op::multiply : Op::divide, std::move(*left), std::move(*right));
    }
    return left;
  }

  Parsed literal(Value value, std::size_t offset, bool bare = false) {
    auto node = std::make_unique<Node>();
    node->offset = offset;
    node->unit = value.unit;
    node->bare_number = bare;
    node->value = std::move(value);
    return node;
  }

  Parsed parse_value() {
    skip();
    const std::size_t offset = pos_;
    if (pos_ == text_.size()) return wrong(pos_, "a measure or a value expected at the end");
    if (accept("(")) {
      auto inner = parse_or();
      if (!inner) return inner;
      if (!accept(")")) return wrong(pos_, "')' expected");
      return inner;
    }
    const char c = text_[pos_];
    if (c == '\'' || c == '"') {
      auto words = parse_quoted();
      if (!words) return std::unexpected(words.error());
      return literal(Value::words(*words), offset);
    }
    if (c >= '0' && c <= '9') return parse_number();
    if (accept_word("never") || accept_word("down")) return literal(Value::never(Unit::duration), offset);
    if (accept_word("true")) return literal(Value::of(Unit::boolean, 1), offset);
    if (accept_word("false")) return literal(Value::of(Unit::boolean, 0), offset);
    return parse_measure();
  }

  std::expected<std::string, CompileError> parse_quoted() {
    skip();
    const std::size_t begin = pos_;
    const char quote = begin < text_.size() ? text_[begin] : '\0';
    if (quote != '\'' && quote != '"') return wrong(begin, "a name in quotes expected, such as 'disk dies'");
    const auto end = text_.find(quote, begin + 1);
    if (end == std::string_view::npos) return wrong(begin, "the closing quote is missing");
    pos_ = end + 1;
    return std::string(text_.substr(begin + 1, end - begin - 1));
  }

  Parsed parse_number() {
    const std::size_t begin = pos_;
    while (pos_ < text_.size() && (is_word_char(text_[pos_]) || text_[pos_] == '.')) ++pos_;
    if (pos_ < text_.size() && text_[pos_] == '%') ++pos_;
    if (text_.substr(pos_).starts_with("/s")) pos_ += 2;
    const std::string token(text_.substr(begin, pos_ - begin));
    const auto unit = token.find_first_not_of("0123456789.");
    double number = 0;
    bool dot = false;
    double place = 1;
    for (const char c : token.substr(0, unit)) {
      if (c == '.' && dot) return wrong(begin, fmt::format("'{}' is no number", token));
      if (c == '.') {
        dot = true;
        continue;
      }
      number = number * 10 + (c - '0');
      if (dot) place *= 10;
    }
    number /= place;
    if (unit == std::string::npos) return literal(Value::of(dot ? Unit::ratio : Unit::count, number), begin, true);
    if (token.substr(unit) == "%") return literal(Value::of(Unit::ratio, number / 100), begin);
    if (auto duration = parse_duration(token))
      return literal(Value::of(Unit::duration, static_cast<double>(*duration)), begin);
    if (auto rate = parse_rate(token)) return literal(Value::of(Unit::rate, static_cast<double>(*rate)), begin);
    if (auto size = parse_size(token)) return literal(Value::of(Unit::size, static_cast<double>(*size)), begin);
    return wrong(begin, fmt::format("'{}' is no value: such as 100ms, 64MiB, 60MiB/s, 50% or 12 expected", token));
  }

  Parsed parse_measure() {
    auto node = std::make_unique<Node>();
    node->op = Op::measure;
    node->offset = pos_;
    std::string_view name = take_word();
    if (name.empty()) return wrong(pos_, fmt::format("'{}': a measure or a value expected", text_.substr(pos_, 12)));
    if (pos_ < text_.size() && text_[pos_] == '.') {
      if (!known_contender(name))
        return wrong(node->offset, fmt::format("unknown contender '{}'{}", name, hint(name, contender_names())));
      node->contender = name;
      ++pos_;
      name = take_word();
    }
    const MeasureInfo* info = find_measure(name);
    if (!info) return wrong(pos_ - name.size(), unknown_measure(name));
    node->measure = info->id;
    node->unit = info->unit;
    const std::size_t after_name = pos_;
    if (accept("(")) {
      if (auto error = parse_arguments(*info, *node)) return std::unexpected(*error);
    } else if (!info->whole) {
      return wrong(after_name, fmt::format("{} is of an event: {}('...') expected", name, name));
    }
    return node;
  }

  std::optional<CompileError> parse_arguments(const MeasureInfo& info, Node& node) {
    skip();
    const std::size_t begin = pos_;
    if (!info.event) return CompileError{begin, fmt::format("{} is of the whole run: it takes no event", info.name)};
    auto event = parse_quoted();
    if (!event) return event.error();
    if (!find_event(scenario_, *event)) {
      std::vector<std::string> names;
      for (const auto& known : scenario_.events) names.push_back(known.name);
      return CompileError{begin, fmt::format("unknown event '{}'{}", *event, hint(*event, names))};
    }
    node.event = *event;
    if (accept(",")) {
      skip();
      const std::size_t at = pos_;
      const std::string_view word = take_word();
      for (auto phase : {Phase::before, Phase::during, Phase::after})
        if (word == phase_name(phase)) node.phase = phase;
      if (!node.phase) return CompileError{at, fmt::format("'{}' is no phase: before, during or after expected", word)};
      if (!info.phase) return CompileError{at, fmt::format("{} is not measured per phase", info.name)};
    }
    if (!accept(")")) return CompileError{pos_, "')' expected"};
    return std::nullopt;
  }

  std::string unknown_measure(std::string_view name) const {
    std::vector<std::string> names;
    for (const auto& info : measure_table()) names.emplace_back(info.name);
    return fmt::format("unknown measure '{}'{}", name, hint(name, names));
  }

  bool known_contender(std::string_view name) const {
    const auto& left_out = scenario_.left_out;
    return find_contender(scenario_, name) || std::find(left_out.begin(), left_out.end(), name) != left_out.end();
  }

  std::vector<std::string> contender_names() const {
    std::vector<std::string> names = scenario_.left_out;
    for (const auto& contender : scenario_.contenders) names.push_back(contender.name);
    return names;
  }

  std::string_view text_;
  const Scenario& scenario_;
  std::size_t pos_ = 0;
  int depth_ = 0;
};

// ---- evaluation ------------------------------------------------------------------------------------------------------

struct Context {
  const MeasureSource& source;
  std::string_view contender;
  bool judge_timing;
};

Value look_up(const Node& node, const Context& context) {
  const std::string_view contender = node.contender.empty() ? context.contender : std::string_view(node.contender);
  return context.source.value(contender, node.measure, node.event, node.phase);
}

Value value_of_node(const Node& node, const Context& context) {
  if (node.op == Op::literal) return node.value;
  if (node.op == Op::measure) return look_up(node, context);
  const Value left = value_of_node(*node.left, context);
  const Value right = value_of_node(*node.right, context);
  using Kind = Value::Kind;
  if (left.kind == Kind::absent || right.kind == Kind::absent) return Value::absent();
  if (left.kind == Kind::never || right.kind == Kind::never) return Value::never(node.unit);
  // Durations count in ns and rates in bytes per second: where the two meet, 10^9 is between them.
  double scale = 1;
  if (node.op == Op::divide && left.unit == Unit::size && right.unit != Unit::size) scale = 1e9;
  if (node.op == Op::divide && left.unit == Unit::size && node.unit == Unit::size) scale = 1;
  if (node.op == Op::multiply && node.unit == Unit::size && left.unit != Unit::size && right.unit != Unit::size)
    scale = 1e-9;
  switch (node.op) {
    case Op::add: return Value::of(node.unit, left.number + right.number);
    case Op::subtract: return Value::of(node.unit, left.number - right.number);
    case Op::multiply: return Value::of(node.unit, left.number * right.number * scale);
    default: break;
  }
  if (right.number == 0) return Value::absent();
  return Value::of(node.unit, left.number / right.number * scale);
}

template <typename T>
bool compared(CompareOp op, const T& a, const T& b) {
  switch (op) {
    case CompareOp::lt: return a < b;
    case CompareOp::le: return a <= b;
    case CompareOp::eq: return a == b;
    case CompareOp::ne: return a != b;
    case CompareOp::ge: return a >= b;
    case CompareOp::gt: return a > b;
  }
  return false;
}

Truth truth_of(const Node& node, const Context& context);

Truth truth_of_comparison(const Node& node, const Context& context) {
  if (node.left->unit == Unit::boolean && node.left->op != Op::measure && node.left->op != Op::literal) {
    const Truth left = truth_of(*node.left, context);
    const Truth right = truth_of(*node.right, context);
    for (const Truth side : {left, right})
      if (side == Truth::timing || side == Truth::absent) return side;
    return compared(node.compare, left == Truth::holds, right == Truth::holds) ? Truth::holds : Truth::fails;
  }
  const Value left = value_of_node(*node.left, context);
  const Value right = value_of_node(*node.right, context);
  using Kind = Value::Kind;
  if (left.kind == Kind::absent || right.kind == Kind::absent) return Truth::absent;
  if (node.timing && !context.judge_timing) return Truth::timing;
  if (left.kind == Kind::text || right.kind == Kind::text)
    return compared(node.compare, left.text, right.text) ? Truth::holds : Truth::fails;
  if (left.kind == Kind::never || right.kind == Kind::never) {
    const bool result = compared(node.compare, left.kind == Kind::never ? 1 : 0, right.kind == Kind::never ? 1 : 0);
    // It was not seen to end: on a slower machine that may only be late.
    const bool late = node.open_ended && (left.kind == Kind::never) == (right.kind == Kind::never);
    if (!result && late && !context.judge_timing) return Truth::timing;
    return result ? Truth::holds : Truth::fails;
  }
  return compared(node.compare, left.number, right.number) ? Truth::holds : Truth::fails;
}

// `and` with Truth::holds as its neutral value; `or` is the same with the roles of holds and fails exchanged.
Truth combine(Truth left, Truth right, Truth decides) {
  if (left == decides || right == decides) return decides;
  if (left == Truth::timing || right == Truth::timing) return Truth::timing;
  if (left == Truth::absent || right == Truth::absent) return Truth::absent;
  return decides == Truth::fails ? Truth::holds : Truth::fails;
}

Truth truth_of(const Node& node, const Context& context) {
  switch (node.op) {
    case Op::both: return combine(truth_of(*node.left, context), truth_of(*node.right, context), Truth::fails);
    case Op::either: return combine(truth_of(*node.left, context), truth_of(*node.right, context), Truth::holds);
    case Op::negate: {
      const Truth inner = truth_of(*node.left, context);
      return inner == Truth::holds ? Truth::fails : inner == Truth::fails ? Truth::holds : inner;
    }
    case Op::compare: return truth_of_comparison(node, context);
    default: break;
  }
  const Value value = value_of_node(node, context);
  if (value.kind == Value::Kind::absent) return Truth::absent;
  return value.number != 0 ? Truth::holds : Truth::fails;
}

template <typename Visit>
void visit_measures(const Node& node, const Visit& visit) {
  if (node.op == Op::measure) visit(node);
  if (node.left) visit_measures(*node.left, visit);
  if (node.right) visit_measures(*node.right, visit);
}

bool any_timing(const Node& node) {
  return node.timing || node.open_ended || (node.left && any_timing(*node.left)) ||
         (node.right && any_timing(*node.right));
}

std::string measure_text(const Node& node) {
  std::string text(measure_info(node.measure).name);
  if (node.event.empty()) return text;
  text += "('" + node.event + "'";
  if (node.phase) text += std::string(", ") + phase_name(*node.phase);
  return text + ")";
}

struct Tally {
  std::size_t holds = 0;
  std::size_t timing = 0;
  std::vector<std::string> failed;  // explanations
  std::vector<std::string> measured;
};

std::string join_lines(const std::vector<std::string>& lines) { return fmt::format("{}", fmt::join(lines, "; ")); }

Verdict judge_one(const Scenario& scenario, const Expectation& expectation, const MeasureSource& source,
                  bool judge_timing) {
  Verdict verdict;
  verdict.check = expectation.check;
  verdict.why = expectation.why;
  verdict.position = fmt::format("{}:{}:{}", scenario.file, expectation.where.line, expectation.where.column);
  auto expression = compile(expectation.check, scenario);
  if (!expression) {
    verdict.outcome = Outcome::failed;
    verdict.detail = expression.error().message;
    return verdict;
  }
  verdict.timing = expression->is_timing();
  if (expectation.real && *expectation.real != scenario.real) {
    verdict.outcome = Outcome::left_out;
    verdict.detail = *expectation.real ? "asked in the real world only" : "asked in virtual time only";
    return verdict;
  }
  for (const auto& name : expression->events()) {
    const Event* event = find_event(scenario, name);
    if (event == nullptr || possible_here(scenario, *event)) continue;
    verdict.outcome = Outcome::left_out;
    verdict.detail = fmt::format("there is no {} in the real world", verb_info(event->verb).name);
    return verdict;
  }
  const auto& left_out = scenario.left_out;
  for (const auto& name : expression->contenders()) {
    if (std::find(left_out.begin(), left_out.end(), name) == left_out.end()) continue;
    verdict.outcome = Outcome::left_out;
    verdict.detail = fmt::format("'{}' was left out", name);
    return verdict;
  }
  std::vector<std::string> whom{std::string()};
  if (expression->every_contender()) {
    whom.clear();
    for (const auto& contender : scenario.contenders) whom.push_back(contender.name);
  }
  Tally tally;
  for (const auto& contender : whom) {
    const Truth truth = evaluate(*expression, source, contender, judge_timing);
    if (truth == Truth::holds) ++tally.holds;
    if (truth == Truth::fails) tally.failed.push_back(explain(*expression, source, contender));
    if (truth == Truth::timing) tally.measured.push_back(explain(*expression, source, contender));
  }
  if (!tally.failed.empty()) {
    verdict.outcome = Outcome::failed;
    verdict.detail = join_lines(tally.failed);
  } else if (!tally.measured.empty()) {
    verdict.outcome = Outcome::measured;
    verdict.detail = join_lines(tally.measured);
  } else if (tally.holds > 0) {
    verdict.outcome = Outcome::passed;
  } else {
    verdict.detail = "n/a wherever it was asked";
  }
  return verdict;
}

}  // namespace

Expression::Expression(std::unique_ptr<expect_detail::Node> root) : root_(std::move(root)) {}
Expression::Expression(Expression&&) noexcept = default;
Expression& Expression::operator=(Expression&&) noexcept = default;
Expression::~Expression() = default;

bool Expression::is_timing() const { return any_timing(*root_); }

bool Expression::every_contender() const {
  bool every = false;
  visit_measures(*root_, [&](const Node& node) { every = every || node.contender.empty(); });
  return every;
}

std::vector<std::string> Expression::contenders() const {
  std::set<std::string> names;
  visit_measures(*root_, [&](const Node& node) {
    if (!node.contender.empty()) names.insert(node.contender);
  });
  return {names.begin(), names.end()};
}

std::vector<std::string> Expression::events() const {
  std::set<std::string> names;
  visit_measures(*root_, [&](const Node& node) {
    if (!node.event.empty()) names.insert(node.event);
  });
  return {names.begin(), names.end()};
}

std::expected<Expression, CompileError> compile(std::string_view text, const Scenario& scenario) {
  auto root = Parser(text, scenario).parse();
  if (!root) return std::unexpected(root.error());
  return Expression(std::move(*root));
}

Truth evaluate(const Expression& expression, const MeasureSource& source, std::string_view contender, bool judge_timing) {
  return truth_of(expression.root(), Context{source, contender, judge_timing});
}

std::string explain(const Expression& expression, const MeasureSource& source, std::string_view contender) {
  std::vector<std::string> parts;
  const Context context{source, contender, true};
  visit_measures(expression.root(), [&](const Node& node) {
    const std::string prefix = node.contender.empty() ? std::string() : node.contender + ".";
    std::string part = fmt::format("{}{} is {}", prefix, measure_text(node), format_value(look_up(node, context)));
    if (std::find(parts.begin(), parts.end(), part) == parts.end()) parts.push_back(std::move(part));
  });
  const std::string whom = contender.empty() ? std::string() : std::string(contender) + ": ";
  return whom + fmt::format("{}", fmt::join(parts, ", "));
}

std::vector<Verdict> judge(const Scenario& scenario, const MeasureSource& source, const JudgeOptions& options) {
  const bool judge_timing = !options.real || options.strict_timing;
  std::vector<Verdict> verdicts;
  for (const auto& expectation : scenario.expectations)
    verdicts.push_back(judge_one(scenario, expectation, source, judge_timing));
  return verdicts;
}

}  // namespace resilver::scenario
