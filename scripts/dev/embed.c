/* BUILD. Run on the build host, linked with the same LuaJIT as clua: bytecode is only good for the LuaJIT that made it.
 *
 *   embed OUT.c ROOT [NAME=FILE]...   compiles ROOT/clua/<any depth>/<name>.lua, and the FILE of a Lua library as the
 *                                    module NAME, and writes the table that src/embedded.h declares
 *
 * A module is named by its path: clua/http.lua is "clua.http", clua/init.lua is "clua". Debug information is kept, and
 * the chunk is called "@clua/http.lua", so a traceback reads "clua/http.lua:12:". A syntax error is reported with file
 * and line and ends with 100, a system error with 111. The same input gives the same output, byte for byte. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>

enum { EXIT_USER = 100, EXIT_SYSTEM = 111 };

struct module {
    char *path; /* as tracebacks show it: "clua/http.lua" */
    char *full; /* where it is read from */
    char *name; /* "clua.http" */
};

static struct module *modules;
static size_t module_count;

static _Noreturn __attribute__((format(printf, 2, 3))) void die(int status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(status);
}

/* LuaJIT seeds its string hashes with the kernel's random numbers and the time of day, and the fields of a constant
 * table stand in the bytecode in the order of these hashes. It has no switch for that, so the two calls that it makes
 * are answered here: the same seed each time, the same output each time. */
long syscall(long number, ...) {
    if (number != SYS_getrandom) {
        errno = ENOSYS;
        return -1;
    }
    va_list args;
    va_start(args, number);
    void *buf = va_arg(args, void *);
    size_t len = va_arg(args, size_t);
    va_end(args);
    memset(buf, 0x5a, len);
    return (long)len;
}

void srandom(unsigned seed) {
    (void)seed;
}

static __attribute__((format(printf, 1, 2))) char *text(const char *format, ...) {
    char *out;
    va_list args;
    va_start(args, format);
    if (vasprintf(&out, format, args) < 0) die(EXIT_SYSTEM, "embed: out of memory");
    va_end(args);
    return out;
}

static char *module_name(const char *path) {
    char *name = text("%.*s", (int)(strlen(path) - strlen(".lua")), path);
    char *last = strrchr(name, '/');
    if (last && strcmp(last, "/init") == 0) *last = '\0';
    for (char *p = name; *p; p++) {
        if (*p == '/') *p = '.';
    }
    return name;
}

static bool ends_with(const char *s, const char *end) {
    size_t len = strlen(s), end_len = strlen(end);
    return len > end_len && strcmp(s + len - end_len, end) == 0;
}

static void add(char *path, char *full, char *name) {
    struct module *more = realloc(modules, (module_count + 1) * sizeof(*modules));
    if (!more) die(EXIT_SYSTEM, "embed: out of memory");
    modules = more;
    modules[module_count++] = (struct module){.path = path, .full = full, .name = name};
}

static void add_library(const char *argument) {
    const char *equals = strchr(argument, '=');
    if (!equals) die(EXIT_USER, "embed: NAME=FILE is expected, got %s", argument);
    char *name = text("%.*s", (int)(equals - argument), argument);
    add(text("%s.lua", name), text("%s", equals + 1), name);
}

static void collect(const char *root, const char *below) {
    char *dir_path = text("%s/%s", root, below);
    DIR *dir = opendir(dir_path);
    if (!dir) die(EXIT_SYSTEM, "embed: cannot open %s: %s", dir_path, strerror(errno));
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        char *path = text("%s/%s", below, entry->d_name);
        char *full = text("%s/%s", root, path);
        struct stat st;
        if (stat(full, &st) < 0) die(EXIT_SYSTEM, "embed: cannot stat %s: %s", full, strerror(errno));
        if (S_ISDIR(st.st_mode)) {
            collect(root, path);
            free(path);
        } else if (ends_with(path, ".lua")) {
            add(path, text("%s", full), module_name(path));
        } else {
            free(path);
        }
        free(full);
    }
    closedir(dir);
    free(dir_path);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct module *)a)->name, ((const struct module *)b)->name);
}

