#include "server/guest/template.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "server/gdb/io_thread.h"
#include "server/gdb/stub_link.h"
#include "server/guest/template_manifest.h"
#include "tests/support/fake_hypervisor.h"
#include "tests/support/fake_stub.h"

namespace kdbg::guest {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Duration kLong = absl::Seconds(20);

class TemplateTest : public ::testing::Test {
 protected:
  TemplateTest() : watcher_(IoWatcher::Start().value()) {
    std::string pattern = "/tmp/kdbg-template-XXXXXX";
    root_ = ::mkdtemp(pattern.data());
    directory_ = root_ / "t-1";
    order_.maker = Spec("vm-maker");
    order_.key = TemplateKey(order_.maker, order_.stop, "7.2");
    order_.timeout = kLong;
    EXPECT_TRUE(WriteFileAtomic(order_.maker.system_map, "ffffffff81000100 T start_kernel\n").ok());
    hypervisor_.on_create = [this](const vm::DomainSpec& domain) {
      const UniqueFd log(
          ::open(domain.console_log.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
      if (domain.beginning == vm::Beginning::kReset) {
        EXPECT_TRUE(WriteAll(log.get(), "Booting...\r\n").ok());
      }
      stub_ = std::make_unique<FakeStub>(domain.gdb_socket.string());
      stub_->HitOnContinue(hits_);
      return absl::OkStatus();
    };
  }
  ~TemplateTest() override { std::filesystem::remove_all(root_); }

  GuestSpec Spec(const std::string& id) const {
    GuestSpec spec;
    spec.id = id;
    spec.owner = "alice";
    spec.memory_mib = 16;
    spec.kernel_image = root_ / "bzImage";
    spec.system_map = root_ / "System.map";
    spec.command_line = "console=ttyS0 nokaslr";
    spec.directory = root_ / id;
    return spec;
  }

  std::shared_ptr<const Template> Make() {
    auto made = Template::Make(directory_, order_, host_, {});
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }

  std::filesystem::path root_;
  std::filesystem::path directory_;
  Template::Order order_;
  bool hits_ = true;
  FakeHypervisor hypervisor_;
  std::unique_ptr<FakeStub> stub_;
  gdb::IoThread io_thread_;
  std::unique_ptr<IoWatcher> watcher_;
  GuestHost host_{hypervisor_, io_thread_, *watcher_};
};

TEST_F(TemplateTest, IsBootedIdlyOnceAndItsMakerIsGone) {
  const auto made = Make();
  EXPECT_EQ(made->stopped_at(), "start_kernel");
  EXPECT_EQ(made->key(), order_.key);
  ASSERT_THAT(hypervisor_.created(), SizeIs(1));
  EXPECT_EQ(hypervisor_.created()[0].priority, vm::Priority::kIdle);
  EXPECT_EQ(hypervisor_.created()[0].memory_file->access, vm::MemoryFile::Access::kShared);
  EXPECT_THAT(hypervisor_.ListOwn().value(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(order_.maker.directory));
  made->Discard();
}

TEST_F(TemplateTest, ItsClonesAreWhereItWasAndHavePrintedWhatItHad) {
  const auto made = Make();
  const auto image = made->Image();
  ASSERT_TRUE(image.ok()) << image.status();
  const auto clone = Guest::Clone(Spec("vm-1"), *image, host_, {});
  ASSERT_TRUE(clone.ok()) << clone.status();
  EXPECT_FALSE((*clone)->stub_link()->running());
  EXPECT_EQ((*clone)->console()->Read(0, 100).value(), "Booting...\r\n");
  const vm::DomainSpec domain = hypervisor_.created().back();
  EXPECT_EQ(domain.beginning, vm::Beginning::kLoadedState);
  EXPECT_EQ(domain.priority, vm::Priority::kNormal);
  EXPECT_EQ(domain.memory_file->access, vm::MemoryFile::Access::kPrivate);
  EXPECT_THAT(hypervisor_.loaded(), SizeIs(1));
  // As QEMU maps it: what the maker had written is there, and cannot be changed.
  const UniqueFd memory(::open(domain.memory_file->path.c_str(), O_RDWR | O_CLOEXEC));
  std::string mark(kMemoryMark.size(), '\0');
  ASSERT_EQ(::pread(memory.get(), mark.data(), mark.size(), 0), static_cast<ssize_t>(mark.size()));
  EXPECT_EQ(mark, kMemoryMark);
  EXPECT_EQ(::pwrite(memory.get(), "x", 1, 0), -1);
  made->Discard();
}

TEST_F(TemplateTest, LeavesNothingBehindWhenItsGuestFails) {
  order_.stop = StopAtSymbol{"no_such_function"};
  const auto made = Template::Make(directory_, order_, host_, {});
  EXPECT_TRUE(HasReason(made.status(), Reason::kSymbolNotFound)) << made.status();
  EXPECT_FALSE(std::filesystem::exists(directory_));
  EXPECT_THAT(hypervisor_.ListOwn().value(), IsEmpty());
}

TEST_F(TemplateTest, IsGivenUpWhileItBootsAndLeavesNothingBehind) {
  hits_ = false;
  std::stop_source cancel;
  std::jthread canceller;
  hypervisor_.on_create = [&, make = hypervisor_.on_create](const vm::DomainSpec& domain) {
    const absl::Status made = make(domain);
    canceller = std::jthread([&cancel, stub = stub_.get()] {
      if (stub->WaitRunning(true)) cancel.request_stop();
    });
    return made;
  };
  const auto made = Template::Make(directory_, order_, host_, cancel.get_token());
  EXPECT_TRUE(absl::IsCancelled(made.status())) << made.status();
  EXPECT_FALSE(std::filesystem::exists(directory_));
  EXPECT_THAT(hypervisor_.ListOwn().value(), IsEmpty());
}

TEST_F(TemplateTest, OutlivesTheDaemonAndIsAdoptedWhole) {
  Make();
  const auto adopted = Template::Adopt(directory_);
  ASSERT_TRUE(adopted.ok()) << adopted.status();
  EXPECT_EQ((*adopted)->key(), order_.key);
  EXPECT_EQ((*adopted)->stopped_at(), "start_kernel");
  EXPECT_TRUE((*adopted)->Image().ok());
  (*adopted)->Discard();
  EXPECT_FALSE(std::filesystem::exists(directory_));
}

TEST_F(TemplateTest, IsNotAdoptedWithAnotherState) {
  Make();
  ASSERT_TRUE(WriteFileAtomic(directory_ / "state", "another state").ok());
  EXPECT_TRUE(HasReason(Template::Adopt(directory_).status(), Reason::kDataCorrupt));
  // And its memory went with it.
  EXPECT_TRUE(absl::IsNotFound(Template::Adopt(directory_).status()));
}

TEST_F(TemplateTest, IsNotAdoptedWithTheMemoryOfAnother) {
  Make();
  directory_ = root_ / "t-2";
  order_.maker.kernel_image = root_ / "another";
  Make();
  // The state of one with the memory of the other, as a mixed-up manifest would have it.
  const auto first = ParseManifest(ReadFile(root_ / "t-1/manifest").value()).value();
  auto second = ParseManifest(ReadFile(root_ / "t-2/manifest").value()).value();
  second.state_digest = first.state_digest;
  ASSERT_TRUE(WriteFileAtomic(root_ / "t-2/manifest", FormatManifest(second)).ok());
  EXPECT_TRUE(HasReason(Template::Adopt(root_ / "t-2").status(), Reason::kDataCorrupt));
  EndStrayKeepers(root_, {});
}

TEST_F(TemplateTest, IsNotUsedOnceItsStateIsDamaged) {
  const auto made = Make();
  ASSERT_TRUE(WriteFileAtomic(directory_ / "state", "another state").ok());
  EXPECT_TRUE(HasReason(made->Image().status(), Reason::kDataCorrupt));
  made->Discard();
}

TEST_F(TemplateTest, IsNotAdoptedUnfinished) {
  Make()->Discard();
  ASSERT_TRUE(MakeDirectories(directory_, 0700).ok());
  EXPECT_TRUE(absl::IsNotFound(Template::Adopt(directory_).status()));
}

TEST_F(TemplateTest, AStateOfAnotherEmulatorIsRefusedAndNothingIsLeft) {
  const auto made = Make();
  hypervisor_.SetEmulatorVersion("8.0");
  const auto clone = Guest::Clone(Spec("vm-1"), made->Image().value(), host_, {});
  EXPECT_TRUE(HasReason(clone.status(), Reason::kHypervisorRefused)) << clone.status();
  EXPECT_THAT(hypervisor_.ListOwn().value(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(Spec("vm-1").directory));
  made->Discard();
}

TEST_F(TemplateTest, AGuestThatRunsIsNotSaved) {
  const auto guest = Guest::Create(Spec("vm-1"), host_, {}).value();
  stub_->HitOnContinue(false);
  ASSERT_TRUE(guest->RunToStopPoint(StopNowhere{}, kLong, {}).ok());
  const UniqueFd file(::open((root_ / "state").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  EXPECT_TRUE(HasReason(guest->Save(file.get(), {}), Reason::kWrongState));
}

TEST_F(TemplateTest, EverythingThatMakesTheMachineIsInItsKey) {
  const GuestSpec spec = Spec("vm-1");
  const std::string key = TemplateKey(spec, StopAtSymbol{}, "7.2");
  EXPECT_EQ(TemplateKey(Spec("vm-2"), StopAtSymbol{}, "7.2"), key);  // whoever it is
  EXPECT_NE(TemplateKey(spec, StopAtSymbol{"panic"}, "7.2"), key);
  EXPECT_NE(TemplateKey(spec, StopAtShell{}, "7.2"), key);
  EXPECT_NE(TemplateKey(spec, StopAtSymbol{}, "7.2.1"), key);
  const auto differs = [&](const std::function<void(GuestSpec&)>& change) {
    GuestSpec other = spec;
    change(other);
    return TemplateKey(other, StopAtSymbol{}, "7.2") != key;
  };
  EXPECT_TRUE(differs([](GuestSpec& s) { s.owner = "bob"; }));
  EXPECT_TRUE(differs([](GuestSpec& s) { s.run_as = host::Identity{.uid = 1, .gid = 1}; }));
  EXPECT_TRUE(differs([](GuestSpec& s) { s.kernel_image = "/k"; }));
  EXPECT_TRUE(differs([](GuestSpec& s) { s.initramfs = "/i"; }));
  EXPECT_TRUE(differs([](GuestSpec& s) { s.memory_mib = 17; }));
  EXPECT_TRUE(differs([](GuestSpec& s) { s.vcpu_count = 2; }));
  EXPECT_TRUE(differs([](GuestSpec& s) { s.accelerator = vm::Accelerator::kKvm; }));
  EXPECT_TRUE(differs([](GuestSpec& s) { s.architecture = Architecture::kArm64; }));
  EXPECT_TRUE(differs([](GuestSpec& s) { s.command_line += " quiet"; }));
  EXPECT_TRUE(differs([](GuestSpec& s) { s.ready_sign = ReadySign::kFirstUserInstruction; }));
}

TEST(TemplateManifestTest, ReadsWhatItWroteAndNothingElse) {
  const TemplateManifest manifest{.key = "k",
                                  .stopped_at = "start_kernel",
                                  .memory_bytes = 1 << 20,
                                  .keeper = {.pid = 12, .start_ticks = 34, .inode = 56},
                                  .memory_digest = "m",
                                  .state_digest = "s"};
  const std::string text = FormatManifest(manifest);
  const auto read = ParseManifest(text);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->stopped_at, "start_kernel");
  EXPECT_EQ(read->keeper.inode, 56u);
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::string damaged = text;
    damaged[at] ^= 1;
    EXPECT_TRUE(HasReason(ParseManifest(damaged).status(), Reason::kDataCorrupt)) << at;
    EXPECT_FALSE(ParseManifest(text.substr(0, at)).ok()) << at;
  }
}

}  // namespace
}  // namespace kdbg::guest
