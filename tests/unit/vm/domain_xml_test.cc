#include "server/vm/libvirt/domain_xml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pugixml.hpp>

namespace kdbg::vm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

DomainSpec Sample() {
  return {.name = "kdbg-vm-k3v9x2",
          .uuid = "",
          .owner = "alice & <bob>",
          .vcpu_count = 2,
          .memory_mib = 192,
          .kernel = "/s/blobs/aa/bzImage",
          .initramfs = "/s/blobs/bb/initramfs.cpio",
          .command_line = "console=ttyS0 nokaslr x=\"a<b\"",
          .console_log = "/s/g/console.log",
          .console_socket = "/s/g/console.sock",
          .gdb_socket = "/s/g,1/gdb.sock",
          .run_as = host::Identity{.uid = 61001, .gid = 61001}};
}

pugi::xml_document Parsed(const DomainSpec& spec) {
  pugi::xml_document document;
  EXPECT_TRUE(document.load_string(DomainXml(spec, "/s").c_str()));
  return document;
}

TEST(DomainXmlTest, SaysWhatTheSpecSays) {
  const pugi::xml_document document = Parsed(Sample());
  const pugi::xml_node domain = document.child("domain");
  EXPECT_STREQ(domain.attribute("type").value(), "qemu");
  EXPECT_STREQ(domain.child_value("name"), "kdbg-vm-k3v9x2");
  EXPECT_STREQ(domain.child_value("memory"), "192");
  EXPECT_STREQ(domain.child("memory").attribute("unit").value(), "MiB");
  EXPECT_STREQ(domain.child_value("vcpu"), "2");
  EXPECT_STREQ(domain.child("os").child_value("kernel"), "/s/blobs/aa/bzImage");
  EXPECT_STREQ(domain.child("os").child_value("initrd"), "/s/blobs/bb/initramfs.cpio");
  EXPECT_STREQ(domain.child("os").child_value("cmdline"), "console=ttyS0 nokaslr x=\"a<b\"");
  EXPECT_STREQ(domain.child_value("on_crash"), "preserve");
}

TEST(DomainXmlTest, LogsTheConsoleFromTheFirstByteWhetherReadOrNot) {
  const pugi::xml_document document = Parsed(Sample());
  const pugi::xml_node serial = document.child("domain").child("devices").child("serial");
  EXPECT_STREQ(serial.child("log").attribute("file").value(), "/s/g/console.log");
  EXPECT_STREQ(serial.child("log").attribute("append").value(), "on");
  EXPECT_STREQ(serial.child("source").attribute("path").value(), "/s/g/console.sock");
}

TEST(DomainXmlTest, PutsTheStubOnAPrivateSocketAndEscapesItsComma) {
  EXPECT_THAT(DomainXml(Sample(), "/s"),
              HasSubstr("socket,id=kdbg-gdb,path=/s/g,,1/gdb.sock,server=on,wait=off"));
}

TEST(DomainXmlTest, KeepsFilesFromBeingGivenToTheGuestsUid) {
  const pugi::xml_document document = Parsed(Sample());
  const pugi::xml_node label = document.child("domain").child("seclabel");
  EXPECT_STREQ(label.attribute("type").value(), "static");
  EXPECT_STREQ(label.attribute("relabel").value(), "no");
  EXPECT_STREQ(label.child_value("label"), "+61001:+61001");
}

TEST(DomainXmlTest, LeavesTheLabelToLibvirtWithoutAnIdentity) {
  DomainSpec spec = Sample();
  spec.run_as.reset();
  EXPECT_THAT(DomainXml(spec, "/s"), Not(HasSubstr("seclabel")));
}

TEST(DomainXmlTest, LeavesOutAnInitramfsThatIsNotThere) {
  DomainSpec spec = Sample();
  spec.initramfs.clear();
  EXPECT_THAT(DomainXml(spec, "/s"), Not(HasSubstr("initrd")));
}

TEST(DomainXmlTest, AsksForKvmOnlyWhenToldTo) {
  DomainSpec spec = Sample();
  spec.accelerator = Accelerator::kKvm;
  const pugi::xml_document document = Parsed(spec);
  EXPECT_STREQ(document.child("domain").attribute("type").value(), "kvm");
  EXPECT_STREQ(document.child("domain").child("cpu").attribute("mode").value(), "host-passthrough");
}

