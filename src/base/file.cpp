#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace realm {
namespace {

Error system_error(const std::string& path, const char* action) {
  const int number = errno;
  const ErrorCode code = number == ENOENT                       ? ErrorCode::kNotFound
                         : number == ENOSPC || number == EDQUOT ? ErrorCode::kExhausted
                                                                : ErrorCode::kIo;
  return Error{code, path + ": cannot " + action + ": " + std::strerror(number)};
}

// The whole file in memory of the process, on huge pages where the system has them.
Result<void*> read_whole(int fd, size_t size, const std::string& path) {
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    Error error = system_error(path, "read it into memory");
    error.code = ErrorCode::kExhausted;
    return error;
  }
  ::madvise(data, size, MADV_HUGEPAGE);
  constexpr size_t kPieceMax = size_t{1} << 30;  // the kernel reads at most 2 GiB at once
  for (size_t done = 0; done < size;) {
    const ssize_t got = ::pread(fd, static_cast<char*>(data) + done,
                                std::min(kPieceMax, size - done), static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      Error error = got < 0 ? system_error(path, "read")
                            : Error{ErrorCode::kIo, path + ": became shorter while it was read"};
      ::munmap(data, size);
      return error;
    }
    done += static_cast<size_t>(got);
  }
  ::mprotect(data, size, PROT_READ);
  return data;
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path, FileAccess access) {
  // Opening a pipe must not wait for its writer: it is refused below.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return system_error(path, "open");
  struct stat info {};
  if (::fstat(fd, &info) != 0) {
    Error error = system_error(path, "stat");
    ::close(fd);
    return error;
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    return Error{ErrorCode::kIo, path + ": not a regular file"};
  }
  const size_t size = static_cast<size_t>(info.st_size);
  if (size == 0) {
    ::close(fd);
    return MappedFile(nullptr, 0);
  }
  void* data = nullptr;
  if (access == FileAccess::kMapped) {
    data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
      Error error = system_error(path, "map");
      ::close(fd);
      return error;
    }
  } else {
    const auto read = read_whole(fd, size, path);
    if (!read.ok()) {
      ::close(fd);
      return read.error();
    }
    data = *read;
  }
  ::close(fd);
  return MappedFile(static_cast<const std::byte*>(data), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<AtomicFile> AtomicFile::create(const std::string& name) {
  std::string path = name;
  struct stat info {};
  if (::stat(name.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode)) {
      std::FILE* stream = std::fopen(name.c_str(), "we");
      if (stream == nullptr) return system_error(name, "open for writing");
      return AtomicFile(name, "", stream);
    }
    char* resolved = ::realpath(name.c_str(), nullptr);
    if (resolved == nullptr) return system_error(name, "resolve");
    path = resolved;
    std::free(resolved);
  }
  // A file without a name until commit() vanishes with the program, however that ends.
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  std::string temporary = path + ".tmp-XXXXXX";
  int fd = ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);
  if (fd >= 0) {
    std::FILE* nameless = ::fdopen(fd, "wb");
    if (nameless != nullptr) {
      AtomicFile file(path, path + ".tmp-" + std::to_string(::getpid()), nameless);
      file.nameless_ = true;
      return file;
    }
    ::close(fd);
  }
  // Not every file system has that.
  fd = ::mkstemp(temporary.data());
  if (fd < 0) return system_error(path, "create");
  ::fchmod(fd, 0644);
  std::FILE* file = ::fdopen(fd, "wb");
  if (file == nullptr) {
    Error error = system_error(path, "create");
    ::close(fd);
    ::unlink(temporary.c_str());
    return error;
  }
  return AtomicFile(path, std::move(temporary), file);
}

AtomicFile::AtomicFile(std::string path, std::string temporary, std::FILE* file)
    : path_(std::move(path)), temporary_(std::move(temporary)), file_(file) {}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      file_(std::exchange(other.file_, nullptr)),
      size_(other.size_),
      nameless_(other.nameless_) {}

AtomicFile::~AtomicFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  if (!temporary_.empty() && !nameless_) ::unlink(temporary_.c_str());
}

Error AtomicFile::failed(const char* action) const {
  return system_error(path_, action);
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) return failed("write");
  size_ += bytes.size();
  return {};
}

Status AtomicFile::write(std::string_view text) {
  return write(std::as_bytes(std::span(text.data(), text.size())));
}

Status AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  CHECK(offset + bytes.size() <= size_);
  if (::fseeko(file_, static_cast<off_t>(offset), SEEK_SET) != 0) return failed("seek");
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) return failed("write");
  if (::fseeko(file_, static_cast<off_t>(size_), SEEK_SET) != 0) return failed("seek");
  return {};
}

Status AtomicFile::commit() {
  if (temporary_.empty()) {
    if (std::fclose(std::exchange(file_, nullptr)) != 0) return failed("write");
    return {};
  }
  if (std::fflush(file_) != 0 || ::fsync(::fileno(file_)) != 0) return failed("write");
  if (nameless_) {
    const std::string self = "/proc/self/fd/" + std::to_string(::fileno(file_));
    ::unlink(temporary_.c_str());  // left by a killed process of this number
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      return failed("finish writing");
    }
  }
  std::FILE* file = std::exchange(file_, nullptr);
  if (std::fclose(file) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    Error error = failed("finish writing");
    ::unlink(temporary_.c_str());
    return error;
  }
  return {};
}

Result<std::string> read_text_file(const std::string& path, size_t max_bytes) {
  const auto close = [](std::FILE* stream) { std::fclose(stream); };
  const std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(path.c_str(), "re"), close);
  if (file == nullptr) return system_error(path, "open");
  std::string text;
  char buffer[65536];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, file.get())) > 0;) {
    text.append(buffer, n);
    if (text.size() > max_bytes) {
      return Error{
          ErrorCode::kInvalidArgument,
          path + ": more than the " + std::to_string(max_bytes) + " bytes that are accepted"};
    }
  }
  if (std::ferror(file.get()) != 0) return system_error(path, "read");
  return text;
}

}  // namespace realm
