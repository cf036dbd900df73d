// The grammar of the command line: nouns, commands, and what a mistake is answered with. For
// command_line.cc and session_grammar.cc, which say what there is; nobody else sees CLI11.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>

#include "client/command_line.h"

namespace kdbg::client {

// Group of what `--help` does not show.
inline constexpr char kHidden[] = "";

class Grammar {
 public:
  using Run = std::function<CommandEnd(Context&)>;

  Grammar();
  ~Grammar();

  CLI::App* Noun(const std::string& name, const std::string& description,
                 const std::string& examples);
  // `parent` nullptr: a command without a noun.
  CLI::App* Command(CLI::App* parent, const std::string& name, const std::string& description,
                    const std::string& examples, Run run);
  // One with a required argument.
  void OneArgument(CLI::App* parent, const std::string& name, const std::string& description,
                   const std::string& placeholder, const std::string& meaning,
                   CommandEnd (*command)(Context&, const std::string&));

  std::variant<ParsedCommand, int> Parse(int argc, char** argv);

 private:
  class ExamplesFirst;

  int Explain(const CLI::ParseError& error, int argc, char** argv);
  std::string UnknownCommand(int argc, char** argv) const;

  std::shared_ptr<ExamplesFirst> formatter_;
  CLI::App app_;
  ParsedCommand command_;
  std::string format_ = "table";
  bool quiet_ = false;
};

}  // namespace kdbg::client