TEST(DomainXmlTest, HasAPanicDeviceOnEveryArchitecture) {
  EXPECT_THAT(DomainXml(Sample(), "/s"), HasSubstr("<panic model=\"isa\""));
  for (Architecture architecture : {Architecture::kArm64, Architecture::kRiscv64}) {
    DomainSpec spec = Sample();
    spec.architecture = architecture;
    EXPECT_THAT(DomainXml(spec, "/s"), HasSubstr("pvpanic-pci"));
  }
}

TEST(DomainXmlTest, ANetworkIsRestrictedAndItsForwardsListenOnTheLoopbackOnly) {
  EXPECT_THAT(DomainXml(Sample(), "/s"), Not(HasSubstr("-netdev")));
  DomainSpec spec = Sample();
  spec.network = UserNetwork{
      .forwards = {{.guest_port = 22, .host_port = 21003}, {.guest_port = 80, .host_port = 21004}}};
  EXPECT_THAT(DomainXml(spec, "/s"),
              HasSubstr("\"user,id=kdbg-net,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:21003-:22,"
                        "hostfwd=tcp:127.0.0.1:21004-:80\""));
}

TEST(DomainXmlTest, ADisksImageIsOnlyReadAndWhatIsWrittenStaysWithTheGuest) {
  EXPECT_THAT(DomainXml(Sample(), "/s"), Not(HasSubstr("-drive")));
  DomainSpec spec = Sample();
  spec.gdb_socket = "/guests/vm-1/stub/gdb.sock";
  spec.disk = Disk{.image = "/images/debian.qcow2", .format = Disk::Format::kQcow2};
  const std::string xml = DomainXml(spec, "/s");
  EXPECT_THAT(xml, HasSubstr("snapshot=on,discard=unmap,format=qcow2,file=/images/debian.qcow2\""));
  EXPECT_THAT(xml, HasSubstr("<qemu:env name=\"TMPDIR\" value=\"/guests/vm-1/stub\""));
}

TEST(DomainXmlTest, AFolderIsReadOnlyAndHasNoHelper) {
  EXPECT_THAT(DomainXml(Sample(), "/s"), Not(HasSubstr("-fsdev")));
  DomainSpec spec = Sample();
  spec.folder = "/guests/vm-1/folder";
  const std::string xml = DomainXml(spec, "/s");
  EXPECT_THAT(xml, HasSubstr("security_model=none,readonly=on,path=/guests/vm-1/folder\""));
  EXPECT_THAT(xml, HasSubstr("virtio-9p-pci,fsdev=kdbg-folder,mount_tag=kdbg\""));
}

TEST(DomainXmlTest, ExtraDevicesAreThoseOfTheTableAndNoOthers) {
  DomainSpec spec = Sample();
  spec.devices = {"edu", "vfio-pci,host=00:02.0", "rng"};
  const std::string xml = DomainXml(spec, "/s");
  EXPECT_THAT(xml, HasSubstr("\"edu\""));
  EXPECT_THAT(xml, HasSubstr("\"virtio-rng-pci\""));
  EXPECT_THAT(xml, Not(HasSubstr("vfio")));
}

TEST(DomainXmlTest, ANetworkCardHasAnAddressOfItsOwnThatStays) {
  const auto address = [](const std::string& name) {
    DomainSpec spec = Sample();
    spec.name = name;
    spec.network.emplace();
    const std::string xml = DomainXml(spec, "/s");
    const std::size_t begin = xml.find("mac=52:54:00:");
    return begin == std::string::npos ? "none" : xml.substr(begin, 21);
  };
  EXPECT_THAT(address("kdbg-vm-a"), ::testing::MatchesRegex("mac=52:54:00(:[0-9a-f][0-9a-f])+"));
  EXPECT_EQ(address("kdbg-vm-a"), address("kdbg-vm-a"));
  EXPECT_NE(address("kdbg-vm-a"), address("kdbg-vm-b"));
}

