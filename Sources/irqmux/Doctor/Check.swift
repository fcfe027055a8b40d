internal import EventRing

/// One line of `irqmux doctor`.
struct Check: Equatable {
    enum Status: String {
        /// As it should be.
        case ok
        /// The main job works; something about it is worse than it could be.
        case warn
        /// The main job does not work.
        case fail
    }

    let name: String
    let status: Status
    /// What was found.
    let detail: String
    /// What to type to mend it; empty where nothing needs mending.
    let remedy: String

    static func ok(_ name: String, _ detail: String) -> Check {
        Check(name: name, status: .ok, detail: detail, remedy: "")
    }

    static func warn(_ name: String, _ detail: String, remedy: String) -> Check {
        Check(name: name, status: .warn, detail: detail, remedy: remedy)
    }

    static func fail(_ name: String, _ detail: String, remedy: String) -> Check {
        Check(name: name, status: .fail, detail: detail, remedy: remedy)
    }
}

/// Everything the checks look at, read once.
struct Patient {
    let vectors: UInt64
    let kernel: KernelFacts
    let processor: ProcessorFacts
    let openFiles: ResourceLimit
    let lockedMemory: ResourceLimit
    let steal: StealTime?
    let kvm: KVMFacts
    /// The tier that a small ring, set up and taken down again, was given.
    let tier: RingTier
    /// What stood in the way of a better one.
    let obstacle: RingError?
    /// What the host offers for real devices.
    var host = HostFacts.none

    static func thisMachine(vectors: UInt64) -> Patient {
        let ring = RingReport.probe()
        return Patient(
            vectors: vectors, kernel: .read(), processor: .read(), openFiles: .openFiles(),
            lockedMemory: .lockedMemory(), steal: .read(), kvm: .read(), tier: ring.tier,
            obstacle: ring.obstacle, host: .read())
    }
}

/// What doctor found.
struct Diagnosis {
    let checks: [Check]

    /// The checks in the order they are told: kernel and ring, where interrupts come from and go to, the clockwork.
    static let questions: [@Sendable (Patient) -> Check] = [
        KernelChecks.release, RingChecks.tier, KernelChecks.ioUringPolicy, KernelChecks.seccomp,
        DeviceChecks.kvm, DeviceChecks.vfio, IOMMUChecks.driver, IOMMUChecks.iommufd,
        DeviceChecks.iommu, IOMMUChecks.remapping, IOMMUChecks.vectors,
        LimitChecks.openFiles, LimitChecks.lockedMemory,
        TimingChecks.clock, TimingChecks.processors, TimingChecks.governor, TimingChecks.steal,
    ]

    init(of patient: Patient) { checks = Self.questions.map { $0(patient) } }

    init(checks: [Check]) { self.checks = checks }

    /// Whether the main job works here.
    var isOK: Bool { !checks.contains { $0.status == .fail } }

    /// `irqmux.doctor/1`.
    var json: JSON {
        .object([
            ("schema", .string("irqmux.doctor/1")),
            (
                "checks",
                .array(
                    checks.map { check in
                        .object([
                            ("name", .string(check.name)),
                            ("status", .string(check.status.rawValue)),
                            ("detail", .string(check.detail)),
                            ("remedy", .string(check.remedy)),
                        ])
                    })
            ),
            ("ok", .boolean(isOK)),
        ])
    }

    /// A line a check and, below it, what to type.
    func text(terminal: Terminal) -> String {
        let width = checks.map(\.name.count).max() ?? 0
        var text = ""
        for check in checks {
            let mark =
                switch check.status {
                case .ok: terminal.paint("✓", .green)
                case .warn: terminal.paint("!", .yellow)
                case .fail: terminal.paint("✗", .red)
                }
            text += "\(mark) \(NumberText.left(check.name, width))  \(check.detail)\n"
            if !check.remedy.isEmpty {
                text += String(repeating: " ", count: width + 4) + terminal.paint("→ \(check.remedy)", .dim) + "\n"
            }
        }
        let warnings = checks.count { $0.status == .warn }
        let failures = checks.count { $0.status == .fail }
        text += "\(checks.count - warnings - failures) ok, \(warnings) to improve, \(failures) to mend\n"
        return text
    }
}
