#include "server/http/io_loop.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <csignal>
#include <exception>

namespace realm::server {

IoLoop::IoLoop() : work_(context_.get_executor()), timer_(context_) {}

IoLoop::~IoLoop() {
  join();
}

void IoLoop::start() {
  schedule_tick();
  // Signals are the main thread's.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] {
    for (;;) {
      // Nothing of ours throws; what a library does (no memory) costs one handler, not the server.
      try {
        context_.run();
        return;
      } catch (const std::exception& error) {
        spdlog::error("an I/O thread caught: {}", error.what());
      }
    }
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void IoLoop::stop() {
  context_.stop();
}

void IoLoop::join() {
  if (thread_.joinable()) thread_.join();
}

void IoLoop::queue(std::function<void()> work) {
  const std::lock_guard lock(queue_mutex_);
  queue_.push_back(std::move(work));
}

void IoLoop::flush() {
  {
    const std::lock_guard lock(queue_mutex_);
    if (queue_.empty() || queue_posted_) return;
    queue_posted_ = true;
  }
  post([this] { run_queue(); });
}

void IoLoop::run_queue() {
  std::vector<std::function<void()>> now_queued;
  {
    const std::lock_guard lock(queue_mutex_);
    now_queued.swap(queue_);
    queue_posted_ = false;
  }
  for (const auto& work : now_queued) work();
}

void IoLoop::schedule_tick() {
  timer_.expires_after(kTick);
  timer_.async_wait([this](const boost::system::error_code& ec) {
    if (ec) return;
    run_tick();
    schedule_tick();
  });
}

void IoLoop::run_tick() {
  // A tick may remove its own entry and others.
  const std::vector<Ticked*> now_ticked(ticked_.begin(), ticked_.end());
  const Clock::time_point now = Clock::now();
  for (Ticked* ticked : now_ticked) {
    if (ticked_.contains(ticked)) ticked->tick(now);
  }
}

}  // namespace realm::server
