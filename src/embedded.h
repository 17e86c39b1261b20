/* BOTH. The Lua side of clua, compiled to bytecode into the binary (generated: build/embedded.c). */
#ifndef CLUA_EMBEDDED_H
#define CLUA_EMBEDDED_H

#include <stddef.h>

struct embedded_module {
    const char *name; /* as given to require */
    const unsigned char *bytecode;
    size_t len;
};

extern const struct embedded_module embedded_modules[];
extern const size_t embedded_module_count;

#endif
