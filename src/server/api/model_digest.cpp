#include "server/api/model_digest.h"

#include <openssl/evp.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <vector>

namespace realm::server {
namespace {

namespace fs = std::filesystem;

// Files up to this size are hashed at once, in some tens of milliseconds.
constexpr uintmax_t kSmallBytes = uintmax_t{64} << 20;

std::vector<fs::path> files_of(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};
  std::vector<fs::path> files;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".safetensors") files.push_back(entry->path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

uintmax_t bytes_of(const std::vector<fs::path>& files) {
  uintmax_t bytes = 0;
  for (const fs::path& file : files) {
    std::error_code error;
    const uintmax_t size = fs::file_size(file, error);
    if (!error) bytes += size;
  }
  return bytes;
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  }
  void add(const void* data, size_t size) { EVP_DigestUpdate(context_.get(), data, size); }
  bool add_file(const fs::path& path, const std::atomic<bool>& stop) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                               std::fclose);
    if (file == nullptr) return false;
    std::vector<char> buffer(size_t{1} << 20);
    size_t count;
    while ((count = std::fread(buffer.data(), 1, buffer.size(), file.get())) > 0) {
      if (stop.load(std::memory_order_relaxed)) return false;
      add(buffer.data(), count);
    }
    return std::ferror(file.get()) == 0;
  }
  std::string text() {
    unsigned char digest[32];
    EVP_DigestFinal_ex(context_.get(), digest, nullptr);
    std::string hex;
    for (const unsigned char byte : digest) {
      constexpr const char* kDigits = "0123456789abcdef";
      hex += kDigits[byte >> 4];
      hex += kDigits[byte & 15];
    }
    return hex;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

}  // namespace

ModelDigest::ModelDigest(std::string path, std::span<const std::byte> bytes)
    : path_(std::move(path)), bytes_(bytes) {}

ModelDigest::~ModelDigest() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

std::string ModelDigest::text() {
  std::unique_lock lock(mutex_);
  if (!started_) {
    started_ = true;
    if (path_.empty() || bytes_of(files_of(path_)) <= kSmallBytes) {
      lock.unlock();
      compute();
      lock.lock();
    } else {
      thread_ = std::thread([this] { compute(); });
    }
  }
  return text_;
}

void ModelDigest::compute() {
  Sha256 sum;
  if (path_.empty()) {
    sum.add(bytes_.data(), bytes_.size());
  } else {
    for (const fs::path& file : files_of(path_)) {
      if (sum.add_file(file, stop_)) continue;
      if (!stop_) spdlog::warn("{} cannot be read for its digest", file.string());
      return;
    }
  }
  const std::lock_guard lock(mutex_);
  text_ = sum.text();
}

}  // namespace realm::server
