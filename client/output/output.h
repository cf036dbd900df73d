// What kdbgctl prints: data on stdout in the form the user chose, talk on stderr.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kdbg::client {

enum class Format { kTable, kJson, kName };
enum class Talk { kNormal, kQuiet };

enum class Align { kLeft, kRight };
struct Column {
  std::string title;
  Align align = Align::kLeft;
};
using Row = std::vector<std::string>;
using Details = std::vector<std::pair<std::string, std::string>>;

class Output {
 public:
  Output(Format format, Talk talk) : format_(format), talk_(talk) {}

  Format format() const { return format_; }
  bool quiet() const { return talk_ == Talk::kQuiet; }

  // One resource: its details, its JSON or its name. Details without a value are left out.
  void Resource(const google::protobuf::Message& resource, std::string_view name,
                const Details& details) const;

  // `list` is an answer whose repeated field `field` holds the resources: columns and one row each,
  // `{"field": [...]}` or their names.
  void List(const google::protobuf::Message& list, const std::string& field,
            const std::vector<Column>& columns, const std::vector<Row>& rows) const;

  // A sentence on stderr; not when quiet.
  void Note(std::string_view text) const;

  // Raw bytes on stdout. A reader that has gone ends the program, as it would any filter.
  static void Write(std::string_view bytes);

 private:
  Format format_;
  Talk talk_;
};

// "Key:  value" lines, aligned.
std::string FormatDetails(const Details& details);
std::string FormatTable(const std::vector<Column>& columns, const std::vector<Row>& rows);

}  // namespace kdbg::client
