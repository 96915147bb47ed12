// The JSON of `examine` and `status`. Sizes are bytes but where a key says sectors; keys are only ever added.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "tools/array_show.h"

namespace resilver::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kSchema = 1;

std::string dump(const Json& json) { return json.dump(1, ' ', false, Json::error_handler_t::replace); }

std::string hex(const raid::Uuid& uuid) { return raid::format_uuid(uuid); }

Json disk_json(const Disk& disk) {
  if (!disk.super) return {{"path", disk.path}, {"error", disk.super.error().what}};
  const raid::Superblock& super = *disk.super;
  const bool recovering = (super.feature_map & raid::kFeatureRecoveryOffset) != 0;
  const bool bitmap = (super.feature_map & raid::kFeatureBitmap) != 0;
  return {
      {"path", disk.path},
      {"magic", "a92b4efc"},
      {"version", name(super.place.version)},
      {"feature_map", super.feature_map},
      {"array_uuid", hex(super.set_uuid)},
      {"name", super.set_name},
      {"creation_time", super.ctime & ((1ull << 40) - 1)},
      {"raid_level", name(super.level)},
      {"raid_devices", super.raid_disks},
      {"avail_dev_size_sectors", super.data_size_sectors},
      {"array_size", array_bytes(super)},
      {"used_dev_size_sectors", super.size_sectors},
      {"data_offset_sectors", super.data_offset_sectors},
      {"super_offset_sectors", super.place.sector},
      {"recovery_offset_sectors", recovering ? Json(super.recovery_offset_sectors) : Json()},
      {"resync_offset_sectors",
       super.resync_offset_sectors == raid::kResyncDone ? Json() : Json(super.resync_offset_sectors)},
      {"state", state_of(super)},
      {"device_uuid", hex(super.device_uuid)},
      {"internal_bitmap_offset_sectors", bitmap ? Json(super.bitmap_offset) : Json()},
      {"update_time", super.utime & ((1ull << 40) - 1)},
      {"bad_block_log_offset_sectors", super.bblog_size_sectors != 0 ? Json(super.bblog_offset) : Json()},
      {"bad_blocks_present", (super.feature_map & raid::kFeatureBadBlocks) != 0},
      {"checksum", checksum_of(disk)},
      {"events", super.events},
      {"layout", super.layout == raid::Layout::none ? Json() : Json(name(super.layout))},
      {"chunk_size", super.chunk_sectors * kSectorBytes},
      {"dev_number", super.dev_number},
      {"device_role", role_text(super)},
      {"array_state", array_letters(super)},
  };
}

Json found_json(const raid::AssemblyReport& report) {
  Json list = Json::array();
  for (const raid::DiskFound& found : report) {
    list.push_back({{"name", found.name},
                    {"verdict", name(found.verdict)},
                    {"slot", found.slot ? Json(*found.slot) : Json()},
                    {"events", found.events},
                    {"why", found.why.empty() ? Json() : Json(found.why)}});
  }
  return list;
}

Json member_json(const raid::MemberStatus& member) {
  return {{"name", member.name.empty() ? Json() : Json(member.name)},
          {"slot", member.slot ? Json(*member.slot) : Json()},
          {"state", name(member.state)},
          {"rebuilt_bytes", member.rebuilt_bytes},
          {"bad_blocks", member.bad_blocks}};
}

Json journal_name(const raid::ArrayStatus& status) {
  const auto journal = std::ranges::find(status.members, raid::MemberState::journal, &raid::MemberStatus::state);
  return journal == status.members.end() ? Json() : Json(journal->name);
}

}  // namespace

std::string examine_json(const std::vector<Disk>& disks) {
  Json list = Json::array();
  for (const Disk& disk : disks) list.push_back(disk_json(disk));
  return dump({{"schema", kSchema}, {"disks", list}});
}

std::string status_json(const ArraySession& session, const raid::Array& array,
                        const std::optional<BitmapSummary>& bitmap) {
  const raid::ArrayStatus status = array.status();
  const raid::Superblock* fresh = freshest_superblock(session);
  const std::uint32_t slots = array.geometry().disks();
  Json members = Json::array();
  for (const raid::MemberStatus& member : status.members) members.push_back(member_json(member));
  const std::string letters = slot_letters(status, slots);
  Json json = {{"schema", kSchema},
               {"name", session.place().label},
               {"array_uuid", hex(fresh->set_uuid)},
               {"level", name(status.level)},
               {"layout", fresh->layout == raid::Layout::none ? Json() : Json(name(fresh->layout))},
               {"chunk_size", fresh->chunk_sectors * kSectorBytes},
               {"size", array.exact_bytes()},
               {"state", name(status.state)},
               {"clean", !is_dirty(session)},
               {"events", status.events},
               {"raid_devices", slots},
               {"slots", letters},
               {"redundancy_left", status.redundancy_left},
               {"members", members},
               {"found", found_json(session.report())}};
  json["bitmap"] =
      bitmap ? Json{{"chunk_size", bitmap->chunk_bytes}, {"bits", bitmap->bits}, {"set_bits", bitmap->set_bits}}
             : Json();
  json["journal"] = status.journal_missing ? Json("missing") : journal_name(status);
  json["next"] = next_step(array, place_words(session.place()));
  return dump(json);
}

std::string failed_json(const ArraySession& session, const std::string& why) {
  const raid::Superblock* fresh = freshest_superblock(session);
  return dump({{"schema", kSchema},
               {"name", session.place().label},
               {"array_uuid", hex(fresh->set_uuid)},
               {"level", name(fresh->level)},
               {"state", "failed"},
               {"why", why},
               {"found", found_json(session.report())}});
}

}  // namespace resilver::tools
