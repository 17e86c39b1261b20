/* BOTH. See privilege.h. Dropping runs after exec, in a process with one thread, so the name services may be asked. */
#include "privilege.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <uv.h>

static int failed(const char *step, const char *name, char *why, size_t why_len) {
    int err = errno ? -errno : UV_EINVAL;
    snprintf(why, why_len, "%s '%s': %s", step, name, uv_strerror(err));
    return err;
}

static int find(const char *user, const char *group, uid_t *uid, gid_t *gid, char *why, size_t why_len) {
    *uid = getuid();
    *gid = getgid();
    if (user[0]) {
        struct passwd *pw = getpwnam(user);
        if (!pw) {
            snprintf(why, why_len, "there is no user '%s'", user);
            return UV_ENOENT;
        }
        *uid = pw->pw_uid;
        *gid = pw->pw_gid;
    }
    if (group[0]) {
        struct group *gr = getgrnam(group);
        if (!gr) {
            snprintf(why, why_len, "there is no group '%s'", group);
            return UV_ENOENT;
        }
        *gid = gr->gr_gid;
    }
    return 0;
}

int privilege_check(const char *user, const char *group, char *why, size_t why_len) {
    uid_t uid;
    gid_t gid;
    int err = find(user, group, &uid, &gid, why, why_len);
    if (err < 0 || geteuid() == 0 || (uid == geteuid() && gid == getegid())) return err;
    snprintf(why, why_len, "only root can run workers as user '%s' group '%s'", user, group);
    return UV_EPERM;
}

int privilege_drop(const char *user, const char *group, char *why, size_t why_len) {
    uid_t uid;
    gid_t gid;
    if (!user[0] && !group[0]) return 0;
    int found = find(user, group, &uid, &gid, why, why_len);
    if (found < 0) return found;
    /* Nothing to give up, and nothing that we could: already that user. */
    if (geteuid() != 0 && uid == geteuid() && gid == getegid()) return 0;
    if (user[0] ? initgroups(user, gid) < 0 : setgroups(1, &gid) < 0)
        return failed("cannot set the groups of", user[0] ? user : group, why, why_len);
    if (setresgid(gid, gid, gid) < 0)
        return failed("cannot change the group to", group[0] ? group : user, why, why_len);
    if (setresuid(uid, uid, uid) < 0) return failed("cannot change the user to", user, why, why_len);

    uid_t ruid, euid, suid;
    gid_t rgid, egid, sgid;
    getresuid(&ruid, &euid, &suid);
    getresgid(&rgid, &egid, &sgid);
    if (ruid != uid || euid != uid || suid != uid || rgid != gid || egid != gid || sgid != gid) {
        snprintf(why, why_len, "the kernel did not change user and group to '%s' '%s'", user, group);
        return UV_EPERM;
    }
    if (uid != 0 && setuid(0) == 0) {
        snprintf(why, why_len, "user '%s' can become root again", user);
        return UV_EPERM;
    }
    prctl(PR_SET_DUMPABLE, 1); /* setuid cleared it; /proc/PID stays readable for its own user */
    return 0;
}
