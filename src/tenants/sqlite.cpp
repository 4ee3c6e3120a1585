#include "tenants/sqlite.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace realm {
namespace {

// Another process (an administrator's command) holds the write lock for one small transaction.
constexpr int kBusyTimeoutMs = 5000;

ErrorCode code_of(int sqlite_code) {
  switch (sqlite_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::kUnavailable;
    case SQLITE_FULL:
      return ErrorCode::kExhausted;
    case SQLITE_NOMEM:
      return ErrorCode::kExhausted;
    default:
      return ErrorCode::kIo;
  }
}

std::string sentence(int sqlite_code, const char* message) {
  switch (sqlite_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "the store is locked by another process; try again";
    case SQLITE_FULL:
      return "the store cannot grow: the disk is full";
    case SQLITE_NOTADB:
      return "this is not a store of Realm's: not a SQLite file";
    case SQLITE_CORRUPT:
      return "the store is damaged (" + std::string(message) + "); restore it from a backup";
    case SQLITE_READONLY:
      return "the store cannot be written to: it or its folder is read-only";
    default:
      return std::string("the store cannot be used: ") + message;
  }
}

}  // namespace

SqliteStatement::SqliteStatement(SqliteStatement&& other) noexcept
    : database_(other.database_),
      statement_(std::exchange(other.statement_, nullptr)),
      next_(other.next_) {}

SqliteStatement::~SqliteStatement() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

SqliteStatement& SqliteStatement::bind(int64_t value) {
  CHECK(sqlite3_bind_int64(statement_, next_++, value) == SQLITE_OK);
  return *this;
}

SqliteStatement& SqliteStatement::bind(double value) {
  CHECK(sqlite3_bind_double(statement_, next_++, value) == SQLITE_OK);
  return *this;
}

SqliteStatement& SqliteStatement::bind(std::string_view text) {
  // An empty view may have no address, which SQLite would take for NULL.
  const char* data = text.empty() ? "" : text.data();
  CHECK(sqlite3_bind_text64(statement_, next_++, data, text.size(), SQLITE_STATIC, SQLITE_UTF8) ==
        SQLITE_OK);
  return *this;
}

SqliteStatement& SqliteStatement::bind(std::span<const uint8_t> blob) {
  CHECK(sqlite3_bind_blob64(statement_, next_++, blob.data(), blob.size(), SQLITE_STATIC) ==
        SQLITE_OK);
  return *this;
}

SqliteStatement& SqliteStatement::bind(std::optional<int64_t> value) {
  return value ? bind(*value) : bind_null();
}

SqliteStatement& SqliteStatement::bind_null() {
  CHECK(sqlite3_bind_null(statement_, next_++) == SQLITE_OK);
  return *this;
}

Result<bool> SqliteStatement::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return database_->failed();
}

Status SqliteStatement::run() {
  const bool has_row = TRY(step());
  CHECK(!has_row);
  return {};
}

void SqliteStatement::reset() {
  sqlite3_reset(statement_);
  next_ = 1;
}

int64_t SqliteStatement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::optional<int64_t> SqliteStatement::optional_integer(int column) const {
  if (sqlite3_column_type(statement_, column) == SQLITE_NULL) return std::nullopt;
  return integer(column);
}

double SqliteStatement::real(int column) const {
  return sqlite3_column_double(statement_, column);
}

std::string SqliteStatement::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (data == nullptr) return {};
  return {data, static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

std::span<const uint8_t> SqliteStatement::blob(int column) const {
  const auto* data = static_cast<const uint8_t*>(sqlite3_column_blob(statement_, column));
  return {data, static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

Result<std::unique_ptr<SqliteDatabase>> SqliteDatabase::open(const std::string& path, bool create) {
  // An existing file is only looked at: closing a descriptor of it drops the locks of every other
  // connection this process has, and then another process may take its log away.
  bool is_usable = ::faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK, AT_EACCESS) == 0;
  if (!is_usable && errno == ENOENT && create) {
    // Made here and not by SQLite, whose files anyone may read.
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL, 0600);
    is_usable = fd >= 0 || errno == EEXIST;
    if (fd >= 0) ::close(fd);
  }
  if (!is_usable) {
    const int number = errno;
    if (number == ENOENT && !create) {
      return Error{ErrorCode::kNotFound, path + ": there is no store here"};
    }
    return Error{ErrorCode::kIo,
                 path + ": the store cannot be opened: " + std::string(std::strerror(number))};
  }
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(path));
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  if (sqlite3_open_v2(path.c_str(), &database->handle_, flags, nullptr) != SQLITE_OK) {
    return database->failed();
  }
  sqlite3_busy_timeout(database->handle_, kBusyTimeoutMs);
  // A file from elsewhere may carry triggers and views: they get no functions with side effects.
  sqlite3_db_config(database->handle_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(database->handle_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  // FULL: a row that was acknowledged survives the loss of power too, at one sync a batch.
  TRY(database->execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"));
  return database;
}

SqliteDatabase::~SqliteDatabase() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(handle_);
}

Status SqliteDatabase::execute(const std::string& sql) {
  if (sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return failed();
  return {};
}

Result<SqliteStatement> SqliteDatabase::prepare(std::string_view sql) {
  if (const auto found = statements_.find(sql); found != statements_.end()) {
    CHECK(sqlite3_stmt_busy(found->second) == 0);  // on loan to someone else
    return SqliteStatement(*this, found->second);
  }
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK) {
    return failed();
  }
  statements_.emplace(sql, statement);
  return SqliteStatement(*this, statement);
}

Result<int64_t> SqliteDatabase::query_integer(std::string_view sql) {
  SqliteStatement query = TRY(prepare(sql));
  const bool has_row = TRY(query.step());
  return has_row ? query.integer(0) : 0;
}

int64_t SqliteDatabase::num_changed() const {
  return sqlite3_changes64(handle_);
}

int64_t SqliteDatabase::last_row_id() const {
  return sqlite3_last_insert_rowid(handle_);
}

bool SqliteDatabase::last_was_duplicate() const {
  const int code = sqlite3_extended_errcode(handle_);
  return code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY;
}

Error SqliteDatabase::failed() const {
  const int code = handle_ == nullptr ? SQLITE_NOMEM : sqlite3_errcode(handle_);
  const char* message = handle_ == nullptr ? "out of memory" : sqlite3_errmsg(handle_);
  return Error{code_of(code), path_ + ": " + sentence(code, message)};
}

Result<SqliteTransaction> SqliteTransaction::begin(SqliteDatabase& database) {
  // IMMEDIATE waits for the write lock now; a later upgrade would fail without waiting.
  TRY(database.execute("BEGIN IMMEDIATE"));
  return SqliteTransaction(database);
}

SqliteTransaction::SqliteTransaction(SqliteTransaction&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)) {}

SqliteTransaction::~SqliteTransaction() {
  // Some failures have rolled back already; then there is nothing left to do.
  if (database_ != nullptr) (void)database_->execute("ROLLBACK");
}

Status SqliteTransaction::commit() {
  TRY(database_->execute("COMMIT"));
  database_ = nullptr;
  return {};
}

}  // namespace realm
