# C11 without extensions, the warnings of CONTRIBUTING.md, and hardening, for every target of ours.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported()
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")   # assertions stay: they guard against our own mistakes

add_library(beckon_flags INTERFACE)
target_include_directories(beckon_flags INTERFACE "${CMAKE_SOURCE_DIR}/src" "${CMAKE_SOURCE_DIR}/include")
target_compile_options(beckon_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wcast-align -Wcast-qual
    -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla -Wwrite-strings -Wformat=2
    -Wimplicit-fallthrough -Wnull-dereference -Wswitch-enum -Wframe-larger-than=4096
    -fstack-protector-strong)
if(BECKON_WERROR)
    target_compile_options(beckon_flags INTERFACE -Werror)
endif()
if(BECKON_SANITIZE)
    # Redzones make frames larger; the limit above is for what we ship.
    target_compile_options(beckon_flags INTERFACE -fsanitize=${BECKON_SANITIZE}
        -fno-sanitize-recover=all -fno-omit-frame-pointer -Wno-frame-larger-than)
    target_link_options(beckon_flags INTERFACE -fsanitize=${BECKON_SANITIZE})
else()
    target_compile_options(beckon_flags INTERFACE $<$<CONFIG:Release>:-D_FORTIFY_SOURCE=3>)
    target_link_options(beckon_flags INTERFACE -Wl,-z,relro,-z,now -Wl,--as-needed)
endif()
if(BECKON_KEYLOG)
    target_compile_definitions(beckon_flags INTERFACE BECKON_KEYLOG)
endif()
if(BECKON_SANDBOX_KILL)
    target_compile_definitions(beckon_flags INTERFACE BECKON_SANDBOX_KILL)
endif()
