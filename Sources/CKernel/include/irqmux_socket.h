// UNIX stream sockets that carry file descriptors; -errno on failure. Sending and receiving never raise SIGPIPE.
#ifndef IRQMUX_SOCKET_H
#define IRQMUX_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

// The most descriptors that the kernel passes in one message (SCM_MAX_FD, <net/scm.h>).
enum { irqmux_SCM_MAX_FD = 253 };

// One sendmsg: header, then body, with the descriptors beside the first byte. Returns the bytes taken, which may be
// fewer than given; the descriptors went with the first of them.
ssize_t irqmux_socket_send(
    int fd, const void *header, size_t header_length, const void *body, size_t body_length, const int *fds, int count);

// One recvmsg of at most `length` bytes, without waiting. Descriptors that came along are put into fds, close-on-exec,
// and counted in *count; `room` is how many fit. When more came than fit, those put into fds are closed again, *count
// is 0 and the result is -EMSGSIZE. 0 means that the peer has closed.
ssize_t irqmux_socket_receive(int fd, void *buffer, size_t length, int *fds, int room, int *count);

// Connects to the stream socket at `path`. A descriptor, non-blocking and close-on-exec. -ENOTSOCK when something other
// than a socket is there, -ENAMETOOLONG for a path that no socket address holds.
int irqmux_socket_connect(const char *path);

// Makes the listening socket `path` with permissions 0600 from its first moment; whoever finds the file can connect. A
// socket that nobody listens on is replaced; -EADDRINUSE when somebody listens, -ENOTSOCK when the path is something
// else. *device and *inode tell the file that was made. The directory is locked (flock) meanwhile, so that two servers
// cannot replace each other's.
int irqmux_socket_listen(const char *path, int backlog, uint64_t *device, uint64_t *inode);

// Removes `path` if it is still the file that irqmux_socket_listen made.
void irqmux_socket_unlink(const char *path, uint64_t device, uint64_t inode);

// The next connection, non-blocking and close-on-exec, or -errno; -EAGAIN when none waits.
int irqmux_socket_accept(int fd);

// Two connected stream sockets, non-blocking and close-on-exec.
int irqmux_socket_pair(int fds[2]);

// Waits until `fd` is ready for one of `events` (POLLIN, POLLOUT), at most `timeout_ns`; UINT64_MAX waits for ever.
// The events that came, 0 after the time, or -errno.
int irqmux_socket_wait(int fd, short events, uint64_t timeout_ns);

// Whether fd is an eventfd, told without touching its counter.
bool irqmux_fd_is_eventfd(int fd);

// The size of a regular file that can be read and written at an offset without waiting for another process, or
// -EINVAL for anything else: a pipe, a device, a file of FUSE.
int64_t irqmux_fd_memory_size(int fd);

// All of `length` bytes at `offset`, or -errno; -EFAULT where the file ends before.
int irqmux_fd_read_at(int fd, void *buffer, size_t length, uint64_t offset);
int irqmux_fd_write_at(int fd, const void *buffer, size_t length, uint64_t offset);

// Memory of `size` bytes as a file without a name, close-on-exec; sealed against being cut short, if asked.
int irqmux_memory_create(uint64_t size, bool sealed);

// Maps part of a file that cannot be cut short under the mapping: one that is sealed against it (F_SEAL_SHRINK), or
// that is no regular file. 0, or -errno; -ENOTSUP for a file that could shrink, since a load beyond its end is a
// SIGBUS.
int irqmux_fd_map(int fd, uint64_t offset, size_t length, bool writable, void **address);
void irqmux_fd_unmap(void *address, size_t length);

// Adds one to the counter of somebody else's eventfd, and never waits: see eventfd.c. 0, or -EAGAIN when it was full.
int irqmux_eventfd_signal_foreign(int fd, bool may_block);

#endif
