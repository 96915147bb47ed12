#include "scenario/parse.h"
#include "scenario/shape.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/random.h"
#include "base/units.h"
#include "scenario/measures.h"
#include "tests/scenario_lang/texts.h"

namespace resilver::scenario {
namespace {

TEST(Parse, SoundFileBecomesPlainStructs) {
  const auto parsed = parse_scenario(kSound, "dir/x.toml");
  ASSERT_TRUE(parsed) << errors_of(std::string(kSound));
  EXPECT_EQ(parsed->name, "x");
  EXPECT_EQ(parsed->volume_bytes, 64 * kMiB);
  EXPECT_EQ(parsed->workload.size_bytes, 64 * kMiB);
  ASSERT_EQ(parsed->contenders.size(), 2u);
  const auto& raid5 = parsed->contenders[0];
  EXPECT_EQ(raid5.nodes[0].raid, 5u);
  EXPECT_EQ(raid5.nodes[0].chunk_bytes, 64 * kKiB);
  EXPECT_EQ(raid5.reboot, kSecond);
  const auto& pair = parsed->contenders[1];
  ASSERT_TRUE(pair.replicate);
  EXPECT_EQ(pair.nodes[1].name, "B");
  EXPECT_EQ(pair.replicate->grace, 500 * kMillisecond);
  EXPECT_EQ(pair.replicate->lease, 400 * kMillisecond);
  const auto& second = parsed->events[1];
  EXPECT_EQ(second.trigger.base, Trigger::Base::after);
  EXPECT_EQ(second.trigger.when->value, static_cast<std::int64_t>(Redundancy::full));
  EXPECT_EQ(second.lasts_for, 2 * kSecond);
  EXPECT_EQ(parsed->client_link.bandwidth, 1'250'000'000u);
}

TEST(Parse, UnknownKeyIsToldWithItsPlaceAndAHint) {
  EXPECT_EQ(errors_of(with("rate_iops = 500", "rate_iop = 500")),
            "x.toml:24:1: unknown key 'workload.rate_iop' (did you mean 'rate_iops'?)\n");
  EXPECT_EQ(errors_of(with("spares = 1", "spare = 1")),
            "x.toml:14:33: unknown key 'contender.raid5.node.A.spare' (did you mean 'spares'?)\n");
}

TEST(Parse, WrongTypeSaysWhatWasExpected) {
  EXPECT_NE(errors_of(with("length = \"10s\"", "length = 10")).find("x.toml:5:10: length: a duration with its unit"),
            std::string::npos);
  EXPECT_NE(errors_of(with("rate_iops = 500", "rate_iops = \"500\"")).find("an integer expected, not a string"),
            std::string::npos);
  EXPECT_NE(errors_of(with("nodes = [\"A\", \"B\"]", "nodes = [1, 2]")).find("names of nodes"), std::string::npos);
  EXPECT_NE(errors_of(with("[disk]\nmodel", "[[disk]]\nmodel")).find("a table expected, not an array"),
            std::string::npos);
}

TEST(Parse, AShareIsAPercentage) {
  EXPECT_EQ(parse_scenario(with("rate_iops = 500", "rate_iops = 500\noverlap = \"50%\""), "x.toml")->workload.overlap,
            50u);
  for (const std::string wrong : {"50", "101%", "-1%", "%", "50 %", "half"}) {
    EXPECT_NE(errors_of(with("rate_iops = 500", "rate_iops = 500\noverlap = \"" + wrong + "\""))
                  .find("x.toml:25:11: workload.overlap: '" + wrong + "': a share from \"0%\" to \"100%\" expected"),
              std::string::npos)
        << wrong;
  }
  EXPECT_NE(errors_of(with("rate_iops = 500", "rate_iops = 500\noverlap = 50")).find("a share such as \"50%\" expected"),
            std::string::npos);
}

TEST(Parse, AJournalIsOneMoreDiskWithALabelOfItsOwn) {
  const std::string text =
      with("chunk = \"64K\"", "chunk = \"64K\", consistency = \"journal\"", with("@serving.disk0", "@serving.journal"));
  const auto parsed = parse_scenario(text, "x.toml");
  ASSERT_TRUE(parsed) << errors_of(text);
  const NodeSpec& node = parsed->contenders[0].nodes[0];
  EXPECT_EQ(node.consistency, Consistency::journal);
  EXPECT_EQ(node_disks(node), 6u);
  EXPECT_EQ(disk_label(node, 4), "disk4");
  EXPECT_EQ(disk_label(node, 5), "journal");
  EXPECT_EQ(total_disks(parsed->contenders[0]), 5u);
  EXPECT_TRUE(parsed->events[0].targets[0].journal);
  EXPECT_TRUE(event_applies(*parsed, parsed->contenders[0], parsed->events[0]));
  EXPECT_FALSE(event_applies(*parsed, parsed->contenders[1], parsed->events[0]));  // the pair has none
}

TEST(Parse, WhatAJournalCannotDoIsTold) {
  EXPECT_NE(errors_of(with("disks = 1 }", "disks = 1, consistency = \"journal\" }")).find("RAID 0 has no journal"),
            std::string::npos);
  EXPECT_NE(errors_of(with("@serving.disk0", "@serving.journal")).find("no contender has the target '@serving.journal'"),
            std::string::npos);
  EXPECT_NE(errors_of(with("\"disk.fail\"", "\"disk.replace\"", with("@serving.disk0", "@serving.journal")))
                .find("a journal can fail, hang, be slow or lose flushes; disk.replace is for the disks of the array"),
            std::string::npos);
  EXPECT_NE(errors_of(with("@serving.disk0", "@serving.joural")).find("diskN, N from 0, or journal expected"),
            std::string::npos);
}

TEST(Parse, ForceIsForParityWithoutAJournal) {
  const auto parsed = parse_scenario(with("spares = 1", "spares = 1, force = true"), "x.toml");
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(parsed->contenders[0].nodes[0].force);
  EXPECT_NE(
      errors_of(with("disks = 1 }", "disks = 1, force = true }")).find("x.toml:19:8: contender 'pair', node 'A': force"),
      std::string::npos)
      << errors_of(with("disks = 1 }", "disks = 1, force = true }"));
  EXPECT_NE(errors_of(with("spares = 1", "force = true, consistency = \"journal\"")).find("force would start without"),
            std::string::npos);
  EXPECT_NE(errors_of(with("spares = 1", "force = 1")).find("x.toml:14:41: contender.raid5.node.A.force"),
            std::string::npos)
      << errors_of(with("spares = 1", "force = 1"));
}

TEST(Parse, AnExpectationCanBeOfOneWorld) {
  const auto parsed = parse_scenario(with("why = \"parity\"", "why = \"parity\"\nworld = \"virtual\""), "x.toml");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->expectations[0].real, false);
  EXPECT_NE(errors_of(with("why = \"parity\"", "world = \"both\"")).find("expect.world"), std::string::npos)
      << errors_of(with("why = \"parity\"", "world = \"both\""));
}

TEST(Parse, ShowNamesMeasures) {
  const std::string text = with("goal = \"g\"", "goal = \"g\"\nshow = [\"write_latency_p50\", \"damaged_bytes\"]");
  const auto parsed = parse_scenario(text, "x.toml");
  ASSERT_TRUE(parsed) << errors_of(text);
  EXPECT_EQ(parsed->show, (std::vector{MeasureId::write_latency_p50, MeasureId::damaged_bytes}));
  const auto shown = [](const char* names) {
    return errors_of(with("goal = \"g\"", std::string("goal = \"g\"\nshow = ") + names));
  };
  EXPECT_EQ(
      shown("[\"write_latncy_p50\"]"),
      "x.toml:4:9: show: 'write_latncy_p50' is no measure (did you mean 'write_latency_p50'?); docs/scenarios.md lists "
      "them\n");
  EXPECT_NE(shown("[\"latency\"]").find("did you mean 'latency_"), std::string::npos) << "however far off";
  EXPECT_NE(shown("[\"iops\", \"iops\"]").find("4:17: show: 'iops' is named twice"), std::string::npos);
  EXPECT_NE(shown("7").find("names of measures"), std::string::npos);
}

TEST(Parse, WordsOfOtherTraditionsAreAnsweredWithOurs) {
  EXPECT_NE(errors_of(with("\"sata-ssd\"", "\"ssd\"")).find("did you mean 'sata-ssd'?"), std::string::npos);
  EXPECT_NE(errors_of(with("\"durable\"", "\"sync\"")).find("did you mean 'durable'?"), std::string::npos);
  EXPECT_NE(errors_of(with("@serving.disk0", "@primary.disk0")).find("did you mean 'serving'?"), std::string::npos);
}

TEST(Parse, SpaceCountsTheJournalAndTellsSpares) {
  const auto parsed = parse_scenario(with("chunk = \"64K\"", "chunk = \"64K\", consistency = \"journal\""), "x.toml");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(space_permille(parsed->contenders[0]), 1666u);  // 4 + 1 disks for 3
  EXPECT_EQ(space_with_spares_permille(parsed->contenders[0]), 2000u);
  EXPECT_EQ(space_permille(parsed->contenders[1]), 2000u);
  EXPECT_EQ(space_with_spares_permille(parsed->contenders[1]), 2000u);
}

TEST(Parse, BrokenTomlAndDuplicateKeysHaveAPlace) {
  EXPECT_EQ(errors_of("a = = 1").find("x.toml:1:"), 0u);
  EXPECT_NE(errors_of(with("goal = \"g\"", "goal = \"g\"\ngoal = \"h\"")).find("x.toml:4:"), std::string::npos);
}

TEST(Parse, ImpossibleArraysAreRefusedInWordsOfGeometry) {
  EXPECT_NE(errors_of(with("raid = 5, disks = 4", "raid = 6, disks = 2")).find("raid6 needs at least 4 disks, not 2"),
            std::string::npos);
  EXPECT_NE(errors_of(with("chunk = \"64K\"", "chunk = \"48K\"")).find("power of two"), std::string::npos);
  EXPECT_NE(errors_of(with("chunk = \"64K\"", "chunk = \"2K\"")).find("power of two from 4K"), std::string::npos);
  EXPECT_NE(errors_of(with("raid = 5", "raid = 7")).find("RAID 7 is not known"), std::string::npos);
  EXPECT_NE(errors_of(with("volume = \"64MiB\"", "volume = \"1GiB\"")).find("less than the volume of 1 GiB"),
            std::string::npos);
}

TEST(Parse, EventAtATargetThatNobodyHasIsRefused) {
  EXPECT_NE(errors_of(with("@serving.disk0", "@serving.disk9")).find("no contender has the target '@serving.disk9'"),
            std::string::npos);
  EXPECT_NE(errors_of(with("@serving.disk0", "Z.disk0")).find("no contender has the target"), std::string::npos);
  EXPECT_NE(errors_of(with("@serving.disk0", "@servin.disk0")).find("did you mean 'serving'?"), std::string::npos);
  EXPECT_EQ(errors_of(with("@serving.disk0", "@serving.disk3")), "");  // only raid5 has it: n/a in pair
}

TEST(Parse, TriggersThatCanNeverFireAreRefused) {
  const auto never = [](std::string_view from, std::string_view to) { return errors_of(with(from, to)); };
  EXPECT_NE(never("at = \"2s\"", "at = \"10s\"").find("can never fire: 10 s is not before the end"), std::string::npos);
  EXPECT_NE(never("after = \"disk dies\"", "after = \"disk die\"").find("did you mean 'disk dies'?"), std::string::npos);
  EXPECT_NE(never("at = \"2s\"", "after = \"server dies\"").find("wait for each other"), std::string::npos);
  EXPECT_NE(never("redundancy == full", "redundanc == full").find("did you mean 'redundancy'?"), std::string::npos);
  EXPECT_NE(never("redundancy == full", "rebuild > 100%").find("can never hold"), std::string::npos);
  EXPECT_NE(never("at = \"2s\"", "at_write = 1000000").find("can never fire: at_write"), std::string::npos);
  EXPECT_NE(never("at = \"2s\"", "within = [\"3s\", \"2s\"]").find("backwards"), std::string::npos);
  EXPECT_NE(never("at = \"2s\"\n", "").find("has no trigger"), std::string::npos);
  EXPECT_NE(never("delay = \"500ms\"", "delay = \"9s\"").find("can never fire"), std::string::npos);
}

TEST(Parse, EveryModeOfAcknowledgementIsKnownAndOthersAreRefused) {
  for (const char* ack : {"\"durable\"", "\"quorum\"", "\"received\"", "\"async\""})
    EXPECT_EQ(errors_of(with("\"durable\"", ack)), "") << ack;
  EXPECT_NE(errors_of(with("\"durable\"", "\"sometimes\"")).find("sometimes"), std::string::npos);
}

TEST(Parse, ExpectationOnWhatIsNotMeasuredHasItsColumn) {
  EXPECT_EQ(errors_of(with("lost_writes == 0", "lost_write == 0")),
            "x.toml:39:10: unknown measure 'lost_write' (did you mean 'lost_writes'?)\n");
  EXPECT_EQ(errors_of(with("outage('disk dies')", "outage('disk die')")),
            "x.toml:39:38: unknown event 'disk die' (did you mean 'disk dies'?)\n");
}

// The sound scenario with a pair in two sites.
std::string in_sites(std::string_view sites, std::string_view between, std::string_view target = "east") {
  std::string text = with("do = \"node.power_loss\"\ntarget = \"@serving\"",
                          "do = \"site.lose\"\ntarget = \"" + std::string(target) + "\"");
  text = with("link = \"lan\" }",
              "link = \"lan\" }\nsites = " + std::string(sites) + "\nbetween = " + std::string(between), text);
  return with("[[contender]]\nname = \"pair\"",
              "[link.wan]\nrtt = \"10ms\"\nbandwidth = \"1Gbit/s\"\n[[contender]]\nname = \"pair\"", text);
}

TEST(Parse, SitesHaveTheirNodesOnceAndALinkPerPair) {
  const std::string sites = "{ east = [\"A\"], west = [\"B\"] }", between = "{ east-west = \"wan\" }";
  const auto parsed = parse_scenario(in_sites(sites, between), "x.toml", {});
  ASSERT_TRUE(parsed) << errors_of(in_sites(sites, between));
  const ContenderSpec* pair = find_contender(*parsed, "pair");
  EXPECT_EQ(link_between(*parsed, *pair, 0, 1)->name, "wan");
  EXPECT_EQ(link_between(*parsed, *pair, 1, 0)->name, "wan");
  EXPECT_EQ(link_between(*parsed, *pair, 0, 0)->name, "lan");
  EXPECT_NE(errors_of(in_sites("{ east = [\"A\"], west = [\"A\"] }", between)).find("each in one site"),
            std::string::npos);
  EXPECT_NE(errors_of(in_sites("{ east = [\"Z\"] }", "{}")).find("each in one site"), std::string::npos);
  EXPECT_NE(errors_of(in_sites(sites, "{ east-north = \"wan\" }")).find("two sites, as in east-west"),
            std::string::npos);
  EXPECT_NE(errors_of(in_sites(sites, "{ east-west = \"wam\" }")).find("there is no [link.wam]"), std::string::npos);
  EXPECT_NE(errors_of(in_sites(sites, between, "south")).find("no contender has the target 'south'"), std::string::npos);
}

TEST(Parse, PromotionAndResolutionSayWhatTheyDo) {
  const auto event = [](std::string_view verb) {
    return errors_of(with("do = \"node.power_loss\"\ntarget = \"@serving\"\nfor = \"2s\"", verb));
  };
  EXPECT_EQ(event("do = \"volume.promote\"\ntarget = \"B\"\nforce = true"), "");
  EXPECT_EQ(event("do = \"volume.promote\"\ntarget = \"B\""), "");
  EXPECT_EQ(event("do = \"volume.resolve\"\ntarget = \"B\"\ndiscard = \"local\""), "");
  EXPECT_EQ(event("do = \"volume.resolve\"\ntarget = \"B\"\ndiscard = \"local\"\npeer = \"A\""), "");
  EXPECT_NE(event("do = \"volume.resolve\"\ntarget = \"B\"\ndiscard = \"local\"\npeer = \"Z\"").find("'Z'"),
            std::string::npos);
  EXPECT_NE(event("do = \"volume.resolve\"\ntarget = \"B\"").find("discard"), std::string::npos);
  EXPECT_NE(event("do = \"volume.resolve\"\ntarget = \"B\"\ndiscard = \"both\"").find("both"), std::string::npos);
}

TEST(Parse, BadLinksSayHowBad) {
  const auto event = [](std::string_view verb) {
    return errors_of(with("do = \"node.power_loss\"\ntarget = \"@serving\"\nfor = \"2s\"", verb));
  };
  EXPECT_EQ(event("do = \"link.reset\"\ntarget = \"A-B\""), "");
  EXPECT_NE(event("do = \"link.reset\"\ntarget = \"A-B\"\nfor = \"1s\"").find("no end"), std::string::npos);
  EXPECT_EQ(event("do = \"link.flap\"\ntarget = \"A>B\"\nperiod = \"50ms\"\nfor = \"1s\""), "");
  EXPECT_NE(event("do = \"link.flap\"\ntarget = \"A>B\"\nperiod = \"50ms\"").find("how long it lasts"),
            std::string::npos);
  EXPECT_NE(event("do = \"link.flap\"\ntarget = \"A>B\"\nfor = \"1s\"").find("period"), std::string::npos);
  for (const std::string verb : {"loss", "duplicate", "corrupt"}) {
    const std::string base = "do = \"link." + verb + "\"\ntarget = \"A-B\"\nfor = \"1s\"";
    EXPECT_EQ(event(base + "\npercent = 5"), "");
    EXPECT_NE(event(base).find("percent"), std::string::npos);
    EXPECT_NE(event(base + "\npercent = 0"), "");
    EXPECT_NE(event(base + "\npercent = 101"), "");
  }
}

TEST(Parse, AllErrorsAreToldUpToTwenty) {
  std::string text(kSound);
  for (int i = 0; i < 40; ++i) text += "[[expect]]\ncheck = 1\n";
  const auto parsed = parse_scenario(text, "x.toml");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().size(), kMaxDiagnostics + 1);
  EXPECT_EQ(to_string(parsed.error().back()), "x.toml: more errors follow; these first");
  EXPECT_EQ(to_string(parsed.error().front()).find("x.toml:42:9: expect.check: a string expected"), 0u);
}

TEST(Parse, SetChangesKeysBeforeTheChecks) {
  ParseOptions options;
  options.set = {{"workload.rate_iops", "700"},         {"volume", "32MiB"},
                 {"contender.raid5.reboot", "5s"},      {"event.disk dies.at", "3s"},
                 {"contender.raid5.node.A.disks", "5"}, {"rebuild.speed_max", "9MiB/s"}};
  const auto parsed = parse_scenario(kSound, "x.toml", options);
  ASSERT_TRUE(parsed) << errors_of(std::string(kSound), options);
  EXPECT_EQ(parsed->workload.rate_iops, 700u);
  EXPECT_EQ(parsed->volume_bytes, 32 * kMiB);
  EXPECT_EQ(parsed->contenders[0].reboot, 5 * kSecond);
  EXPECT_EQ(parsed->contenders[0].nodes[0].disks, 5u);
  EXPECT_EQ(parsed->events[0].trigger.at, 3 * kSecond);
  EXPECT_EQ(parsed->rebuild.speed_max, 9 * kMiB);
}

TEST(Parse, ErrorsOfSetNameTheOption) {
  const auto set = [](std::string key, std::string value) {
    ParseOptions options;
    options.set = {{std::move(key), std::move(value)}};
    return errors_of(std::string(kSound), options);
  };
  EXPECT_EQ(set("workload.rate_iops", "many"),
            "--set workload.rate_iops: workload.rate_iops: an integer expected, not a string\n");
  EXPECT_EQ(set("workload.rate", "5"), "--set workload.rate: unknown key 'workload.rate'\n");
  EXPECT_EQ(set("contender.raid7.reboot", "5s"), "--set contender.raid7.reboot: there is no contender 'raid7'\n");
  EXPECT_EQ(set("workload..x", "5"), "--set workload..x: a dotted key such as workload.rate_iops expected\n");
}

TEST(Parse, WorldRealOverridesOnlyTheRealWorldAndIsAlwaysChecked) {
  const std::string text = std::string(kSound) +
                           "[world.real]\npace = false\nvolume = \"32MiB\"\nworkload = { rate_iops = 100 }\n"
                           "event.\"disk dies\".at = \"1s\"\n";
  const auto shown = parse_scenario(text, "x.toml");
  ASSERT_TRUE(shown) << errors_of(text);
  EXPECT_EQ(shown->volume_bytes, 64 * kMiB);
  EXPECT_EQ(shown->workload.rate_iops, 500u);
  const auto real = parse_scenario(text, "x.toml", {.real = true, .set = {}, .only = {}});
  ASSERT_TRUE(real);
  EXPECT_EQ(real->volume_bytes, 32 * kMiB);
  EXPECT_EQ(real->modelled_volume_bytes, 64 * kMiB);
  EXPECT_EQ(real->workload.rate_iops, 100u);
  EXPECT_EQ(real->workload.bs, 16 * kKiB);
  EXPECT_EQ(real->events[0].trigger.at, kSecond);
  EXPECT_FALSE(real->pace);
  EXPECT_NE(errors_of(std::string(kSound) + "[world.real]\nlength = \"1s\"\n")
                .find("with [world.real]: event 'disk dies' can never fire"),
            std::string::npos);
  EXPECT_NE(errors_of(std::string(kSound) + "[world.real]\nseed = 3\n").find("unknown key 'world.real.seed'"),
            std::string::npos);
}

TEST(Parse, OnlyKeepsTheNamedContenders) {
  const auto parsed = parse_scenario(kSound, "x.toml", {.real = false, .set = {}, .only = {"pair"}});
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->contenders.size(), 1u);
  EXPECT_EQ(parsed->left_out, std::vector<std::string>{"raid5"});
  EXPECT_EQ(errors_of(std::string(kSound), {.real = false, .set = {}, .only = {"pari"}})
                .find("--only: there is no contender 'pari'"),
            0u);
}

