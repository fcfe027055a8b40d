internal import EventRing

/// The kernel, and whether it lets this process use io_uring.
enum KernelChecks {
    static func release(_ patient: Patient) -> Check {
        let kernel = patient.kernel
        // io_uring(7): multishot poll since 5.13, DEFER_TASKRUN since 6.1.
        if kernel.isAtLeast(6, 1) { return .ok("kernel", "\(kernel.release), has every io_uring feature in use") }
        if kernel.isAtLeast(5, 13) {
            return .warn(
                "kernel", "\(kernel.release), lacks DEFER_TASKRUN (6.1): spinning waits cost more",
                remedy: "run Linux 6.1 or later")
        }
        return .warn(
            "kernel", "\(kernel.release), lacks multishot poll (5.13): the loop falls back to epoll",
            remedy: "run Linux 6.1 or later")
    }

    static func ioUringPolicy(_ patient: Patient) -> Check {
        let name = "io_uring policy"
        switch patient.kernel.ioUringDisabled {
        case nil: return .ok(name, "kernel.io_uring_disabled does not exist here (it came with 6.6)")
        case 0: return .ok(name, "kernel.io_uring_disabled=0, every process may")
        case 1 where patient.tier != .epoll:
            return .ok(name, "kernel.io_uring_disabled=1, and this process may")
        case 1:
            return .warn(
                name, "kernel.io_uring_disabled=1: only kernel.io_uring_group and CAP_SYS_ADMIN may, others get epoll",
                remedy: "sudo sysctl kernel.io_uring_disabled=0")
        default:
            return .warn(
                name, "kernel.io_uring_disabled=2: no process may, the loop falls back to epoll",
                remedy: "sudo sysctl kernel.io_uring_disabled=0")
        }
    }

    static func seccomp(_ patient: Patient) -> Check {
        switch patient.kernel.seccompMode {
        case nil: .ok("seccomp", "this kernel has none")
        case 0: .ok("seccomp", "no filter on this process")
        case _ where patient.tier != .epoll: .ok("seccomp", "a filter is in force and lets io_uring through")
        default:
            .warn(
                "seccomp", "a filter is in force; container filters often forbid io_uring",
                remedy: "docker run --security-opt seccomp=unconfined, or allow io_uring_setup, _enter and _register")
        }
    }
}
