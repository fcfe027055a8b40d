internal import EventRing

/// The ring tier in force, and what blocks a better one.
enum RingChecks {
    static func tier(_ patient: Patient) -> Check {
        let name = "io_uring tier"
        let detail = "\(patient.tier.name): \(meaning(patient.tier))"
        guard patient.tier != .deferred else { return .ok(name, detail) }
        guard let obstacle = patient.obstacle else { return .warn(name, detail, remedy: "run Linux 6.1 or later") }
        let errno = SystemFiles.errorName(obstacle.errno)
        let remedy = "\(obstacle.remedy)"
        return .warn(
            name, detail + "; a better one failed: \(obstacle.operation): \(errno)",
            remedy: remedy.isEmpty ? "run Linux 6.1 or later" : remedy)
    }

    private static func meaning(_ tier: RingTier) -> String {
        switch tier {
        case .deferred: "completions are made on the loop's own thread"
        case .cooperative: "completions wait for the loop's next system call"
        case .plain: "completions interrupt the loop's processor"
        case .epoll: "no io_uring, the last resort; the same behaviour at a higher cost"
        }
    }
}
