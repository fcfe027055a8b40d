import CKernel
import EventRing
import HostDevices
import Testing

@testable import irqmux

@Suite("doctor")
struct DoctorTests {
    private static func patient(
        vectors: UInt64 = 64, kernel: (Int, Int) = (6, 12), ioUringDisabled: Int? = 0, seccomp: Int? = 0,
        clockSource: String? = "tsc", online: [Int] = [0, 1], usable: [Int]? = nil, governor: String? = nil,
        invariant: Bool = true,
        openFiles: ResourceLimit = ResourceLimit(soft: 1024, hard: 524_288),
        lockedMemory: ResourceLimit = ResourceLimit(soft: 8 << 20, hard: nil), steal: StealTime? = nil,
        kvm: KVMFacts = .open(lacks: [], routes: 4096), tier: RingTier = .deferred, obstacle: RingError? = nil
    ) -> Patient {
        Patient(
            vectors: vectors,
            kernel: KernelFacts(
                release: "\(kernel.0).\(kernel.1).0", major: kernel.0, minor: kernel.1,
                ioUringDisabled: ioUringDisabled, seccompMode: seccomp, clockSource: clockSource),
            processor: ProcessorFacts(
                model: "a processor", online: CPUList(online), usable: CPUList(usable ?? online), governor: governor,
                hypervisor: nil,
                hasInvariantCounter: invariant),
            openFiles: openFiles, lockedMemory: lockedMemory, steal: steal, kvm: kvm, tier: tier, obstacle: obstacle)
    }

    @Test("every line that is not as it should be says what to type, and no other does")
    func remedies() {
        let poor = Self.patient(
            vectors: 2048, kernel: (5, 4), ioUringDisabled: 2, seccomp: 2, clockSource: "hpet", online: [0],
            governor: "powersave", invariant: false, openFiles: ResourceLimit(soft: 100, hard: 100),
            lockedMemory: ResourceLimit(soft: 65536, hard: 65536), steal: StealTime(stolenTicks: 5, totalTicks: 100),
            kvm: .closed(ENOENT), tier: .epoll)
        for patient in [Self.patient(), poor] {
            for check in Diagnosis(of: patient).checks {
                #expect(check.remedy.isEmpty == (check.status == .ok), "\(check)")
                #expect(!check.detail.isEmpty)
            }
        }
    }

    @Test("the number of descriptors needed is told, and too few stop the main job")
    func descriptors() {
        let few = LimitChecks.openFiles(
            Self.patient(vectors: 2048, openFiles: ResourceLimit(soft: 1024, hard: 1024)))
        #expect(few.status == .fail)
        #expect(few.detail.contains("2048 vectors need 4160"))
        #expect(few.remedy.contains("4160"))
        let raisable = LimitChecks.openFiles(Self.patient(vectors: 2048))
        #expect(raisable.status == .ok && raisable.detail.contains("raises the soft limit itself"))
        let endless = LimitChecks.openFiles(Self.patient(openFiles: ResourceLimit(soft: nil, hard: nil)))
        #expect(endless.status == .ok)
    }

    @Test("missing interrupt remapping, what allows it, and vectors that run out are named")
    func iommu() {
        func patient(_ change: (inout HostFacts) -> Void) -> Patient {
            var patient = Self.patient()
            change(&patient.host)
            return patient
        }
        let refused = IOMMUChecks.remapping(patient { $0.hasGroups = true })
        #expect(refused.status == .warn && refused.detail.contains("EPERM"))
        #expect(refused.remedy.contains("allow_unsafe_interrupts"))
        let dangerous = IOMMUChecks.remapping(
            patient {
                $0.hasGroups = true
                $0.allowsUnsafeInterrupts = true
            })
        #expect(dangerous.status == .warn && dangerous.detail.contains("any device raise any interrupt"))
        let fine = IOMMUChecks.remapping(
            patient {
                $0.hasGroups = true
                $0.remapsInterrupts = true
            })
        #expect(fine.status == .ok)
        let few = IOMMUChecks.vectors(patient { $0.vectors = .init(processors: 2, used: 90, left: 17) })
        #expect(few.status == .warn && few.detail.contains("17 vectors left; 64 are wanted"))
        #expect(IOMMUChecks.vectors(patient { $0.vectors = .init(processors: 2, used: 90, left: 64) }).status == .ok)
        #expect(IOMMUChecks.vectors(patient { $0.vectors = .init(processors: 2, used: 90) }).status == .ok)
        #expect(IOMMUChecks.iommufd(patient { $0.iommufd = EACCES }).status == .warn)
        #expect(IOMMUChecks.driver(Self.patient()).remedy == "sudo modprobe vfio-pci")
    }

    @Test("what blocks io_uring is named")
    func policy() {
        #expect(KernelChecks.ioUringPolicy(Self.patient()).status == .ok)
        #expect(KernelChecks.ioUringPolicy(Self.patient(ioUringDisabled: nil)).status == .ok)
        for value in [1, 2] {
            let check = KernelChecks.ioUringPolicy(Self.patient(ioUringDisabled: value, tier: .epoll))
            #expect(check.status == .warn && check.remedy == "sudo sysctl kernel.io_uring_disabled=0")
        }
        #expect(KernelChecks.seccomp(Self.patient(seccomp: 2, tier: .epoll)).status == .warn)
    }

