// SQLite as the store sees it: a connection, prepared statements kept for the next use, a
// transaction that ends with its scope. Errors become Result with the file's name; nothing here
// knows a table. A connection belongs to one thread at a time: whoever shares one holds a mutex.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace realm {

class SqliteDatabase;

// A prepared statement on loan: bound values and position are dropped when it goes out of scope.
class SqliteStatement {
 public:
  SqliteStatement(SqliteDatabase& database, sqlite3_stmt* statement)
      : database_(&database), statement_(statement) {}
  SqliteStatement(SqliteStatement&& other) noexcept;
  SqliteStatement& operator=(SqliteStatement&&) = delete;
  ~SqliteStatement();

  // Values for the statement's ?1, ?2, ... in order. Text and blobs must outlive the statement.
  SqliteStatement& bind(int64_t value);
  SqliteStatement& bind(double value);
  SqliteStatement& bind(std::string_view text);
  SqliteStatement& bind(std::span<const uint8_t> blob);
  SqliteStatement& bind(std::optional<int64_t> value);
  SqliteStatement& bind_null();

  // True: there is a row to read. False: the statement is done.
  Result<bool> step();
  // For statements that give no rows.
  Status run();
  // Back to the start, for the next row of a batch.
  void reset();

  int64_t integer(int column) const;
  std::optional<int64_t> optional_integer(int column) const;
  double real(int column) const;
  std::string text(int column) const;
  std::span<const uint8_t> blob(int column) const;  // until the next step

 private:
  SqliteDatabase* database_;
  sqlite3_stmt* statement_;
  int next_ = 1;
};

class SqliteDatabase {
 public:
  // Opens `path`, creating it (readable by its owner alone) where it is not there and `create` says
  // so. Errors: kNotFound, kIo, kUnavailable (locked by another process for too long).
  static Result<std::unique_ptr<SqliteDatabase>> open(const std::string& path, bool create);
  ~SqliteDatabase();
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  // Runs SQL without parameters, statement by statement.
  Status execute(const std::string& sql);
  // `sql` is prepared once for this connection.
  Result<SqliteStatement> prepare(std::string_view sql);
  // The one number that a query without parameters gives.
  Result<int64_t> query_integer(std::string_view sql);

  // Rows that the last INSERT, UPDATE or DELETE changed; the row id it gave.
  int64_t num_changed() const;
  int64_t last_row_id() const;
  // True where `error_code` of the last failure was a broken UNIQUE constraint.
  bool last_was_duplicate() const;

  const std::string& path() const { return path_; }
  Error failed() const;  // what SQLite last complained of

 private:
  explicit SqliteDatabase(std::string path) : path_(std::move(path)) {}

  std::string path_;
  sqlite3* handle_ = nullptr;
  std::map<std::string, sqlite3_stmt*, std::less<>> statements_;
};

// BEGIN IMMEDIATE ... COMMIT; rolled back unless committed.
class SqliteTransaction {
 public:
  static Result<SqliteTransaction> begin(SqliteDatabase& database);
  SqliteTransaction(SqliteTransaction&& other) noexcept;
  SqliteTransaction& operator=(SqliteTransaction&&) = delete;
  ~SqliteTransaction();
  Status commit();

 private:
  explicit SqliteTransaction(SqliteDatabase& database) : database_(&database) {}
  SqliteDatabase* database_;
};

}  // namespace realm
