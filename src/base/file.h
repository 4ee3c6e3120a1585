// Files as the rest of Realm sees them: a read-only memory mapping, and a writer whose output
// appears under its final name whole or not at all (temporary name, fsync, rename).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace realm {

// How a file's bytes are held while it is open: mapped, or read whole into memory of the process.
enum class FileAccess { kMapped, kRead };

class MappedFile {
 public:
  // `path`, read-only. Errors: kNotFound; kIo (not readable, a directory, shorter than it said);
  // kExhausted where it cannot be held as `access` asks.
  static Result<MappedFile> open(const std::string& path, FileAccess access = FileAccess::kMapped);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

class AtomicFile {
 public:
  // Opens `path` + a temporary suffix for writing in the same folder. A link is followed, so that
  // the file it names is replaced. What is there already and is no regular file (/dev/stdout, a
  // pipe) is written to directly: replacing a device by a file is never what was meant.
  static Result<AtomicFile> create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();  // without commit(): the temporary file is removed

  Status write(std::span<const std::byte> bytes);
  Status write(std::string_view text);
  // Overwrites bytes written earlier (a header whose numbers are known last).
  Status write_at(uint64_t offset, std::span<const std::byte> bytes);
  uint64_t size() const { return size_; }
  // Flushes to disk and renames to the final name. Nothing may be written after it.
  Status commit();

 private:
  AtomicFile(std::string path, std::string temporary, std::FILE* file);
  Error failed(const char* action) const;
  std::string path_, temporary_;  // temporary_ is empty where path_ itself is written to
  std::FILE* file_ = nullptr;
  uint64_t size_ = 0;
  bool nameless_ = false;
};

// The whole of a file of at most `max_bytes`; also of a pipe or a device, to its end.
Result<std::string> read_text_file(const std::string& path, size_t max_bytes);

}  // namespace realm
