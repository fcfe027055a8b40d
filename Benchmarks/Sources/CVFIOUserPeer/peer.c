#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

double peer_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

void peer_pause(uint64_t *seed, double shortest, double longest) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    const double until = peer_now() + shortest + (longest - shortest) * (double)(*seed >> 40) / 16777216.0;
    while (peer_now() < until) {}
}

int peer_socket_pair(int fds[2]) { return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ? -errno : 0; }

int peer_connect(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

static void *echo(void *context) {
    const int fd = (int)(intptr_t)context;
    char message[16];
    while (recv(fd, message, sizeof message, MSG_WAITALL) == sizeof message) {
        if (send(fd, message, sizeof message, MSG_NOSIGNAL) != sizeof message) break;
    }
    close(fd);
    return NULL;
}

int peer_echo_start(int fd) {
    pthread_t thread;
    int result = pthread_create(&thread, NULL, echo, (void *)(intptr_t)fd);
    if (result == 0) pthread_detach(thread);
    return -result;
}

int peer_round_trips(int fd, uint32_t count, double *ns) {
    char message[16] = {0};
    for (uint32_t i = 0; i < count; i++) {
        const double start = peer_now();
        if (send(fd, message, sizeof message, MSG_NOSIGNAL) != sizeof message) return -errno;
        if (recv(fd, message, sizeof message, MSG_WAITALL) != sizeof message) return -errno;
        ns[i] = peer_now() - start;
    }
    return 0;
}

struct pair {
    int fd;
    uint32_t count;
    _Atomic double stamp;
    atomic_uint turn;
};

static void *write_pair(void *context) {
    struct pair *pair = context;
    const uint64_t one = 1;
    uint64_t seed = 88172645463325252u;
    for (uint32_t i = 0; i < pair->count; i++) {
        while (atomic_load(&pair->turn) != i + 1) {}
        peer_pause(&seed, 20000, 60000);
        atomic_store(&pair->stamp, peer_now());
        if (write(pair->fd, &one, sizeof one) != sizeof one) return NULL;
    }
    return NULL;
}

int peer_eventfd_pair(bool spin, uint32_t count, double *ns) {
    struct pair pair = {.fd = eventfd(0, EFD_CLOEXEC | (spin ? EFD_NONBLOCK : 0)), .count = count};
    pthread_t writer;
    uint64_t value;
    if (pair.fd < 0 || pthread_create(&writer, NULL, write_pair, &pair)) return -errno;
    for (uint32_t i = 0; i < count; i++) {
        atomic_store(&pair.turn, i + 1);
        while (read(pair.fd, &value, sizeof value) != sizeof value) {
            if (errno != EAGAIN && errno != EINTR) return -errno;
        }
        ns[i] = peer_now() - atomic_load(&pair.stamp);
    }
    pthread_join(writer, NULL);
    close(pair.fd);
    return 0;
}

struct header {
    uint16_t id, command;
    uint32_t size, flags, error;
};

static int answers(int fd, uint32_t count) {
    struct header header;
    char body[4096];
    int worst = 0;
    while (count-- > 0) {
        if (recv(fd, &header, sizeof header, MSG_WAITALL) != sizeof header) return -EPIPE;
        const size_t rest = header.size - sizeof header;
        if (rest > sizeof body || (rest && recv(fd, body, rest, MSG_WAITALL) != (ssize_t)rest)) return -EPROTO;
        if (header.flags & 0x20) worst = -(int)header.error;
    }
    return worst;
}

int peer_negotiate(int fd) {
    static const char text[] = "{\"capabilities\":{\"max_msg_fds\":8}}";
    char message[20 + sizeof text] = {0};
    struct header header = {1, 1, sizeof message, 0, 0};
    memcpy(message, &header, sizeof header);
    message[18] = 1;
    memcpy(message + 20, text, sizeof text);
    if (send(fd, message, sizeof message, MSG_NOSIGNAL) != sizeof message) return -errno;
    return answers(fd, 1);
}

struct set_irqs {
    struct header header;
    uint32_t argsz, flags, index, start, count;
};

static int send_chunk(int fd, const int *eventfds, uint32_t start, uint32_t count) {
    struct set_irqs message = {{(uint16_t)start, 8, sizeof message, 0, 0}, 20, 0x24, 2, start, count};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * 253)];
        struct cmsghdr align;
    } control;
    struct iovec part = {&message, sizeof message};
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes};
    packet.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&packet);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(rights), eventfds, sizeof(int) * count);
    return sendmsg(fd, &packet, MSG_NOSIGNAL) == sizeof message ? 0 : -errno;
}

double peer_assign(int fd, const int *eventfds, uint32_t count, uint32_t per) {
    uint32_t sent = 0;
    const double start = peer_now();
    for (uint32_t first = 0; first < count; first += per, sent++) {
        const uint32_t part = count - first < per ? count - first : per;
        if (send_chunk(fd, eventfds + first, first, part) < 0) return -1;
    }
    if (answers(fd, sent) < 0) return -1;
    return peer_now() - start;
}

int peer_disable(int fd) {
    struct set_irqs message = {{7, 8, sizeof message, 0, 0}, 20, 0x21, 2, 0, 0};
    if (send(fd, &message, sizeof message, MSG_NOSIGNAL) != sizeof message) return -errno;
    return answers(fd, 1);
}
