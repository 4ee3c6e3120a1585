// SHA-256 of a model's file, as ollama's clients tell models apart by. A large file takes a minute
// to read, so it is hashed on a thread of its own, once somebody asks.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace realm {

class ModelDigest {
 public:
  // `path`: a GGUF file, a folder (its weights' files in the order of their names), or empty for
  // the embedded model.
  explicit ModelDigest(std::string path);
  ~ModelDigest();

  // 64 hexadecimal digits; empty while a large file is still being read, or where it cannot be.
  std::string text();

 private:
  void compute();

  const std::string path_;
  std::mutex mutex_;
  bool started_ = false;
  std::string text_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace realm
