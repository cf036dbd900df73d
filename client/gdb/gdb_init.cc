#include "client/gdb/gdb_init.h"

#include <fmt/format.h>

namespace kdbg::client {
namespace {

std::string QuoteForPython(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

}  // namespace

std::string QuoteForGdb(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

std::string QuoteForShell(const std::string& text) {
  if (!text.empty() && text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789_-+=:,./@") == text.npos) {
    return text;
  }
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

std::string GdbSettingsText(const GdbPlan& plan) {
  std::string text = fmt::format(
      "# Written by kdbgctl for {}; made anew each time.\n"
      // What a kernel built by somebody else wants to load by itself is code on this machine.
      "set auto-load safe-path $debugdir:$datadir/auto-load\n"
      "set index-cache directory {}\n"
      "set index-cache enabled on\n"
      "set remotetimeout 30\n"
      // The server holds the port from the start: a refusal is final.
      "set tcp auto-retry off\n"
      // `monitor reset` changes the guest behind gdb's back.
      "define hookpost-monitor\n"
      "maintenance flush dcache\n"
      "maintenance flush register-cache\n"
      "end\n",
      plan.session, plan.index_directory.string());
  if (!plan.source_directory.empty()) {
    text += fmt::format("set substitute-path {} {}\n", kSourceInSandbox,
                        QuoteForGdb(plan.source_directory.string()));
  }
  return text;
}

std::string GdbInitText(const GdbPlan& plan) {
  return GdbSettingsText(plan) + fmt::format("file {}\ntarget remote {}\n",
                                             QuoteForGdb(plan.vmlinux.string()), plan.target);
}

std::string ScriptLoaderText(const std::filesystem::path& script,
                             const std::filesystem::path& build_directory) {
  // lx-symbols believes gdb to have been started in the build directory, and takes from there what
  // is called vmlinux or NAME.ko.
  return fmt::format(
      R"(# Written by kdbgctl; made anew each time.
import functools
import os
import sys

import gdb


def kdbg_in_build_directory(invoke):
    @functools.wraps(invoke)
    def inside(self, argument, from_tty):
        before = os.getcwd()
        gdb.execute("cd " + {1}, to_string=True)
        try:
            return invoke(self, argument, from_tty)
        finally:
            gdb.execute("cd " + before, to_string=True)
    return inside


def kdbg_load_scripts(event):
    gdb.events.stop.disconnect(kdbg_load_scripts)
    try:
        gdb.execute("source " + {0})
        symbols = sys.modules.get("linux.symbols")
        if symbols:
            symbols.LxSymbols.invoke = kdbg_in_build_directory(symbols.LxSymbols.invoke)
    except (gdb.error, Exception) as error:
        gdb.write("kdbgctl: the kernel's lx- commands did not load: %s\n" % error)


gdb.events.stop.connect(kdbg_load_scripts)
)",
      QuoteForPython(script.string()), QuoteForPython(build_directory.string()));
}

}  // namespace kdbg::client
