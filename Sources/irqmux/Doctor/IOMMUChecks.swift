internal import CKernel
internal import HostDevices

/// What real devices need beyond VFIO itself.
enum IOMMUChecks {
    static func iommufd(_ patient: Patient) -> Check {
        switch patient.host.iommufd {
        case 0: .ok("/dev/iommu", "opens; devices can be bound to an iommufd")
        case ENOENT, ENODEV: .ok("/dev/iommu", "does not exist: real devices go through their groups")
        default:
            .warn(
                "/dev/iommu",
                "does not open (\(SystemFiles.errorName(patient.host.iommufd))): real devices go through their groups",
                remedy: "run as root, or give this user /dev/iommu")
        }
    }

    static func driver(_ patient: Patient) -> Check {
        if patient.host.hasVFIOPCI { return .ok("vfio-pci", "loaded") }
        return .warn(
            "vfio-pci", "not loaded: no PCI function can be bound", remedy: "sudo modprobe vfio-pci")
    }

    static func remapping(_ patient: Patient) -> Check {
        let name = "interrupt remapping"
        let host = patient.host
        guard host.hasGroups else { return .ok(name, "no IOMMU group, so no device that it would guard against") }
        if host.remapsInterrupts {
            guard host.allowsUnsafeInterrupts else { return .ok(name, "the IOMMU remaps interrupts") }
            return .warn(
                name, "there is, and allow_unsafe_interrupts is set all the same: it is not needed",
                remedy: "echo N | sudo tee /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
        }
        if host.allowsUnsafeInterrupts {
            return .warn(
                name, "there is none, and allow_unsafe_interrupts lets any device raise any interrupt of the host",
                remedy: "enable it in the firmware (VT-d or AMD-Vi with interrupt remapping)")
        }
        return .warn(
            name, "there is none: VFIO_SET_IOMMU answers EPERM",
            remedy: "enable it in the firmware; where every guest is trusted, "
                + "echo Y | sudo tee /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
    }

    static func vectors(_ patient: Patient) -> Check {
        let name = "host vectors"
        guard let vectors = patient.host.vectors else { return .ok(name, "/proc/interrupts is not readable") }
        let used = "\(vectors.used) interrupts in use by \(vectors.processors) processors"
        guard let left = vectors.left else { return .ok(name, "\(used); how many are left debugfs tells, to root") }
        let wanted = patient.vectors
        guard left >= wanted else {
            return .warn(
                name, "\(used), \(left) vectors left; \(wanted) are wanted, and a real device would get fewer",
                remedy: "use fewer vectors, or unbind devices that do not need theirs")
        }
        return .ok(name, "\(used), \(left) vectors left")
    }
}
