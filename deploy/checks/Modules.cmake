# How this tree is built: one static library per folder, warnings are errors in our own code only.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)      # module mode first: Debian ships no Protobuf CMake config
find_package(gRPC CONFIG REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(fmt CONFIG REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(LibArchive REQUIRED)
find_package(pugixml CONFIG REQUIRED)
find_package(SQLiteCpp CONFIG REQUIRED)
find_package(tomlplusplus CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
pkg_check_modules(LIBVIRT REQUIRED IMPORTED_TARGET libvirt libvirt-qemu)
pkg_check_modules(APPARMOR REQUIRED IMPORTED_TARGET libapparmor)
pkg_check_modules(SYSTEMD REQUIRED IMPORTED_TARGET libsystemd)
pkg_check_modules(ELFUTILS REQUIRED IMPORTED_TARGET libelf libdw)
pkg_check_modules(RE2 REQUIRED IMPORTED_TARGET re2)
pkg_check_modules(SMARTCOLS REQUIRED IMPORTED_TARGET smartcols)
find_path(ASIO_INCLUDE_DIR asio.hpp REQUIRED)

add_library(kdbg_asio INTERFACE)
target_include_directories(kdbg_asio SYSTEM INTERFACE ${ASIO_INCLUDE_DIR})
# Asio looks for aligned_alloc in whatever libstdc++ header came before it; files that disagree would free each
# other's memory in two ways.
target_compile_definitions(kdbg_asio INTERFACE ASIO_STANDALONE ASIO_NO_DEPRECATED ASIO_HAS_STD_ALIGNED_ALLOC)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_definitions(kdbg_asio INTERFACE ASIO_HAS_CO_AWAIT=1 ASIO_HAS_STD_COROUTINE=1)
endif()
if(KDBG_SANITIZE STREQUAL "thread")
  # TSan cannot follow bare fences, and Asio's add nothing to the locks of its one-threaded scheduler.
  target_compile_definitions(kdbg_asio INTERFACE ASIO_DISABLE_FENCED_BLOCK)
endif()
target_link_libraries(kdbg_asio INTERFACE Threads::Threads)

# What every target of ours shares, generated code included.
add_library(kdbg_common INTERFACE)
target_include_directories(kdbg_common INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/gen)
if(KDBG_SANITIZE)
  set(_sanitizers ${KDBG_SANITIZE})
  if(KDBG_SANITIZE STREQUAL "address")
    set(_sanitizers address,undefined)
  endif()
  target_compile_options(kdbg_common INTERFACE -fsanitize=${_sanitizers} -fno-omit-frame-pointer
                         -fno-sanitize-recover=all -O1)
  target_link_options(kdbg_common INTERFACE -fsanitize=${_sanitizers})
endif()
if(KDBG_FUZZ)
  # clang 14 cannot put what that check needs before a coroutine that it has split.
  target_compile_options(kdbg_common INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=function)
  target_link_options(kdbg_common INTERFACE -fsanitize=address,undefined)
endif()

# What code we wrote adds to that.
add_library(kdbg_own INTERFACE)
target_link_libraries(kdbg_own INTERFACE kdbg_common)
target_compile_options(kdbg_own INTERFACE -Wall -Wextra -Werror)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(kdbg_own INTERFACE -Wthread-safety)
endif()

# kdbg_module(NAME [DEPS ...]): the library kdbg_NAME from every .cc of the current folder but main.cc.
function(kdbg_module name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  if(sources)
    add_library(kdbg_${name} STATIC ${sources})
    target_link_libraries(kdbg_${name} PUBLIC kdbg_own ${ARG_DEPS})
  else()
    add_library(kdbg_${name} INTERFACE)
    target_link_libraries(kdbg_${name} INTERFACE kdbg_own ${ARG_DEPS})
  endif()
endfunction()

# kdbg_proto(NAME ROOT dir [OUT dir] PROTOS ... [GRPC]): the library kdbg_NAME from .proto files; headers under
# build/gen, or the directory OUT of that.
function(kdbg_proto name)
  cmake_parse_arguments(ARG "GRPC" "ROOT;OUT" "PROTOS" ${ARGN})
  set(_out ${CMAKE_BINARY_DIR}/gen)
  if(ARG_OUT)
    string(APPEND _out /${ARG_OUT})
  endif()
  add_library(kdbg_${name} STATIC ${ARG_PROTOS})
  target_link_libraries(kdbg_${name} PUBLIC kdbg_common protobuf::libprotobuf)
  file(MAKE_DIRECTORY ${_out})
  protobuf_generate(TARGET kdbg_${name} LANGUAGE cpp IMPORT_DIRS ${ARG_ROOT}
                    PROTOC_OUT_DIR ${_out})
  if(ARG_GRPC)
    target_link_libraries(kdbg_${name} PUBLIC gRPC::grpc++)
    protobuf_generate(TARGET kdbg_${name} LANGUAGE grpc IMPORT_DIRS ${ARG_ROOT}
                      PROTOC_OUT_DIR ${_out}
                      GENERATE_EXTENSIONS .grpc.pb.h .grpc.pb.cc
                      PLUGIN "protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>")
  endif()
endfunction()