    @Test("a restriction that lets this process through is not complained of")
    func harmlessRestrictions() {
        #expect(KernelChecks.ioUringPolicy(Self.patient(ioUringDisabled: 1)).status == .ok)
        #expect(KernelChecks.seccomp(Self.patient(seccomp: 2)).status == .ok)
    }

    @Test("the kernel's age decides what is lost")
    func kernels() {
        #expect(KernelChecks.release(Self.patient(kernel: (6, 1))).status == .ok)
        #expect(KernelChecks.release(Self.patient(kernel: (7, 0))).status == .ok)
        #expect(KernelChecks.release(Self.patient(kernel: (5, 15))).detail.contains("DEFER_TASKRUN"))
        #expect(KernelChecks.release(Self.patient(kernel: (5, 4))).detail.contains("epoll"))
    }

    @Test("each way in which KVM can be out of reach has its own remedy")
    func kvm() {
        let states: [KVMFacts] = [
            .closed(ENOENT), .forbidden(group: "kvm"), .closed(EMFILE), .open(lacks: ["KVM_CAP_IRQFD"], routes: 0),
            .forbidden(group: nil),
        ]
        let checks = states.map { DeviceChecks.kvm(Self.patient(kvm: $0)) }
        #expect(checks.allSatisfy { $0.status == .warn && $0.detail.contains("skipped") })
        #expect(Set(checks.map(\.remedy)).count == states.count)
        #expect(checks[2].detail.contains("EMFILE") && checks[3].detail.contains("KVM_CAP_IRQFD"))
        #expect(checks[1].remedy.contains("usermod -aG kvm") && !checks[4].remedy.contains("usermod"))
        let open = DeviceChecks.kvm(Self.patient())
        #expect(open.status == .ok && open.detail.contains("4096 routes"))
    }

    @Test("a process that may use one of several processors is told so, and what to type")
    func oneProcessor() throws {
        #expect(TimingChecks.processors(Self.patient()).status == .ok)
        let pinned = TimingChecks.processors(Self.patient(usable: [1]))
        #expect(pinned.status == .warn && pinned.detail.contains("may use 1") && pinned.remedy.contains("taskset"))
        let alone = TimingChecks.processors(Self.patient(online: [0]))
        #expect(alone.status == .warn && !alone.remedy.contains("taskset"))
        let run = try CommandProcess.shell("taskset -c 0 $IRQMUX doctor --format json")
        let checks = try #require(try run.object()["checks"] as? [[String: String]])
        #expect(checks.first { $0["name"] == "processors" }?["status"] == "warn", "\(checks)")
    }

    @Test("a tier below the best says what stood in the way, and what to type")
    func tiers() {
        #expect(RingChecks.tier(Self.patient()).status == .ok)
        let forbidden = RingError("io_uring_setup", errno: EPERM, remedy: "sysctl kernel.io_uring_disabled=0")
        let check = RingChecks.tier(Self.patient(tier: .epoll, obstacle: forbidden))
        #expect(check.status == .warn)
        #expect(check.detail.hasPrefix("epoll: ") && check.detail.contains("io_uring_setup: EPERM"))
        #expect(check.remedy == "sysctl kernel.io_uring_disabled=0")
        let old = RingChecks.tier(
            Self.patient(tier: .plain, obstacle: RingError("io_uring_setup", errno: EINVAL)))
        #expect(old.status == .warn && !old.remedy.isEmpty)
    }

    @Test("only a failed check makes the verdict bad")
    func verdict() {
        #expect(Diagnosis(checks: [.ok("a", "fine"), .warn("b", "slow", remedy: "faster")]).isOK)
        #expect(!Diagnosis(checks: [.ok("a", "fine"), .fail("b", "broken", remedy: "mend")]).isOK)
    }

    @Test("the JSON is irqmux.doctor/1")
    func json() throws {
        let run = try CommandProcess.run("doctor", "--format", "json")
        #expect(run.status == 0 || run.status == 1)
        let object = try run.object()
        #expect(Set(object.keys) == ["schema", "checks", "ok"])
        #expect(object["schema"] as? String == "irqmux.doctor/1")
        #expect(object["ok"] as? Bool == (run.status == 0))
        let checks = try #require(object["checks"] as? [[String: String]])
        #expect(checks.count == Diagnosis.questions.count)
        for check in checks {
            #expect(Set(check.keys) == ["name", "status", "detail", "remedy"])
            #expect(["ok", "warn", "fail"].contains(check["status"]))
        }
    }

    @Test("too few file descriptors: exit 1 and the number needed")
    func limitedProcess() throws {
        let run = try CommandProcess.shell("ulimit -n 256; $IRQMUX doctor --vectors 2048")
        #expect(run.status == 1)
        #expect(run.output.contains("✗ RLIMIT_NOFILE"))
        #expect(run.output.contains("soft 256, hard 256; 2048 vectors need 4160"))
        #expect(run.output.contains("1 to mend"))
    }

    @Test("the text has a line for every check and closes with the count")
    func text() throws {
        let run = try CommandProcess.run("doctor")
        let marked = run.output.split(separator: "\n").filter { line in ["✓", "!", "✗"].contains(line.first) }
        #expect(marked.count == Diagnosis.questions.count)
        #expect(run.output.hasSuffix("to mend\n"))
    }
}
