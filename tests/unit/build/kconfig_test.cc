#include "server/build/kconfig.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace kdbg::build {
namespace {

class KconfigTest : public ::testing::Test {
 protected:
  void Load(std::string text) {
    files_["Kconfig"] = std::move(text);
    auto kconfig = Kconfig::Read("Kconfig", {{"SRCARCH", "x86"}},
                                 [this](const std::string& path) -> absl::StatusOr<std::string> {
                                   const auto found = files_.find(path);
                                   if (found == files_.end()) return absl::NotFoundError(path);
                                   return found->second;
                                 });
    ASSERT_TRUE(kconfig.ok()) << kconfig.status();
    kconfig_ = *std::move(kconfig);
  }
  std::string Dependency(std::string_view symbol, std::string_view wanted,
                         std::string_view config) const {
    return kconfig_.Explain(symbol, wanted, ConfigValues::FromText(config)).dependency;
  }

  std::map<std::string, std::string> files_;
  Kconfig kconfig_;
};

TEST_F(KconfigTest, NamesTheFirstDependencyThatIsNotMet) {
  Load("config FOO\n\tbool \"Foo\"\n\tdepends on A && (B || C) && !D\n");
  EXPECT_EQ(Dependency("FOO", "y", ""), "CONFIG_A=y");
  EXPECT_EQ(Dependency("FOO", "y", "CONFIG_A=y\n"), "CONFIG_B=y or CONFIG_C=y");
  EXPECT_EQ(Dependency("FOO", "y", "CONFIG_A=y\nCONFIG_C=y\nCONFIG_D=y\n"), "CONFIG_D=n");
  EXPECT_EQ(Dependency("FOO", "y", "CONFIG_A=y\nCONFIG_C=y\n"), "");
}

TEST_F(KconfigTest, BlocksAroundASymbolAreDependenciesToo) {
  Load(
      "menu \"Net\"\n\tdepends on NET\nif INET\nconfig FOO\n\ttristate \"Foo\"\nendif\n"
      "config BAR\n\tbool \"Bar\"\nendmenu\nconfig BAZ\n\tbool \"Baz\"\n");
  EXPECT_EQ(Dependency("FOO", "y", ""), "CONFIG_NET=y");
  EXPECT_EQ(Dependency("FOO", "y", "CONFIG_NET=y\n"), "CONFIG_INET=y");
  EXPECT_EQ(Dependency("BAR", "y", "CONFIG_NET=y\n"), "");
  EXPECT_EQ(Dependency("BAZ", "y", ""), "");
}

TEST_F(KconfigTest, ReadsFilesOfTheArchitecture) {
  files_["arch/x86/Kconfig"] = "config X86_ONLY\n\tbool \"x\"\n\tdepends on Q\n";
  files_["lib/Kconfig"] = "config LIB\n\tbool\n";
  Load("source \"arch/$(SRCARCH)/Kconfig\"\nsource lib/Kconfig\nsource \"not/there\"\n");
  EXPECT_TRUE(kconfig_.Knows("X86_ONLY"));
  EXPECT_TRUE(kconfig_.Knows("LIB"));
  EXPECT_EQ(Dependency("X86_ONLY", "y", ""), "CONFIG_Q=y");
}

TEST_F(KconfigTest, HelpTextsAreNotRead) {
  Load(
      "config FOO\n\tbool \"Foo\"\n\thelp\n\t  config NOT_ONE\n\n\t    depends on NOTHING\n"
      "config BAR\n\tbool \"Bar\" # a # comment\n\t---help---\n\t  if you\nconfig BAZ\n\tbool\n");
  EXPECT_FALSE(kconfig_.Knows("NOT_ONE"));
  EXPECT_TRUE(kconfig_.Knows("BAR"));
  EXPECT_TRUE(kconfig_.Knows("BAZ"));
  EXPECT_EQ(Dependency("FOO", "y", ""), "");
}

TEST_F(KconfigTest, ASymbolWithoutPromptIsSelected) {
  Load("config HIDDEN\n\tbool\nconfig USER\n\tbool \"u\"\n\tselect HIDDEN if Q\n");
  EXPECT_EQ(Dependency("HIDDEN", "y", ""), "CONFIG_USER=y");
  EXPECT_EQ(Dependency("HIDDEN", "n", "CONFIG_USER=y\nCONFIG_Q=y\nCONFIG_HIDDEN=y\n"),
            "CONFIG_USER=n");
}

TEST_F(KconfigTest, APromptMayHaveAConditionOfItsOwn) {
  Load("config FOO\n\tbool \"Say \\\"if\\\" if you can\" if EXPERT\n\tdefault y\n");
  EXPECT_EQ(Dependency("FOO", "n", "CONFIG_FOO=y\n"), "CONFIG_EXPERT=y");
}

TEST_F(KconfigTest, OneOfAChoiceExcludesTheOthers) {
  Load(
      "choice\n\tprompt \"c\"\n\tdepends on Z\nconfig ONE\n\tbool \"1\"\nconfig TWO\n\tbool \"2\"\n"
      "endchoice\n");
  EXPECT_EQ(Dependency("ONE", "y", "CONFIG_Z=y\nCONFIG_TWO=y\n"), "CONFIG_TWO=n");
  EXPECT_EQ(Dependency("ONE", "y", ""), "CONFIG_Z=y");
}

TEST_F(KconfigTest, ComparisonsAndMacrosAreUnderstood) {
  Load(
      "config ARCHY\n\tbool \"a\" if \"$(ARCH)\" = \"x86\"\n"
      "config FOO\n\tbool \"f\"\n\tdepends on GCC_VERSION >= 90000 && $(cc-option,-m(a),b) && "
      "NAME = \"x\"\n");
  EXPECT_EQ(Dependency("FOO", "y", "CONFIG_GCC_VERSION=80000\n"), "CONFIG_GCC_VERSION>=90000");
  EXPECT_EQ(Dependency("FOO", "y", "CONFIG_GCC_VERSION=120000\nCONFIG_NAME=\"x\"\n"), "");
  EXPECT_EQ(Dependency("ARCHY", "n", "CONFIG_ARCHY=y\n"), "");
}

TEST_F(KconfigTest, ATristateNeedsWhatItBuildsIn) {
  Load("config FOO\n\ttristate \"f\"\n\tdepends on A\n");
  EXPECT_EQ(Dependency("FOO", "y", "CONFIG_A=m\n"), "CONFIG_A=y");
  EXPECT_EQ(Dependency("FOO", "m", "CONFIG_A=m\n"), "");
}

TEST_F(KconfigTest, SuggestsANameThatIsNear) {
  Load("config DEBUG_INFO\n\tbool\nconfig VIRTIO_NET\n\tbool\n");
  EXPECT_EQ(kconfig_.Nearest("DEBUG_INOF"), "DEBUG_INFO");
  EXPECT_EQ(kconfig_.Nearest("VIRTIO_NETT"), "VIRTIO_NET");
  EXPECT_EQ(kconfig_.Nearest("SOMETHING_ELSE_ENTIRELY"), "");
}

TEST_F(KconfigTest, FilesThatIncludeThemselvesHaveAnEnd) {
  files_["Kconfig"] = "source \"Kconfig\"\n";
  const auto kconfig = Kconfig::Read(
      "Kconfig", {},
      [this](const std::string& path) -> absl::StatusOr<std::string> { return files_.at(path); });
  EXPECT_EQ(kconfig.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(KconfigTest, AbsurdExpressionsAreGivenUp) {
  std::string deep(100'000, '(');
  std::string lines = "config FOO\n\tbool \"f\"\n\tdepends on " + deep + "\n";
  for (int i = 0; i < 50'000; ++i) lines += "\tdepends on A\n";
  Load(lines + "config BAR\n\tbool \"b\"\n\tdepends on " + std::string(200'000, '!') + "A\n");
  EXPECT_EQ(Dependency("FOO", "y", ""), "CONFIG_A=y");
  EXPECT_TRUE(kconfig_.Knows("BAR"));
}

}  // namespace
}  // namespace kdbg::build
