/* The Rust libraries that Realm uses, as C functions (crate realm_ffi, one static library).
 * Text crosses the boundary as pointer and length. What a call returns in a realm_ffi_text, result
 * or error message, the caller frees. No panic leaves a call: it becomes REALM_FFI_PANIC. */
#ifndef REALM_FFI_H
#define REALM_FFI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  const char* data;
  size_t size;
} realm_ffi_slice;

typedef struct {
  char* data;
  size_t size;
} realm_ffi_text;

typedef enum {
  REALM_FFI_OK = 0,
  REALM_FFI_BAD_SOURCE = 1, /* the program or source is not well formed */
  REALM_FFI_BAD_INPUT = 2,  /* the data is not acceptable, or the program refused it */
  REALM_FFI_LIMIT = 3,      /* a step, size or depth limit was hit */
  REALM_FFI_PANIC = 4       /* a bug below this interface */
} realm_ffi_status;

void realm_ffi_text_free(realm_ffi_text text);

/* ---- Chat templates (minijinja) ---- */

typedef struct realm_template realm_template;

enum {
  REALM_TEMPLATE_TEXT = 0,        /* the value is the text */
  REALM_TEMPLATE_JSON = 1,        /* the value is JSON */
  REALM_TEMPLATE_JSON_ENTRIES = 2 /* a JSON object: each of its entries is a variable; they count
                                     over those of text, and may not repeat one of JSON */
};

typedef struct {
  realm_ffi_slice name;
  realm_ffi_slice value;
  uint32_t kind; /* REALM_TEMPLATE_... */
} realm_template_variable;

/* The moment that strftime_now shows: microseconds since 1970 UTC, and the offset of local time. */
typedef struct {
  int64_t unix_us;
  int32_t utc_offset_s;
} realm_template_clock;

typedef struct {
  uint64_t steps;        /* about one per instruction and one per 64 bytes handled */
  uint64_t output_bytes; /* of the result */
} realm_template_limits;

/* On success *out is a template and *error is empty, else *out is NULL and *error says why. */
realm_ffi_status realm_template_compile(realm_ffi_slice source, realm_template** out,
                                        realm_ffi_text* error);

/* *out is the rendered text, or says why there is none. A template may be rendered by several
 * threads at once. A variable named "messages" must be a list of objects. */
realm_ffi_status realm_template_render(const realm_template* self,
                                       const realm_template_variable* variables,
                                       size_t num_variables, realm_template_clock clock,
                                       realm_template_limits limits, realm_ffi_text* out);

/* Whether the template reads the variable `name` from outside. */
bool realm_template_reads(const realm_template* self, realm_ffi_slice name);

void realm_template_free(realm_template* self);

#ifdef __cplusplus
}
#endif

#endif /* REALM_FFI_H */