struct sink {
    FILE *out;
    size_t len;
};

static int write_bytes(lua_State *L, const void *bytes, size_t len, void *arg) {
    struct sink *sink = arg;
    (void)L;
    for (size_t i = 0; i < len; i++) {
        fprintf(sink->out, "%s%u,", sink->len++ % 24 ? "" : "\n    ", ((const unsigned char *)bytes)[i]);
    }
    return ferror(sink->out);
}

static void write_module(FILE *out, const struct module *module, size_t index) {
    /* A state of its own: what one module interned cannot change the next one's bytecode. */
    lua_State *L = luaL_newstate();
    if (!L) die(EXIT_SYSTEM, "embed: out of memory");

    FILE *in = fopen(module->full, "rb");
    if (!in) die(EXIT_SYSTEM, "embed: cannot open %s: %s", module->full, strerror(errno));
    luaL_Buffer source;
    luaL_buffinit(L, &source);
    while (!feof(in) && !ferror(in)) {
        size_t n = fread(luaL_prepbuffer(&source), 1, LUAL_BUFFERSIZE, in);
        luaL_addsize(&source, n);
    }
    if (ferror(in)) die(EXIT_SYSTEM, "embed: cannot read %s", module->full);
    fclose(in);
    luaL_pushresult(&source);

    size_t len;
    const char *code = lua_tolstring(L, -1, &len);
    char *chunk_name = text("@%s", module->path);
    /* The message begins with the chunk name; the full name instead is a path that an editor can open. */
    if (luaL_loadbufferx(L, code, len, chunk_name, "t")) {
        die(EXIT_USER, "%s%s", module->full, lua_tostring(L, -1) + strlen(module->path));
    }

    struct sink sink = {.out = out};
    fprintf(out, "static const unsigned char module_%zu[] = {", index);
    if (lua_dump(L, write_bytes, &sink)) die(EXIT_SYSTEM, "embed: cannot dump %s", module->full);
    fprintf(out, "\n};\n\n");

    free(chunk_name);
    lua_close(L);
}

int main(int argc, char **argv) {
    if (argc < 3) die(EXIT_USER, "usage: embed OUT.c ROOT [NAME=FILE]...");
    const char *root = argv[2];
    size_t root_len = strlen(root);
    while (root_len > 1 && root[root_len - 1] == '/') argv[2][--root_len] = '\0';

    collect(root, "clua");
    for (int i = 3; i < argc; i++) add_library(argv[i]);
    if (module_count == 0) die(EXIT_USER, "embed: no .lua file below %s/clua", root);
    qsort(modules, module_count, sizeof(*modules), by_name);
    for (size_t i = 1; i < module_count; i++) {
        if (strcmp(modules[i - 1].name, modules[i].name) == 0) {
            die(EXIT_USER, "%s and %s are both the module %s", modules[i - 1].full, modules[i].full, modules[i].name);
        }
    }

    char *temporary = text("%s.tmp", argv[1]);
    FILE *out = fopen(temporary, "w");
    if (!out) die(EXIT_SYSTEM, "embed: cannot create %s: %s", temporary, strerror(errno));
    fprintf(out, "/* Made by scripts/dev/embed.c from %s. Not to be edited. */\n#include \"embedded.h\"\n\n", root);
    for (size_t i = 0; i < module_count; i++) write_module(out, &modules[i], i);
    fprintf(out, "const struct embedded_module embedded_modules[] = {\n");
    for (size_t i = 0; i < module_count; i++) {
        fprintf(out, "    {.name = \"%s\", .bytecode = module_%zu, .len = sizeof(module_%zu)},\n", modules[i].name, i,
                i);
    }
    fprintf(out, "};\n\nconst size_t embedded_module_count = %zu;\n", module_count);
    if (ferror(out) || fclose(out) || rename(temporary, argv[1])) {
        die(EXIT_SYSTEM, "embed: cannot write %s: %s", argv[1], strerror(errno));
    }
    return 0;
}