TEST(DomainXmlTest, NamesMachineAndEmulatorOfTheArchitecture) {
  for (const ArchitectureTraits& traits : Architectures()) {
    SCOPED_TRACE(traits.name);
    DomainSpec spec = Sample();
    spec.architecture = traits.architecture;
    const pugi::xml_document document = Parsed(spec);
    const pugi::xml_node domain = document.child("domain");
    EXPECT_EQ(domain.child("os").child("type").attribute("arch").value(), traits.libvirt_arch);
    EXPECT_EQ(domain.child("os").child("type").attribute("machine").value(), traits.machine);
    EXPECT_EQ(domain.child("devices").child_value("emulator"),
              "/usr/bin/" + std::string(traits.qemu_binary));
    EXPECT_EQ(!domain.child("features").child("acpi").empty(), traits.acpi);
  }
}

TEST(DomainMetadataTest, ComesBackAsItWasWritten) {
  const pugi::xml_document document = Parsed(Sample());
  std::ostringstream element;
  document.child("domain").child("metadata").first_child().print(element);
  const auto metadata = ParseDomainMetadata(element.str());
  ASSERT_TRUE(metadata.has_value());
  EXPECT_EQ(metadata->owner, "alice & <bob>");
  EXPECT_EQ(metadata->instance, "/s");
}

TEST(DomainMetadataTest, IsReadAsLibvirtGivesItBack) {
  const auto metadata = ParseDomainMetadata("<guest instance=\"/s\" owner=\"alice\"/>\n");
  ASSERT_TRUE(metadata.has_value());
  EXPECT_EQ(metadata->owner, "alice");
}

TEST(DomainMetadataTest, OfSomebodyElseIsNotOurs) {
  EXPECT_FALSE(ParseDomainMetadata("<other instance='/s' owner='x'/>").has_value());
  EXPECT_FALSE(ParseDomainMetadata("<guest owner='x'/>").has_value());
  EXPECT_FALSE(ParseDomainMetadata("<guest").has_value());
  EXPECT_FALSE(ParseDomainMetadata("").has_value());
}

TEST(DomainXmlTest, KeepsEveryGuestsMemoryUnderOneName) {
  DomainSpec spec = Sample();
  EXPECT_THAT(DomainXml(spec, "/s"), HasSubstr("memory-backend-ram,id=kdbg-ram,size=201326592"));
  spec.memory_file = MemoryFile{.path = "/proc/1/fd/3", .access = MemoryFile::Access::kPrivate};
  EXPECT_THAT(DomainXml(spec, "/s"),
              HasSubstr("memory-backend-file,id=kdbg-ram,size=201326592,mem-path=/proc/1/fd/3,"
                        "share=off"));
  spec.memory_file->access = MemoryFile::Access::kShared;
  EXPECT_THAT(DomainXml(spec, "/s"), HasSubstr("mem-path=/proc/1/fd/3,share=on"));
  EXPECT_THAT(DomainXml(spec, "/s"), HasSubstr("memory-backend=kdbg-ram"));
}

TEST(DomainXmlTest, WaitsForAStateOnlyWhenOneWillCome) {
  DomainSpec spec = Sample();
  EXPECT_THAT(DomainXml(spec, "/s"), Not(HasSubstr("-incoming")));
  spec.beginning = Beginning::kLoadedState;
  EXPECT_THAT(DomainXml(spec, "/s"), HasSubstr("-incoming"));
}

TEST(DomainXmlTest, HasAGenerationOfItsOwnWhereThereIsAcpi) {
  DomainSpec spec = Sample();
  EXPECT_TRUE(Parsed(spec).child("domain").child("genid"));
  spec.architecture = Architecture::kArm64;
  EXPECT_FALSE(Parsed(spec).child("domain").child("genid"));
}

TEST(DomainXmlTest, RunsEveryCpuIdlyWhenAskedTo) {
  DomainSpec spec = Sample();
  EXPECT_FALSE(Parsed(spec).child("domain").child("cputune"));
  spec.priority = Priority::kIdle;
  const pugi::xml_document document = Parsed(spec);
  const pugi::xml_node tuning = document.child("domain").child("cputune");
  EXPECT_STREQ(tuning.child("vcpusched").attribute("vcpus").value(), "0-1");
  EXPECT_STREQ(tuning.child("vcpusched").attribute("scheduler").value(), "idle");
  EXPECT_STREQ(tuning.child("emulatorsched").attribute("scheduler").value(), "idle");
}

}  // namespace
}  // namespace kdbg::vm
