# What must not compile. Each target is built by a test, which looks for the compiler's reason so
# that it cannot pass by failing for another one.
function(millrace_must_not_compile name source definition reason)
  add_library(${name} OBJECT EXCLUDE_FROM_ALL ${source})
  target_compile_definitions(${name} PRIVATE ${definition})
  target_link_libraries(${name} PRIVATE millrace::storage)
  add_test(NAME compile/${name}
           COMMAND "${CMAKE_COMMAND}" --build "${PROJECT_BINARY_DIR}" --target ${name})
  set_tests_properties(compile/${name} PROPERTIES
    PASS_REGULAR_EXPRESSION "${reason}" RESOURCE_LOCK build TIMEOUT 300)
endfunction()

millrace_must_not_compile(permit_forged write_permit_forge.cc FORGE "private")
millrace_must_not_compile(permit_made_from_nothing write_permit_forge.cc FORGE_DEFAULT
                          "no matching (function|constructor)|private|deleted")
millrace_must_not_compile(permit_copied write_permit_forge.cc COPY "deleted")

# The same file without the forgery does compile.
add_library(permit_taken OBJECT EXCLUDE_FROM_ALL write_permit_forge.cc)
target_link_libraries(permit_taken PRIVATE millrace::storage)
add_test(NAME compile/permit_taken
         COMMAND "${CMAKE_COMMAND}" --build "${PROJECT_BINARY_DIR}" --target permit_taken)
set_tests_properties(compile/permit_taken PROPERTIES RESOURCE_LOCK build TIMEOUT 300)