TEST(Parse, SameUsableComputesTheSizeOfDisks) {
  const std::string text =
      with("[disk]\nmodel = \"sata-ssd\"\nsize = \"128MiB\"", "fair = \"same-usable\"\n[disk]\nmodel = \"hdd\"");
  const auto parsed = parse_scenario(text, "x.toml");
  ASSERT_TRUE(parsed) << errors_of(text);
  for (const auto& contender : parsed->contenders) {
    const auto size = disk_size_bytes(*parsed, contender.nodes[0]);
    EXPECT_GE(usable_bytes(contender, size), parsed->volume_bytes);
    EXPECT_LT(usable_bytes(contender, size - kMiB), parsed->volume_bytes);
  }
}

// The room that metadata takes grows with disk and chunk: a volume of any size fits the disks that are made for it.
TEST(Parse, SameUsableHoldsTheVolumeAtEverySizeLevelAndChunk) {
  Scenario scenario;
  scenario.fair = Fairness::same_usable;
  NodeSpec node;
  node.name = "A";
  for (const auto& [raid, disks] : {std::pair{0u, 1u}, {0u, 3u}, {1u, 2u}, {4u, 3u}, {5u, 4u}, {6u, 6u}, {10u, 5u}}) {
    node.raid = raid;
    node.disks = disks;
    for (const std::uint64_t chunk : {4 * kKiB, 64 * kKiB, 2 * kMiB, 64 * kMiB}) {
      node.chunk_bytes = chunk;
      for (const std::uint64_t volume :
           {kMiB, 48 * kMiB, 4096 * kMiB, 8192 * kMiB + kMiB, 16 * 1024 * kMiB, kMaxVolumeBytes / 2}) {
        scenario.volume_bytes = volume;
        ContenderSpec contender;
        contender.nodes = {node};
        const auto size = disk_size_bytes(scenario, node);
        EXPECT_GE(usable_bytes(contender, size), volume) << raid << ' ' << chunk << ' ' << volume;
        EXPECT_LT(usable_bytes(contender, size - kMiB), volume) << raid << ' ' << chunk << ' ' << volume;
      }
    }
  }
}

