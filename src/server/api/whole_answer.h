// An answer that is sent when all of it is there: gathers what a generation says; an endpoint adds
// how it is written.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/api/generation.h"
#include "server/http/exchange.h"

namespace realm::server {

class WholeAnswer : public GenerationObserver {
 public:
  WholeAnswer(std::shared_ptr<Exchange> exchange, ErrorShape shape, size_t choices)
      : exchange_(std::move(exchange)), shape_(shape), choices_(choices) {}

  void on_delta(const Delta& delta) final {
    Choice& choice = choices_[delta.choice];
    choice.text += delta.text;
    choice.tokens.insert(choice.tokens.end(), delta.tokens.begin(), delta.tokens.end());
  }
  void on_choice_end(const ChoiceEnd& end) final { choices_[end.choice].end = end; }
  void on_done(const Usage& usage) final { exchange_->respond({.body = render(usage)}); }
  void on_error(const ApiError& error) final { exchange_->respond(error_response(error, shape_)); }

 protected:
  struct Choice {
    std::string text;
    std::vector<TokenReport> tokens;
    ChoiceEnd end{.choice = 0, .reason = FinishReason::kStop};
  };

  virtual std::string render(const Usage& usage) = 0;
  const std::vector<Choice>& choices() const { return choices_; }

 private:
  const std::shared_ptr<Exchange> exchange_;
  const ErrorShape shape_;
  std::vector<Choice> choices_;
};

}  // namespace realm::server
