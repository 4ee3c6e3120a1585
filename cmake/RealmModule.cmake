# One static library per folder of src/. A file's place and suffix say what it is:
#   foo.cpp           part of the module
#   foo_avx2.cpp      the same, compiled for that instruction set and only on its architecture
#   foo_test.cpp      gathered into the module's GoogleTest program
#   foo_fuzz.cpp      a libFuzzer program of its own (preset fuzz)
#   main.cpp          left out: a program's entry point, named by its own add_executable
# so that adding a file changes no CMake text.

add_library(realm_options INTERFACE)
target_include_directories(realm_options INTERFACE "${CMAKE_SOURCE_DIR}/src")
target_link_libraries(realm_options INTERFACE Threads::Threads)
# Contraction would let the compiler fuse a*b+c where it likes; every kernel states its own FMAs, since
# results must be equal bit for bit on every path.
target_compile_options(realm_options INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wvla -Werror
  -ffp-contract=off -fno-math-errno)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports false positives of these inside the standard library at -O2.
  target_compile_options(realm_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-array-bounds
    -Wno-restrict>)
endif()
if(REALM_SANITIZE)
  target_compile_options(realm_options INTERFACE
    -fsanitize=${REALM_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # Clang 14 cannot place this check's data before coroutines.
    target_compile_options(realm_options INTERFACE -fno-sanitize=function)
  endif()
  if(REALM_SANITIZE STREQUAL "thread")
    # GCC's ThreadSanitizer does not know fences; Asio does without them where its locks order everything.
    target_compile_definitions(realm_options INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK)
  endif()
  target_link_options(realm_options INTERFACE -fsanitize=${REALM_SANITIZE})
endif()
# Of one unit test; instrumented kernels are many times slower.
set(REALM_TEST_SECONDS_MAX 300)
if(REALM_SANITIZE)
  set(REALM_TEST_SECONDS_MAX 1500)
endif()
if(REALM_FUZZ)
  target_compile_options(realm_options INTERFACE -fsanitize=fuzzer-no-link)
  add_custom_target(fuzzers)  # every libFuzzer program, and of the modules what they need
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(REALM_ARCH x86)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(REALM_ARCH arm)
else()
  set(REALM_ARCH other)
endif()

set(REALM_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(REALM_ISA_FLAGS_avx512
    -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma -mf16c
    -mprefer-vector-width=512)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12's own intrinsics use a self-initialized variable for "undefined".
  list(APPEND REALM_ISA_FLAGS_avx512 -Wno-uninitialized)
endif()
set(REALM_ISA_FLAGS_amx ${REALM_ISA_FLAGS_avx512} -mavx512vbmi -mamx-tile -mamx-int8 -mamx-bf16)
# A module's tests under the emulator are cut into so many pieces, to use every core.
set(REALM_NEON_SHARDS 4)
set(REALM_ISA_FLAGS_neon -march=armv8.2-a+dotprod+fp16)
set(REALM_ISA_ARCH_avx2 x86)
set(REALM_ISA_ARCH_avx512 x86)
set(REALM_ISA_ARCH_amx x86)
set(REALM_ISA_ARCH_neon arm)

# realm_module(NAME [SUBDIRS dir...] [DEPS target...] [HOST_FILES regex...] [HOST_DEPS target...])
# HOST_FILES need the libraries HOST_DEPS; a REALM_KERNELS_ONLY build leaves both out.
function(realm_module name)
  cmake_parse_arguments(ARG "" "" "SUBDIRS;DEPS;HOST_FILES;HOST_DEPS" ${ARGN})
  set(files)
  foreach(dir . ${ARG_SUBDIRS})
    file(GLOB found CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${dir}/*.cpp")
    list(APPEND files ${found})
  endforeach()
  list(FILTER files EXCLUDE REGEX "/main\\.cpp$")
  if(REALM_KERNELS_ONLY)
    foreach(file ${ARG_HOST_FILES})
      list(FILTER files EXCLUDE REGEX "/${file}$")
    endforeach()
  else()
    list(APPEND ARG_DEPS ${ARG_HOST_DEPS})
  endif()
  set(tests ${files})
  set(fuzzers ${files})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cpp$")
  list(FILTER files EXCLUDE REGEX "_(test|fuzz)\\.cpp$")
  foreach(isa avx2 avx512 amx neon)
    set(isa_files ${files})
    list(FILTER isa_files INCLUDE REGEX "_${isa}\\.cpp$")
    if(REALM_ARCH STREQUAL REALM_ISA_ARCH_${isa})
      set_source_files_properties(${isa_files} PROPERTIES COMPILE_OPTIONS
        "${REALM_ISA_FLAGS_${isa}};$<$<CONFIG:Release>:-O3>")
    else()
      list(FILTER files EXCLUDE REGEX "_${isa}\\.cpp$")
    endif()
  endforeach()

  if(files)
    add_library(realm_${name} STATIC ${files})
    target_link_libraries(realm_${name} PUBLIC realm_options ${ARG_DEPS})
  else()
    add_library(realm_${name} INTERFACE)
    target_link_libraries(realm_${name} INTERFACE realm_options ${ARG_DEPS})
  endif()
  if(REALM_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE realm_${name} GTest::gtest GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE
      REALM_SHARED_DIR="${REALM_SHARED_DIR}" REALM_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    if(CMAKE_CROSSCOMPILING)
      # A few emulator starts per module, not one per test.
      foreach(shard RANGE 1 ${REALM_NEON_SHARDS})
        math(EXPR index "${shard} - 1")
        add_test(NAME ${name}.${shard} COMMAND ${name}_test)
        set_tests_properties(${name}.${shard} PROPERTIES TIMEOUT 900
          ENVIRONMENT "GTEST_TOTAL_SHARDS=${REALM_NEON_SHARDS};GTEST_SHARD_INDEX=${index}")
      endforeach()
    else()
      gtest_discover_tests(${name}_test TEST_PREFIX ${name}. DISCOVERY_MODE PRE_TEST
        DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT ${REALM_TEST_SECONDS_MAX})
    endif()
  endif()
  if(REALM_FUZZ)
    foreach(file ${fuzzers})
      get_filename_component(stem ${file} NAME_WE)
      add_executable(${stem} ${file})
      target_link_libraries(${stem} PRIVATE realm_${name})
      target_link_options(${stem} PRIVATE -fsanitize=fuzzer)
      add_dependencies(fuzzers ${stem})
      set_target_properties(${stem} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/fuzz")
    endforeach()
  endif()
endfunction()
