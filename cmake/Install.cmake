# What `make install` puts where, below the prefix: programs in bin (the one that serves a call, which
# nobody runs by hand, in libexec/beckon), libbeckon as one archive with its header, and the units.
set(programs "${CMAKE_BINARY_DIR}/bin")
install(PROGRAMS "${programs}/beckond" "${programs}/beckon" "${programs}/beckon-agent" DESTINATION bin)
install(PROGRAMS "${programs}/beckon-agent-call" DESTINATION "${CMAKE_INSTALL_LIBEXECDIR}/beckon")
install(FILES "${CMAKE_SOURCE_DIR}/include/beckon/beckon.h" DESTINATION include/beckon)

# The layers are archives of their own; who links libbeckon gets one.
get_property(beckon_parts DIRECTORY "${CMAKE_SOURCE_DIR}/src/lib" PROPERTY BUILDSYSTEM_TARGETS)
list(APPEND beckon_parts beckon_core_agent beckon_core_requester beckon_net beckon_seal beckon_wire beckon_base)
set(script "CREATE libbeckon.a\n")
foreach(part IN LISTS beckon_parts)
    string(APPEND script "ADDLIB $<TARGET_FILE:${part}>\n")
endforeach()
string(APPEND script "SAVE\nEND\n")
file(GENERATE OUTPUT "${CMAKE_BINARY_DIR}/libbeckon.mri" CONTENT "${script}")
add_custom_command(OUTPUT "${CMAKE_BINARY_DIR}/libbeckon.a"
    COMMAND ${CMAKE_COMMAND} -E rm -f libbeckon.a
    COMMAND ${CMAKE_AR} -M < libbeckon.mri
    WORKING_DIRECTORY "${CMAKE_BINARY_DIR}"
    DEPENDS ${beckon_parts} "${CMAKE_BINARY_DIR}/libbeckon.mri" VERBATIM)
add_custom_target(libbeckon ALL DEPENDS "${CMAKE_BINARY_DIR}/libbeckon.a")
install(FILES "${CMAKE_BINARY_DIR}/libbeckon.a" DESTINATION lib)

# Paths are known when the prefix is: at installation.
install(CODE "set(packaging \"${CMAKE_SOURCE_DIR}/packaging\")
set(version \"${PROJECT_VERSION}\")
set(work \"${CMAKE_BINARY_DIR}/install\")")
install(CODE [[
set(PREFIX "${CMAKE_INSTALL_PREFIX}")
set(BINDIR "${CMAKE_INSTALL_PREFIX}/bin")
set(VERSION "${version}")
foreach(unit beckond.service beckon-agent.service)
    configure_file("${packaging}/systemd/${unit}" "${work}/${unit}" @ONLY)
    file(INSTALL "${work}/${unit}" DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/systemd/system")
endforeach()
configure_file("${packaging}/beckon.pc.in" "${work}/beckon.pc" @ONLY)
file(INSTALL "${work}/beckon.pc" DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/pkgconfig")
file(INSTALL "${packaging}/sysusers.d/beckon.conf" DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/sysusers.d")
]])
