// The C side of the vfio-user benchmarks: what the figures of irqmux are compared with in the same run.
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stdint.h>

// Answers each 16-byte message on fd with a 16-byte reply, on a thread of its own, until the other end closes.
int peer_echo_start(int fd);

// Sends a 16-byte message and waits for the reply, `count` times; the times in nanoseconds go to `ns`.
int peer_round_trips(int fd, uint32_t count, double *ns);

// An eventfd between two threads: a C writer that stamps and writes, a C reader that reads and stamps. `spin` reads
// without sleeping. The latencies in nanoseconds go to `ns`.
int peer_eventfd_pair(bool spin, uint32_t count, double *ns);

// Sends VERSION with room for `fds` descriptors a message, and takes the answer. 0 or -errno.
int peer_negotiate(int fd);

// Assigns `count` eventfds as MSI-X vectors, `per` in a message, the messages sent back to back; then takes all
// answers. Nanoseconds for all of it, or negative.
double peer_assign(int fd, const int *eventfds, uint32_t count, uint32_t per);

// Disables MSI-X.
int peer_disable(int fd);

double peer_now(void);
int peer_connect(const char *path);
int peer_socket_pair(int fds[2]);
// Waits between `shortest` and `longest` nanoseconds, chosen by lot.
void peer_pause(uint64_t *seed, double shortest, double longest);

#endif
