# Code that protoc and thrift write, in a library of its own without our warnings.
set(gen ${CMAKE_BINARY_DIR}/generated)
file(MAKE_DIRECTORY ${gen}/proto)
set(generated_sources)
foreach(name job manifest)
  add_custom_command(
    OUTPUT ${gen}/proto/${name}.pb.cc ${gen}/proto/${name}.pb.h
    COMMAND protobuf::protoc --cpp_out=${gen} -I${CMAKE_SOURCE_DIR}
            ${CMAKE_SOURCE_DIR}/proto/${name}.proto
    DEPENDS ${CMAKE_SOURCE_DIR}/proto/${name}.proto)
  list(APPEND generated_sources ${gen}/proto/${name}.pb.cc ${gen}/proto/${name}.pb.h)
endforeach()
add_custom_command(
  OUTPUT ${gen}/proto/Scheduler.cpp ${gen}/proto/Scheduler.h ${gen}/proto/control_types.cpp
         ${gen}/proto/control_types.h
  COMMAND ${THRIFT_COMPILER} --gen cpp:no_skeleton -out ${gen}/proto
          ${CMAKE_SOURCE_DIR}/proto/control.thrift
  DEPENDS ${CMAKE_SOURCE_DIR}/proto/control.thrift)
list(APPEND generated_sources ${gen}/proto/Scheduler.cpp ${gen}/proto/control_types.cpp)
add_library(emporium_generated STATIC ${generated_sources})
target_include_directories(emporium_generated SYSTEM PUBLIC ${gen})
target_link_libraries(emporium_generated PUBLIC protobuf::libprotobuf thrift::thrift)
