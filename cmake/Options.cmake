# Warnings and sanitizers for our own code.
add_library(emporium_options INTERFACE)
target_include_directories(emporium_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(emporium_options INTERFACE -Wall -Wextra -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(emporium_options INTERFACE -Wthread-safety)
endif()

set(EMPORIUM_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize takes them: address,undefined or thread")
if(EMPORIUM_SANITIZE)
  target_compile_options(emporium_options INTERFACE -fsanitize=${EMPORIUM_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(emporium_options INTERFACE -fsanitize=${EMPORIUM_SANITIZE})
endif()
