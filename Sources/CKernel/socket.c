#define _GNU_SOURCE
#include "irqmux_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <time.h>

#include "irqmux_eventfd.h"

ssize_t irqmux_socket_send(
    int fd, const void *header, size_t header_length, const void *body, size_t body_length, const int *fds, int count) {
    struct iovec parts[2] = {{(void *)header, header_length}, {(void *)body, body_length}};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * irqmux_SCM_MAX_FD)];
        struct cmsghdr align;
    } control;
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = body_length ? 2 : 1};
    if (count < 0 || count > irqmux_SCM_MAX_FD) return -EINVAL;
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        memset(control.bytes, 0, message.msg_controllen);
        struct cmsghdr *first = CMSG_FIRSTHDR(&message);
        first->cmsg_level = SOL_SOCKET;
        first->cmsg_type = SCM_RIGHTS;
        first->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(first), fds, sizeof(int) * (size_t)count);
    }
    ssize_t sent;
    do sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

ssize_t irqmux_socket_receive(int fd, void *buffer, size_t length, int *fds, int room, int *count) {
    struct iovec part = {buffer, length};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * irqmux_SCM_MAX_FD)];
        struct cmsghdr align;
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t received;
    int found = 0;
    bool overflow = false;
    *count = 0;
    do received = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (received < 0) return -errno;
    for (struct cmsghdr *next = CMSG_FIRSTHDR(&message); next; next = CMSG_NXTHDR(&message, next)) {
        if (next->cmsg_level != SOL_SOCKET || next->cmsg_type != SCM_RIGHTS) continue;
        size_t bytes = next->cmsg_len - CMSG_LEN(0);
        for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
            int one;
            memcpy(&one, CMSG_DATA(next) + at, sizeof one);
            if (found < room) {
                fds[found++] = one;
            } else {
                overflow = true;
                close(one);
            }
        }
    }
    if (overflow || message.msg_flags & MSG_CTRUNC) {
        while (found > 0) close(fds[--found]);
        return -EMSGSIZE;
    }
    *count = found;
    return received;
}

static int make_address(const char *path, struct sockaddr_un *address) {
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof address->sun_path) return -ENAMETOOLONG;
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, length);
    return 0;
}

static int make_socket(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -errno : fd;
}

int irqmux_socket_connect(const char *path) {
    struct sockaddr_un address;
    struct stat status;
    int result = make_address(path, &address);
    if (result < 0) return result;
    if (stat(path, &status) < 0) return -errno;
    if (!S_ISSOCK(status.st_mode)) return -ENOTSOCK;
    int fd = make_socket();
    if (fd < 0) return fd;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        // A non-blocking socket says EAGAIN when the backlog is full: a server that is too busy to accept.
        result = -errno;
        close(fd);
        return result;
    }
    return fd;
}

// Whether a server takes connections there. EAGAIN is one whose backlog is full.
static bool somebody_listens(const struct sockaddr_un *address) {
    int fd = make_socket();
    if (fd < 0) return true;
    bool listens = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN;
    close(fd);
    return listens;
}

static int open_directory(const char *path) {
    char *copy = strdup(path);
    if (!copy) return -ENOMEM;
    char *slash = strrchr(copy, '/');
    const char *directory = ".";
    if (slash) {
        slash[slash == copy ? 1 : 0] = 0;
        directory = copy;
    }
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = errno;
    free(copy);
    return fd < 0 ? -error : fd;
}

// Removes a socket that nobody listens to. The directory is locked by the caller, so that no other of our servers has
// its own there in between.
static int free_name(const char *path, const struct sockaddr_un *address) {
    struct stat status;
    if (lstat(path, &status) < 0) return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode)) return -ENOTSOCK;
    if (somebody_listens(address)) return -EADDRINUSE;
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

// A name beside `path` for a socket that does not listen yet. 0 where it does not fit into an address.
static int make_other_name(const char *path, struct sockaddr_un *address) {
    const char *slash = strrchr(path, '/');
    int directory = slash ? (int)(slash + 1 - path) : 0;
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    int length = snprintf(
        address->sun_path, sizeof address->sun_path, "%.*s.i%x", directory, path, (unsigned)getpid());
    return length < (int)sizeof address->sun_path;
}

