#include "app/terminal/progress.h"

#include <algorithm>
#include <cmath>

#include "app/terminal/style.h"

namespace realm {
namespace {

constexpr std::chrono::milliseconds kFirstDraw{300}, kRedraw{100};

std::string duration(double seconds) {
  const auto whole = std::llround(std::min(seconds, 359999.0));
  char text[32];
  if (whole >= 3600) {
    std::snprintf(text, sizeof text, "%d:%02d:%02d", static_cast<int>(whole / 3600),
                  static_cast<int>(whole / 60 % 60), static_cast<int>(whole % 60));
  } else {
    std::snprintf(text, sizeof text, "%d:%02d", static_cast<int>(whole / 60),
                  static_cast<int>(whole % 60));
  }
  return text;
}

}  // namespace

Progress::Progress(std::string label, uint64_t total, std::FILE* to)
    : label_(std::move(label)),
      total_(total),
      to_(to),
      visible_(is_terminal(to)),
      started_(Clock::now()),
      next_draw_(started_ + kFirstDraw) {}

Progress::~Progress() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", to_);
  std::fflush(to_);
}

void Progress::update(uint64_t done) {
  if (!visible_) return;
  const Clock::time_point now = Clock::now();
  if (now < next_draw_) return;
  next_draw_ = now + kRedraw;
  const double seconds = std::chrono::duration<double>(now - started_).count();
  // One column is left free: a full line would make some terminals wrap.
  const std::string text = "\r" + line(done, terminal_columns(to_) - 1, seconds) + "\x1b[K";
  std::fputs(text.c_str(), to_);
  std::fflush(to_);
  drawn_ = true;
}

std::string Progress::line(uint64_t done, int columns, double seconds) const {
  const double share =
      total_ == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
  char percent[16];
  std::snprintf(percent, sizeof percent, " %3d%%", static_cast<int>(share * 100.0));
  std::string tail = percent;
  // An estimate from less than a twentieth of the work would jump about.
  if (share >= 0.05 && share < 1.0) tail += "  " + duration(seconds / share - seconds) + " left";
  const int room = columns - static_cast<int>(label_.size() + tail.size()) - 3;
  const int width = std::min(room, 40);
  std::string bar;
  if (width >= 8) {
    const auto filled = static_cast<size_t>(share * width);
    bar = " [" + std::string(filled, '=') + std::string(static_cast<size_t>(width) - filled, ' ') +
          "]";
  }
  return (label_ + bar + tail).substr(0, static_cast<size_t>(std::max(columns, 0)));
}

}  // namespace realm
