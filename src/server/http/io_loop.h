// One I/O thread: its connections, their time-outs and whatever is posted to it run there and
// nowhere else, so that nothing above needs a lock. Handlers know it by post().
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace realm::server {

using Clock = std::chrono::steady_clock;

// What a loop looks after: called now and then, to see whether a deadline has passed.
class Ticked {
 public:
  virtual ~Ticked() = default;
  virtual void tick(Clock::time_point now) = 0;
};

class IoLoop {
 public:
  static constexpr std::chrono::milliseconds kTick{100};

  IoLoop();
  ~IoLoop();  // joins; requires stop() before
  IoLoop(const IoLoop&) = delete;
  IoLoop& operator=(const IoLoop&) = delete;

  void start();
  // Ends the thread once what runs on it returns; posted work that did not run is dropped.
  void stop();
  void join();

  // From any thread.
  void post(std::function<void()> work);
  // As post(), for many small pieces of work from one thread: they gather, in order, until flush()
  // hands them over with a single wake-up.
  void queue(std::function<void()> work);
  void flush();

  // On the loop's thread.
  void add(Ticked* ticked) { ticked_.insert(ticked); }
  void remove(Ticked* ticked) { ticked_.erase(ticked); }
  size_t num_ticked() const { return ticked_.size(); }

  boost::asio::io_context& context();

 private:
  void schedule_tick();
  void run_tick();
  void run_queue();

  // Of Asio, which nothing that only posts has to compile.
  struct Asio;
  std::unique_ptr<Asio> asio_;
  std::unordered_set<Ticked*> ticked_;
  std::mutex queue_mutex_;
  std::vector<std::function<void()>> queue_;
  bool queue_posted_ = false;
  std::thread thread_;
};

}  // namespace realm::server
