/// What the process may have: files and locked memory.
enum LimitChecks {
    static func openFiles(_ patient: Patient) -> Check {
        let name = "RLIMIT_NOFILE"
        let needed = DescriptorBudget.needed(vectors: patient.vectors)
        let limit = patient.openFiles
        let has = "soft \(ResourceLimit.text(limit.soft)), hard \(ResourceLimit.text(limit.hard))"
        let wants = "\(patient.vectors) vectors need \(needed)"
        guard limit.canHold(needed) else {
            return .fail(name, "\(has); \(wants)", remedy: DescriptorBudget.remedy(needed))
        }
        let raises = limit.soft.map { $0 < needed } ?? false
        return .ok(name, "\(has); \(wants)" + (raises ? ", irqmux raises the soft limit itself" : ""))
    }

    /// A ring of 4096 entries with its completions, the largest that is made, in bytes: rounded up from 64-byte
    /// submissions and 16-byte completions, four of them to a submission.
    static let ringMemory: UInt64 = 1 << 20

    static func lockedMemory(_ patient: Patient) -> Check {
        let name = "RLIMIT_MEMLOCK"
        let limit = patient.lockedMemory
        let has = limit.soft.map { "\($0 >> 10) KiB" } ?? "unlimited"
        // io_uring_setup(2): rings are charged to memory control groups and no longer to RLIMIT_MEMLOCK since 5.12.
        if let soft = limit.soft, soft < ringMemory, !patient.kernel.isAtLeast(5, 12) {
            return .warn(
                name, "\(has): too little for a ring on kernels before 5.12, the loop falls back to epoll",
                remedy: "ulimit -l \(ringMemory >> 10), or LimitMEMLOCK=\(ringMemory) in a systemd unit")
        }
        return .ok(name, "\(has); the ring is not charged to it here, DMA mappings of real devices are")
    }
}
