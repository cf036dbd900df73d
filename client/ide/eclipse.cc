#include <fmt/format.h>

#include <pugixml.hpp>
#include <sstream>

#include "client/ide/ide_launch.h"

namespace kdbg::client {
namespace {

std::string Print(const pugi::xml_document& document) {
  std::ostringstream text;
  document.save(text, "", pugi::format_raw);
  return text.str();
}

// Eclipse keeps a list of objects as one document in an attribute of another, at each level.
std::string SourceLookup(const IdeLaunch& launch) {
  pugi::xml_document entry;
  pugi::xml_node paths = entry.append_child("mapEntry");
  paths.append_attribute("backendPath") = launch.compiled_directory.c_str();
  paths.append_attribute("localPath") = launch.tree.c_str();

  pugi::xml_document mapping;
  pugi::xml_node map = mapping.append_child("mapping");
  map.append_attribute("backend_enabled") = "true";
  map.append_attribute("name") = launch.name.c_str();
  map.append_child("mapEntry").append_attribute("memento") = Print(entry).c_str();

  pugi::xml_document director;
  pugi::xml_node containers =
      director.append_child("sourceLookupDirector").append_child("sourceContainers");
  containers.append_attribute("duplicates") = "false";
  pugi::xml_node container = containers.append_child("container");
  container.append_attribute("memento") = Print(mapping).c_str();
  container.append_attribute("typeId") = "org.eclipse.cdt.debug.core.containerType.mapping";
  return Print(director);
}

// As the part of a java.net.URI that comes after its scheme.
std::string PercentEncode(const std::string& text) {
  std::string encoded;
  for (const unsigned char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       std::string_view("-_.~:/").find(static_cast<char>(c)) != std::string::npos;
    encoded += plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  return encoded;
}

}  // namespace

std::string EclipseLaunch(const IdeLaunch& launch) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("launchConfiguration");
  root.append_attribute("type") = "org.eclipse.cdt.debug.gdbjtag.launchConfigurationType";
  const auto add = [&](const char* kind, const std::string& key, const std::string& value) {
    pugi::xml_node attribute = root.append_child(kind);
    attribute.append_attribute("key") = key.c_str();
    attribute.append_attribute("value") = value.c_str();
  };
  const std::string jtag = "org.eclipse.cdt.debug.gdbjtag.core.";
  add("stringAttribute", jtag + "jtagDeviceId", jtag + "jtagdevice.genericDevice");
  add("stringAttribute", jtag + "connection", "gdb:" + PercentEncode(launch.target));
  add("stringAttribute", jtag + "protocol", "remote");
  add("stringAttribute", jtag + "symbolsFileName", launch.vmlinux.string());
  for (const char* on : {"useRemoteTarget", "loadSymbols", "useFileForSymbols"}) {
    add("booleanAttribute", jtag + on, "true");
  }
  // The guest has its kernel and stands where its user wants it.
  for (const char* off :
       {"useProjBinaryForSymbols", "loadImage", "useFileForImage", "useProjBinaryForImage",
        "doReset", "doHalt", "setPcRegister", "setStopAt", "setResume"}) {
    add("booleanAttribute", jtag + off, "false");
  }
  add("stringAttribute", "org.eclipse.cdt.dsf.gdb.DEBUG_NAME", launch.gdb);
  add("stringAttribute", "org.eclipse.cdt.dsf.gdb.GDB_INIT", launch.settings.string());
  add("booleanAttribute", "org.eclipse.cdt.dsf.gdb.NON_STOP", "false");
  add("booleanAttribute", "org.eclipse.cdt.dsf.gdb.UPDATE_THREADLIST_ON_SUSPEND", "true");
  add("intAttribute", "org.eclipse.cdt.launch.ATTR_BUILD_BEFORE_LAUNCH_ATTR", "0");
  add("stringAttribute", "org.eclipse.cdt.launch.PROGRAM_NAME", launch.vmlinux.string());
  // Empty, not absent: no project is needed.
  add("stringAttribute", "org.eclipse.cdt.launch.PROJECT_ATTR", "");
  add("stringAttribute", "org.eclipse.debug.core.source_locator_id",
      "org.eclipse.cdt.debug.core.sourceLocator");
  add("stringAttribute", "org.eclipse.debug.core.source_locator_memento", SourceLookup(launch));
  add("stringAttribute", "process_factory_id", "org.eclipse.cdt.dsf.gdb.GdbProcessFactory");
  std::ostringstream text;
  document.save(text, "    ");
  return text.str();
}

}  // namespace kdbg::client
