// The daemon's state: one SQLite database in WAL mode, one writer at a time, readers beside it.
// Each module above owns its own tables, brings its own migrations and writes its own SQL.
//
// Thread-safe; calls block for the disk. Nothing throws. RESOURCE_EXHAUSTED (kDiskFull) when the
// disk is full, DATA_LOSS (kDataCorrupt) when the file is damaged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace kdbg::state {

// One step of one module's tables. A module's versions count from 1 without gaps; each is applied
// once, in order, in a transaction of its own. `sql` may hold several statements.
struct Migration {
  std::string_view module;
  int version = 0;
  std::string_view sql;
};

struct Null {};
using Value = std::variant<Null, std::int64_t, double, std::string>;

// Times are stored as microseconds since the epoch.
Value ToValue(absl::Time time);
Value ToValue(std::optional<absl::Time> time);
Value ToValue(std::string_view text);
Value ToValue(double number);
template <typename T>
requires std::is_integral_v<T> || std::is_enum_v<T> Value ToValue(T number) {
  return static_cast<std::int64_t>(number);
}

// "?,?,?" for as many, as in `IN (?,?,?)`.
std::string Placeholders(std::size_t count);

// One row of an answer; valid only inside the callback. Columns count from 0.
class Row {
 public:
  virtual ~Row() = default;
  virtual bool IsNull(int column) const = 0;
  virtual std::int64_t Integer(int column) const = 0;
  virtual double Real(int column) const = 0;
  virtual std::string Text(int column) const = 0;
  absl::Time Time(int column) const;
  std::optional<absl::Time> OptionalTime(int column) const;
  template <typename Enum>
  Enum As(int column) const {
    return static_cast<Enum>(Integer(column));
  }
};

using RowCallback = absl::FunctionRef<absl::Status(const Row&)>;

// Statements that take effect together or not at all. Only valid inside the function it was given
// to.
class Transaction {
 public:
  virtual ~Transaction() = default;

  // Execute("DELETE FROM t WHERE a = ? AND b = ?", a, b); the number of rows that changed.
  template <typename... Args>
  absl::StatusOr<std::int64_t> Execute(std::string_view sql, const Args&... args) {
    return ExecuteValues(sql, {ToValue(args)...});
  }

  // Query("SELECT a FROM t WHERE b = ?", b, [&](const Row& row) { ...; return absl::OkStatus(); });
  // An error from the callback ends the query and is its answer.
  template <typename... ArgsThenCallback>
  absl::Status Query(std::string_view sql, ArgsThenCallback&&... args_then_callback) {
    constexpr std::size_t kArgs = sizeof...(ArgsThenCallback) - 1;
    auto all = std::forward_as_tuple(std::forward<ArgsThenCallback>(args_then_callback)...);
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return QueryValues(sql, {ToValue(std::get<I>(all))...}, std::get<kArgs>(all));
    }
    (std::make_index_sequence<kArgs>());
  }

  virtual absl::StatusOr<std::int64_t> ExecuteValues(std::string_view sql,
                                                     std::vector<Value> values) = 0;
  virtual absl::Status QueryValues(std::string_view sql, std::vector<Value> values,
                                   RowCallback callback) = 0;

  // Runs once the transaction is on disk, under no lock, in the order of commits, on some writer's
  // thread and possibly after that Write has returned; never when it is rolled back. This is how
  // events are sent.
  virtual void AfterCommit(std::function<void()> action) = 0;
};

class Database {
 public:
  // Creates the file when it is not there, checks it, applies the migrations that are missing.
  // DATA_LOSS for a damaged file, FAILED_PRECONDITION for one that a newer kdbgd wrote.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::filesystem::path& path,
                                                        std::span<const Migration> migrations);
  virtual ~Database() = default;

  using Body = absl::FunctionRef<absl::Status(Transaction&)>;
  // Commits when the body returns OK; rolls back otherwise and returns its status. One at a time;
  // not to be nested. The body does nothing slow: everybody else's writes wait for it.
  virtual absl::Status Write(Body body) = 0;
  // One consistent snapshot; does not wait for writers.
  virtual absl::Status Read(Body body) const = 0;
};

}  // namespace kdbg::state
