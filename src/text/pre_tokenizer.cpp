#include "text/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string>
#include <utility>

#include "text/unicode.h"
#include "text/utf8.h"

namespace realm {
namespace {

struct CodeDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct MatchDataDeleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct MatchContextDeleter {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

// Backtracking steps within one match. Every pattern of the table is linear per match, and words
// longer than this do not occur in text that fits a model.
constexpr uint32_t kMatchLimit = 50'000'000;

// PCRE2's \s under UCP is Unicode's White_Space and U+180E, which lost that property in Unicode 6.3
// and which Hugging Face's engine does not count. So \s is spelled out.
std::string spell_out_white_space(std::string_view pattern) {
  constexpr std::string_view kSpace = R"(\t-\r\x{85}\p{Z})";
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c != '\\') {
      if (c == '[') in_class = true;
      if (c == ']') in_class = false;
      out += c;
      continue;
    }
    const char next = pattern[++i];
    if (next != 's' && next != 'S') {
      out += c;
      out += next;
      continue;
    }
    CHECK(!in_class || next == 's');
    if (in_class) {
      out += kSpace;
    } else {
      out += next == 's' ? "[" : "[^";
      out += kSpace;
      out += ']';
    }
  }
  return out;
}

// A character that \b takes for part of a word.
bool is_word_character(std::string_view text, size_t offset) {
  if (offset >= text.size()) return false;
  return is_word(next_code_point(text, offset));
}

// Cuts runs of digits into groups of three from the right; what is between runs stays in one piece.
void split_number_groups(PreTokenizerStep::Kind kind, std::string_view piece,
                         std::vector<uint32_t>& lengths) {
  const auto is_digit = kind == PreTokenizerStep::kNumberGroups ? &is_number : &is_decimal_digit;
  size_t begin = 0;  // of the piece not yet given out
  size_t offset = 0;
  std::vector<size_t> digits;  // offsets of a run's digits
  while (offset < piece.size()) {
    digits.clear();
    size_t next = offset;
    while (next < piece.size()) {
      const size_t at = next;
      if (!is_digit(next_code_point(piece, next))) {
        next = at;
        break;
      }
      digits.push_back(at);
    }
    if (digits.empty()) {
      next_code_point(piece, offset);
      continue;
    }
    offset = next;
    // `\d{1,3}(?=(\d{3})*\b)` finds nothing in a run that a word goes on behind, and superword
    // lookahead only cuts in front of whole groups.
    if (kind == PreTokenizerStep::kDecimalGroupsAtBoundary && is_word_character(piece, next))
      continue;
    const bool cut_after_run = kind != PreTokenizerStep::kDecimalGroups;
    for (size_t i = 0; i < digits.size(); ++i) {
      const bool group_starts = (digits.size() - i) % 3 == 0;
      if ((group_starts || (i == 0 && cut_after_run)) && digits[i] > begin) {
        lengths.push_back(static_cast<uint32_t>(digits[i] - begin));
        begin = digits[i];
      }
    }
    if (cut_after_run) {
      lengths.push_back(static_cast<uint32_t>(next - begin));
      begin = next;
    }
  }
  if (begin < piece.size()) lengths.push_back(static_cast<uint32_t>(piece.size() - begin));
}

}  // namespace

struct PreTokenizer::Step {
  PreTokenizerStep::Kind kind;
  std::unique_ptr<pcre2_code, CodeDeleter> code;
};

PreTokenizer::PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

Result<PreTokenizer> PreTokenizer::compile(const PreTokenizerRow& row) {
  PreTokenizer result;
  for (const PreTokenizerStep& step : row.steps) {
    if (step.kind != PreTokenizerStep::kPattern) {
      result.steps_.push_back(Step{step.kind, nullptr});
      continue;
    }
    const std::string pattern = spell_out_white_space(step.pattern);
    int error = 0;
    PCRE2_SIZE error_offset = 0;
    pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error,
                                     &error_offset, nullptr);
    if (code == nullptr) {
      char text[256] = {};
      pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(text), sizeof text);
      return Error{
          ErrorCode::kUnsupported,
          "the PCRE2 library on this machine refuses a pre-tokenizer's pattern at offset " +
              std::to_string(error_offset) + ": " + text + "; install PCRE2 10.40 or later"};
    }
    result.steps_.push_back(Step{step.kind, std::unique_ptr<pcre2_code, CodeDeleter>(code)});
    // A machine without JIT support runs the interpreter: slower, the same matches.
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  }
  return result;
}

Status PreTokenizer::split(std::string_view text, std::vector<uint32_t>& lengths) const {
  CHECK(text.size() < UINT32_MAX);
  if (text.empty()) return {};
  const std::unique_ptr<pcre2_match_data, MatchDataDeleter> data(
      pcre2_match_data_create(1, nullptr));
  const std::unique_ptr<pcre2_match_context, MatchContextDeleter> context(
      pcre2_match_context_create(nullptr));
  if (!data || !context) return Error{ErrorCode::kExhausted, "no memory left to split text"};
  pcre2_set_match_limit(context.get(), kMatchLimit);
  const PCRE2_SIZE* match = pcre2_get_ovector_pointer(data.get());

  std::vector<uint32_t> pieces = {static_cast<uint32_t>(text.size())}, finer;
  for (const Step& step : steps_) {
    finer.clear();
    finer.reserve(pieces.size() + text.size() / 4);
    size_t start = 0;
    for (const uint32_t length : pieces) {
      // The pattern sees the piece alone: look-around stops at its ends, as in Hugging Face's.
      const std::string_view piece = text.substr(start, length);
      start += length;
      if (step.kind != PreTokenizerStep::kPattern) {
        split_number_groups(step.kind, piece, finer);
        continue;
      }
      size_t done = 0;
      while (done < piece.size()) {
        const int found =
            pcre2_match(step.code.get(), reinterpret_cast<PCRE2_SPTR>(piece.data()), piece.size(),
                        done, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, data.get(), context.get());
        if (found == PCRE2_ERROR_NOMATCH) break;
        if (found < 0) {
          return Error{ErrorCode::kExhausted,
                       "the text holds a run of " + std::to_string(piece.size()) +
                           " bytes that the model's pre-tokenizer cannot split within its limits; "
                           "break it up with spaces or line ends"};
        }
        if (match[0] > done) finer.push_back(static_cast<uint32_t>(match[0] - done));
        finer.push_back(static_cast<uint32_t>(match[1] - match[0]));
        done = match[1];
      }
      if (done < piece.size()) finer.push_back(static_cast<uint32_t>(piece.size() - done));
    }
    pieces.swap(finer);
  }
  lengths.insert(lengths.end(), pieces.begin(), pieces.end());
  return {};
}

}  // namespace realm
