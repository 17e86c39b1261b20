/* BOTH. See answer.h. */
#include "answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/sockios.h>
#include <uv.h>

#include "channel.h"

/* Of packets that nobody has read, as the kernel accounts for them: some hundred bytes each besides what is in them. */
enum { UNREAD_MAX_BYTES = 32 * 1024 };

static bool is_read(int channel_fd) {
    int unread = 0;
    return ioctl(channel_fd, SIOCOUTQ, &unread) < 0 || unread <= UNREAD_MAX_BYTES;
}

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
    if (!is_read(channel_fd)) return UV_EAGAIN;
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
