/* MASTER. See cpus.h. */
#include "cpus.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

/* Path of our cgroup below /sys/fs/cgroup, from the line "0::/path" of cgroup v2. */
static int own_cgroup(char *path, int len) {
    char line[4096];
    int found = 0;
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file) return 0;
    while (!found && fgets(line, sizeof line, file)) {
        if (strncmp(line, "0::/", 4) != 0) continue;
        line[strcspn(line, "\n")] = '\0';
        found = snprintf(path, (size_t)len, "/sys/fs/cgroup%s", line + 3) < len;
    }
    fclose(file);
    return found;
}

/* Processors that the quota of one cgroup allows, rounded up; 0 when it has none. */
static int quota_of(const char *cgroup) {
    char path[4200];
    long long quota = 0, period = 0;
    snprintf(path, sizeof path, "%s/cpu.max", cgroup);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    int fields = fscanf(file, "%lld %lld", &quota, &period); /* "max 100000" has no number first */
    fclose(file);
    return fields == 2 && quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

int cpus_usable(void) {
    char cgroup[4096];
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    if (!own_cgroup(cgroup, sizeof cgroup)) return count > 0 ? count : 1;
    /* A limit of any group above us holds as well. */
    for (char *slash; (slash = strrchr(cgroup, '/')) && strlen(cgroup) >= strlen("/sys/fs/cgroup"); *slash = '\0') {
        int quota = quota_of(cgroup);
        if (quota > 0 && quota < count) count = quota;
    }
    return count > 0 ? count : 1;
}
