#include "formats/hf/sentencepiece.h"

#include <cmath>
#include <cstring>

namespace realm::hf {
namespace {

enum class WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  uint32_t number = 0;
  WireType type = WireType::kVarint;
  uint64_t varint = 0;
  uint32_t fixed32 = 0;
  std::span<const std::byte> bytes;
};

// Walks the fields of one message. `origin` is the message's place in the file, for errors.
class MessageReader {
 public:
  MessageReader(std::span<const std::byte> message, const std::string& label, uint64_t origin = 0)
      : message_(message), label_(label), origin_(origin) {}

  bool done() const { return position_ == message_.size(); }
  // Where the field last read has its content, in the file.
  uint64_t content_offset() const { return origin_ + content_; }
  const std::string& label() const { return label_; }

  Error bad(const std::string& problem) const {
    return Error{ErrorCode::kBadModel,
                 label_ + ": offset " + std::to_string(origin_ + position_) + ": " + problem};
  }

  Result<Field> next() {
    const uint64_t tag = TRY(varint());
    Field field;
    if ((tag >> 3) == 0 || (tag >> 3) > 0x1fffffff)
      return bad("protobuf field number out of range");
    field.number = static_cast<uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0:
        field.varint = TRY(varint());
        return field;
      case 1:
        field.type = WireType::kFixed64;
        TRY(take(8));
        return field;
      case 2: {
        field.type = WireType::kBytes;
        const uint64_t length = TRY(varint());
        field.bytes = TRY(take(length));
        return field;
      }
      case 5:
        field.type = WireType::kFixed32;
        std::memcpy(&field.fixed32, TRY(take(4)).data(), 4);
        return field;
      default:
        return bad("protobuf wire type " + std::to_string(tag & 7) + " is not known");
    }
  }

 private:
  Result<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (done()) return bad("the file is cut off inside a number");
      const uint64_t byte = std::to_integer<uint64_t>(message_[position_++]);
      value |= (byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    return bad("a number has more than 64 bits");
  }

  Result<std::span<const std::byte>> take(uint64_t length) {
    if (length > message_.size() - position_) {
      return bad("the file is cut off: a field of " + std::to_string(length) + " bytes, " +
                 std::to_string(message_.size() - position_) + " are left");
    }
    content_ = position_;
    position_ += length;
    return message_.subspan(content_, length);
  }

  std::span<const std::byte> message_;
  const std::string& label_;
  uint64_t origin_;
  uint64_t position_ = 0;
  uint64_t content_ = 0;
};

std::string to_text(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Status read_piece(MessageReader reader, Vocabulary& vocabulary) {
  std::string piece;
  float score = 0;
  uint64_t type = kNormalToken;
  while (!reader.done()) {
    const Field field = TRY(reader.next());
    if (field.number == 1 && field.type == WireType::kBytes) piece = to_text(field.bytes);
    if (field.number == 2 && field.type == WireType::kFixed32) {
      std::memcpy(&score, &field.fixed32, 4);
    }
    if (field.number == 3 && field.type == WireType::kVarint) type = field.varint;
  }
  const size_t id = vocabulary.tokens.size();
  if (type < kNormalToken || type > kByteToken) {
    return reader.bad("piece " + std::to_string(id) + " has the unknown type " +
                      std::to_string(type));
  }
  if (!std::isfinite(score)) {
    return reader.bad("piece " + std::to_string(id) + " has a score that is not finite");
  }
  if (id >= static_cast<size_t>(kMaxTokens)) return reader.bad("too many pieces");
  vocabulary.tokens.push_back(std::move(piece));
  vocabulary.scores.push_back(score);
  vocabulary.types.push_back(static_cast<int64_t>(type));
  return {};
}

enum ModelType : uint64_t { kUnigram = 1, kBpe = 2 };

struct TrainerSpec {
  uint64_t model_type = kUnigram;
  // int32 fields; a negative one, for "none", is written as a 64-bit varint.
  int64_t unk_id = 0, bos_id = 1, eos_id = 2, pad_id = -1;
};

Status read_trainer(MessageReader reader, TrainerSpec& spec) {
  while (!reader.done()) {
    const Field field = TRY(reader.next());
    if (field.type != WireType::kVarint) continue;
    const int64_t id = static_cast<int32_t>(static_cast<uint32_t>(field.varint));
    switch (field.number) {
      case 3:
        spec.model_type = field.varint;
        break;
      case 40:
        spec.unk_id = id;
        break;
      case 41:
        spec.bos_id = id;
        break;
      case 42:
        spec.eos_id = id;
        break;
      case 43:
        spec.pad_id = id;
        break;
      default:
        break;
    }
  }
  return {};
}

Status read_normalizer(MessageReader reader, Vocabulary& vocabulary) {
  while (!reader.done()) {
    const Field field = TRY(reader.next());
    if (field.number == 2 && field.type == WireType::kBytes) {
      vocabulary.precompiled_charsmap = to_text(field.bytes);
    }
    if (field.type != WireType::kVarint) continue;
    if (field.number == 3) vocabulary.add_space_prefix = field.varint != 0;
    if (field.number == 4) vocabulary.remove_extra_whitespaces = field.varint != 0;
  }
  return {};
}

// Ids out of range mean "none", as for sentencepiece itself.
int64_t id_or_none(int64_t id, const Vocabulary& vocabulary) {
  return id >= 0 && id < static_cast<int64_t>(vocabulary.tokens.size()) ? id : -1;
}

}  // namespace

Result<Vocabulary> parse_sentencepiece(std::span<const std::byte> bytes, const std::string& label) {
  Vocabulary vocabulary;
  vocabulary.add_space_prefix = true;  // the proto's defaults
  vocabulary.remove_extra_whitespaces = true;
  TrainerSpec trainer;
  MessageReader reader(bytes, label);
  while (!reader.done()) {
    const Field field = TRY(reader.next());
    if (field.type != WireType::kBytes) continue;
    const MessageReader inner(field.bytes, label, reader.content_offset());
    if (field.number == 1) TRY(read_piece(inner, vocabulary));
    if (field.number == 2) TRY(read_trainer(inner, trainer));
    if (field.number == 3) TRY(read_normalizer(inner, vocabulary));
  }
  if (vocabulary.tokens.empty()) {
    return Error{ErrorCode::kBadModel, label + ": no pieces; is this a sentencepiece model?"};
  }
  if (trainer.model_type == kBpe) {
    vocabulary.model = "llama";
    // The SPM tokenizer applies neither; GGUF has the keys for unigram models only.
    vocabulary.precompiled_charsmap.clear();
    vocabulary.remove_extra_whitespaces.reset();
  } else if (trainer.model_type == kUnigram) {
    vocabulary.model = "t5";
  } else {
    return Error{ErrorCode::kUnsupported, label + ": sentencepiece model type " +
                                              std::to_string(trainer.model_type) +
                                              " is not supported; unigram (1) and BPE (2) are"};
  }
  vocabulary.pre = "default";
  vocabulary.unk_id = id_or_none(trainer.unk_id, vocabulary);
  vocabulary.bos_id = id_or_none(trainer.bos_id, vocabulary);
  vocabulary.eos_id = id_or_none(trainer.eos_id, vocabulary);
  vocabulary.pad_id = id_or_none(trainer.pad_id, vocabulary);
  return vocabulary;
}

}  // namespace realm::hf