TEST(Parse, TargetsAndConditionsOfTheSmallGrammars) {
  const std::string drop =
      with("do = \"node.power_loss\"\ntarget = \"@serving\"",
           "do = \"link.drop\"\ntarget = [\"A>B\", \"client-@secondary:1\", \"@serving-arbiter\"]");
  const auto parsed = parse_scenario(drop, "x.toml");
  ASSERT_TRUE(parsed) << errors_of(drop);
  const auto& targets = parsed->events[1].targets;
  EXPECT_TRUE(targets[0].one_way);
  EXPECT_EQ(targets[1].node.role, Role::client);
  EXPECT_EQ(targets[1].peer.role, Role::secondary);
  EXPECT_EQ(targets[2].peer.role, Role::arbiter);
  EXPECT_FALSE(event_applies(*parsed, parsed->contenders[0], parsed->events[1]));
  EXPECT_TRUE(event_applies(*parsed, parsed->contenders[1], parsed->events[1]));
  EXPECT_NE(errors_of(with("\"@serving\"\nfor", "\"@serving-@serving\"\nfor", with("node.power_loss", "link.drop")))
                .find("itself"),
            std::string::npos);
}

TEST(Parse, AnyPrefixOfAFileGivesErrorsAndNeverCrashes) {
  for (std::size_t size = 0; size < kSound.size(); size += 3) errors_of(std::string(kSound.substr(0, size)));
  for (std::size_t at = 0; at < kSound.size(); at += 5) {
    std::string text(kSound);
    text[at] = text[at] == '1' ? '9' : '1';
    errors_of(text);
  }
}

