#include "server/http/io_loop.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <exception>

namespace realm::server {

struct IoLoop::Asio {
  boost::asio::io_context context{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{
      context.get_executor()};
  boost::asio::steady_timer timer{context};
};

IoLoop::IoLoop() : asio_(std::make_unique<Asio>()) {}

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
        asio_->context.run();
        return;
      } catch (const std::exception& error) {
        spdlog::error("an I/O thread caught: {}", error.what());
      }
    }
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void IoLoop::stop() {
  asio_->context.stop();
}

void IoLoop::join() {
  if (thread_.joinable()) thread_.join();
}

void IoLoop::post(std::function<void()> work) {
  boost::asio::post(asio_->context, std::move(work));
}

boost::asio::io_context& IoLoop::context() {
  return asio_->context;
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
  asio_->timer.expires_after(kTick);
  asio_->timer.async_wait([this](const boost::system::error_code& ec) {
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
