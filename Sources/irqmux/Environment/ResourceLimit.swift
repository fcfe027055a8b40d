internal import CKernel
internal import Glibc

/// One limit of this process: what is in force and how far it may raise itself.
struct ResourceLimit: Equatable {
    /// `nil` means without limit.
    let soft: UInt64?
    let hard: UInt64?

    static func openFiles() -> ResourceLimit { read(Int32(RLIMIT_NOFILE.rawValue)) }
    static func lockedMemory() -> ResourceLimit { read(Int32(__RLIMIT_MEMLOCK.rawValue)) }

    private static func read(_ resource: Int32) -> ResourceLimit {
        var limit = rlimit()
        // SAFETY: getrlimit fills the structure it is given and keeps no pointer to it.
        guard unsafe getrlimit(resource, &limit) == 0 else { return ResourceLimit(soft: nil, hard: nil) }
        let endless = rlim_t.max
        return ResourceLimit(
            soft: limit.rlim_cur == endless ? nil : UInt64(limit.rlim_cur),
            hard: limit.rlim_max == endless ? nil : UInt64(limit.rlim_max))
    }

    /// Whether `amount` is within what the process may raise itself to.
    func canHold(_ amount: UInt64) -> Bool { hard.map { amount <= $0 } ?? true }

    static func text(_ amount: UInt64?) -> String { amount.map { "\($0)" } ?? "unlimited" }
}

/// How many file descriptors a number of vectors takes, in one place: doctor says it, and every command checks it
/// before the first eventfd is made.
enum DescriptorBudget {
    /// A vector that can go to a guest has two eventfds, one the guest's and one ours, since a bound irqfd cannot be
    /// listened to.
    static let perVector: UInt64 = 2
    /// Standard streams, the ring, KVM's three files, output, timers, and room for libraries.
    static let reserve: UInt64 = 64

    static func needed(vectors: UInt64, each: UInt64 = perVector) -> UInt64 { vectors * each + reserve }

    /// Vectors whose way into a guest is the mux's: the mux's two and the device's duplicate, and the doorbell.
    static let perGuestVector: UInt64 = 5

    /// Raises the soft limit of this process so that `vectors` fit.
    ///
    /// - Throws: Exit code 69 with the number needed when the hard limit is below it.
    static func secure(vectors: UInt64, each: UInt64 = perVector) throws(CommandFailure) {
        let wanted = needed(vectors: vectors, each: each)
        let limit = ResourceLimit.openFiles()
        guard let soft = limit.soft, soft < wanted else { return }
        guard limit.canHold(wanted) else {
            throw CommandFailure(
                .unavailable,
                "\(vectors) vectors need \(wanted) file descriptors and this process may have "
                    + "\(ResourceLimit.text(limit.hard)); \(remedy(wanted))")
        }
        var raised = rlimit(rlim_cur: rlim_t(wanted), rlim_max: limit.hard.map { rlim_t($0) } ?? rlim_t.max)
        // SAFETY: setrlimit reads the structure during the call only.
        guard unsafe setrlimit(Int32(RLIMIT_NOFILE.rawValue), &raised) == 0 else {
            throw CommandFailure(.failure, "cannot raise RLIMIT_NOFILE to \(wanted): \(SystemFiles.errorName(errno))")
        }
    }

    static func remedy(_ wanted: UInt64) -> String {
        "as root: prlimit --pid $$ --nofile=\(wanted):\(wanted), or LimitNOFILE=\(wanted) in a systemd unit"
    }
}
