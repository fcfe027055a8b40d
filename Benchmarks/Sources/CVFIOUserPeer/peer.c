#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
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

static cpu_set_t usable;

int peer_processors(void) {
    if (!CPU_COUNT(&usable)) sched_getaffinity(0, sizeof usable, &usable);
    return CPU_COUNT(&usable);
}

int peer_processor(int place) {
    place %= peer_processors();
    for (int number = 0; number < CPU_SETSIZE; number++) {
        if (CPU_ISSET(number, &usable) && place-- == 0) return number;
    }
    return 0;
}

void peer_keep_to(int processor) {
    cpu_set_t one;
    CPU_ZERO(&one);
    if (processor >= 0) CPU_SET(processor, &one);
    sched_setaffinity(0, sizeof one, processor >= 0 ? &one : &usable);
}

void peer_end_with_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

static void echo(int fd) {
    char message[16];
    while (recv(fd, message, sizeof message, MSG_WAITALL) == sizeof message) {
        if (send(fd, message, sizeof message, MSG_NOSIGNAL) != sizeof message) break;
    }
}

int peer_echo_start(int mine, int theirs, int processor) {
    const pid_t child = fork();
    if (child != 0) return child < 0 ? -errno : child;
    peer_end_with_parent();
    peer_keep_to(processor);
    close(mine);
    echo(theirs);
    _exit(0);
}

void peer_join(int child) {
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
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

struct peer_page {
    _Atomic double stamp;
    // Lines of their own: the one who waits for the turn must not slow the one who stamps.
    char apart[120];
    atomic_uint turn;
};

static struct peer_page *map_page(int fd) {
    void *page = mmap(NULL, sizeof(struct peer_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return page == MAP_FAILED ? NULL : page;
}

struct peer_page *peer_page_create(int *fd) {
    *fd = memfd_create("turn", MFD_CLOEXEC);
    if (*fd < 0 || ftruncate(*fd, sizeof(struct peer_page)) < 0) return NULL;
    return map_page(*fd);
}

struct peer_page *peer_page_open(const char *path) {
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return NULL;
    struct peer_page *page = map_page(fd);
    close(fd);
    return page;
}

void peer_page_close(struct peer_page *page) { munmap(page, sizeof *page); }
void peer_page_take_turn(struct peer_page *page, uint32_t turn) { atomic_store(&page->turn, turn); }
double peer_page_stamp(struct peer_page *page) { return atomic_load(&page->stamp); }

void peer_page_await(struct peer_page *page, uint32_t turn, uint64_t *seed) {
    while (atomic_load(&page->turn) != turn) {}
    peer_pause(seed, 20000, 60000);
    atomic_store(&page->stamp, peer_now());
}

static void write_pair(struct peer_page *page, int fd, uint32_t count) {
    const uint64_t one = 1;
    uint64_t seed = PEER_SEED;
    for (uint32_t i = 1; i <= count; i++) {
        peer_page_await(page, i, &seed);
        if (write(fd, &one, sizeof one) != sizeof one) return;
    }
}

int peer_eventfd_pair(bool spin, uint32_t count, double *ns) {
    int memory, result = 0;
    struct peer_page *page = peer_page_create(&memory);
    const int fd = eventfd(0, EFD_CLOEXEC | (spin ? EFD_NONBLOCK : 0));
    if (!page || fd < 0) return -errno;
    const pid_t child = fork();
    if (child < 0) return -errno;
    if (child == 0) {
        peer_end_with_parent();
        peer_keep_to(peer_processor(1));
        write_pair(page, fd, count);
        _exit(0);
    }
    for (uint32_t i = 0; i < count && result == 0; i++) {
        uint64_t value;
        peer_page_take_turn(page, i + 1);
        while (read(fd, &value, sizeof value) != sizeof value) {
            if (errno != EAGAIN && errno != EINTR) result = -errno;
            if (result) break;
        }
        ns[i] = peer_now() - peer_page_stamp(page);
    }
    if (result) kill(child, SIGKILL);
    peer_join(child);
    peer_page_close(page);
    close(memory);
    close(fd);
    return result;
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
