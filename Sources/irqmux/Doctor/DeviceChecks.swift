internal import CKernel

/// Where interrupts come from and where they go: KVM, VFIO, the IOMMU.
enum DeviceChecks {
    static func kvm(_ patient: Patient) -> Check {
        let name = "/dev/kvm"
        switch patient.kvm {
        case .open(let lacks, let routes) where lacks.isEmpty:
            return .ok(name, "opens; irqfd, resample, ioeventfd, \(routes) routes")
        case .open(let lacks, _):
            return .warn(
                name, "opens, but lacks \(lacks.joined(separator: ", ")): the path through a guest is skipped",
                remedy: "run Linux 4.18 or later on a processor whose interrupt controller KVM emulates")
        case .closed(ENOENT):
            let hint = patient.processor.hypervisor == nil ? "enable it in the firmware" : "have the host nest it"
            return .warn(
                name, "does not exist: the path through a guest is skipped",
                remedy: "sudo modprobe kvm_intel || sudo modprobe kvm_amd; where that fails, \(hint)")
        case .forbidden(let group):
            return .warn(
                name, "is not for this user: the path through a guest is skipped",
                remedy: group.map { "sudo usermod -aG \($0) $USER, then log in again" }
                    ?? "run as root: its mode lets no group in (or sudo chgrp kvm /dev/kvm && sudo chmod g+rw /dev/kvm)"
            )
        case .closed(let errno):
            return .warn(
                name, "does not open (\(SystemFiles.errorName(errno))): the path through a guest is skipped",
                remedy: "sudo dmesg | grep -i kvm")
        }
    }

    static func vfio(_ patient: Patient) -> Check {
        let failure = SystemFiles.tryOpening("/dev/vfio/vfio")
        let groups = SystemFiles.names(in: "/dev/vfio").filter { $0 != "vfio" && $0 != "devices" }
        switch failure {
        case 0: return .ok("/dev/vfio", groups.isEmpty ? "opens, no device bound" : "opens, groups \(list(groups))")
        case ENOENT:
            return .warn(
                "/dev/vfio", "does not exist: the software device works, real devices do not",
                remedy: "sudo modprobe vfio-pci")
        default:
            return .warn(
                "/dev/vfio", "does not open (\(SystemFiles.errorName(failure))): real devices are out of reach",
                remedy: "run as root, or give this user the group files under /dev/vfio")
        }
    }

    static func iommu(_ patient: Patient) -> Check {
        let groups = SystemFiles.names(in: "/sys/kernel/iommu_groups")
        if !groups.isEmpty { return .ok("IOMMU", "\(groups.count) groups") }
        return .warn(
            "IOMMU", "no groups: real devices need one, the software device does not",
            remedy: "enable VT-d or AMD-Vi in the firmware and boot with intel_iommu=on (AMD needs no option)")
    }

    private static func list(_ names: [String]) -> String {
        names.count <= 8 ? names.joined(separator: " ") : names[..<8].joined(separator: " ") + " …"
    }
}
