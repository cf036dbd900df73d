#include <pugixml.hpp>
#include <sstream>

#include "client/ide/ide_launch.h"

namespace kdbg::client {

std::string ClionRunConfiguration(const IdeLaunch& launch) {
  pugi::xml_document document;
  pugi::xml_node component = document.append_child("component");
  component.append_attribute("name") = "ProjectRunConfigurationManager";
  pugi::xml_node configuration = component.append_child("configuration");
  const auto set = [&](const char* name, const std::string& value) {
    configuration.append_attribute(name) = value.c_str();
  };
  set("default", "false");
  set("name", launch.name);
  set("type", "CLion_Remote");
  set("version", "1");
  set("remoteCommand", launch.target);
  set("symbolFile", launch.vmlinux.string());
  set("sysroot", "");
  pugi::xml_node debugger = configuration.append_child("debugger");
  debugger.append_attribute("kind") = "GDB";
  debugger.text().set(launch.gdb.c_str());
  pugi::xml_node mapping = configuration.append_child("pathMapping");
  mapping.append_attribute("remote") = launch.compiled_directory.c_str();
  mapping.append_attribute("local") = launch.tree.c_str();
  configuration.append_child("method").append_attribute("v") = "2";
  std::ostringstream text;
  document.save(text, "  ", pugi::format_indent | pugi::format_no_declaration);
  return text.str();
}

}  // namespace kdbg::client
