# Tests of the sources, the walls between the folders and the installed package.
millrace_test(tidy_test
  SOURCES
    tidy/rules.cc
    tidy/rules_test.cc
    tidy/source_file.cc
    tidy/tidy_test.cc)
target_compile_definitions(tidy_test PRIVATE MILLRACE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
add_subdirectory(compile)
include(consumer/test_installed.cmake)
if(MILLRACE_BUILD_TOOLS)
  add_test(NAME DemoTest.AnImportKilledInTheMiddleLosesNothingAcknowledged
           COMMAND bash "${PROJECT_SOURCE_DIR}/tools/demo.sh" "$<TARGET_FILE:millrace>")
  set_tests_properties(DemoTest.AnImportKilledInTheMiddleLosesNothingAcknowledged
                       PROPERTIES TIMEOUT 300)
endif()