TEST(Parse, ShippedScenariosAreSoundAndShort) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("scenarios")) {
    for (const bool real : {false, true}) {
      const auto parsed = load_scenario(entry.path().string(), {.real = real, .set = {}, .only = {}});
      ASSERT_TRUE(parsed) << to_string(parsed.error().front());
      EXPECT_LE(parsed->length, 10 * kSecond);
      EXPECT_FALSE(parsed->goal.empty() || parsed->expected.empty() || parsed->expectations.empty());
    }
    ++count;
  }
  EXPECT_GE(count, 8u);
}

// What ships, with random bytes cut, doubled, moved and changed (tests/fuzz/scenario.cc goes further): each ends as a sound
// scenario or as lines that name their places.
TEST(Parse, MadeUpTextsEndInDiagnosticsOrAreSound) {
  Random random(3);
  std::vector<std::string> texts;
  for (const auto& entry : std::filesystem::directory_iterator("scenarios")) {
    std::ifstream in(entry.path());
    texts.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  std::sort(texts.begin(), texts.end());
  ASSERT_FALSE(texts.empty());
  int sound = 0;
  for (int round = 0; round < 600; ++round) {
    std::string text = texts[random.below(texts.size())];
    for (std::uint64_t change = random.between(1, 3); change > 0 && !text.empty(); --change) {
      const std::size_t at = random.below(text.size()),
                        length = random.below(std::min<std::size_t>(40, text.size() - at) + 1);
      switch (random.below(4)) {
        case 0: text.erase(at, length); break;
        case 1: text.insert(random.below(text.size()), text.substr(at, length)); break;
        case 2: text[at] = static_cast<char>(random.below(256)); break;
        default: text[at] = "0123456789\"'[]{}=.#-"[random.below(21)]; break;
      }
    }
    const auto parsed = parse_scenario(text, "made-up.toml", {});
    sound += parsed ? 1 : 0;
    if (parsed) continue;
    ASSERT_FALSE(parsed.error().empty()) << text;
    for (const Diagnostic& diagnostic : parsed.error()) {
      EXPECT_EQ(to_string(diagnostic).find('\n'), std::string::npos) << to_string(diagnostic);
      EXPECT_EQ(diagnostic.where.find("made-up.toml"), 0u) << diagnostic.where;
    }
  }
  EXPECT_GT(sound, 60);
  EXPECT_LT(sound, 540);
}

}  // namespace
}  // namespace resilver::scenario
