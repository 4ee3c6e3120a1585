// The assembler copies the file as it is: no generated source of 30 MB for the compiler to parse.
// CMake names the file (REALM_EMBEDDED_MODEL) and rebuilds this object when it changes.
#include "app/embedded_model.h"

asm(R"(
  .pushsection .rodata.realm_embedded_model, "a", %progbits
  .balign 64
  .globl realm_embedded_model_begin
  .globl realm_embedded_model_end
  .hidden realm_embedded_model_begin
  .hidden realm_embedded_model_end
  .type realm_embedded_model_begin, %object
realm_embedded_model_begin:
  .incbin ")" REALM_EMBEDDED_MODEL R"("
realm_embedded_model_end:
  .size realm_embedded_model_begin, . - realm_embedded_model_begin
  .byte 0
  .popsection
)");

extern "C" {
extern const std::byte realm_embedded_model_begin[];
extern const std::byte realm_embedded_model_end[];
}

namespace realm {

std::span<const std::byte> embedded_model() {
  return {realm_embedded_model_begin, realm_embedded_model_end};
}

}  // namespace realm
