#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <pugixml.hpp>
#include <string>

#include "client/ide/ide_launch.h"
#include "client/ide/launch_json.h"

namespace kdbg::client {
namespace {

using ::testing::HasSubstr;

// Every character that one of the formats gives a meaning.
const IdeLaunch kLaunch = {.name = "kdbg <vm> & \"7\"",
                           .gdb = "gdb-multiarch",
                           .settings = "/home/a b/set'\"tings.gdb",
                           .vmlinux = "/cache/a&b/vmlinux",
                           .target = "| /bin/kdbgctl --server 'unix:/a b' gdb-pipe vm-7",
                           .compiled_directory = "/src",
                           .tree = "/home/<me>/lin\\ux"};

TEST(VscodeTest, NamesProgramGdbTargetAndBothWaysOfTheSource) {
  const auto configuration = nlohmann::json::parse(VscodeConfiguration(kLaunch));
  EXPECT_EQ(configuration["name"], kLaunch.name);
  EXPECT_EQ(configuration["type"], "cppdbg");
  EXPECT_EQ(configuration["program"], kLaunch.vmlinux.string());
  EXPECT_EQ(configuration["miDebuggerPath"], kLaunch.gdb);
  EXPECT_EQ(configuration["miDebuggerServerAddress"], kLaunch.target);
  EXPECT_EQ(configuration["stopAtConnect"], true);
  EXPECT_EQ(configuration["setupCommands"][0]["text"], "source /home/a b/set'\"tings.gdb");
  const auto& mapped = configuration["sourceFileMap"]["/src"];
  EXPECT_EQ(mapped["editorPath"], kLaunch.tree.string());
  EXPECT_EQ(mapped["useForBreakpoints"], true);
}

std::string EclipseValue(const pugi::xml_document& document, const std::string& key) {
  return document.child("launchConfiguration")
      .find_child_by_attribute("key", key.c_str())
      .attribute("value")
      .value();
}

std::string Memento(const std::string& xml, const char* node) {
  pugi::xml_document document;
  EXPECT_TRUE(document.load_string(xml.c_str())) << xml;
  return document
      .find_node([&](const pugi::xml_node& one) { return one.name() == std::string(node); })
      .attribute("memento")
      .value();
}

TEST(EclipseTest, ConnectsToWhatRunsAndLoadsSymbolsOnly) {
  pugi::xml_document document;
  ASSERT_TRUE(document.load_string(EclipseLaunch(kLaunch).c_str()));
  EXPECT_STREQ(document.child("launchConfiguration").attribute("type").value(),
               "org.eclipse.cdt.debug.gdbjtag.launchConfigurationType");
  const std::string jtag = "org.eclipse.cdt.debug.gdbjtag.core.";
  EXPECT_EQ(EclipseValue(document, jtag + "symbolsFileName"), kLaunch.vmlinux);
  EXPECT_EQ(EclipseValue(document, jtag + "loadImage"), "false");
  EXPECT_EQ(EclipseValue(document, jtag + "setResume"), "false");
  EXPECT_EQ(EclipseValue(document, "org.eclipse.cdt.dsf.gdb.DEBUG_NAME"), kLaunch.gdb);
  EXPECT_EQ(EclipseValue(document, "org.eclipse.cdt.dsf.gdb.GDB_INIT"), kLaunch.settings);
}

TEST(EclipseTest, TheConnectionIsAUriWhateverTheTarget) {
  pugi::xml_document document;
  ASSERT_TRUE(document.load_string(EclipseLaunch(kLaunch).c_str()));
  const std::string key = "org.eclipse.cdt.debug.gdbjtag.core.connection";
  EXPECT_EQ(EclipseValue(document, key),
            "gdb:%7C%20/bin/kdbgctl%20--server%20%27unix:/a%20b%27%20gdb-pipe%20vm-7");
  IdeLaunch near = kLaunch;
  near.target = "127.0.0.1:21000";
  ASSERT_TRUE(document.load_string(EclipseLaunch(near).c_str()));
  EXPECT_EQ(EclipseValue(document, key), "gdb:127.0.0.1:21000");
}

TEST(EclipseTest, TheSourceLookupIsADocumentInADocumentInADocument) {
  pugi::xml_document document;
  ASSERT_TRUE(document.load_string(EclipseLaunch(kLaunch).c_str()));
  const std::string director =
      EclipseValue(document, "org.eclipse.debug.core.source_locator_memento");
  const std::string entry = Memento(Memento(director, "container"), "mapEntry");
  pugi::xml_document paths;
  ASSERT_TRUE(paths.load_string(entry.c_str())) << entry;
  EXPECT_STREQ(paths.child("mapEntry").attribute("backendPath").value(), "/src");
  EXPECT_EQ(paths.child("mapEntry").attribute("localPath").value(), kLaunch.tree);
}

TEST(ClionTest, NamesProgramGdbTargetAndTree) {
  pugi::xml_document document;
  ASSERT_TRUE(document.load_string(ClionRunConfiguration(kLaunch).c_str()));
  const pugi::xml_node configuration = document.child("component").child("configuration");
  EXPECT_STREQ(configuration.attribute("type").value(), "CLion_Remote");
  EXPECT_EQ(configuration.attribute("name").value(), kLaunch.name);
  EXPECT_EQ(configuration.attribute("remoteCommand").value(), kLaunch.target);
  EXPECT_EQ(configuration.attribute("symbolFile").value(), kLaunch.vmlinux);
  EXPECT_EQ(configuration.child_value("debugger"), kLaunch.gdb);
  EXPECT_STREQ(configuration.child("pathMapping").attribute("remote").value(), "/src");
  EXPECT_EQ(configuration.child("pathMapping").attribute("local").value(), kLaunch.tree);
}

// ---- launch.json

constexpr char kOurs[] = R"({"name": "kdbg-vm-7", "type": "cppdbg"})";

std::string With(const std::string& text) {
  const auto result = WithConfiguration(text, "kdbg-vm-7", kOurs);
  return result.ok() ? *result : "refused: " + std::string(result.status().message());
}

nlohmann::json Configurations(const std::string& text) {
  return nlohmann::json::parse(text, nullptr, true, true)["configurations"];
}

TEST(LaunchJsonTest, ANewFileHasOneConfiguration) {
  for (const std::string blank : {"", " \n", "// nothing yet\n"}) {
    const auto list = Configurations(With(blank));
    ASSERT_EQ(list.size(), 1u) << blank;
    EXPECT_EQ(list[0]["name"], "kdbg-vm-7");
  }
}

TEST(LaunchJsonTest, WhatOthersWroteStaysAsTheyWroteIt) {
  const std::string first = "// See https://go.microsoft.com/fwlink/?linkid=830387\n{ \"version\":";
  const std::string mine = "{\"name\":\t\"mine\", /* } ] */ \"args\": [\"]\", \"\\\"\",]}";
  const std::string rest = " // keep\n ]\n, \"inputs\": [ ] }\n";
  const std::string text = With(first + " \"0.2.0\", \"configurations\": [ " + mine + rest);
  EXPECT_EQ(text.find(first), 0u);
  EXPECT_THAT(text, HasSubstr(mine + ", // keep\n        {\"name\": \"kdbg-vm-7\""));
  EXPECT_THAT(text, HasSubstr("\"inputs\": [ ] }\n"));
}

TEST(LaunchJsonTest, OurOwnIsReplacedWhereItStands) {
  const std::string before =
      R"({"configurations": [{"name": "a"}, {"type": "x", "name": "kdbg-vm-7"}, {"name": "b"}]})";
  const auto list = Configurations(With(before));
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0]["name"], "a");
  EXPECT_EQ(list[1]["type"], "cppdbg");
  EXPECT_EQ(list[2]["name"], "b");
  EXPECT_EQ(With(With(before)), With(before));
}

