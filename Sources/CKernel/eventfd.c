#define _GNU_SOURCE
#include "irqmux_eventfd.h"

#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "irqmux_socket.h"

int irqmux_eventfd_peek(int fd, uint64_t *count) {
    char path[40], text[512];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    int info = open(path, O_RDONLY | O_CLOEXEC);
    if (info < 0) return errno == ENOENT ? -EBADF : -errno;
    ssize_t length = read(info, text, sizeof text - 1);
    int error = errno;
    close(info);
    if (length < 0) return -error;
    text[length] = 0;
    const char *field = strstr(text, "eventfd-count:");
    if (!field) return -EINVAL;
    *count = strtoull(field + sizeof "eventfd-count:" - 1, NULL, 16);
    return 0;
}

bool irqmux_fd_is_eventfd(int fd) {
    static const char expected[] = "anon_inode:[eventfd]";
    char path[40], target[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof target);
    if (length >= 0) return length == sizeof expected - 1 && memcmp(target, expected, (size_t)length) == 0;
    // Without /proc: an eventfd answers EINVAL to a read of no bytes, where files, pipes and sockets answer 0.
    return read(fd, target, 0) < 0 && errno == EINVAL;
}

// A write(2) to an eventfd without O_NONBLOCK stalls when its counter is full, and whoever holds it can fill it between
// a look and the write; writing has no RWF_NOWAIT, and O_NONBLOCK cannot be set without setting it for the owner too.
// The kernel's own signal never waits. A request of Linux AIO that completes at once gives one (IOCB_FLAG_RESFD).
static aio_context_t kernel_signals;
static int nothing = -1;

static void make_kernel_signals(void) {
    nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (syscall(SYS_io_setup, 128, &kernel_signals) < 0) kernel_signals = 0;
}

static int signal_by_kernel(int fd) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_kernel_signals);
    if (nothing < 0 || kernel_signals == 0) return -ENOSYS;
    struct iocb request;
    struct iocb *requests = &request;
    struct io_event done[8];
    struct timespec now = {0, 0};
    memset(&request, 0, sizeof request);
    request.aio_lio_opcode = IOCB_CMD_PREAD;
    request.aio_fildes = (uint32_t)nothing;
    request.aio_flags = IOCB_FLAG_RESFD;
    request.aio_resfd = (uint32_t)fd;
    long taken = syscall(SYS_io_submit, kernel_signals, 1, &requests);
    int error = errno;
    syscall(SYS_io_getevents, kernel_signals, 0, 8, done, &now);
    return taken == 1 ? 0 : -error;
}

int irqmux_eventfd_signal_foreign(int fd, bool may_block) {
    if (!may_block) return irqmux_eventfd_signal(fd, 1);
    struct pollfd room = {fd, POLLOUT, 0};
    if (poll(&room, 1, 0) < 0) return -errno;
    if (!(room.revents & POLLOUT)) return -EAGAIN;
    // Where AIO is filtered away, what is left is to look and write.
    return signal_by_kernel(fd) == 0 ? 0 : irqmux_eventfd_signal(fd, 1);
}

int irqmux_eventfd_probe_create(void) {
    struct io_uring_params params;
    memset(&params, 0, sizeof params);
    long ring = syscall(SYS_io_uring_setup, 1, &params);
    return ring < 0 ? -errno : (int)ring;
}

int irqmux_eventfd_probe(int probe, int fd) {
    if (syscall(SYS_io_uring_register, probe, IORING_REGISTER_EVENTFD, &fd, 1) == 0) {
        syscall(SYS_io_uring_register, probe, IORING_UNREGISTER_EVENTFD, NULL, 0);
        return 1;
    }
    return errno == EINVAL ? 0 : -errno;
}
