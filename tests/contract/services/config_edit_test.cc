// ConfigureKernel: a program of the source's on a terminal whose other end is the stream.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/synchronization/notification.h"
#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "tests/contract/kit/test_daemon.h"

namespace kdbg {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kConfig[] =
    "CONFIG_DEBUG_INFO=y\nCONFIG_GDB_SCRIPTS=y\nCONFIG_KALLSYMS=y\nCONFIG_FRAME_POINTER=y\n";

void Write(const host::Sandbox& sandbox, const char* inside, const std::string& text) {
  const auto path = host::FakeSandboxRunner::HostPath(sandbox, inside);
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

// One conversation, as a client has it.
class Editor {
 public:
  explicit Editor(Client& client) : stream_(client.builds->ConfigureKernel(&context_)) {}

  void Start(const v1::ConfigureKernelRequest::Start& start) {
    v1::ConfigureKernelRequest request;
    *request.mutable_start() = start;
    stream_->Write(request);
  }
  void Type(const std::string& keys) {
    v1::ConfigureKernelRequest request;
    request.set_input(keys);
    stream_->Write(request);
  }
  void Resize(int columns, int rows) {
    v1::ConfigureKernelRequest request;
    request.mutable_resize()->set_columns(columns);
    request.mutable_resize()->set_rows(rows);
    stream_->Write(request);
  }
  // All that was printed, once it has `text` in it, or at the end.
  std::string ReadUntil(const std::string& text) {
    v1::ConfigureKernelResponse response;
    while (output_.find(text) == std::string::npos && stream_->Read(&response)) {
      EXPECT_TRUE(configs_.empty()) << "something after the config";
      if (response.has_config()) configs_.push_back(response.config());
      output_ += response.output();
    }
    return output_;
  }
  absl::Status Finish() {
    ReadUntil("never printed");
    return FromGrpcStatus(stream_->Finish());
  }
  void Vanish() { context_.TryCancel(); }
  const std::vector<std::string>& configs() const { return configs_; }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ConfigureKernelRequest, v1::ConfigureKernelResponse>>
      stream_;
  std::string output_;
  std::vector<std::string> configs_;
};

class ConfigEditTest : public testing::Test {
 protected:
  ConfigEditTest() {
    start_.set_source(Import(alice_));
    start_.mutable_kernel();
    start_.mutable_size()->set_columns(120);
    start_.mutable_size()->set_rows(40);
    start_.set_terminal("xterm-256color");
  }

  std::string Import(Client& client) {
    return daemon_.Import(client, {{"Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n"},
                                   {"Kconfig", "config NET\n\tbool \"n\"\n"},
                                   {"kernel/fork.c", ""},
                                   {"scripts/kconfig/mconf.c", "int main;\n"},
                                   {"init/main.c", ""}});
  }

  // The step that makes the config to start from, then the program.
  void Expect(std::function<int(host::FakeTerminalProgram&)> program) {
    daemon_.runner().Expect({.effect = [](const host::Sandbox& sandbox) {
      Write(sandbox, "/build/.kdbg/work.config", kConfig);
      Write(sandbox, "/build/.config", std::string(kConfig) + "# kdbg: not saved\n");
    }});
    daemon_.runner().Expect({.program = std::move(program)});
  }
  // Shows a menu; saves on "s", is left by any other key.
  void ExpectMenu() {
    Expect([](host::FakeTerminalProgram& program) {
      program.Print("menu");
      if (program.Read() == "s") {
        Write(program.sandbox(), "/build/.config", std::string(kConfig) + "CONFIG_NET=y\n");
      }
      program.Print("bye");
      return 0;
    });
  }

  TestDaemon daemon_;
  Client alice_ = daemon_.As(kAlice);
  v1::ConfigureKernelRequest::Start start_;
};

TEST_F(ConfigEditTest, WhatWasSavedIsTheLastMessage) {
  ExpectMenu();
  Editor editor(alice_);
  editor.Start(start_);
  editor.ReadUntil("menu");
  editor.Type("s");
  EXPECT_TRUE(editor.Finish().ok());
  EXPECT_THAT(editor.ReadUntil("bye"), HasSubstr("menubye"));
  EXPECT_THAT(editor.configs(), ElementsAre(std::string(kConfig) + "CONFIG_NET=y\n"));
}

TEST_F(ConfigEditTest, LeftWithoutSavingThereIsNone) {
  ExpectMenu();
  Editor editor(alice_);
  editor.Start(start_);
  editor.ReadUntil("menu");
  editor.Type("q");
  EXPECT_TRUE(editor.Finish().ok());
  EXPECT_TRUE(editor.configs().empty());
}

TEST_F(ConfigEditTest, WhatWasSavedIsAnsweredHoweverTheProgramEnds) {
  Expect([](host::FakeTerminalProgram& program) {
    Write(program.sandbox(), "/build/.config", kConfig);
    return 2;
  });
  Editor editor(alice_);
  editor.Start(start_);
  EXPECT_TRUE(editor.Finish().ok());
  EXPECT_THAT(editor.configs(), ElementsAre(kConfig));
}

TEST_F(ConfigEditTest, TheProgramHasAControllingTerminalOfTheCallersKindAndSize) {
  const auto size = [](host::FakeTerminalProgram& program) {
    winsize window = {};
    ::ioctl(program.terminal(), TIOCGWINSZ, &window);
    program.Print(std::to_string(window.ws_col) + "x" + std::to_string(window.ws_row) + ";");
  };
  Expect([size](host::FakeTerminalProgram& program) {
    size(program);
    while (program.Read() == "again") size(program);
    return 0;
  });
  Editor editor(alice_);
  editor.Start(start_);
  editor.ReadUntil("120x40;");
  editor.Resize(100, 50);
  editor.Type("again");
  EXPECT_THAT(editor.ReadUntil("100x50;"), HasSubstr("100x50;"));
  editor.Type("q");
  EXPECT_TRUE(editor.Finish().ok());
  const host::Sandbox sandbox = daemon_.runner().started().back();
  EXPECT_THAT(sandbox.argv, Contains("--ctty"));
  EXPECT_THAT(sandbox.argv, Contains("menuconfig"));
  EXPECT_THAT(sandbox.environment, Contains("TERM=xterm-256color"));
}

TEST_F(ConfigEditTest, OnlyWhatAConfigIsMadeFromIsCheckedOut) {
  std::string text;
  bool program_text = true;
  Expect([&](host::FakeTerminalProgram& program) {
    const auto path = [&](const char* inside) {
      return host::FakeSandboxRunner::HostPath(program.sandbox(), inside);
    };
    std::getline(std::ifstream(path("/src/scripts/kconfig/mconf.c")), text);
    program_text = std::filesystem::exists(path("/src/init/main.c"));
    return 0;
  });
  Editor editor(alice_);
  editor.Start(start_);
  EXPECT_TRUE(editor.Finish().ok());
  EXPECT_EQ(text, "int main;");
  EXPECT_FALSE(program_text);
}

TEST_F(ConfigEditTest, ACallerWhoVanishesEndsTheProgramAndItsFilesGo) {
  absl::Notification ended;
  std::filesystem::path build;
  Expect([&](host::FakeTerminalProgram& program) {
    build = host::FakeSandboxRunner::HostPath(program.sandbox(), "/build");
    program.Print("menu");
    while (program.Read()) {
    }
    ended.Notify();
    return 0;
  });
  Editor editor(alice_);
  editor.Start(start_);
  editor.ReadUntil("menu");
  EXPECT_TRUE(std::filesystem::exists(build));
  editor.Vanish();
  ended.WaitForNotification();
  EXPECT_TRUE(absl::IsCancelled(editor.Finish()));
  daemon_.CloseEditors();
  EXPECT_TRUE(std::filesystem::is_empty(build.parent_path().parent_path()));
}

TEST_F(ConfigEditTest, CtrlCBeforeTheProgramIsThereLeaves) {
  absl::Notification configuring;
  daemon_.runner().Expect(
      {.until_cancelled = true, .effect = [&](const host::Sandbox&) { configuring.Notify(); }});
  Editor editor(alice_);
  editor.Start(start_);
  configuring.WaitForNotification();
  editor.Type("\x03");
  EXPECT_TRUE(editor.Finish().ok());
  EXPECT_TRUE(editor.configs().empty());
}

TEST_F(ConfigEditTest, CtrlCIsTheProgramsOwnOnceItIsThere) {
  Expect([](host::FakeTerminalProgram& program) {
    program.Print("menu");
    program.Print(program.Read() == "\x03" ? "save?" : "what?");
    return program.Read() ? 130 : 1;
  });
  Editor editor(alice_);
  editor.Start(start_);
  editor.ReadUntil("menu");
  editor.Type("\x03");
  EXPECT_THAT(editor.ReadUntil("?"), HasSubstr("save?"));
  editor.Type("n");
  EXPECT_TRUE(editor.Finish().ok());  // 130: it was left by Ctrl-C
  EXPECT_TRUE(editor.configs().empty());
}

TEST_F(ConfigEditTest, AMissingLibraryNamesThePackageToInstall) {
  Expect([](host::FakeTerminalProgram& program) {
    program.Print(
        "*\r\n* Unable to find the ncurses package.\r\n* Install ncurses (ncurses-devel or "
        "libncurses-dev\r\nmake: *** [Makefile:241: __sub-make] Error 2\r\n");
    return 2;
  });
  Editor editor(alice_);
  editor.Start(start_);
  const absl::Status status = editor.Finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_TRUE(HasReason(status, Reason::kMissingTool));
  EXPECT_THAT(std::string(status.message()), HasSubstr("install its package libncurses-dev"));
}

TEST_F(ConfigEditTest, ATerminalThatIsTooSmallIsTheCallersToChange) {
  Expect([](host::FakeTerminalProgram& program) {
    program.Print("Your display is too small to run Menuconfig!\r\n");
    return 1;
  });
  Editor editor(alice_);
  editor.Start(start_);
  const absl::Status status = editor.Finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("80 columns"));
}

TEST_F(ConfigEditTest, AConfigThatCannotBeIsRefusedAsForABuild) {
  start_.mutable_kernel()->add_config_items("CONFIG_NET=y");
  Expect([](host::FakeTerminalProgram&) { return 0; });
  Editor editor(alice_);
  editor.Start(start_);
  EXPECT_TRUE(HasReason(editor.Finish(), Reason::kConfigSymbolLost));
}

TEST_F(ConfigEditTest, RequestsThatMakeNoSenseNameTheirField) {
  const auto refused = [&](const v1::ConfigureKernelRequest::Start& start) {
    Editor editor(alice_);
    editor.Start(start);
    return editor.Finish();
  };
  auto start = start_;
  start.set_terminal("xterm\nLD_PRELOAD=x");
  EXPECT_THAT(std::string(refused(start).message()), HasSubstr("start.terminal"));
  start = start_;
  start.mutable_size()->set_rows(0);
  EXPECT_THAT(std::string(refused(start).message()), HasSubstr("start.size"));
  start = start_;
  start.mutable_kernel()->add_fragments()->set_text("CONFIG_X=y");
  EXPECT_THAT(std::string(refused(start).message()), HasSubstr("start.kernel.fragments.name"));
  start = start_;
  start.set_source("sources/no-such");
  EXPECT_TRUE(absl::IsNotFound(refused(start)));
  Editor editor(alice_);
  editor.Type("keys");
  EXPECT_THAT(std::string(editor.Finish().message()), HasSubstr("`start`"));
}

TEST_F(ConfigEditTest, EachCallerHasAFewAtOnce) {
  std::vector<std::unique_ptr<Editor>> open;
  for (int i = 0; i < 4; ++i) {
    ExpectMenu();
    open.push_back(std::make_unique<Editor>(alice_));
    open.back()->Start(start_);
    open.back()->ReadUntil("menu");
  }
  Editor one_more(alice_);
  one_more.Start(start_);
  const absl::Status status = one_more.Finish();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_TRUE(HasReason(status, Reason::kTooManyCalls));
  ExpectMenu();
  Client bob = daemon_.As(kBob);
  start_.set_source(Import(bob));
  Editor his(bob);
  his.Start(start_);
  EXPECT_THAT(his.ReadUntil("menu"), HasSubstr("menu"));
}

}  // namespace
}  // namespace kdbg
