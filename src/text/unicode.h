// Character properties and normal forms, from utf8proc. What tokenizers need beyond PCRE2's
// classes: BERT's text cleaning, and the normalization that some vocabularies were trained behind.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace realm {

enum class NormalForm { kNone, kNfc, kNfd, kNfkc, kNfkd };

// "NFC", "NFD", "NFKC", "NFKD".
Result<NormalForm> parse_normal_form(std::string_view name);

// `text` must be well-formed UTF-8. Errors: kExhausted where memory is.
Result<std::string> normalize(std::string_view text, NormalForm form);

bool is_white_space(char32_t c);      // the Unicode property White_Space
bool is_decimal_digit(char32_t c);    // general category Nd
bool is_number(char32_t c);           // N
bool is_punctuation(char32_t c);      // P
bool is_other(char32_t c);            // C: control, format, surrogate, private use; not unassigned
bool is_nonspacing_mark(char32_t c);  // Mn
bool is_word(char32_t c);             // Oniguruma's \w
char32_t to_lower(char32_t c);

}  // namespace realm