// Whoever finds the name finds a server behind it, as a client that waits for the file connects at once: the socket is
// bound under another name, listens, and takes the name then, where nobody else has it.
static int listen_as(int fd, const char *path, const struct sockaddr_un *address, int backlog, struct stat *status) {
    struct sockaddr_un other;
    int result = free_name(path, address);
    if (result < 0) return result;
    // A long directory with a short name in it leaves no room for the other one: bound in place, then.
    bool has_other = make_other_name(path, &other);
    if (!has_other) other = *address;
    else if (unlink(other.sun_path) < 0 && errno != ENOENT) return -errno;
    // The mode of the socket's own inode, less the umask, becomes the mode of the file (net/unix/af_unix.c): there is
    // no moment at which the file has another.
    if (fchmod(fd, 0600) < 0) return -errno;
    if (bind(fd, (const struct sockaddr *)&other, sizeof other) < 0) return -errno;
    if (lstat(other.sun_path, status) < 0 || listen(fd, backlog) < 0) result = -errno;
    if (result == 0 && (status->st_mode & 0777) != 0600) result = -EPERM;
    if (result == 0 && has_other && link(other.sun_path, path) < 0) result = errno == EEXIST ? -EADDRINUSE : -errno;
    if (has_other || result < 0) unlink(other.sun_path);
    return result;
}

int irqmux_socket_listen(const char *path, int backlog, uint64_t *device, uint64_t *inode) {
    struct sockaddr_un address;
    struct stat status;
    int result = make_address(path, &address);
    if (result < 0) return result;
    int directory = open_directory(path);
    if (directory < 0) return directory;
    int fd = make_socket();
    if (fd < 0) {
        close(directory);
        return fd;
    }
    do result = flock(directory, LOCK_EX);
    while (result < 0 && errno == EINTR);
    result = result < 0 ? -errno : listen_as(fd, path, &address, backlog, &status);
    close(directory);
    if (result < 0) {
        close(fd);
        return result;
    }
    *device = status.st_dev;
    *inode = status.st_ino;
    return fd;
}

void irqmux_socket_unlink(const char *path, uint64_t device, uint64_t inode) {
    struct stat status;
    if (lstat(path, &status) == 0 && status.st_dev == device && status.st_ino == inode) unlink(path);
}

int irqmux_socket_accept(int fd) {
    int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return connection < 0 ? -errno : connection;
}

int irqmux_socket_pair(int fds[2]) {
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0 ? -errno : 0;
}

int irqmux_socket_wait(int fd, short events, uint64_t timeout_ns) {
    struct pollfd entry = {fd, events, 0};
    struct timespec limit = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
    int result = ppoll(&entry, 1, timeout_ns == UINT64_MAX ? NULL : &limit, NULL);
    if (result < 0) return errno == EINTR ? 0 : -errno;
    return result == 0 ? 0 : entry.revents;
}

int64_t irqmux_fd_memory_size(int fd) {
    struct stat status;
    struct statfs system;
    const long fuse = 0x65735546;
    if (fstat(fd, &status) < 0 || fstatfs(fd, &system) < 0) return -errno;
    if (!S_ISREG(status.st_mode) || system.f_type == fuse) return -EINVAL;
    return status.st_size;
}

int irqmux_fd_read_at(int fd, void *buffer, size_t length, uint64_t offset) {
    for (size_t done = 0; done < length;) {
        ssize_t part = pread(fd, (char *)buffer + done, length - done, (off_t)(offset + done));
        if (part < 0 && errno == EINTR) continue;
        if (part <= 0) return part < 0 ? -errno : -EFAULT;
        done += (size_t)part;
    }
    return 0;
}

int irqmux_fd_write_at(int fd, const void *buffer, size_t length, uint64_t offset) {
    struct stat status;
    // Writing beyond the end would make the file grow, which a store to a mapping never does.
    if (fstat(fd, &status) < 0) return -errno;
    if (offset > (uint64_t)status.st_size || length > (uint64_t)status.st_size - offset) return -EFAULT;
    for (size_t done = 0; done < length;) {
        ssize_t part = pwrite(fd, (const char *)buffer + done, length - done, (off_t)(offset + done));
        if (part < 0 && errno == EINTR) continue;
        if (part <= 0) return part < 0 ? -errno : -EFAULT;
        done += (size_t)part;
    }
    return 0;
}

int irqmux_fd_map(int fd, uint64_t offset, size_t length, bool writable, void **address) {
    struct stat status;
    if (fstat(fd, &status) < 0) return -errno;
    if (S_ISREG(status.st_mode)) {
        int seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0 || !(seals & F_SEAL_SHRINK)) return -ENOTSUP;
        if (offset > (uint64_t)status.st_size || length > (uint64_t)status.st_size - offset) return -EINVAL;
    }
    void *place = mmap(NULL, length, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, (off_t)offset);
    if (place == MAP_FAILED) return -errno;
    *address = place;
    return 0;
}

void irqmux_fd_unmap(void *address, size_t length) { munmap(address, length); }

int irqmux_memory_create(uint64_t size, bool sealed) {
    int fd = memfd_create("irqmux", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -errno;
    if (ftruncate(fd, (off_t)size) < 0 || (sealed && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}
