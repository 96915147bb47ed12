#include "tests/walk/contents.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace resilver::test {

BlockHash hash_of_block(std::string_view bytes) { return std::hash<std::string_view>{}(bytes); }

CopyImage image_of(std::string_view bytes) {
  CopyImage image;
  for (std::size_t at = 0; at < bytes.size(); at += kWalkBlock) {
    std::string block(bytes.substr(at, kWalkBlock));
    block.resize(kWalkBlock);
    image.push_back(hash_of_block(block));
  }
  return image;
}

Contents::Contents(std::size_t blocks) {
  const BlockHash zero = hash_of_block(std::string(kWalkBlock, '\0'));
  kept_.assign(blocks, {Branch{{zero, true, false, 0}}});
  known_.assign(blocks, {zero});
}

std::span<const Contents::Entry> Contents::allowed(const Branch& branch) {
  const auto last = std::ranges::find_if(branch, [](const Entry& entry) { return entry.promised; });
  return {branch.begin(), last == branch.end() ? last : std::next(last)};
}

bool Contents::allows(const Branch& branch, BlockHash content) {
  return std::ranges::any_of(allowed(branch), [&](const Entry& entry) { return entry.content == content; });
}

bool Contents::write(std::size_t block, BlockHash content, Promise promise, std::span<const BlockHash> before,
                     double now) {
  if (!known_[block].empty()) known_[block].insert(content);
  const Entry entry{content, promise != Promise::none, promise == Promise::soft, now};
  auto& branches = kept_[block];
  if (promise == Promise::none) {
    add_unknown(branches, entry, before);
    return true;
  }
  Branch next{entry};
  bool replaced = branches.empty();
  std::erase_if(branches, [&](Branch& branch) {
    const bool had = before.empty() || std::ranges::any_of(before, [&](BlockHash h) { return allows(branch, h); });
    if (had && !replaced && promise == Promise::soft) {
      settle(branch, now);
      next.insert(next.end(), branch.begin(), branch.end());
    }
    replaced = replaced || had;
    return had;
  });
  branches.push_back(std::move(next));
  return replaced;
}

// It may have replaced any of those that it may have met.
void Contents::add_unknown(std::vector<Branch>& branches, Entry entry, std::span<const BlockHash> before) {
  const auto met = [&](const Branch& branch) {
    return before.empty() || std::ranges::any_of(before, [&](BlockHash h) { return allows(branch, h); });
  };
  const bool any = std::ranges::any_of(branches, met);
  for (Branch& branch : branches) {
    if (!any || met(branch)) branch.insert(branch.begin(), entry);
  }
}

// What was acknowledged softly and long enough ago is firm.
void Contents::settle(Branch& branch, double now) {
  for (Entry& entry : branch) entry.soft = entry.soft && entry.at >= now - kSoftSeconds;
  const auto firm = std::ranges::find_if(branch, [](const Entry& entry) { return entry.promised && !entry.soft; });
  if (firm != branch.end()) branch.erase(std::next(firm), branch.end());
}

void Contents::forget(std::size_t block) {
  kept_[block].clear();
  known_[block].clear();
}

bool Contents::knows(std::size_t block, BlockHash content) const {
  return known_[block].empty() || known_[block].contains(content);
}

void Contents::note_failure(double now) {
  for (auto& branches : kept_) {
    for (Branch& branch : branches) {
      settle(branch, now);
      for (Entry& entry : branch) entry.promised = entry.promised && !entry.soft;
      if (!branch.empty() && !branch.back().promised) branch.back().promised = true;
    }
  }
}

bool Contents::held(std::size_t block, const Branch& branch, const std::vector<CopyImage>& images) {
  return std::ranges::any_of(
      images, [&](const CopyImage& image) { return block < image.size() && allows(branch, image[block]); });
}

void Contents::give_up_all_but(const std::vector<CopyImage>& images) {
  for (std::size_t block = 0; block < kept_.size(); ++block) {
    auto& branches = kept_[block];
    if (branches.empty()) continue;
    std::erase_if(branches, [&](const Branch& branch) { return !held(block, branch, images); });
    if (!branches.empty()) continue;
    Branch rest;  // one of those that are left
    for (const CopyImage& image : images) {
      const bool known = block < image.size() && knows(block, image[block]);
      if (known && !allows(rest, image[block])) rest.push_back({image[block], false, false, 0});
    }
    if (rest.empty()) continue;
    rest.back().promised = true;
    branches.push_back(std::move(rest));
  }
}

void Contents::soften(const CopyImage& changed, double since) {
  for (std::size_t block = 0; block < std::min(kept_.size(), changed.size()); ++block) {
    if (!knows(block, changed[block])) continue;
    for (Branch& branch : kept_[block]) {
      if (branch.front().content == changed[block] || branch.front().at < since) continue;
      branch.front().promised = false;
      branch.insert(std::next(branch.begin()), {changed[block], branch.size() == 1, false, 0});
    }
  }
}

bool Contents::may_be_read(std::size_t block, BlockHash content, bool outdated) const {
  if (kept_[block].empty()) return true;
  if (outdated) return knows(block, content);
  return std::ranges::any_of(kept_[block], [&](const Branch& branch) { return allows(branch, content); });
}

void Contents::was_read(std::size_t block, BlockHash content) {
  for (Branch& branch : kept_[block]) {
    const auto at = std::ranges::find(branch, content, &Entry::content);
    if (at != branch.end() && allows(branch, content)) at->promised = true;
  }
}

std::vector<std::size_t> Contents::missing(const std::vector<CopyImage>& images) const {
  std::vector<std::size_t> blocks;
  for (std::size_t block = 0; block < kept_.size(); ++block) {
    if (std::ranges::any_of(kept_[block], [&](const Branch& branch) { return !held(block, branch, images); }))
      blocks.push_back(block);
  }
  return blocks;
}

std::string Contents::describe(std::size_t block) const {
  std::string text = fmt::format("block {}:", block);
  for (const Branch& branch : kept_[block]) {
    text += " [";
    for (const Entry& entry : allowed(branch)) {
      text += fmt::format(" {:08x}@{:.3f}s{}", entry.content & 0xffffffff, entry.at,
                          !entry.promised ? "?"
                          : entry.soft    ? "~"
                                          : "");
    }
    text += " ]";
  }
  return text;
}

}  // namespace resilver::test
