# nvcc: the system's, else the private one that `tools/install_deps.sh cuda` puts into the user's cache.
# Sets REALM_NVCC (empty: the program is built without CUDA) and REALM_CUDART, the static runtime, which
# loads the driver when it is first used, so that one binary serves machines with and without a GPU.
option(REALM_CUDA "Build the CUDA backend where nvcc is found" ON)
# "N" is machine code for one architecture, "N-virtual" what the driver compiles for any from N on.
set(REALM_CUDA_ARCHS "90a" CACHE STRING
    "GPU architectures to compile for (releases: 80;86;89;89-virtual;90a;100a)")

set(REALM_NVCC "")
if(REALM_CUDA AND NOT CMAKE_CROSSCOMPILING AND NOT REALM_FUZZ)
  set(cache_home "$ENV{XDG_CACHE_HOME}")
  if(NOT cache_home)
    set(cache_home "$ENV{HOME}/.cache")
  endif()
  file(GLOB private_bin "${cache_home}/realm/cuda-13.0/lib/python3*/site-packages/nvidia/cu13/bin")
  find_program(nvcc_found nvcc HINTS "$ENV{CUDA_HOME}/bin" /usr/local/cuda/bin ${private_bin} NO_CACHE)
  if(nvcc_found)
    file(REAL_PATH "${nvcc_found}" nvcc_real)
    get_filename_component(cuda_home "${nvcc_real}" DIRECTORY)
    get_filename_component(cuda_home "${cuda_home}" DIRECTORY)
    find_library(REALM_CUDART cudart_static NO_CACHE
      PATHS "${cuda_home}/lib64" "${cuda_home}/lib" "${cuda_home}/targets/x86_64-linux/lib"
      NO_DEFAULT_PATH)
  endif()
  if(nvcc_found AND REALM_CUDART)
    set(REALM_NVCC "${nvcc_found}")
    set(REALM_CUDA_INCLUDE "${cuda_home}/include")
    message(STATUS "CUDA: ${nvcc_found}, architectures ${REALM_CUDA_ARCHS}")
  else()
    message(STATUS "CUDA: no nvcc; the backend is left out (tools/install_deps.sh cuda gets one)")
  endif()
endif()

# realm_cuda_objects(VARIABLE file.cu...): object files, each compiled by its own command.
function(realm_cuda_objects variable)
  set(launcher)
  if(CMAKE_CXX_COMPILER_LAUNCHER)
    set(launcher "${CMAKE_CXX_COMPILER_LAUNCHER}")
  endif()
  # The false positives of GCC 12 that RealmModule.cmake names.
  set(host_flags -fPIC,-Wall,-Wextra,-fno-math-errno)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    string(APPEND host_flags
      ",-Wno-maybe-uninitialized,-Wno-stringop-overflow,-Wno-array-bounds,-Wno-restrict")
  endif()
  # 177, something declared and not used: what only some architectures' code uses (features.cuh).
  set(archs)
  foreach(arch ${REALM_CUDA_ARCHS})
    if(arch MATCHES "^(.*)-virtual$")
      list(APPEND archs -gencode "arch=compute_${CMAKE_MATCH_1},code=compute_${CMAKE_MATCH_1}")
    else()
      list(APPEND archs -gencode "arch=compute_${arch},code=sm_${arch}")
    endif()
  endforeach()
  set(objects)
  foreach(file ${ARGN})
    get_filename_component(stem "${file}" NAME_WE)
    set(object "${CMAKE_CURRENT_BINARY_DIR}/${stem}.cu.o")
    add_custom_command(
      OUTPUT "${object}"
      COMMAND ${launcher} "${REALM_NVCC}" -std=c++20 -O3 ${archs} -ccbin "${CMAKE_CXX_COMPILER}"
              --expt-relaxed-constexpr --compress-mode=size -Xcompiler=${host_flags}
              -Werror=all-warnings --diag-suppress=177 -lineinfo "-I${CMAKE_SOURCE_DIR}/src"
              -MD -MF "${object}.d" -c "${file}" -o "${object}"
      DEPENDS "${file}"
      DEPFILE "${object}.d"
      COMMENT "Compiling ${stem}.cu"
      VERBATIM)
    list(APPEND objects "${object}")
  endforeach()
  set(${variable} ${objects} PARENT_SCOPE)
endfunction()
