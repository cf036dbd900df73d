#include "server/vm/libvirt/domain_xml.h"

#include <fmt/format.h>

#include <pugixml.hpp>
#include <sstream>

#include "proto/support/sha256.h"
#include "server/host/emulator.h"
#include "server/vm/extra_devices.h"

namespace kdbg::vm {
namespace {

constexpr char kFolderTag[] = "kdbg";  // what a guest mounts it by: kdbg.v1.Folder
constexpr char kQemuNamespace[] = "http://libvirt.org/schemas/domain/qemu/1.0";

void AddText(pugi::xml_node parent, const char* name, const std::string& text) {
  parent.append_child(name).text().set(text.c_str());
}

pugi::xml_node AddWith(pugi::xml_node parent, const char* name, const char* attribute,
                       const std::string& value) {
  pugi::xml_node node = parent.append_child(name);
  node.append_attribute(attribute).set_value(value.c_str());
  return node;
}

void AddMetadata(pugi::xml_node domain, const DomainSpec& spec, std::string_view instance) {
  pugi::xml_node guest = domain.append_child("metadata").append_child("kdbg:guest");
  guest.append_attribute("xmlns:kdbg").set_value(kMetadataNamespace);
  guest.append_attribute("instance").set_value(std::string(instance).c_str());
  guest.append_attribute("owner").set_value(spec.owner.c_str());
}

// By scheduling class: it needs no control groups.
void AddIdlePriority(pugi::xml_node domain, const DomainSpec& spec) {
  pugi::xml_node tuning = domain.append_child("cputune");
  pugi::xml_node cpus =
      AddWith(tuning, "vcpusched", "vcpus", fmt::format("0-{}", spec.vcpu_count - 1));
  cpus.append_attribute("scheduler").set_value("idle");
  AddWith(tuning, "emulatorsched", "scheduler", "idle");
}

void AddBoot(pugi::xml_node domain, const DomainSpec& spec, const ArchitectureTraits& traits) {
  pugi::xml_node os = domain.append_child("os");
  pugi::xml_node type = AddWith(os, "type", "arch", std::string(traits.libvirt_arch));
  type.append_attribute("machine").set_value(std::string(traits.machine).c_str());
  type.text().set("hvm");
  AddText(os, "kernel", spec.kernel.string());
  if (!spec.initramfs.empty()) AddText(os, "initrd", spec.initramfs.string());
  AddText(os, "cmdline", spec.command_line);
}

// libvirt reads every CPU property back over QMP, which is nearly all of the 250 ms that creating
// takes, whatever is asked for here; so the plainest model.
void AddCpu(pugi::xml_node domain, const DomainSpec& spec, const ArchitectureTraits& traits) {
  if (spec.accelerator == Accelerator::kKvm) {
    AddWith(domain, "cpu", "mode", "host-passthrough");
  } else if (!traits.tcg_cpu.empty()) {
    pugi::xml_node cpu = AddWith(domain, "cpu", "mode", "custom");
    AddText(cpu, "model", std::string(traits.tcg_cpu));
  }
}

void AddFeatures(pugi::xml_node domain, const ArchitectureTraits& traits) {
  pugi::xml_node features = domain.append_child("features");
  if (traits.acpi) {
    features.append_child("acpi");
    features.append_child("apic");
  }
  if (traits.vmcoreinfo) AddWith(features, "vmcoreinfo", "state", "on");
}

// The log is QEMU's own, written whether or not a client reads the socket.
void AddConsole(pugi::xml_node devices, const DomainSpec& spec) {
  pugi::xml_node serial = AddWith(devices, "serial", "type", "unix");
  pugi::xml_node source = AddWith(serial, "source", "mode", "bind");
  source.append_attribute("path").set_value(spec.console_socket.c_str());
  pugi::xml_node log = AddWith(serial, "log", "file", spec.console_log.string());
  log.append_attribute("append").set_value("on");
  AddWith(serial, "target", "port", "0");
}

void AddDevices(pugi::xml_node domain, const DomainSpec& spec, const ArchitectureTraits& traits) {
  pugi::xml_node devices = domain.append_child("devices");
  AddText(devices, "emulator", host::EmulatorPath(spec.architecture).string());
  pugi::xml_node usb = AddWith(devices, "controller", "type", "usb");
  usb.append_attribute("model").set_value("none");
  AddConsole(devices, spec);
  AddWith(devices, "memballoon", "model", "none");
  if (traits.panic_device == PanicDevice::kIsa) AddWith(devices, "panic", "model", "isa");
}

// QEMU's option parser ends a value at a comma unless it is doubled.
std::string EscapeComma(std::string_view text) {
  std::string escaped;
  for (char c : text) {
    escaped += c;
    if (c == ',') escaped += c;
  }
  return escaped;
}

// Under one id in every guest, whatever holds it: a state names the memory it belongs to.
std::string MemoryObject(const DomainSpec& spec) {
  const std::int64_t bytes = spec.memory_mib << 20;
  if (!spec.memory_file) return fmt::format("memory-backend-ram,id=kdbg-ram,size={}", bytes);
  return fmt::format("memory-backend-file,id=kdbg-ram,size={},mem-path={},share={}", bytes,
                     EscapeComma(spec.memory_file->path.string()),
                     spec.memory_file->access == MemoryFile::Access::kShared ? "on" : "off");
}

// Another for each machine, the same whenever it is made again; of those given out locally.
std::string MacAddress(const DomainSpec& spec) {
  const std::string digest = Sha256Hex(spec.name);
  return fmt::format("52:54:00:{}:{}:{}", digest.substr(0, 2), digest.substr(2, 2),
                     digest.substr(4, 2));
}

// libvirt's user network has no `restrict`, and its port forwards want another program.
void AddNetwork(const DomainSpec& spec, std::vector<std::string>& arguments) {
  std::string network = "user,id=kdbg-net,restrict=on,ipv6=off";
  for (const PortForward& forward : spec.network->forwards) {
    network += fmt::format(",hostfwd=tcp:127.0.0.1:{}-:{}", forward.host_port, forward.guest_port);
  }
  // Without a ROM: nothing boots from it.
  arguments.insert(arguments.end(), {"-netdev", network, "-device",
                                     fmt::format("virtio-net-pci,netdev=kdbg-net,mac={},romfile=",
                                                 MacAddress(spec))});
}

// QEMU's own snapshot mode: the image is only read, and what is written goes to a file that has no
// name, below TMPDIR. libvirt's <transient/> would put one beside the image.
void AddDisk(const Disk& disk, std::vector<std::string>& arguments) {
  arguments.insert(
      arguments.end(),
      {"-drive",
       fmt::format("if=none,id=kdbg-disk,snapshot=on,discard=unmap,format={},file={}",
                   disk.format == Disk::Format::kQcow2 ? "qcow2" : "raw", disk.image.native()),
       "-device", "virtio-blk-pci,drive=kdbg-disk"});
}

// By QEMU's own server, which needs no program beside it and follows no link out of the folder.
// libvirt would give the device an address that another of these arguments has.
void AddFolder(const std::filesystem::path& folder, std::vector<std::string>& arguments) {
  arguments.insert(
      arguments.end(),
      {"-fsdev",
       fmt::format("local,id=kdbg-folder,security_model=none,readonly=on,path={}",
                   EscapeComma(folder.native())),
       "-device", fmt::format("virtio-9p-pci,fsdev=kdbg-folder,mount_tag={}", kFolderTag)});
}

void AddArguments(pugi::xml_node domain, const DomainSpec& spec, const ArchitectureTraits& traits) {
  pugi::xml_node command_line = domain.append_child("qemu:commandline");
  const std::string chardev = fmt::format("socket,id=kdbg-gdb,path={},server=on,wait=off",
                                          EscapeComma(spec.gdb_socket.string()));
  std::vector<std::string> arguments = {"-chardev", chardev,
                                        "-gdb",     "chardev:kdbg-gdb",
                                        "-object",  MemoryObject(spec),
                                        "-machine", "memory-backend=kdbg-ram"};
  if (spec.beginning == Beginning::kLoadedState) {
    arguments.insert(arguments.end(), {"-incoming", "defer"});
  }
  if (traits.panic_device == PanicDevice::kPci) {
    // libvirt 9.0 does not know this device, but understands its event.
    arguments.insert(arguments.end(), {"-device", "pvpanic-pci"});
  }
  if (spec.network) AddNetwork(spec, arguments);
  if (spec.disk) AddDisk(*spec.disk, arguments);
  if (!spec.folder.empty()) AddFolder(spec.folder, arguments);
  for (const std::string& name : spec.devices) {
    const ExtraDevice* device = FindExtraDevice(name);
    if (device == nullptr) continue;  // of another version's records
    arguments.insert(arguments.end(), {"-device", std::string(device->device)});
  }
  for (const std::string& argument : arguments) {
    AddWith(command_line, "qemu:arg", "value", argument);
  }
  if (spec.disk) {
    pugi::xml_node variable = command_line.append_child("qemu:env");
    variable.append_attribute("name") = "TMPDIR";
    variable.append_attribute("value") = spec.gdb_socket.parent_path().c_str();
  }
}

}  // namespace

std::string DomainXml(const DomainSpec& spec, std::string_view instance) {
  const ArchitectureTraits& traits = TraitsOf(spec.architecture);
  pugi::xml_document document;
  pugi::xml_node domain = document.append_child("domain");
  domain.append_attribute("type").set_value(spec.accelerator == Accelerator::kKvm ? "kvm" : "qemu");
  domain.append_attribute("xmlns:qemu").set_value(kQemuNamespace);
  AddText(domain, "name", spec.name);
  if (!spec.uuid.empty()) AddText(domain, "uuid", spec.uuid);
  // Another in every guest, so that the kernel of a clone sees that it is one and seeds itself
  // anew.
  if (traits.acpi) domain.append_child("genid");
  AddMetadata(domain, spec, instance);
  pugi::xml_node memory = AddWith(domain, "memory", "unit", "MiB");
  memory.text().set(static_cast<long long>(spec.memory_mib));
  domain.append_child("vcpu").text().set(spec.vcpu_count);
  if (spec.priority == Priority::kIdle) AddIdlePriority(domain, spec);
  AddBoot(domain, spec, traits);
  AddFeatures(domain, traits);
  AddCpu(domain, spec, traits);
  // A reboot ends the guest rather than starting it over under a debugger; libvirt cannot keep it.
  // A panic is kept, to be looked at.
  AddText(domain, "on_poweroff", "destroy");
  AddText(domain, "on_reboot", "destroy");
  AddText(domain, "on_crash", "preserve");
  AddDevices(domain, spec, traits);
  if (spec.run_as) {
    // Static and without relabelling: libvirt would give the kernel and initramfs files to this
    // uid.
    pugi::xml_node label = AddWith(domain, "seclabel", "type", "static");
    label.append_attribute("model").set_value("dac");
    label.append_attribute("relabel").set_value("no");
    AddText(label, "label", fmt::format("+{}:+{}", spec.run_as->uid, spec.run_as->gid));
  }
  AddArguments(domain, spec, traits);
  std::ostringstream text;
  document.save(text, "  ", pugi::format_indent | pugi::format_no_declaration);
  return text.str();
}

std::optional<DomainMetadata> ParseDomainMetadata(std::string_view element) {
  pugi::xml_document document;
  if (!document.load_buffer(element.data(), element.size())) return std::nullopt;
  // libvirt has looked it up by namespace and gives it back without.
  const pugi::xml_node guest = document.document_element();
  std::string_view name = guest.name();
  if (name.starts_with("kdbg:")) name.remove_prefix(5);
  if (name != "guest" || !guest.attribute("instance")) return std::nullopt;
  return DomainMetadata{.instance = guest.attribute("instance").value(),
                        .owner = guest.attribute("owner").value()};
}

}  // namespace kdbg::vm
