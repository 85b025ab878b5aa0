# Installs what was built, static or shared as this build is, and lets the project beside this file
# find it with find_package, and its program with pkg-config; both build and run.
set(consumer_prefix "${CMAKE_CURRENT_BINARY_DIR}/consumer/prefix")

add_test(NAME ConsumerTest.Install
         COMMAND ${CMAKE_COMMAND} "-DBUILD=${PROJECT_BINARY_DIR}" "-DPREFIX=${consumer_prefix}"
                 -P "${CMAKE_CURRENT_SOURCE_DIR}/consumer/install.cmake")
add_test(NAME ConsumerTest.FindPackage
         COMMAND ${CMAKE_CTEST_COMMAND}
                 --build-and-test "${CMAKE_CURRENT_SOURCE_DIR}/consumer"
                                  "${CMAKE_CURRENT_BINARY_DIR}/consumer/find_package"
                 --build-generator Ninja --build-makeprogram "${CMAKE_MAKE_PROGRAM}"
                 --build-options "-DCMAKE_PREFIX_PATH=${consumer_prefix}"
                                 "-DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}"
                 --test-command bash "${CMAKE_CURRENT_SOURCE_DIR}/consumer/run_program.sh"
                                "${CMAKE_CURRENT_BINARY_DIR}/consumer/find_package/consumer"
                                "${PROJECT_SOURCE_DIR}/README.md")
add_test(NAME ConsumerTest.PkgConfig
         COMMAND ${CMAKE_COMMAND} -E env "CXX=${CMAKE_CXX_COMPILER}"
                 "PREFIX=${consumer_prefix}" "LIBDIR=${CMAKE_INSTALL_LIBDIR}"
                 "STATIC=$<IF:$<BOOL:${BUILD_SHARED_LIBS}>,,--static>"
                 bash "${CMAKE_CURRENT_SOURCE_DIR}/consumer/pkg_config.sh"
                 "${CMAKE_CURRENT_SOURCE_DIR}/consumer/main.cc"
                 "${CMAKE_CURRENT_BINARY_DIR}/consumer/pkg_config/consumer"
                 "${PROJECT_SOURCE_DIR}/README.md")
add_test(NAME ConsumerTest.ReadmeShowsTheProgramThatIsTested
         COMMAND bash "${CMAKE_CURRENT_SOURCE_DIR}/consumer/readme.sh"
                 "${PROJECT_SOURCE_DIR}/README.md" "${CMAKE_CURRENT_SOURCE_DIR}/consumer/main.cc")

set_tests_properties(ConsumerTest.Install PROPERTIES FIXTURES_SETUP installed)
set_tests_properties(ConsumerTest.FindPackage ConsumerTest.PkgConfig PROPERTIES
                     FIXTURES_REQUIRED installed)
set_tests_properties(ConsumerTest.Install ConsumerTest.FindPackage ConsumerTest.PkgConfig
                     ConsumerTest.ReadmeShowsTheProgramThatIsTested
                     PROPERTIES LABELS consumer TIMEOUT 300)
