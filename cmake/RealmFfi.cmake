# The Rust static library ffi/, built by cargo, as the imported target
# realm_ffi. It is for the host only: a cross build has no Rust standard library to link, and as
# REALM_KERNELS_ONLY needs none.
find_program(CARGO cargo HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin")
if(NOT CARGO)
  message(FATAL_ERROR "cargo is not there: run tools/ensure_rust.sh, then configure again")
endif()

set(REALM_FFI_DIR "${CMAKE_SOURCE_DIR}/ffi")
# One folder for every build preset, so that the crates are compiled once per checkout.
set(REALM_FFI_TARGET_DIR "${REALM_FFI_DIR}/target")
set(REALM_FFI_LIBRARY "${REALM_FFI_TARGET_DIR}/release/librealm_ffi.a")
file(GLOB_RECURSE REALM_FFI_SOURCES CONFIGURE_DEPENDS "${REALM_FFI_DIR}/src/*.rs")

add_custom_command(
  OUTPUT "${REALM_FFI_LIBRARY}"
  COMMAND "${CARGO}" build --release --locked --quiet
          --manifest-path "${REALM_FFI_DIR}/Cargo.toml" --target-dir "${REALM_FFI_TARGET_DIR}"
  # cargo leaves the file alone when nothing it depends on changed; ninja goes by its time.
  COMMAND "${CMAKE_COMMAND}" -E touch "${REALM_FFI_LIBRARY}"
  DEPENDS ${REALM_FFI_SOURCES} "${REALM_FFI_DIR}/Cargo.toml" "${REALM_FFI_DIR}/Cargo.lock"
  WORKING_DIRECTORY "${REALM_FFI_DIR}"
  COMMENT "Building the Rust library realm_ffi"
  VERBATIM)
add_custom_target(realm_ffi_build DEPENDS "${REALM_FFI_LIBRARY}")

add_library(realm_ffi STATIC IMPORTED GLOBAL)
set_target_properties(realm_ffi PROPERTIES
  IMPORTED_LOCATION "${REALM_FFI_LIBRARY}"
  INTERFACE_INCLUDE_DIRECTORIES "${REALM_FFI_DIR}/include"
  INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};m")
add_dependencies(realm_ffi realm_ffi_build)
