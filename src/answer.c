/* BOTH. See answer.h. */
#include "answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include "channel.h"

static int write_all(int fd, const char *bytes, size_t len) {
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, bytes + done, len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -errno;
        done += (size_t)n;
    }
    return 0;
}

int answer_send(int channel_fd, uint32_t what, const char *bytes, size_t len) {
    static struct channel_message message;
    int fd = memfd_create("clua-answer", MFD_CLOEXEC);
    if (fd < 0) return -errno;
    int err = write_all(fd, bytes, len);
    message.head = (struct channel_head){.type = CHANNEL_ANSWER, .len = sizeof message.u.ask};
    message.u.ask.what = what;
    if (err == 0) err = channel_send(channel_fd, &message, &fd, 1);
    close(fd);
    return err;
}

int answer_read(int fd, char **bytes, size_t *len) {
    struct stat st;
    int err = fstat(fd, &st) < 0 ? -errno : 0;
    char *copy = err == 0 ? malloc((size_t)st.st_size + 1) : NULL;
    if (err == 0 && !copy) err = UV_ENOMEM;
    for (off_t done = 0; err == 0 && done < st.st_size;) {
        ssize_t n = pread(fd, copy + done, (size_t)(st.st_size - done), done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) err = n < 0 ? -errno : UV_EIO;
        done += n;
    }
    close(fd);
    if (err < 0) {
        free(copy);
        return err;
    }
    *bytes = copy;
    *len = (size_t)st.st_size;
    return 0;
}
