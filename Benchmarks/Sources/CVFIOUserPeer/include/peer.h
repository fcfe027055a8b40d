// The C side of the vfio-user benchmarks: what the figures of irqmux are compared with in the same run.
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stdint.h>

// Where the waits of every writer begin, so that all wait alike.
#define PEER_SEED 88172645463325252u

// Ends this process when the one that started it ends.
void peer_end_with_parent(void);

// How many processors this process may use, and the number of the `place`-th of them; asked first before anybody keeps
// to one.
int peer_processors(void);
int peer_processor(int place);
// Keeps this process, and those that it starts, to one processor; −1 lets it use all again.
void peer_keep_to(int processor);

// Answers each 16-byte message on `theirs` with a 16-byte reply, in a process of its own, until `mine` closes, on
// that processor. The process's id, or -errno.
int peer_echo_start(int mine, int theirs, int processor);
void peer_join(int child);

// Sends a 16-byte message and waits for the reply, `count` times; the times in nanoseconds go to `ns`.
int peer_round_trips(int fd, uint32_t count, double *ns);

// An eventfd between two processes: a C writer that stamps and writes, a C reader that reads and stamps. `spin` reads
// without sleeping, the writer on another processor. The latencies in nanoseconds go to `ns`.
int peer_eventfd_pair(bool spin, uint32_t count, double *ns);

// Memory that two processes share: whose turn it is, and when the last signal left.
struct peer_page;
struct peer_page *peer_page_create(int *fd);
struct peer_page *peer_page_open(const char *path);
void peer_page_close(struct peer_page *page);
// The reader's: asks for signal number `turn`; when the last one left.
void peer_page_take_turn(struct peer_page *page, uint32_t turn);
double peer_page_stamp(struct peer_page *page);
// The writer's: waits for its turn, and a while longer, then stamps. The signal is due.
void peer_page_await(struct peer_page *page, uint32_t turn, uint64_t *seed);

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