TEST(LaunchJsonTest, AListMayBeEmptyOrAbsent) {
  for (const std::string text : {"{}", "{\"configurations\": []}", "{\"version\": \"0.2.0\"}",
                                 "{\"configurations\":[ // none\n]}", "\xEF\xBB\xBF{ }"}) {
    const auto list = Configurations(With(text));
    ASSERT_EQ(list.size(), 1u) << text;
    EXPECT_EQ(list[0]["name"], "kdbg-vm-7");
  }
}

TEST(LaunchJsonTest, AFileThatIsNoneIsRefusedWithTheLine) {
  EXPECT_EQ(With("{\n\"configurations\": 7\n}"), "refused: line 2: there should be a '['");
  EXPECT_EQ(With("{\n\"configurations\": [\n{\"name\": \"a\"\n"),
            "refused: line 4: there should be ',' or '}'");
  EXPECT_EQ(With("[]"), "refused: line 1: there should be a '{'");
  EXPECT_EQ(With("{\"a\": }"), "refused: line 1: there should be a value");
  EXPECT_EQ(With("{\"a"), "refused: line 1: there should be an end to this string");
  EXPECT_EQ(With("{} {}"), "refused: line 1: there should be the end of the file");
  EXPECT_EQ(With("{ /* \n\n"), "refused: line 1: there should be an end to this comment");
  EXPECT_THAT(With(std::string(100'000, '[')), HasSubstr("less nesting"));
}

}  // namespace
}  // namespace kdbg::client
