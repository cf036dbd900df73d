#include "client/output/output.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <libsmartcols/libsmartcols.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "client/terminal/raw_terminal.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  std::string json;
  (void)google::protobuf::util::MessageToJsonString(message, &json, options);
  return json;
}

struct Unref {
  void operator()(libscols_table* table) const { scols_unref_table(table); }
};

}  // namespace

void Output::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
    if (n >= 0 || errno == EINTR) continue;
    const int error = errno;
    RestoreTerminal();  // the console's, when there is one
    if (error == EPIPE) {
      ::signal(SIGPIPE, SIG_DFL);
      ::raise(SIGPIPE);
    }
    (void)WriteAll(STDERR_FILENO, fmt::format("kdbgctl: stdout: {}\n", std::strerror(error)));
    ::_exit(1);
  }
}

void Output::Resource(const google::protobuf::Message& resource, std::string_view name,
                      const Details& details) const {
  switch (format_) {
    case Format::kJson:
      return Write(ToJson(resource));
    case Format::kName:
      return Write(fmt::format("{}\n", name));
    case Format::kTable:
      return Write(FormatDetails(details));
  }
}

void Output::List(const google::protobuf::Message& list, const std::string& field,
                  const std::vector<Column>& columns, const std::vector<Row>& rows) const {
  const google::protobuf::Reflection* reflection = list.GetReflection();
  const google::protobuf::FieldDescriptor* items = list.GetDescriptor()->FindFieldByName(field);
  const int count = reflection->FieldSize(list, items);
  if (format_ == Format::kJson) {
    // JSON leaves empty fields out, but a script that asks for the list wants one.
    return Write(count == 0 ? fmt::format("{{\n \"{}\": []\n}}\n", field) : ToJson(list));
  }
  if (format_ == Format::kName) {
    std::string names;
    for (int i = 0; i < count; ++i) {
      const google::protobuf::Message& item = reflection->GetRepeatedMessage(list, items, i);
      const auto* name = item.GetDescriptor()->FindFieldByName("name");
      names += item.GetReflection()->GetString(item, name) + "\n";
    }
    return Write(names);
  }
  if (rows.empty()) return Note(fmt::format("no {}", field));
  Write(FormatTable(columns, rows));
}

void Output::Note(std::string_view text) const {
  if (!quiet()) (void)WriteAll(STDERR_FILENO, fmt::format("{}\n", text));
}

std::string FormatDetails(const Details& details) {
  std::size_t width = 0;
  for (const auto& [key, value] : details) {
    if (!value.empty()) width = std::max(width, key.size());
  }
  std::string text;
  for (const auto& [key, value] : details) {
    if (value.empty()) continue;
    std::string indented = value;
    for (std::size_t at = 0; (at = indented.find('\n', at)) != std::string::npos;) {
      indented.insert(++at, width + 3, ' ');
    }
    text += fmt::format("{}:{:{}}{}\n", key, "", width - key.size() + 2, indented);
  }
  return text;
}

std::string FormatTable(const std::vector<Column>& columns, const std::vector<Row>& rows) {
  std::unique_ptr<libscols_table, Unref> table(scols_new_table());
  // Whole values always: a truncated id cannot be pasted.
  scols_table_enable_nowrap(table.get(), 1);
  scols_table_set_termforce(table.get(), SCOLS_TERMFORCE_NEVER);
  scols_table_set_column_separator(table.get(), "  ");
  for (const Column& column : columns) {
    scols_table_new_column(table.get(), column.title.c_str(), 0,
                           column.align == Align::kRight ? SCOLS_FL_RIGHT : 0);
  }
  for (const Row& row : rows) {
    libscols_line* line = scols_table_new_line(table.get(), nullptr);
    for (std::size_t i = 0; i < row.size(); ++i) scols_line_set_data(line, i, row[i].c_str());
  }
  char* printed = nullptr;
  scols_print_table_to_string(table.get(), &printed);
  std::string text = printed != nullptr ? printed : "";
  std::free(printed);
  if (!text.empty() && text.back() != '\n') text += '\n';
  return text;
}

}  // namespace kdbg::client
