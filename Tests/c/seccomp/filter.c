// Linked into a program, this puts it under a seccomp filter before main: the calls that IRQMUX_SECCOMP names are
// allowed, any other kills the process. So what the loader needs before main is not in the list.
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define THIS_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#define CALL(name) {#name, SYS_##name}

// Every call that docs/c-abi.md may name.
static const struct {
    const char *name;
    int number;
} calls[] = {
    CALL(brk), CALL(clock_gettime), CALL(clock_nanosleep), CALL(clone3), CALL(close), CALL(epoll_create1),
    CALL(epoll_ctl), CALL(epoll_pwait2),  CALL(eventfd2), CALL(exit), CALL(exit_group), CALL(fcntl),
    CALL(futex), CALL(getdents64), CALL(getrandom), CALL(io_uring_enter), CALL(io_uring_register),
    CALL(io_uring_setup), CALL(ioctl), CALL(lseek), CALL(madvise), CALL(mmap), CALL(mprotect), CALL(munmap),
    CALL(newfstatat), CALL(openat),  CALL(pread64), CALL(preadv2), CALL(prctl), CALL(prlimit64),
    CALL(pwrite64), CALL(read),  CALL(restart_syscall), CALL(rseq), CALL(rt_sigaction), CALL(rt_sigprocmask),
    CALL(rt_sigreturn), CALL(sched_setaffinity), CALL(set_robust_list), CALL(timerfd_create), CALL(timerfd_settime),
    CALL(write), CALL(socket), CALL(connect), CALL(sendmsg), CALL(recvmsg), CALL(ppoll),
    CALL(sched_yield), CALL(gettid),

#if defined(__x86_64__)
    CALL(epoll_wait), CALL(poll), CALL(readlink), // elsewhere epoll_pwait, ppoll and readlinkat stand for them
#else
    CALL(epoll_pwait), CALL(readlinkat),
#endif
};

static void give_up(const char *what, const char *name) {
    fprintf(stderr, "seccomp filter: %s %s: %s\n", what, name, strerror(errno));
    _exit(3);
}

static int number_of(const char *name) {
    for (size_t at = 0; at < sizeof calls / sizeof *calls; at++)
        if (!strcmp(calls[at].name, name)) return calls[at].number;
    give_up("a call that this file does not know:", name);
    return -1;
}

__attribute__((constructor)) static void restrict_calls(void) {
    static struct sock_filter code[400];
    char *list = getenv("IRQMUX_SECCOMP");
    if (!list) give_up("not set:", "IRQMUX_SECCOMP");
    unsigned short length = 0;
    code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCHITECTURE, 1, 0);
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (char *name = strtok(list, " "); name && length < 390; name = strtok(NULL, " ")) {
        code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number_of(name), 0, 1);
        code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = {length, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) give_up("prctl", "PR_SET_NO_NEW_PRIVS");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0) give_up("seccomp", "SECCOMP_SET_MODE_FILTER");
}
