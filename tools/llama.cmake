# What of llama-cpp-python's build is left out: everything that its Python bindings do not load. It is most of the time.
# CMake reads this file right after `project(llama_cpp)`: CMAKE_ARGS=-DCMAKE_PROJECT_llama_cpp_INCLUDE=PATH/OF/llama.cmake

# llama-cpp-python sets this to ON in the cache, by force, but a variable of the same name has precedence (policy CMP0126).
# The library of llama.cpp's tools goes with it, and the HTTP client that it brings.
set(LLAMA_BUILD_COMMON OFF)
# The library for pictures and sound.
set(LLAVA_BUILD OFF)

function(thread_leave_out)
    # Linked into the libraries above alone, but built for every configuration.
    if(TARGET vendor-hash)
        set_target_properties(vendor-hash PROPERTIES EXCLUDE_FROM_ALL ON)
    endif()
endfunction()
cmake_language(DEFER CALL thread_leave_out)
