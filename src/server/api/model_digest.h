// SHA-256 of a model's file, as ollama's clients tell models apart by. A large file takes a minute
// to read, so it is hashed on a thread of its own, once somebody asks.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>

namespace realm::server {

class ModelDigest {
 public:
  // `path`: a GGUF file, or a folder (its weights' files in the order of their names); empty: the
  // model is `bytes`, which outlive this.
  ModelDigest(std::string path, std::span<const std::byte> bytes);
  ~ModelDigest();

  // 64 hexadecimal digits; empty while a large file is still being read, or where it cannot be.
  std::string text();

 private:
  void compute();

  const std::string path_;
  const std::span<const std::byte> bytes_;
  std::mutex mutex_;
  bool started_ = false;
  std::string text_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace realm::server
