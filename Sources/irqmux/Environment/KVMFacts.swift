internal import Glibc
internal import KVM

/// Whether /dev/kvm opens, and what it can do for interrupts.
enum KVMFacts: Equatable {
    /// It is not for this user. The group that its mode would let in; `nil` when there is none but root's.
    case forbidden(group: String?)
    /// It does not open, with this errno.
    case closed(Int32)
    /// It opens; what the closed loop through a guest needs and is not there, and how many routes a machine may have.
    case open(lacks: [String], routes: UInt32)

    static func read() -> KVMFacts {
        do throws(KVMError) {
            let capabilities = try KVMDevice().capabilities()
            let needed = [
                ("KVM_CAP_IRQCHIP", capabilities.irqChip),
                ("KVM_CAP_IRQFD", capabilities.irqfd),
                ("KVM_CAP_IRQFD_RESAMPLE", capabilities.irqfdResample),
                ("KVM_CAP_IOEVENTFD", capabilities.ioEventFD),
                ("KVM_CAP_IRQ_ROUTING", capabilities.routes > 0),
            ]
            return .open(lacks: needed.filter { !$0.1 }.map(\.0), routes: capabilities.routes)
        } catch {
            return error.errno == EACCES ? .forbidden(group: groupLetIn("/dev/kvm")) : .closed(error.errno)
        }
    }

    /// The group that may read and write a device, unless it is root's own.
    private static func groupLetIn(_ path: String) -> String? {
        var status = stat()
        // SAFETY: the path is a Swift string, passed NUL-terminated, and the structure outlives the call.
        guard unsafe stat(path, &status) == 0, status.st_mode & 0o060 == 0o060, status.st_gid != 0 else { return nil }
        // SAFETY: the entry is valid until the next call, and only this thread calls.
        guard let entry = unsafe getgrgid(status.st_gid) else { return "\(status.st_gid)" }
        // SAFETY: as above; names are NUL-terminated.
        return unsafe String(cString: entry.pointee.gr_name)
    }
}
